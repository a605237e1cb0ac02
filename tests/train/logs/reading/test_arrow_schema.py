"""The time zone of a Parquet file, from the Arrow schema in it."""

import base64
import struct

import duckdb
import pytest
from logs_of_rows import run, times_of, write_log

from edgebehave_train.logs.reading.arrow_schema import zones_of_schema


@pytest.mark.parametrize("zone", ["Europe/Berlin", "+01:00", "America/St_Johns"])
def test_the_zone_of_an_arrow_schema_is_read(zone):
    assert zones_of_schema(arrow_schema_with(zone)) == {"time": zone}


def arrow_schema_with(zone):
    """A message of Arrow's format: one column `time` of microseconds in a zone."""

    def text(value):
        data = value.encode()
        return struct.pack("<I", len(data)) + data + b"\0" * (4 - len(data) % 4)

    # Tables from the root on; each as (vtable, table) with offsets worked out below.
    out = bytearray(struct.pack("<I", 0))

    def table(fields):  # fields: {index: bytes of a scalar, or a placeholder of 4 bytes}
        size, slots, body = 4, {}, b""
        for index, value in fields.items():
            slots[index] = size
            body += value + b"\0" * (-len(value) % 4)
            size += len(value) + (-len(value) % 4)
        number = max(fields) + 1
        vtable = struct.pack("<HH", 4 + 2 * number, size)
        vtable += b"".join(struct.pack("<H", slots.get(i, 0)) for i in range(number))
        vtable += b"\0" * (-len(vtable) % 4)
        start = len(out)
        out.extend(vtable)
        at = len(out)
        out.extend(struct.pack("<i", at - start) + body)
        return at, {index: at + slot for index, slot in slots.items()}

    def point(place):
        struct.pack_into("<I", out, place, len(out) - place)

    hole = b"\0" * 4
    root, where = table({1: b"\1", 2: hole})
    struct.pack_into("<I", out, 0, root)
    schema, of_schema = table({1: hole})
    struct.pack_into("<I", out, where[2], schema - where[2])
    point(of_schema[1])
    out.extend(struct.pack("<II", 1, 0))
    element = len(out) - 4
    column, of_column = table({0: hole, 2: b"\x0a", 3: hole})
    struct.pack_into("<I", out, element, column - element)
    point(of_column[0])
    out.extend(text("time"))
    kind, of_kind = table({0: b"\2\0", 1: hole})
    struct.pack_into("<I", out, of_column[3], kind - of_column[3])
    point(of_kind[1])
    out.extend(text(zone))
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(out)) + bytes(out)


def test_a_parquet_file_keeps_its_time_zone_through_daylight_saving(tmp_path):
    path = tmp_path / "log.parquet"
    schema = base64.b64encode(arrow_schema_with("Europe/Berlin")).decode()
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT 'u' AS "user", t::TIMESTAMPTZ AS "time", 'e' AS event FROM (VALUES
            ('2026-03-28 07:00:00+00'), ('2026-03-29 06:00:00+00')) v(t)) TO '{path}'
            (FORMAT parquet, KV_METADATA {{'ARROW:schema': '{schema}'}})"""
        )
    store, _, _ = run(path, tmp_path / "out")
    assert [offset for _, offset in times_of(store)] == [60, 120]
    texts = ["2026-03-28 08:00:00+01:00", "2026-03-29 08:00:00+02:00"]
    same, _, _ = run(write_log(tmp_path, rows=[("u", text, "e") for text in texts]), tmp_path / "same")
    assert same.fingerprint == store.fingerprint
