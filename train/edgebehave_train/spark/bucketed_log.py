"""Logs in Spark: from any table of events to the Parquet that `edgebehave ingest --bucketed` takes over, and back.

A table of events has the columns of the contract in docs/logs.md, and `order`, by which events of a user at one time
stand:

    user string, time_us long, utc_offset_min int, event string, location string, behavior string, order struct

`location` and `behavior` are NULL where the event has none. Without a column of behaviors, there is none in the table.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DecimalType, DoubleType, FloatType, IntegralType, StringType, TimestampType

from edgebehave.arguments import KEPT_CHARS, MAX_NAME_BYTES

MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Units of times that are numbers."""

_VISIBLE = r"[^\s\u00a0\u3000]"
_MAX_WHOLE = 9e18  # floats below it are integers of 64 bits
_ROW_IN_FILE = ("_metadata.file_path", "_metadata.row_index")


def log_events(
    log: DataFrame,
    *,
    user: str,
    time: str,
    event: str,
    location: str | None = None,
    utc_offset: str | None = None,
    behavior: str | None = None,
    time_unit: str | None = None,
    order: Sequence[str] = (),
) -> DataFrame:
    """The events of a log.

    user .. behavior  names of columns, as in `edgebehave ingest`; utc_offset is in minutes.
    time              a timestamp of Spark, or a number.
    time_unit         "s", "ms" or "us", of unix times that are numbers.
    order             columns by which events of a user at one time stand, as the number of the row. Parquet has one:
                      "_metadata.row_index". Empty: the order of a hash of the row, which means nothing.
    Names are read as by `edgebehave ingest`: a NaN is missing, a float without a fraction is its integer, and where all
    names of a column are integers, the text 101.0 is 101, which takes a pass over the columns of text.
    Raises ValueError for times of another type. Rows are neither dropped nor checked: `ingest` refuses those without a
    user, time or event.
    """
    roles = {"user": user, "event": event, "location": location, "behavior": behavior}
    dotted = _dotted_integers(log, [name for name in roles.values() if name is not None])
    return _events(log, roles, time, utc_offset, time_unit, order, dotted)


def _events(
    log: DataFrame,
    roles: Mapping[str, str | None],
    time: str,
    utc_offset: str | None,
    time_unit: str | None,
    order: Sequence[str],
    dotted: Collection[str] = (),
) -> DataFrame:
    """The events of a log. dotted  columns whose names are integers, some of them written as 101.0."""

    def name(role: str) -> Column:
        column = roles[role]
        return F.lit(None).cast("string") if column is None else _name(log, column, is_dotted=column in dotted)

    columns = {
        "user": name("user"),
        "time_us": _time_us(log, time, time_unit),
        "utc_offset_min": F.lit(0) if utc_offset is None else F.coalesce(F.col(utc_offset).cast("int"), F.lit(0)),
        "event": name("event"),
        "location": name("location"),
    }
    if roles["behavior"] is not None:
        columns["behavior"] = name("behavior")
    by = [F.col(name).alias(f"by{number}") for number, name in enumerate(order)]
    columns["order"] = F.struct(*(by or [F.xxhash64(*columns.values()).alias("by0")]))
    return log.select(*(column.alias(role) for role, column in columns.items()))


def read_bucketed(spark: SparkSession, folder: str | Path) -> DataFrame:
    """The events of a bucketed log; those of a user at one time in the order of the rows."""
    log = spark.read.parquet(str(folder))
    present = {name: name if name in log.columns else None for name in ("location", "behavior", "utc_offset_min")}
    roles = {"user": "user", "event": "event", "location": present["location"], "behavior": present["behavior"]}
    return _events(log, roles, "time_us", present["utc_offset_min"], "us", _ROW_IN_FILE)


def write_bucketed(events: DataFrame, folder: str | Path, *, num_files: int, overwrite: bool = False) -> None:
    """Write events in the order of a store.

    events     as in `log_events`.
    num_files  at most; each is a range of hashes of users, and is sorted in the memory of one task, or on its disk.
    overwrite  replace what is in `folder`.
    """
    if num_files < 1:
        raise ValueError(f"num_files must be at least 1, got {num_files}")
    keyed = events.withColumn("key", F.sha2(F.col("user"), 256))
    in_order = keyed.repartitionByRange(num_files, "key").sortWithinPartitions("key", "user", "time_us", "order")
    mode = "overwrite" if overwrite else "errorifexists"
    in_order.drop("key", "order").write.mode(mode).parquet(str(folder))


def _name(log: DataFrame, column: str, *, is_dotted: bool) -> Column:
    """Names as text, long ones as `edgebehave.arguments.bounded_name` has them; NULL where nothing visible is there."""
    cell = F.col(column)
    text = cell.cast("string")
    if isinstance(log.select(column).schema[0].dataType, DoubleType | FloatType):
        is_whole = (F.rint(cell) == cell) & (F.abs(cell) < F.lit(_MAX_WHOLE))
        text = F.when(is_whole, cell.cast("long").cast("string")).when(~F.isnan(cell), text)
    if is_dotted:
        text = F.regexp_replace(text, r"[.,]0+$", "")
    long = F.concat(F.substring(text, 1, KEPT_CHARS), F.lit("~"), F.sha2(text, 256))
    bounded = F.when(F.octet_length(text) > MAX_NAME_BYTES, long).otherwise(text)
    return F.when(text.rlike(_VISIBLE), bounded)


def _dotted_integers(log: DataFrame, columns: Sequence[str]) -> list[str]:
    """Columns of text whose names are all integers, some of them written as 101.0."""
    kinds = {column: log.select(column).schema[0].dataType for column in columns}
    texts = [column for column, kind in kinds.items() if isinstance(kind, StringType | DecimalType)]
    checks = []
    for column in texts:
        text = F.col(column).cast("string")
        name = F.when(text.rlike(_VISIBLE), text)
        checks += [F.bool_and(name.rlike(r"^-?[0-9]+([.,]0+)?\z")), F.bool_or(name.rlike(r"[.,]0+\z"))]
    found = tuple(log.agg(*checks).first() or ()) if checks else ()
    return [column for number, column in enumerate(texts) if found[2 * number] and found[2 * number + 1]]


def _time_us(log: DataFrame, column: str, unit: str | None) -> Column:
    """Unix microseconds."""
    kind: Any = log.select(column).schema[0].dataType
    time = F.col(column)
    if isinstance(kind, TimestampType):
        return F.unix_micros(time)
    if not isinstance(kind, IntegralType | DoubleType | FloatType | DecimalType):
        raise ValueError(
            f"column {column!r} is of type {kind.simpleString()}; expected a timestamp or a number: "
            "convert it with to_timestamp of Spark"
        )
    if unit not in MICROSECONDS:
        raise ValueError(f"column {column!r} holds numbers: time_unit must be {', '.join(MICROSECONDS)}, got {unit!r}")
    if isinstance(kind, IntegralType):
        return time.cast("long") * F.lit(MICROSECONDS[unit])  # 32 bits hold no microseconds
    return F.round(time * F.lit(MICROSECONDS[unit])).cast("long")
