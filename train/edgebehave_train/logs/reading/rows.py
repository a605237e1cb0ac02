"""The rows of a log as SQL: from text cells to names, a time, an offset, and a reason to reject the row."""

from collections.abc import Mapping, Sequence

from edgebehave.arguments import KEPT_CHARS, MAX_NAME_BYTES
from edgebehave.moments import EARLIEST_S, LATEST_S, MAX_OFFSET_MIN
from edgebehave.vocabulary import UNKNOWN_NAME
from edgebehave_train.logs.reading.files import MALFORMED, NOT_UTF8, quoted
from edgebehave_train.logs.reading.time_units import (
    LOCAL_UNITS,
    TEXT_UNITS,
    TIME_UNITS,
    kinds_of_unit,
    number_sql,
    time_in_unit,
)
from edgebehave_train.logs.reading.utc_offsets import offset_sql, zone_minutes_sql
from edgebehave_train.logs.store_writer import MICROSECONDS

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


def parsed_rows(
    scan: str,
    columns: Mapping[str, str],
    *,
    time: str = "raw_time",
    offsets: Mapping[str, int | str] | None = None,
    nulls: Sequence[str] = (),
    one_user: str | None = None,
) -> str:
    """Query of the rows of a scan with names, kind of time, time and offset.

    time     SQL of the text of a time, a number or ISO 8601; it may read every column of the scan.
    offsets  {text of the column of offsets: minutes, or a time zone}; None = whole minutes.
    nulls    texts that mean a missing cell.
    one_user name of the user of every row; None = the column `raw_user`.

    time_kind  one of TIME_UNITS; 'implausible' or 'unreadable'; NULL for a blank cell.
    time_us    UTC microseconds, where the kind is one of TIME_UNITS.
    offset_min NULL where it is missing, unreadable or beyond MAX_OFFSET_MIN.
    """

    def name(role: str) -> str:
        if f"raw_{role}" not in columns:
            return "NULL::VARCHAR"
        cell = _cell(f"raw_{role}", nulls)
        return cell if role == "utc_offset" else _bounded(cell)

    def word(role: str) -> str:
        # A log may hold the name of id 0: it is read as no name.
        return f"nullif({name(role)}, {quoted(UNKNOWN_NAME)})"

    user = name("user") if one_user is None else _bounded(quoted(one_user))
    low, high = EARLIEST_S * _DECIMALS, LATEST_S * _DECIMALS
    kind_of_number, time_of_number = number_sql("number", _DECIMALS)
    zone_of_offset = "NULL::VARCHAR"
    if "raw_utc_offset" in columns and offsets is not None:
        offset, zone_of_offset = offset_sql(offsets, f"trim({name('utc_offset')}, {_BLANKS})")
    elif "raw_utc_offset" in columns:
        # Longer texts, and +0530 among them, are read by the whole column.
        text = name("utc_offset")
        minutes = f"TRY_CAST({text} AS DOUBLE)"
        short = f"length({text}) < 4 OR (length({text}) = 4 AND {text}[1] IN ('-', '+'))"
        offset = f"CASE WHEN ({short}) AND {minutes} = trunc({minutes}) THEN {minutes} END"
    else:
        offset = "CASE WHEN zone IS NULL THEN 0 ELSE zone END"
    query = rf"""
        SELECT * EXCLUDE (clock_us, number, zone, minutes),
            CASE WHEN greatest(abs(minutes), abs(coalesce(zone, 0))) <= {MAX_OFFSET_MIN}
                THEN minutes::SMALLINT END AS offset_min,
            CASE WHEN time_kind IN ('iso', 'iso_local', 'day')
                THEN clock_us - 60 * {MICROSECONDS} * coalesce(zone, 0)
                ELSE {time_of_number} END AS time_us
        FROM (
            SELECT *, {offset} AS minutes,
                CASE WHEN time_text IS NULL THEN NULL
                    WHEN number IS NOT NULL THEN {kind_of_number}
                    WHEN clock_us IS NULL THEN
                        CASE WHEN isfinite(TRY_CAST(time_text AS DOUBLE)) THEN 'implausible'
                            ELSE 'unreadable' END
                    WHEN clock_us NOT BETWEEN {low} AND {high - 1} THEN 'implausible'
                    WHEN iso.clock = '' THEN 'day'
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
                        SELECT *, {user} AS user_name, {word("event")} AS event_name,
                            {word("location")} AS location_name,
                            {word("behavior")} AS behavior_name,
                            {_trimmed(time, nulls)} AS time_text
                        FROM ({scan})))))"""
    if zone_of_offset == "NULL::VARCHAR":
        return query
    return f"""
        SELECT * REPLACE (coalesce(offset_min, {zone_minutes_sql(zone_of_offset, "time_us")})::SMALLINT AS offset_min)
        FROM ({query})"""


