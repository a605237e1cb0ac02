"""The time of a row as SQL text, a number or ISO 8601, after the form that most rows of its file have."""

import re
from collections.abc import Callable, Sequence

import duckdb

from edgebehave_train.logs.reading.date_forms import (
    DateForm,
    check_format,
    day_month_order,
    form_of,
    format_sql,
    iso_sql,
    zone_texts,
)
from edgebehave_train.logs.reading.files import LogFile, Scan, quoted
from edgebehave_train.logs.reading.utc_offsets import zones_known

_PROBED_ROWS = 1000
_DECIMAL_COMMA = r"^(\d{4,}),(\d+)$"
"""Numbers as German tables have them; where commas part thousands, fewer digits stand before the first."""
_SPACES = "\u00a0\u2009\u202f"
"""Spaces that many systems write in a time, as before AM and PM, and that DuckDB takes for no blanks."""


def plain_text(time_format: str | None, has_date: bool, con: duckdb.DuckDBPyConnection) -> str:
    """SQL of the time in a row as it stands, or read by a format of strptime.

    has_date  a row has its date in `raw_date`, and only its clock in `raw_time`.
    Raises IngestError if the format is none.
    """
    text = "raw_time"
    if has_date:  # a table's date often carries a clock of zeros
        text = "(regexp_replace(trim(raw_date), '[ T]00:00(:00(\\.0+)?)?$', '') || ' ' || trim(raw_time))"
    if time_format is None:
        return text
    check_format(time_format, con)
    return format_sql(time_format, f"trim({text})")


def recognized_texts(
    scans: Sequence[tuple[LogFile, Scan]],
    is_unread: Sequence[bool],
    text: str,
    con: duckdb.DuckDBPyConnection,
    on_line: Callable[[str], None],
) -> list[str]:
    """SQL of the time in a row of each scan; those of `is_unread` are rewritten from their form, if it is known.

    text  SQL of the time as it stands.
    Raises IngestError if the order of day and month cannot be told.
    """
    probes = [
        _first_times(scan, f"trim({text})", con) if unread else []
        for (_, scan), unread in zip(scans, is_unread, strict=True)
    ]
    forms = [form_of(probe) if probe else None for probe in probes]
    spaced = f"translate(trim({text}), {quoted(_SPACES)}, {quoted(' ' * len(_SPACES))})"
    rewritten = {}
    for form in dict.fromkeys(form for form in forms if form is not None):
        tables = [scan.sql for (_, scan), other in zip(scans, forms, strict=True) if other is form]
        rewritten[form.title] = _rewritten(form, spaced, tables, con, on_line)
    numbers = f"regexp_replace(trim({text}), {quoted(_DECIMAL_COMMA)}, '\\1.\\2')"
    plain = [
        numbers if 2 * sum(bool(re.match(_DECIMAL_COMMA, time)) for time in probe) > len(probe) else text
        for probe in probes
    ]
    return [other if form is None else rewritten[form.title] for form, other in zip(forms, plain, strict=True)]


def _rewritten(
    form: DateForm, text: str, tables: Sequence[str], con: duckdb.DuckDBPyConnection, on_line: Callable[[str], None]
) -> str:
    order = day_month_order(form, text, tables, con) if form.title == "numbers" else ""
    zones = zone_texts(form, text, tables, con)
    title = {"DMY": "day, month, year", "MDY": "month, day, year", "YMD": "year, month, day"}.get(order, form.title)
    sql = iso_sql(form, text, order, zones, zones_known(con))
    row = con.execute(
        f"SELECT t, iso FROM (SELECT {text} AS t, {sql} AS iso FROM ({tables[0]})) WHERE iso <> t"
    ).fetchone()
    shown = f", {row[0]!r} as {row[1]!r}" if row else ""
    on_line(f"dates are read as {title}{shown}; --time-format overrules it")
    return sql


def _first_times(scan: Scan, text: str, con: duckdb.DuckDBPyConnection) -> list[str]:
    rows = con.execute(f"SELECT {text} FROM ({scan.sql}) LIMIT {_PROBED_ROWS}").fetchall()
    return [time for (time,) in rows if time]


def lost_digits(scans: Sequence[tuple[LogFile, Scan]], times: Sequence[str], con: duckdb.DuckDBPyConnection) -> str:
    """A warning about numbers such as 1.77244E+12, whose last digits a spreadsheet dropped; "" if there are none."""
    for (_, scan), text in zip(scans, times, strict=True):
        probe = [time for time in _first_times(scan, "trim(raw_time)", con) if "e" in time.lower()[1:-1]]
        if not probe or text != "raw_time":
            continue
        row = con.execute(
            "SELECT min(p.e::INTEGER - length(p.d)), max(p.e::INTEGER), min(t) FROM (SELECT raw_time AS t, "
            "regexp_extract(trim(raw_time), '^[+-]?\\d(?:\\.(\\d*))?[eE]\\+?(\\d{1,2})$', ['d', 'e']) AS p "
            f"FROM ({scan.sql})) WHERE p.e <> ''"
        ).fetchone()
        if not row or row[0] is None:
            continue
        finest, magnitude, example = row
        per_second = max(0, 3 * ((magnitude - 9) // 3))  # 1e9 are seconds, 1e12 milliseconds, ...
        if finest > per_second:
            return f"{example.strip()!r} is no finer than {10 ** (finest - per_second):,} s"
    return ""
