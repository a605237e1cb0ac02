"""Offsets of local time: of time zones and their abbreviations, and as a column of a log has them."""

import re
from collections.abc import Mapping, Sequence

import duckdb

from edgebehave.moments import MAX_OFFSET_MIN
from edgebehave_train.logs.reading.files import IngestError, quoted

ZONE_MINUTES = {
    "UT": 0, "UTC": 0, "GMT": 0, "Z": 0, "z": 0, "WET": 0, "WEST": 60, "CET": 60, "CEST": 120, "MEZ": 60, "MESZ": 120,
    "EET": 120, "EEST": 180, "MSK": 180, "EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360,
    "PST": -480, "PDT": -420, "AKST": -540, "AKDT": -480, "HST": -600, "JST": 540, "KST": 540, "AEST": 600,
    "AEDT": 660, "ACST": 570, "ACDT": 630, "AWST": 480, "NZST": 720, "NZDT": 780,
}  # fmt: skip
"""Minutes of zones; those of North America as RFC 2822 has them. IST, BST, AST and others have several meanings."""


def zones_known(con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Names of time zones that DuckDB can convert."""
    return frozenset(name for (name,) in con.execute("SELECT name FROM pg_timezone_names()").fetchall())


def check_zone(name: str, con: duckdb.DuckDBPyConnection) -> None:
    if name not in zones_known(con):
        raise IngestError(f"--timezone {name!r} is no time zone; give a name as Europe/Berlin, America/New_York or UTC")


def read_offsets(texts: Sequence[str], known: frozenset[str]) -> tuple[dict[str, int | str], str]:
    """Meaning of each text of a column of offsets: minutes, or the name of a zone; and one line for the screen.

    The numbers of a column have one unit: minutes, as documented, unless it is plain that they are hours and minutes
    without a colon (+0530), hours with a fraction (5.5), or seconds or milliseconds. What has no meaning is left out.
    """
    decimals = {text: float(text.replace(",", ".")) for text in texts if re.fullmatch(r"[+-]?\d{1,9}([.,]\d*)?", text)}
    are_hours = any(n % 1 in (0.25, 0.5, 0.75) for n in decimals.values()) and all(
        abs(n) <= MAX_OFFSET_MIN / 60 and 4 * n % 1 == 0 for n in decimals.values()
    )
    numbers = {text: int(60 * n if are_hours else n) for text, n in decimals.items() if are_hours or n % 1 == 0}
    unit = "hours" if are_hours else _unit_of(numbers)
    found = {
        text: _minutes(text, numbers[text], unit) if text in numbers else _minutes_or_zone(text, known)
        for text in texts
    }
    meanings = {
        text: meaning
        for text, meaning in found.items()
        if isinstance(meaning, str) or (meaning is not None and abs(meaning) <= MAX_OFFSET_MIN)
    }
    odd = next(
        (t for t in texts if t in meanings and (unit != "minutes" or t not in numbers) and meanings[t] != 0), None
    )
    if odd is None:
        return meanings, ""
    meaning = meanings[odd]
    reading = f"the time zone {meaning}" if isinstance(meaning, str) else f"{meaning} minutes ({signed(meaning)})"
    return meanings, f"offsets: {odd!r} is read as {reading}"


def _unit_of(numbers: Mapping[str, int]) -> str:
    """The unit of whole numbers: "minutes", "hhmm", "seconds" or "milliseconds"."""
    values = list(numbers.values())
    is_padded = any(re.fullmatch(r"[+-]\d{4}|0\d{3}", text) for text in numbers)
    as_clock = all(abs(n) % 100 in (0, 15, 30, 45) and abs(n) <= 1400 for n in values)
    if is_padded and as_clock:
        return "hhmm"
    unit = "minutes"
    if any(abs(n) > MAX_OFFSET_MIN for n in values):
        for other, per_minute in (("seconds", 60), ("milliseconds", 60_000)):
            if all(n % (15 * per_minute) == 0 and abs(n) <= MAX_OFFSET_MIN * per_minute for n in values):
                unit = other
    if unit == "minutes" and as_clock and any(n % 15 for n in values) and any(abs(n) >= 100 for n in values):
        return "hhmm"
    return unit


def _minutes(text: str, number: int, unit: str) -> int | None:
    """Minutes of a number in a unit; None for one of four digits that may be hhmm."""
    if unit == "hhmm":
        return (1 if number >= 0 else -1) * (60 * (abs(number) // 100) + abs(number) % 100)
    if unit == "minutes":
        return None if re.fullmatch(r"[+-]?\d{4,}", text) else number
    return number // {"hours": 1, "seconds": 60, "milliseconds": 60_000}[unit]  # hours are minutes already


def _minutes_or_zone(text: str, known: frozenset[str]) -> int | str | None:
    """Minutes of +05:30, UTC+2 or CET, or the name of a known zone; None for anything else."""
    clock = re.fullmatch(r"(?:UTC|GMT)?\s*([+-]|\u2212)(\d{1,2})(?::?(\d{2}))?(?::00)?", text) or re.fullmatch(
        r"(\+?)(\d{1,2}):(\d{2})(?::00)?", text
    )
    if clock:
        minutes = 60 * int(clock[2]) + int(clock[3] or 0)
        return minutes if clock[1] in ("+", "") else -minutes
    if text in known and "/" in text:
        return text
    return ZONE_MINUTES.get(text)


def offset_sql(meanings: Mapping[str, int | str], text: str) -> tuple[str, str]:
    """SQL of the minutes of a cell of offsets, and of its zone where it names one."""
    minutes = " ".join(f"WHEN {quoted(t)} THEN {m}" for t, m in meanings.items() if isinstance(m, int))
    zones = " ".join(f"WHEN {quoted(t)} THEN {quoted(m)}" for t, m in meanings.items() if isinstance(m, str))
    return (
        f"(CASE {text} {minutes} END)" if minutes else "NULL::INTEGER",
        f"(CASE {text} {zones} END)" if zones else "NULL::VARCHAR",
    )


def zone_minutes_sql(zone: str, utc_us: str) -> str:
    """SQL of the offset of a zone at a moment."""
    return f"((epoch_us(timezone({zone}, make_timestamptz({utc_us}))) - {utc_us}) // 60000000)"


def signed_sql(minutes: str) -> str:
    """SQL of minutes as +hh:mm."""
    return (
        f"(CASE WHEN {minutes} < 0 THEN '-' ELSE '+' END || lpad((abs({minutes}) // 60)::BIGINT::VARCHAR, 2, '0')"
        f" || ':' || lpad((abs({minutes}) % 60)::BIGINT::VARCHAR, 2, '0'))"
    )


def signed(minutes: int) -> str:
    """Minutes as +hh:mm."""
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
