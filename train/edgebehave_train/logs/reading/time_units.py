"""Units of the numbers in a column of times, recognized by their magnitude.

If two units are possible, none is chosen: the caller gets an IngestError that shows both.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from edgebehave.moments import EARLIEST_S, LATEST_S
from edgebehave_train.logs.reading.files import IngestError
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
