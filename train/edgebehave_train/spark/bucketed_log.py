"""Logs in Spark: from any table of events to the Parquet that `edgebehave ingest --bucketed` takes over, and back.

A table of events has the columns of the contract in docs/logs.md, and `order`, by which events of a user at one time
stand:

    user string, time_us long, utc_offset_min int, event string, location string, behavior string, order struct

`location` and `behavior` are NULL where the event has none. Without a column of behaviors, there is none in the table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DecimalType, DoubleType, FloatType, IntegralType, TimestampType

MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Units of times that are numbers."""

_VISIBLE = r"[^\s\u00a0\u3000]"
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

    user .. behavior  names of columns, as of `edgebehave ingest`; utc_offset is in minutes.
    time              a timestamp of Spark, or a number.
    time_unit         "s", "ms" or "us", of unix times that are numbers.
    order             columns by which events of a user at one time stand, as the number of the row. Parquet has one:
                      "_metadata.row_index". None: the order of a hash of the row, which means nothing.
    Raises ValueError for times of another type. Rows are neither dropped nor checked: `ingest` refuses those without a
    user, time or event.
    """
    columns = {
        "user": _name(log, user),
        "time_us": _time_us(log, time, time_unit),
        "utc_offset_min": F.lit(0) if utc_offset is None else F.coalesce(F.col(utc_offset).cast("int"), F.lit(0)),
        "event": _name(log, event),
        "location": F.lit(None).cast("string") if location is None else _name(log, location),
    }
    if behavior is not None:
        columns["behavior"] = _name(log, behavior)
    by = [F.col(name).alias(f"by{number}") for number, name in enumerate(order)]
    columns["order"] = F.struct(*(by or [F.xxhash64(*columns.values()).alias("by0")]))
    return log.select(*(column.alias(name) for name, column in columns.items()))


def read_bucketed(spark: SparkSession, folder: str | Path) -> DataFrame:
    """The events of a bucketed log; those of a user at one time in the order of the rows."""
    log = spark.read.parquet(str(folder))
    optional = {"location": "location", "utc_offset": "utc_offset_min", "behavior": "behavior"}
    return log_events(
        log,
        user="user",
        time="time_us",
        event="event",
        time_unit="us",
        order=_ROW_IN_FILE,
        **{role: name for role, name in optional.items() if name in log.columns},
    )


def write_bucketed(events: DataFrame, folder: str | Path, *, num_files: int, overwrite: bool = False) -> None:
    """Write events in the order of a store.

    events     as of `log_events`.
    num_files  at most; each is a range of hashes of users, and is sorted in the memory of one task, or on its disk.
    overwrite  replace what is in `folder`.
    """
    if num_files < 1:
        raise ValueError(f"num_files must be at least 1, got {num_files}")
    keyed = events.withColumn("key", F.sha2(F.col("user"), 256))
    in_order = keyed.repartitionByRange(num_files, "key").sortWithinPartitions("key", "user", "time_us", "order")
    mode = "overwrite" if overwrite else "errorifexists"
    in_order.drop("key", "order").write.mode(mode).parquet(str(folder))


def _name(log: DataFrame, column: str) -> Column:
    """Names as text; NULL where nothing visible is in them."""
    text = F.col(column).cast("string")
    return F.when(text.rlike(_VISIBLE), text)


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
