"""Tables in memory, of pandas, polars or Arrow, as Parquet files that ingest reads; none of these is imported.

A table is recognized by its attributes: `columns` and `dtypes` (pandas), or Arrow's `__arrow_c_stream__` (polars,
Arrow, and others with the Arrow PyCapsule interface).
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from edgebehave_train.logs.reading.arrow_schema import usable_zones
from edgebehave_train.logs.reading.files import IngestError, quoted

_PLAIN_TYPES = re.compile(r"(u?int|float)\d+|datetime64\[")


def is_frame(log: object) -> bool:
    return hasattr(log, "__arrow_c_stream__") or _is_pandas(log) or _is_lazy(log)


def _is_pandas(log: object) -> bool:
    return hasattr(log, "iloc") and hasattr(log, "dtypes")


def _is_lazy(log: object) -> bool:
    """A lazy frame of polars."""
    return hasattr(log, "collect_schema") and hasattr(log, "collect")


def as_parquet(
    frame: Any, columns: Sequence[str], folder: Path, con: duckdb.DuckDBPyConnection
) -> tuple[str, Path, dict[str, str]]:
    """The name of a table for messages, a copy of its columns as Parquet, and {column: name of its time zone}.

    columns  the ones to keep, as far as the table has them. NaN, None and NaT become missing cells.
    """
    copy = folder / f"table{len(list(folder.iterdir()))}.parquet"
    title = f"the {type(frame).__module__.partition('.')[0]} {type(frame).__name__}"
    if _is_pandas(frame):
        names = [str(name) for name in frame.columns]
        index = [str(name) for name in getattr(frame.index, "names", []) if name is not None]
        lost = [name for name in columns if name in index and name not in names]
        if lost:
            raise IngestError(f"{title} has {lost[0]!r} in its index; pass frame.reset_index()")
        kept = [name for name in columns if names.count(name) == 1]
        zones = {name: str(frame[name].dtype.tz) for name in kept if getattr(frame[name].dtype, "tz", None)}
        source = _plain_pandas(frame, kept)
    else:
        frame = frame.collect() if _is_lazy(frame) and not hasattr(frame, "__arrow_c_stream__") else frame
        found = getattr(frame, "column_names", None) or getattr(frame, "columns", None) or frame.schema.names
        names = [str(name) for name in found]
        roots = [name if name in names else name.partition(".")[0] for name in columns]  # data.app is nested
        kept = [name for name in dict.fromkeys(roots) if names.count(name) == 1]
        zones = {name: zone for name in kept if (zone := _zone(frame, name))}
        source = frame.select(kept) if hasattr(frame, "select") and kept else frame
    if not kept:  # the message about columns is that of any log
        near = ", ".join(names[:30])
        raise IngestError(f"{title} has none of the columns {', '.join(map(repr, columns))} (it has: {near})")
    con.execute("SET preserve_insertion_order = true")
    try:
        con.register("table_in_memory", source)
        con.execute(f"COPY (SELECT * FROM table_in_memory) TO {quoted(str(copy))} (FORMAT parquet)")
    except duckdb.IOException:
        raise
    except (duckdb.Error, ImportError) as error:
        raise IngestError(f"{title} cannot be read: {str(error).splitlines()[0]}") from None
    finally:
        con.unregister("table_in_memory")
    return title, copy, usable_zones(zones, con)


def _zone(frame: Any, name: str) -> str | None:
    """Time zone of a column of polars or Arrow."""
    schema = frame.schema
    kind = schema.field(name).type if hasattr(schema, "field") else schema[name]
    zone = getattr(kind, "time_zone", None) or getattr(kind, "tz", None)
    return zone if isinstance(zone, str) else None


def _plain_pandas(frame: Any, columns: Sequence[str]) -> Any:
    """The columns; what is not numbers or moments as text, so that mixed cells keep their meaning."""
    plain = frame[list(columns)].copy(deep=False)
    for name in columns:
        if not _PLAIN_TYPES.match(str(frame[name].dtype)):
            plain[name] = type(frame[name])(
                [_text(cell) for cell in frame[name].astype(object)], dtype=object, index=frame.index
            )
    return plain


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if type(cell).__name__ in ("NAType", "NaTType") or cell != cell:
        return None
    if type(cell).__name__ in ("bool", "bool_"):
        return str(cell).lower()  # as in any file
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, float) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return str(cell)
