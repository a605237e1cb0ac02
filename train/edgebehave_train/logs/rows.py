"""The rows of a log as SQL: from text cells to names, a time, an offset, and a reason to reject the row."""

from collections.abc import Mapping

from edgebehave.moments import EARLIEST_S, LATEST_S, MAX_OFFSET_MIN
from edgebehave.vocabulary import UNKNOWN_NAME
from edgebehave_train.logs.files import MALFORMED, NOT_UTF8, quoted
from edgebehave_train.logs.store_writer import MICROSECONDS

TIME_UNITS = {
    "s": "unix seconds",
    "ms": "unix milliseconds",
    "us": "unix microseconds",
    "ns": "unix nanoseconds",
    "iso": "ISO 8601 with a time zone",
    "iso_local": "ISO 8601 without a time zone",
}
"""Contents of the time column that can be read, with their names in messages."""

REASONS = (
    MALFORMED,
    NOT_UTF8,
    "missing user",
    "missing time",
    "unreadable time",
    "implausible time",
    "missing event",
    "bad offset",
)
"""Reasons to reject a row; a row has one, the first that holds."""

_DECIMALS = 1_000_000  # numbers are read to a millionth of their unit


def parsed_rows(scan: str, columns: Mapping[str, str]) -> str:
    """Query of the rows of a scan with names, kind of time, time and offset.

    time_kind  one of TIME_UNITS; 'implausible' or 'unreadable'; NULL for a blank cell.
    time_us    UTC microseconds, where the kind is one of TIME_UNITS.
    offset_min NULL where it is missing, unreadable or beyond MAX_OFFSET_MIN.
    """

    def name(role: str) -> str:
        return _cell(f"raw_{role}") if f"raw_{role}" in columns else "NULL::VARCHAR"

    def word(role: str) -> str:
        # A log may hold the name of id 0: it is read as no name.
        return f"nullif({name(role)}, {quoted(UNKNOWN_NAME)})"

    low, high = EARLIEST_S * _DECIMALS, LATEST_S * _DECIMALS
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    kind_of_number = "CASE " + " ".join(
        f"WHEN number >= {low * n} AND number < {high * n} THEN '{unit}'" for unit, n in units.items()
    )
    time_of_number = "CASE time_kind " + " ".join(
        f"WHEN '{unit}' THEN number // {n}::HUGEINT" for unit, n in units.items()
    )
    if "raw_utc_offset" in columns:
        minutes = f"TRY_CAST({name('utc_offset')} AS DOUBLE)"
        offset = f"CASE WHEN {minutes} = trunc({minutes}) THEN {minutes} END"
    else:
        offset = "CASE WHEN zone IS NULL THEN 0 ELSE zone END"
    return rf"""
        SELECT * EXCLUDE (clock_us, number, zone, minutes),
            CASE WHEN greatest(abs(minutes), abs(coalesce(zone, 0))) <= {MAX_OFFSET_MIN}
                THEN minutes::SMALLINT END AS offset_min,
            CASE WHEN time_kind IN ('iso', 'iso_local')
                THEN clock_us - 60 * {MICROSECONDS} * coalesce(zone, 0)
                ELSE ({time_of_number} END)::BIGINT END AS time_us
        FROM (
            SELECT *, {offset} AS minutes,
                CASE WHEN time_text IS NULL THEN NULL
                    WHEN number IS NOT NULL THEN {kind_of_number} ELSE 'implausible' END
                    WHEN clock_us IS NULL THEN
                        CASE WHEN isfinite(TRY_CAST(time_text AS DOUBLE)) THEN 'implausible'
                            ELSE 'unreadable' END
                    WHEN clock_us NOT BETWEEN {low} AND {high - 1} THEN 'implausible'
                    WHEN zone IS NULL THEN 'iso_local' ELSE 'iso' END AS time_kind
            FROM (
                SELECT *,
                    epoch_us(TRY_CAST(iso.day || ' ' || CASE iso.clock WHEN '' THEN '00:00'
                        ELSE replace(iso.clock, ',', '.') END AS TIMESTAMP)) AS clock_us,
                    CASE WHEN iso.zone = '' OR iso.zone IS NULL THEN NULL
                        WHEN iso.zone[1] IN ('+', '-') THEN
                            (iso.zone[1] || '1')::BIGINT * (60 * iso.zone[2:3]::INTEGER
                            + coalesce(TRY_CAST(right(iso.zone[4:], 2) AS INTEGER), 0))
                        ELSE 0 END AS zone
                FROM (
                    SELECT *,
                        (TRY_CAST(time_text AS DECIMAL(26, 6)) * {_DECIMALS})::HUGEINT AS number,
                        CASE WHEN number IS NULL THEN regexp_extract(time_text, {_ISO},
                            ['day', 'clock', 'zone']) END AS iso
                    FROM (
                        SELECT *, {name("user")} AS user_name, {word("event")} AS event_name,
                            {word("location")} AS location_name,
                            {word("behavior")} AS behavior_name,
                            trim(raw_time, {_BLANKS}) AS time_cell,
                            nullif(time_cell, '') AS time_text
                        FROM ({scan})))))"""


_ISO = quoted(
    r"^(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?) ?(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?$"
)
_BLANKS = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160) || chr(12288)"


def _cell(column: str) -> str:
    """A cell, NULL if it is blank; a name is otherwise kept to the letter."""
    return f"CASE WHEN trim({column}, {_BLANKS}) = '' THEN NULL ELSE {column} END"


def judged_rows(parsed: str, unit: str | None) -> str:
    """Query of parsed rows with `reason`, NULL for a good one."""
    of_numbers = unit in ("s", "ms", "us", "ns")
    other_kind = "'iso', 'iso_local'" if of_numbers else "'s', 'ms', 'us', 'ns'"
    # With a unit that was asked for, a plausible time in another one is a bad row. A number in the wrong unit lies in
    # the wrong century; an ISO time among numbers cannot be read at all.
    return f"""
        SELECT *, CASE WHEN malformed THEN {quoted(MALFORMED)}
            WHEN user_name IS NULL THEN 'missing user'
            WHEN time_kind IS NULL THEN 'missing time'
            WHEN time_kind = 'unreadable' THEN 'unreadable time'
            WHEN time_kind IN ({other_kind}) THEN 'unreadable time'
            WHEN time_kind = 'implausible' THEN 'implausible time'
            WHEN time_kind <> {quoted(unit or "")} THEN
                {quoted("implausible time" if of_numbers else "unreadable time")}
            WHEN event_name IS NULL THEN 'missing event'
            WHEN offset_min IS NULL THEN 'bad offset' END AS reason
        FROM {parsed}"""
