"""Times of a log: the units of numbers, the forms of dates, the offsets of clocks, each recognized.

A number is told by its magnitude. A date in another form than ISO 8601 is rewritten to it by SQL, so that the rest of
ingest reads one form. Where two readings are possible, nothing is chosen: the caller gets an IngestError that shows
both.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import duckdb

from edgebehave.moments import EARLIEST_S, LATEST_S, MAX_OFFSET_MIN
from edgebehave_train.logs.reading.files import IngestError, quoted
from edgebehave_train.logs.store_writer import MICROSECONDS

TIME_UNITS = {
    "s": "unix seconds",
    "ms": "unix milliseconds",
    "us": "unix microseconds",
    "ns": "unix nanoseconds",
    "iso": "ISO 8601 with a time zone",
    "iso_local": "ISO 8601 without a time zone",
    "day": "days without a clock",
    "apple_s": "Apple's seconds since 2001",
    "apple_ms": "milliseconds since 2001",
    "apple_us": "microseconds since 2001",
    "apple_ns": "Apple's nanoseconds since 2001",
    "webkit": "Chrome's microseconds since 1601",
    "filetime": "Windows' FILETIME, 100 nanoseconds since 1601",
    "ticks": ".NET's ticks, 100 nanoseconds since the year 1",
    "mac": "seconds since 1904 of old Macs",
    "ntp": "seconds since 1900, as NTP has them",
    "excel": "Excel's days since 1900",
    "mjd": "modified Julian days",
    "julian": "Julian days",
}
"""Contents of the time column that can be read, with their names in messages."""

LOCAL_UNITS = ("iso_local", "day", "excel")
"""Units that show a local clock; all others count moments or carry their zone."""

TEXT_UNITS = ("iso", "iso_local", "day")

_Y2001_S = 978_307_200
_Y1601_S = -11_644_473_600
_LINEAR = {  # unit: (ticks per second, unix second of 0)
    "s": (Fraction(1), 0),
    "ms": (Fraction(10**3), 0),
    "us": (Fraction(10**6), 0),
    "ns": (Fraction(10**9), 0),
    "apple_s": (Fraction(1), _Y2001_S),
    "apple_ms": (Fraction(10**3), _Y2001_S),
    "apple_us": (Fraction(10**6), _Y2001_S),
    "apple_ns": (Fraction(10**9), _Y2001_S),
    "webkit": (Fraction(10**6), _Y1601_S),
    "filetime": (Fraction(10**7), _Y1601_S),
    "excel": (Fraction(1, 86_400), -2_209_161_600),
    "julian": (Fraction(1, 86_400), -210_866_760_000),
}
_HIDDEN = {f"apple_{unit}": (unit, 1, _Y2001_S * MICROSECONDS) for unit in ("s", "ms", "us", "ns")} | {
    "ticks": ("ns", 100, -62_135_596_800 * MICROSECONDS),
    "mac": ("s", 1, -2_082_844_800 * MICROSECONDS),
    "ntp": ("s", 1, -2_208_988_800 * MICROSECONDS),
    "mjd": ("excel", 1, -15_018 * 86_400 * MICROSECONDS),
}
"""Units whose numbers look like times before 2001 or in the future: {unit: (what they look like, factor, us to add)}.
"""

_EARLIEST_APPLE_S = 220_000_000  # the end of 2007; milliseconds before that look like 200705201200


def number_sql(number: str, decimals: int) -> tuple[str, str]:
    """SQL of the unit of a number and of its unix microseconds.

    number  name of a HUGEINT column: the number times `decimals`. The second expression reads `time_kind`.
    """
    kinds, values = [], []
    for unit, (per_second, epoch_s) in _LINEAR.items():
        low_s, high_s = EARLIEST_S - epoch_s, LATEST_S - epoch_s
        if unit.startswith("apple"):  # later ones look like unix times
            low_s, high_s = _EARLIEST_APPLE_S, EARLIEST_S
        low, high = int(low_s * per_second * decimals), int(high_s * per_second * decimals)
        kinds.append(f"WHEN {number} >= {low} AND {number} < {high} THEN '{unit}'")
        shift = f" + {epoch_s * MICROSECONDS}" if epoch_s else ""
        if per_second < 1:  # days with few decimals: the nearest second
            seconds = f"({number} * 86400 + {decimals // 2}) // {decimals}"
            values.append(f"WHEN '{unit}' THEN ({seconds} * {MICROSECONDS}){shift}")
        else:
            values.append(f"WHEN '{unit}' THEN {number} // {int(per_second * decimals / MICROSECONDS)}::HUGEINT{shift}")
    return f"CASE {' '.join(kinds)} ELSE 'implausible' END", f"(CASE time_kind {' '.join(values)} END)::BIGINT"


def time_in_unit(unit: str | None) -> str | None:
    """SQL of `time_us` for a unit whose numbers were read as unix times, None for others."""
    if unit not in _HIDDEN:
        return None
    kind, factor, shift = _HIDDEN[unit]
    return f"CASE WHEN time_kind = '{kind}' THEN time_us * {factor} + {shift} ELSE time_us END"


def kinds_of_unit(unit: str) -> tuple[str, ...]:
    """Kinds of rows that a unit takes."""
    if unit in ("iso_local", "day"):
        return ("iso_local", "day")
    return (unit, _HIDDEN[unit][0]) if unit in _HIDDEN else (unit,)


def span_of(first_us: float, last_us: float) -> str:
    """`2026-03-02 .. 2026-04-01`."""
    start = datetime(1970, 1, 1)
    first, last = (start + timedelta(microseconds=float(us)) for us in (first_us, last_us))
    return f"{first:%Y-%m-%d} .. {last:%Y-%m-%d}"


def unit_of_numbers(spans: Mapping[str, tuple[int, int, int]], column: str) -> tuple[str | None, str]:
    """The unit of a column of numbers, and the reading that was not taken, for the screen.

    spans   {unit found: (rows, first us, last us)}.
    Returns (None, "") if the found units do not settle it; the caller shows the mixture.
    Raises IngestError if two readings are equally likely.

    Times that all lie before 2001, or all in the future, are none that people have in their logs. Where another unit
    gives times from 2001 to today, that is taken.
    """
    unix = [unit for unit in ("s", "ms", "us", "ns") if unit in spans]
    found = unix or [unit for unit in spans if unit in _LINEAR]
    if len(found) != 1:
        return None, ""
    (unit,) = found
    _, first, last = spans[unit]
    earliest, latest = _Y2001_S * MICROSECONDS, (time.time() + 86_400) * MICROSECONDS
    if (last >= earliest or not unix) and first <= latest:
        return unit, ""
    readings = {}
    for other, (kind, factor, shift) in _HIDDEN.items():
        low, high = first * factor + shift, last * factor + shift
        if kind == unit and low >= earliest and high <= latest:
            readings[other] = span_of(low, high)
    if not readings:
        return unit, ""
    plain_reading = f"{TIME_UNITS[unit]} {span_of(first, last)} (--time-unit {unit})"
    if len(readings) > 1:
        shown = ", ".join(f"{TIME_UNITS[u]} {span} (--time-unit {u})" for u, span in readings.items())
        raise IngestError(f"times in column {column!r} may be {plain_reading}, {shown}; say which")
    return next(iter(readings)), f"; they may also be {plain_reading}"


# Forms of dates


@dataclass(frozen=True, kw_only=True)
class DateForm:
    """A form of date and clock. `pattern` has the groups of `groups`; see `iso_sql`."""

    title: str
    pattern: str
    groups: tuple[str, ...]


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MON = "((?:" + "|".join(m.capitalize() + "|" + m + "|" + m.upper() for m in _MONTHS) + r")[A-Za-z]*)\.?"
_WEEKDAY = r"(?:[A-Za-z]{2,9}\.?,?\s+)?"
_CLOCK = (
    r"(?:(?:\s*[Tt,:_]\s*|\s+|,?\s+at\s+)(\d{1,2})[:.h](\d{2})(?:[:.](\d{2}(?:[.,]\d+)?))?(?:\s*Uhr)?"
    r"\s*([AaPp]\.?[Mm]\.?)?"
)
_ZONE = (
    r"\s*((?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|[A-Z][A-Za-z]*(?:/[A-Za-z0-9_+-]+)+|Z|z|[A-Z]{2,5})?"
    r"(?:\[([A-Za-z0-9_/+-]+)\])?(?:\s*\([^)]*\))?"
)
_CLOCK_GROUPS = ("hour", "minute", "second", "half", "zone", "place")
_END = _CLOCK + _ZONE + r")?$"
_COMPACT_CLOCK = r"(?:[Tt _-]?(\d{2}):?(\d{2})(?::?(\d{2}(?:[.,]\d+)?))?()"
FORMS = (
    DateForm(
        title="year-month-day",
        pattern=r"^(\d{4})[-/.年]\s?(\d{1,2})[-/.月]\s?(\d{1,2})日?" + _END,
        groups=("year", "month", "day", *_CLOCK_GROUPS),
    ),
    DateForm(
        title="numbers",
        pattern=r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})" + _END,
        groups=("first", "second_number", "year", *_CLOCK_GROUPS),
    ),
    DateForm(
        title="day month-name year",
        pattern=rf"^{_WEEKDAY}(\d{{1,2}})(?:st|nd|rd|th|\.)?[\s/-]\s?{_MON},?[\s/-]\s?(\d{{4}}|\d{{2}})" + _END,
        groups=("day", "name", "year", *_CLOCK_GROUPS),
    ),
    DateForm(
        title="month-name day year",
        pattern=rf"^{_WEEKDAY}{_MON}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})" + _END,
        groups=("name", "day", "year", *_CLOCK_GROUPS),
    ),
    DateForm(
        title="weekday month-name day clock year",
        pattern=rf"^[A-Za-z]{{3,9}}\s+{_MON}\s+(\d{{1,2}})\s+(\d{{2}}):(\d{{2}}):(\d{{2}})()\s+(?:([A-Z]{{2,5}})\s+)?()(\d{{4}})$",
        groups=("name", "day", *_CLOCK_GROUPS, "year"),
    ),
    DateForm(
        title="digits year month day",
        pattern=r"^((?:19|20)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])" + _COMPACT_CLOCK + _ZONE + r")?$",
        groups=("year", "month", "day", *_CLOCK_GROUPS),
    ),
)
_PLAIN = re.compile(
    r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$|"
    r"^\d{4}-\d{2}-\d{2}([Tt ](\d{2}:\d{2}(:\d{2}([.,]\d+)?)?) ?(Z|z|UTC|GMT|[+-]\d{2}(:?\d{2})?)?)?$"
)
_ABBREVIATIONS = {
    "UT": 0, "UTC": 0, "GMT": 0, "Z": 0, "z": 0, "WET": 0, "WEST": 60, "CET": 60, "CEST": 120, "MEZ": 60, "MESZ": 120,
    "EET": 120, "EEST": 180, "MSK": 180, "EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360,
    "PST": -480, "PDT": -420, "AKST": -540, "AKDT": -480, "HST": -600, "JST": 540, "KST": 540, "AEST": 600,
    "AEDT": 660, "ACST": 570, "ACDT": 630, "AWST": 480, "NZST": 720, "NZDT": 780,
}  # fmt: skip
"""Minutes of zones; those of North America as RFC 2822 has them. IST, BST, AST and others have several meanings."""


def form_of(texts: Sequence[str]) -> DateForm | None:
    """The form of most of some times; None if they are numbers or ISO 8601, or in no known form."""
    compact = re.compile(FORMS[-1].pattern)
    if texts and all(compact.match(text) for text in texts):
        return FORMS[-1]
    if 2 * sum(bool(_PLAIN.match(text)) for text in texts) >= len(texts):
        return None
    counts = {form.title: sum(bool(re.match(form.pattern, text)) for text in texts) for form in FORMS}
    best = max(FORMS, key=lambda form: counts[form.title])
    return best if 2 * counts[best.title] > len(texts) else None


def zones_known(con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Names of time zones that DuckDB can convert."""
    return frozenset(name for (name,) in con.execute("SELECT name FROM pg_timezone_names()").fetchall())


