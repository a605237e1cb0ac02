"""Forms of dates other than ISO 8601: recognized and rewritten to it by SQL, so that ingest reads one form afterwards.

If two orders of day and month are possible, none is chosen: the caller gets an IngestError that shows both.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from edgebehave_train.logs.reading.files import IngestError, quoted
from edgebehave_train.logs.reading.utc_offsets import ZONE_MINUTES, signed, signed_sql


@dataclass(frozen=True, kw_only=True)
class DateForm:
    """A form of date and clock. `pattern` has the groups of `groups`; see `iso_sql`."""

    title: str
    pattern: str
    groups: tuple[str, ...]


_MONTHS = (
    "jan january januar jänner janvier janv enero ene gennaio gen januari janeiro",
    "feb february februar februari feber février févr fév febrero febbraio fevereiro fev",
    "mar march märz mär mrz mars marzo maart mrt março marts",
    "apr april avril avr abril abr aprile",
    "may mai mayo maggio mag mei maio maj",
    "jun june juni juin junio giugno giu junho",
    "jul july juli juillet juil julio luglio lug julho",
    "aug august août aout agosto ago augustus augusti",
    "sep sept september septembre septiembre settembre set setembro",
    "oct october oktober okt octobre octubre ottobre ott outubro out",
    "nov november novembre noviembre novembro",
    "dec december dezember dez décembre déc diciembre dic dicembre dezembro desember des",
)
"""Names of each month in English, German, French, Spanish, Italian, Dutch, Portuguese, Danish, Norwegian and Swedish;
no name means two months."""
_MON = "((?i:" + "|".join(sorted(" ".join(_MONTHS).split(), key=len, reverse=True)) + r"))\.?"
_WEEKDAY = r"(?:[A-Za-zÀ-ÿ]{2,12}\.?,?\s+)?"
_CLOCK = (
    r"(?:(?:\s*[Tt,:_]\s*|\s+|,?\s+(?:at|um|om|à|às|alle|a las)\s+)"
    r"(\d{1,2})[:.h](\d{2})(?:[:.](\d{2}(?:[.,]\d+)?))?(?:\s*Uhr)?\s*([AaPp]\.?\s?[Mm]\.?)?"
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
        pattern=rf"^{_WEEKDAY}(\d{{1,2}})(?:st|nd|rd|th|er|º|\.)?[\s/-]\s?(?:de\s)?{_MON},?[\s/-]\s?(?:de\s)?"
        r"(\d{4}|\d{2})" + _END,
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


def day_month_order(form: DateForm, text: str, tables: Sequence[str], con: duckdb.DuckDBPyConnection) -> str:
    """ "DMY", "MDY" or, for years with two digits, "YMD": the order of dates in numbers, from all rows.

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
        numbered = enumerate(_MONTHS, 1)
        cases = " ".join(f"WHEN list_contains({names.split()}, lower(p.name)) THEN '{n}'" for n, names in numbered)
        month = f"(CASE {cases} END)"
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
        if name in ZONE_MINUTES:
            named.append(f"WHEN {quoted(name)} THEN '{signed(ZONE_MINUTES[name])}'")
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
