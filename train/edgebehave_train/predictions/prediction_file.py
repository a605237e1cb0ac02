"""The file of predictions: Parquet or CSV, a row per user and rank, replaced whole or not at all.

    user         string   name, as in the log
    rank         int32    1 is the most probable behavior
    behavior     string
    probability  float    as the SDK gives it, 32 bits

The rows of a user are adjacent, by rank.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

SCHEMA = pa.schema(
    [("user", pa.string()), ("rank", pa.int32()), ("behavior", pa.string()), ("probability", pa.float32())]
)
_ENDINGS = (".parquet", ".csv")
_GROUP_ROWS = 1 << 17


def check_file(path: Path) -> None:
    """Raises ValueError if predictions cannot be written under this name."""
    if path.suffix not in _ENDINGS:
        raise ValueError(f"predictions are written as .parquet or .csv, got {path}; name another file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file for the predictions")


@contextmanager
def prediction_file(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """A function that adds rows of `SCHEMA`; at the end the file stands under its name. Equal rows give equal bytes."""
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with _parquet(partial) if path.suffix == ".parquet" else _csv(partial) as write:
            yield write
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    waiting: list[pa.Table] = []

    def flush() -> None:
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
            waiting.clear()

    def write(rows: pa.Table) -> None:
        waiting.append(rows)
        if sum(map(len, waiting)) >= _GROUP_ROWS:
            flush()

    with parquet.ParquetWriter(path, SCHEMA) as writer:
        yield write
        flush()


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    with path.open("wb") as file:
        file.write((",".join(SCHEMA.names) + "\n").encode())  # Arrow writes the names of columns in quotes
        yield lambda rows: csv.write_csv(rows, file, options)