def check_zone(name: str, con: duckdb.DuckDBPyConnection) -> None:
    if name not in zones_known(con):
        raise IngestError(f"--timezone {name!r} is no time zone; give a name as Europe/Berlin, America/New_York or UTC")


def day_month_order(form: DateForm, text: str, tables: Sequence[str], con: duckdb.DuckDBPyConnection) -> str:
    """ "DMY", "MDY" or, of years with two digits, "YMD", of a date in numbers, told from all rows.

    text    SQL of the times in each of `tables`.
    Raises IngestError if several orders fit.
    """
    first, second, third, dots, examples = 0, 0, 0, True, []
    values: dict[str, set[str]] = {"first": set(), "year": set()}
    for table in tables:
        parts = (
            f"(SELECT t, regexp_extract(t, {quoted(form.pattern)}, {list(form.groups)}) AS p "
            f"FROM (SELECT {text} AS t FROM ({table}))) WHERE p.year <> ''"
        )
        row = con.execute(
            "SELECT max(p.first::INTEGER), max(p.second_number::INTEGER), max(p.year::INTEGER), "
            f"bool_and(contains(t, '.')), min(t) FROM {parts}"
        ).fetchone()
        if row and row[0] is not None:
            first, second, third = max(first, row[0]), max(second, row[1]), max(third, row[2])
            dots = dots and row[3]
            examples.append(row[4])
            for group, found in values.items():
                found |= {value for (value,) in con.execute(f"SELECT DISTINCT p.{group} FROM {parts}").fetchall()}
    example = min(examples, default="")
    # 26/03/02: years have few values, days have many
    if not dots and first > 12 >= second and third <= 31 and len(values["first"]) <= len(values["year"]):
        if len(values["first"]) < len(values["year"]):
            return "YMD"
        raise _ambiguous("the day and the year", "one date in two digits each may be both", example, ("dmy", "ymd"))
    if second > 12 >= first:
        return "MDY"
    if first > 12 >= second or (dots and second <= 12):
        return "DMY"
    raise _ambiguous("the day and the month", "both stay below 13", example, ("dmY", "mdY"))


