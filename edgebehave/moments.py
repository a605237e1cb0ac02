"""Moments in time, read from "now", a datetime with a time zone, or unix seconds."""

import math
import numbers
import operator
import time
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

At: TypeAlias = Literal["now"] | datetime | int | float

EARLIEST_S = 631_152_000
"""1990-01-01. An earlier time comes from a clock that was never set."""

LATEST_S = 4_102_444_800
"""2100-01-01. Between the two limits, seconds cannot be mistaken for milliseconds, nor the reverse."""

MAX_OFFSET_MIN = 840
"""The largest offset of local time in use, 14 hours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED = "expected 'now', a datetime with a time zone, or unix seconds"


class Moment(NamedTuple):
    """UTC seconds since 1970, and the minutes to add for local time."""

    time_s: int
    utc_offset_min: int


def read_moment(at: object, utc_offset_min: object, default_offset_min: int) -> Moment:
    """The moment that a caller passed; parts of a second are cut off.

    at                  "now": the system's clock and local time. An aware datetime: its own
                        offset. A number: unix seconds, 1990 to 2100.
    utc_offset_min      minutes to add for local time, -840..840; None: the offset of `at`, and `default_offset_min`
                        if it is a number. A datetime in UTC has offset 0: pass the user's offset with it.
    Raises TypeError or ValueError that says what to pass instead.
    """
    offset_min = None if utc_offset_min is None else check_offset(utc_offset_min)
    if isinstance(at, datetime):
        time_s, own_offset_min = _of_datetime(at)
    elif isinstance(at, str):
        time_s, own_offset_min = _of_text(at)
    else:
        time_s, own_offset_min = _of_number(at), default_offset_min
    if not EARLIEST_S <= time_s < LATEST_S:
        raise ValueError(f"at lies outside 1990..2100: {_shown(at)} is {time_s} s since 1970")
    return Moment(time_s, own_offset_min if offset_min is None else offset_min)


def read_duration(value: object, what: str) -> float:
    """Seconds of a timedelta above zero. Raises TypeError or ValueError."""
    if not isinstance(value, timedelta):
        raise TypeError(f"{what} must be a datetime.timedelta, got {_shown(value)}")
    if value <= timedelta(0):
        raise ValueError(f"{what} must be longer than zero, got {value}")
    return value.total_seconds()


def check_offset(utc_offset_min: object) -> int:
    """Whole minutes in -840..840, as an int. Raises TypeError or ValueError."""
    # Integers of numpy are allowed. The first check is for speed: isinstance takes a microsecond.
    if type(utc_offset_min) is not int and (
        isinstance(utc_offset_min, bool) or not isinstance(utc_offset_min, numbers.Integral)
    ):
        raise TypeError(f"utc_offset_min must be whole minutes, got {_shown(utc_offset_min)}")
    minutes = operator.index(utc_offset_min)
    if abs(minutes) > MAX_OFFSET_MIN:
        raise ValueError(
            f"utc_offset_min must lie in -{MAX_OFFSET_MIN}..{MAX_OFFSET_MIN} minutes (it is not seconds), got {minutes}"
        )
    return minutes


def _of_datetime(at: datetime) -> tuple[int, int]:
    offset = at.utcoffset()
    if offset is None:
        raise ValueError(
            f"at has no time zone: {at!r}; use at.astimezone() if it is this machine's local "
            "time, at.replace(tzinfo=...) if it is that of another zone"
        )
    # Exact; at.timestamp() would round microseconds to a float.
    return (at - _EPOCH) // timedelta(seconds=1), check_offset(offset // timedelta(minutes=1))


def _of_text(at: str) -> tuple[int, int]:
    if at != "now":
        raise ValueError(f"{_EXPECTED}, got {_shown(at)}; for ISO 8601 text pass datetime.fromisoformat(...)")
    return _of_datetime(datetime.fromtimestamp(int(time.time()), UTC).astimezone())


def _of_number(at: object) -> int:
    # Numbers of numpy are allowed; bool, which Python takes for an integer, is not.
    if type(at) is not int and (isinstance(at, bool) or not isinstance(at, numbers.Real)):
        raise TypeError(f"{_EXPECTED}, got {_shown(at)}")
    try:
        time_s = at if isinstance(at, int) else math.floor(float(at))
    except (OverflowError, ValueError):
        raise ValueError(f"at must be finite, got {_shown(at)}") from None
    for unit, per_second in (("milliseconds", 10**3), ("microseconds", 10**6)):
        if EARLIEST_S <= time_s // per_second < LATEST_S:
            raise ValueError(f"at must be unix seconds; {at} looks like {unit}: divide it by {per_second}")
    return time_s


def _shown(value: object) -> str:
    """Type and value for a message, shortened."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