_ISO = quoted(
    r"^(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?) ?(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?$"
)
_BLANKS = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160) || chr(12288)"


def _trimmed(text: str, nulls: Sequence[str]) -> str:
    """A text without blanks around it; NULL if nothing is left or it means a missing cell."""
    trimmed = (
        f"CASE WHEN {_is_visible(text)} AND {_is_visible(f'right({text}, 1)')} THEN {text} "
        f"ELSE nullif(trim({text}, {_BLANKS}), '') END"
    )
    return f"CASE WHEN ({trimmed}) IN ({_list(nulls)}) THEN NULL ELSE {trimmed} END" if nulls else trimmed


def _cell(column: str, nulls: Sequence[str]) -> str:
    """A cell, NULL if it is blank or means a missing cell; a name is otherwise kept to the letter."""
    trimmed = f"trim({column}, {_BLANKS})"
    if nulls:
        return f"CASE WHEN {trimmed} IN ({_list(['', *nulls])}) THEN NULL ELSE {column} END"
    return f"CASE WHEN {_is_visible(column)} THEN {column} WHEN {trimmed} = '' THEN NULL ELSE {column} END"


def _bounded(name: str) -> str:
    """A name as `edgebehave.arguments.bounded_name` gives it."""
    long = f"left({name}, {KEPT_CHARS}) || '~' || sha256({name})"
    return f"CASE WHEN strlen({name}) > {MAX_NAME_BYTES} THEN {long} ELSE {name} END"


def _is_visible(text: str) -> str:
    """Whether a text begins with a visible character of ASCII: much cheaper than to trim every blank of Unicode."""
    return f"ascii({text}) BETWEEN 33 AND 126"


def _list(texts: Sequence[str]) -> str:
    return ", ".join(map(quoted, texts))


def judged_rows(parsed: str, unit: str | None, timezone: str | None = None, has_offsets: bool = False) -> str:
    """Query of parsed rows with `reason`, NULL for a good one; times in `unit`, offsets by the time zone.

    timezone     name of the zone that all users live in; None = offsets stay.
    has_offsets  the log has a column of offsets.
    """
    # With a unit that was asked for, a plausible time in another one is a bad row. A number in the wrong unit lies in
    # the wrong century; an ISO time among numbers cannot be read at all.
    taken = _list(kinds_of_unit(unit)) if unit else "''"
    is_text = unit is None or unit in TEXT_UNITS
    other = [kind for kind in TIME_UNITS if (kind in TEXT_UNITS) != is_text]
    changed = [f"{sql} AS {name}" for name, sql in judged_times(unit, timezone).items()]
    # The first case is the good row, so that the others cost nothing.
    offset = "offset_min IS NULL" + ("" if has_offsets or not timezone else " AND false")
    return f"""
        SELECT * {f"REPLACE ({', '.join(changed)})" if changed else ""}, CASE
            WHEN NOT malformed AND user_name IS NOT NULL AND event_name IS NOT NULL AND time_kind IN ({taken})
                AND NOT ({offset}) THEN NULL
            WHEN malformed THEN {quoted(MALFORMED)}
            WHEN user_name IS NULL THEN 'missing user'
            WHEN time_kind IS NULL THEN 'missing time'
            WHEN time_kind = 'unreadable' THEN 'unreadable time'
            WHEN time_kind IN ({_list(other)}) THEN 'unreadable time'
            WHEN time_kind = 'implausible' THEN 'implausible time'
            WHEN time_kind NOT IN ({taken}) THEN
                {quoted("unreadable time" if is_text else "implausible time")}
            WHEN event_name IS NULL THEN 'missing event'
            WHEN {offset} THEN 'bad offset' END AS reason
        FROM {parsed}"""


def judged_times(unit: str | None, timezone: str | None) -> dict[str, str]:
    """SQL of `time_us` and `offset_min` of a good row, where they are not those of the parsed row.

    Arguments as in `judged_rows`.
    """
    time_us = time_in_unit(unit)
    changed = {"time_us": time_us} if time_us else {}
    if timezone:
        zone = quoted(timezone)
        if unit in LOCAL_UNITS:
            utc = f"epoch_us(timezone({zone}, make_timestamp(time_us)))"
            return {"time_us": utc, "offset_min": f"((time_us - {utc}) // {60 * MICROSECONDS})::SMALLINT"}
        changed["offset_min"] = f"{zone_minutes_sql(zone, time_us or 'time_us')}::SMALLINT"
    return changed