def _ambiguous(what: str, why: str, example: str, orders: Sequence[str]) -> IngestError:
    """The error over dates with several readings; orders  of letters of strptime."""
    found = re.search(r"\d[\sT,:_]+\d{1,2}([:.h])\d{2}(?:([:.])\d{2})?", example)
    half = bool(re.search("[AaPp][Mm]", example))
    clock = "" if found is None else f" %{'I' if half else 'H'}{found[1]}%M" + (f"{found[2]}%S" if found[2] else "")
    clock += " %p" if half else ""
    is_short = not re.search(r"\d{4}", example)
    sign = next((c for c in example if c in "/-."), "/")
    formats = [sign.join(f"%{c}" for c in (order.lower() if is_short else order)) + clock for order in orders]
    return IngestError(
        f"{what} of dates as {example!r} cannot be told apart, {why}; "
        f"give --time-format {formats[0]!r} or {formats[1]!r}"
    )


def zone_texts(form: DateForm, text: str, tables: Sequence[str], con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of zones in times of a form, those in brackets where no offset stands before them."""
    found: set[str] = set()
    for table in tables:
        rows = con.execute(
            "SELECT DISTINCT CASE WHEN p.zone = '' THEN p.place ELSE p.zone END FROM (SELECT regexp_extract("
            f"{text}, {quoted(form.pattern)}, {list(form.groups)}) AS p FROM ({table})) LIMIT 1000"
        ).fetchall()
        found |= {name for (name,) in rows if name and not re.search(r"\d$", name)}
    return sorted(found)


def iso_sql(form: DateForm, text: str, order: str, zones: Sequence[str], known: frozenset[str]) -> str:
    """SQL that rewrites a time of a form to ISO 8601; a time of another form stays as it is.

    order  "DMY", "MDY" or "YMD", for numbers.
    zones  the names of zones that occur; those that mean nothing or several things make the time unreadable.
    """
    p = f"regexp_extract({text}, {quoted(form.pattern)}, {list(form.groups)})"
    part = {"Y": "p.year", "M": "p.month", "D": "p.day"}
    if "first" in form.groups:
        part = dict(zip(order, ("p.first", "p.second_number", "p.year"), strict=True))
    day, month, written_year = part["D"], part["M"], part["Y"]
    if "name" in form.groups:
        month = f"((strpos('{''.join(_MONTHS)}', lower(p.name[1:3])) + 2) // 3)::VARCHAR"
    year = (
        f"CASE WHEN length({written_year}) = 2 THEN CASE WHEN {written_year} < '70' THEN '20' ELSE '19' END "
        f"|| {written_year} ELSE {written_year} END"
    )
    date = f"{year} || '-' || lpad({month}, 2, '0') || '-' || lpad({day}, 2, '0')"
    hour = (
        "CASE lower(p.half[1]) WHEN 'a' THEN (p.hour::INTEGER % 12)::VARCHAR "
        "WHEN 'p' THEN (p.hour::INTEGER % 12 + 12)::VARCHAR ELSE p.hour END"
    )
    clock = f"lpad({hour}, 2, '0') || ':' || p.minute || ':' || CASE p.second WHEN '' THEN '00' ELSE p.second END"
    named = []
    for name in zones:
        if name in _ABBREVIATIONS:
            named.append(f"WHEN {quoted(name)} THEN '{_signed(_ABBREVIATIONS[name])}'")
        elif name in known and "/" in name:
            local = f"TRY_CAST({date} || ' ' || replace({clock}, ',', '.') AS TIMESTAMP)"
            minutes = f"((epoch_us({local}) - epoch_us(timezone({quoted(name)}, {local}))) // 60000000)"
            named.append(f"WHEN {quoted(name)} THEN {signed_sql(minutes)}")
    numeric = "regexp_replace(regexp_replace(z, '^(UTC|GMT)', ''), '^([+-])(\\d)(:|$)', '\\1' || '0' || '\\2\\3')"
    cases = " ".join(named)
    zone = (
        f"CASE z WHEN '' THEN '' {cases} ELSE CASE WHEN z[-1] BETWEEN '0' AND '9' THEN {numeric} ELSE 'no zone' END END"
    )
    return (
        f"(SELECT CASE WHEN p.year = '' THEN t WHEN p.hour = '' THEN {date} "
        f"ELSE {date} || ' ' || {clock} || {zone} END "
        f"FROM (SELECT t, p, CASE WHEN p.zone = '' THEN p.place ELSE p.zone END AS z "
        f"FROM (SELECT {text} AS t, {p} AS p)))"
    )


def format_sql(time_format: str, text: str) -> str:
    """SQL of a time in a format of strptime as ISO 8601; of one that does not fit, NULL."""
    moment = f"try_strptime({text}, {quoted(time_format)})"
    if "%z" not in time_format and "%Z" not in time_format:
        if re.search("%[HIcXT]", time_format):
            return f"{moment}::VARCHAR"
        return f"strftime({moment}, '%Y-%m-%d')"
    zone = f"regexp_extract({text}, '([+-]\\d{{2}}):?(\\d{{2}})?\\D*$', ['h', 'm'])"
    minutes = (
        f"(CASE WHEN {zone}.h = '' THEN 0 ELSE 60 * {zone}.h::INTEGER + "
        f"CASE WHEN {zone}.h[1] = '-' THEN -1 ELSE 1 END * coalesce(TRY_CAST({zone}.m AS INTEGER), 0) END)"
    )
    local = f"make_timestamp(epoch_us({moment}::TIMESTAMPTZ) + 60000000::BIGINT * {minutes})"
    return f"({local}::VARCHAR || {signed_sql(minutes)})"


def check_format(time_format: str, con: duckdb.DuckDBPyConnection) -> None:
    try:
        con.execute(f"SELECT try_strptime('', {quoted(time_format)})")
    except duckdb.Error as error:
        raise IngestError(f"--time-format {time_format!r}: {str(error).splitlines()[0]}") from None


def signed_sql(minutes: str) -> str:
    """SQL of minutes as +hh:mm."""
    return (
        f"(CASE WHEN {minutes} < 0 THEN '-' ELSE '+' END || lpad((abs({minutes}) // 60)::BIGINT::VARCHAR, 2, '0')"
        f" || ':' || lpad((abs({minutes}) % 60)::BIGINT::VARCHAR, 2, '0'))"
    )


def _signed(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


# Offsets


def read_offsets(texts: Sequence[str], known: frozenset[str]) -> tuple[dict[str, int | str], str]:
    """Meaning of each text of a column of offsets: minutes, or the name of a zone; and one line for the screen.

    The numbers of a column have one unit: minutes, as documented, unless it is plain that they are hours and minutes
    without a colon (+0530), hours with a fraction (5.5), or seconds or milliseconds. What has no meaning is left out.
    """
    meanings: dict[str, int | str] = {}
    decimals = {text: float(text.replace(",", ".")) for text in texts if re.fullmatch(r"[+-]?\d{1,9}([.,]\d*)?", text)}
    are_hours = any(n % 1 in (0.25, 0.5, 0.75) for n in decimals.values()) and all(
        abs(n) <= MAX_OFFSET_MIN / 60 and 4 * n % 1 == 0 for n in decimals.values()
    )
    numbers = {text: int(60 * n if are_hours else n) for text, n in decimals.items() if are_hours or n % 1 == 0}
    values = list(numbers.values())
    form = "hours" if are_hours else "minutes"
    padded = form == "minutes" and any(re.fullmatch(r"[+-]\d{4}|0\d{3}", text) for text in numbers)
    as_clock = all(abs(n) % 100 in (0, 15, 30, 45) and abs(n) <= 1400 for n in values)
    if padded and as_clock:
        form = "hhmm"
    elif any(abs(n) > MAX_OFFSET_MIN for n in values):
        for unit, per_minute in (("seconds", 60), ("milliseconds", 60_000)):
            if all(n % (15 * per_minute) == 0 and abs(n) <= MAX_OFFSET_MIN * per_minute for n in values):
                form = unit
    if form == "minutes" and as_clock and any(n % 15 for n in values) and any(abs(n) >= 100 for n in values):
        form = "hhmm"
    for text, n in numbers.items():
        if form == "hhmm":
            meanings[text] = (1 if n >= 0 else -1) * (60 * (abs(n) // 100) + abs(n) % 100)
        elif form == "hours":
            meanings[text] = n
        elif form == "minutes":
            if not re.fullmatch(r"[+-]?\d{4,}", text):
                meanings[text] = n
        else:
            meanings[text] = n // (60 if form == "seconds" else 60_000)
    for text in texts:
        if text in numbers:
            continue
        clock = re.fullmatch(r"(?:UTC|GMT)?\s*([+-]|\u2212)(\d{1,2})(?::?(\d{2}))?(?::00)?", text) or re.fullmatch(
            r"(\+?)(\d{1,2}):(\d{2})(?::00)?", text
        )
        if clock:
            minutes = 60 * int(clock[2]) + int(clock[3] or 0)
            meanings[text] = minutes if clock[1] in ("+", "") else -minutes
        elif text in ("Z", "z", "UTC", "GMT"):
            meanings[text] = 0
        elif text in known and "/" in text:
            meanings[text] = text
        elif text in _ABBREVIATIONS:
            meanings[text] = _ABBREVIATIONS[text]
    meanings = {text: m for text, m in meanings.items() if isinstance(m, str) or abs(m) <= MAX_OFFSET_MIN}
    odd = next(
        (t for t in texts if t in meanings and (form != "minutes" or t not in numbers) and meanings[t] != 0), None
    )
    if odd is None:
        return meanings, ""
    meaning = meanings[odd]
    reading = f"the time zone {meaning}" if isinstance(meaning, str) else f"{meaning} minutes ({_signed(meaning)})"
    return meanings, f"offsets: {odd!r} is read as {reading}"


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
