"""Time zones of the columns of a Parquet file, from the Arrow schema in its metadata.

Parquet itself keeps a moment in UTC; Arrow (pandas, polars, Spark's writers of Arrow) adds its schema, a flatbuffer of
the message format https://arrow.apache.org/docs/format/Columnar.html, under the key ARROW:schema.
"""

import base64
import struct
from pathlib import Path

import duckdb

from edgebehave_train.logs.reading.files import literal_path

_SCHEMA, _TIMESTAMP = 1, 10  # of the unions MessageHeader and Type


def time_zones(path: Path, con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """{column: name of its time zone}; UTC and columns without a zone are left out."""
    rows = con.execute(
        f"SELECT value FROM parquet_kv_metadata({literal_path(path)}) WHERE key = 'ARROW:schema'::BLOB"
    ).fetchall()
    zones: dict[str, str] = {}
    for (value,) in rows:
        try:
            zones |= zones_of_schema(base64.b64decode(value))
        except (struct.error, IndexError, ValueError):
            continue  # the file was written by something else; its times stay UTC
    return usable_zones(zones, con)


def usable_zones(zones: dict[str, str], con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Those of {column: name of its time zone} that can be converted and are not UTC."""
    known = {name for (name,) in con.execute("SELECT name FROM pg_timezone_names()").fetchall()}
    return {
        name: zone
        for name, zone in zones.items()
        if (zone in known or zone[:1] in "+-") and zone not in ("UTC", "Etc/UTC")
    }


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.fields = position - struct.unpack_from("<i", data, position)[0]

    def where(self, index: int) -> int | None:
        """Position of a field, None if it has its default."""
        slot = 4 + 2 * index
        if slot >= struct.unpack_from("<H", self.data, self.fields)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, self.fields + slot)[0]
        return self.position + offset if offset else None

    def byte(self, index: int) -> int:
        at = self.where(index)
        return 0 if at is None else self.data[at]

    def target(self, index: int) -> int | None:
        at = self.where(index)
        return None if at is None else at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, index: int) -> "_Table | None":
        at = self.target(index)
        return None if at is None else _Table(self.data, at)

    def text(self, index: int) -> str:
        at = self.target(index)
        if at is None:
            return ""
        (length,) = struct.unpack_from("<I", self.data, at)
        return self.data[at + 4 : at + 4 + length].decode()

    def tables(self, index: int) -> "list[_Table]":
        at = self.target(index)
        if at is None:
            return []
        (length,) = struct.unpack_from("<I", self.data, at)
        starts = range(at + 4, at + 4 + 4 * length, 4)
        return [_Table(self.data, s + struct.unpack_from("<I", self.data, s)[0]) for s in starts]


def zones_of_schema(message: bytes) -> dict[str, str]:
    data = message[8 if message[:4] == b"\xff\xff\xff\xff" else 4 :]
    root = _Table(data, struct.unpack_from("<I", data)[0])
    schema = root.table(2)
    if root.byte(1) != _SCHEMA or schema is None:
        return {}
    zones = {}
    for column in schema.tables(1):
        kind = column.table(3)
        if column.byte(2) == _TIMESTAMP and kind is not None and kind.text(1):
            zones[column.text(0)] = kind.text(1)
    return zones
