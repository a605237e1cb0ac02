"""Rows of a log as SQL: kinds of time, offsets and reasons, each worked by hand."""

import duckdb
import pytest

from edgebehave.vocabulary import UNKNOWN_NAME
from edgebehave_train.logs.reading.rows import REASONS, judged_rows, parsed_rows

NOON_S = 1_400_000_000  # 2014-05-13 16:53:20 UTC
COLUMNS = {"raw_user": "u", "raw_time": "t", "raw_event": "e"}


def scan_of(rows, names=("raw_user", "raw_time", "raw_event")):
    """A scan of rows of cells; a row that is None is malformed."""
    lines = []
    for line, row in enumerate(rows, 2):
        cells = [None] * len(names) if row is None else row
        quoted = ("NULL" if cell is None else "'" + cell.replace("'", "''") + "'" for cell in cells)
        lines.append(f"({line}, {str(row is None).lower()}, {', '.join(f'{cell}::VARCHAR' for cell in quoted)})")
    return f"SELECT * FROM (VALUES {', '.join(lines)}) AS t(line, malformed, {', '.join(names)})"


def ask(sql, columns):
    return duckdb.sql(f"SELECT {columns} FROM ({sql}) ORDER BY line").fetchall()


@pytest.mark.parametrize(
    ("text", "kind", "time_us", "offset_min"),
    [
        (f"{NOON_S}", "s", NOON_S * 10**6, 0),
        (f" {NOON_S}.25 ", "s", NOON_S * 10**6 + 250_000, 0),
        (f"{NOON_S}250", "ms", NOON_S * 10**6 + 250_000, 0),
        (f"{NOON_S}250000", "us", NOON_S * 10**6 + 250_000, 0),
        (f"{NOON_S}250000999", "ns", NOON_S * 10**6 + 250_000, 0),
        ("2014-05-13T16:53:20Z", "iso", NOON_S * 10**6, 0),
        ("2014-05-13 18:53:20,5+02:00", "iso", NOON_S * 10**6 + 500_000, 120),
        ("2014-05-13 13:23:20-0330", "iso", NOON_S * 10**6, -210),
        ("2014-05-13 16:53:20", "iso_local", NOON_S * 10**6, 0),
        ("2014-05-13", "day", (NOON_S - NOON_S % 86400) * 10**6, 0),
        ("5", "implausible", None, 0),
        ("1850-01-01", "implausible", None, 0),
        ("noon", "unreadable", None, 0),
        ("", None, None, 0),
    ],
)
def test_kinds_of_time(text, kind, time_us, offset_min):
    (row,) = ask(parsed_rows(scan_of([("u", text, "e")]), COLUMNS), "time_kind, time_us, offset_min")
    assert row[0] == kind
    if time_us is not None:
        assert row[1] == time_us
    assert row[2] == offset_min


@pytest.mark.parametrize(("text", "minutes"), [("-300", -300), ("840", 840), ("841", None), ("1.5", None), ("x", None)])
def test_a_column_of_offsets_wins_over_the_zone(text, minutes):
    names = ("raw_user", "raw_time", "raw_event", "raw_utc_offset")
    scan = scan_of([("u", "2014-05-13T18:53:20+02:00", "e", text)], names)
    parsed = parsed_rows(scan, COLUMNS | {"raw_utc_offset": "o"})
    assert ask(parsed, "time_us, offset_min") == [(NOON_S * 10**6, minutes)]


def test_names_are_kept_to_the_letter_and_blank_ones_are_none():
    names = ("raw_user", "raw_time", "raw_event", "raw_location")
    rows = [(" u ", f"{NOON_S}", "e'", "\u00a0 \t"), ("u", f"{NOON_S}", UNKNOWN_NAME, UNKNOWN_NAME)]
    parsed = parsed_rows(scan_of(rows, names), COLUMNS | {"raw_location": "l"})
    assert ask(parsed, "user_name, event_name, location_name, behavior_name") == [
        (" u ", "e'", None, None),
        ("u", None, None, None),
    ]


def test_each_bad_row_has_the_first_reason_that_holds():
    good, late = f"{NOON_S}", "2014-05-13T16:53:20+15:00"
    rows = [
        ("u", good, "e"),
        None,
        (None, "", None),
        ("u", "", None),
        ("u", "noon", None),
        ("u", "5", None),
        ("u", good, None),
    ]
    judged = judged_rows(f"({parsed_rows(scan_of(rows), COLUMNS)})", "s")
    expected = ["malformed row", "missing user", "missing time", "unreadable time", "implausible time", "missing event"]
    assert [reason for (reason,) in ask(judged, "reason")] == [None, *expected]
    judged = judged_rows(f"({parsed_rows(scan_of([('u', late, 'e')]), COLUMNS)})", "iso")
    assert ask(judged, "reason") == [("bad offset",)]
    assert {*expected, "bad offset"} <= set(REASONS)


@pytest.mark.parametrize(
    ("unit", "reason"), [("s", None), ("ms", "implausible time"), ("iso", "unreadable time"), (None, "unreadable time")]
)
def test_a_time_in_another_unit_is_a_bad_row(unit, reason):
    judged = judged_rows(f"({parsed_rows(scan_of([('u', str(NOON_S), 'e')]), COLUMNS)})", unit)
    assert ask(judged, "reason") == [(reason,)]
