"""All accepted forms of a time, and the errors for others."""

import time
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pytest

from edgebehave.moments import EARLIEST_S, LATEST_S, Moment, read_moment

NOON_S = 1_767_268_800  # 2026-01-01 12:00 UTC


@pytest.mark.parametrize("at", [NOON_S, NOON_S + 0.9, np.int64(NOON_S), np.float64(NOON_S + 0.5), Fraction(NOON_S)])
def test_numbers_are_unix_seconds_without_their_fraction(at):
    moment = read_moment(at, None, -300)
    assert moment == Moment(NOON_S, -300)
    assert {type(part) for part in moment} == {int}


def test_a_datetime_brings_its_offset():
    tokyo = timezone(timedelta(hours=9))
    assert read_moment(datetime(2026, 1, 1, 21, tzinfo=tokyo), None, 7) == (NOON_S, 540)


def test_microseconds_never_round_up():
    last = datetime(2026, 1, 1, 11, 59, 59, 999_999, tzinfo=UTC)
    assert read_moment(last, None, 0).time_s == NOON_S - 1


def test_an_offset_beside_a_datetime_wins():
    assert read_moment(datetime(2026, 1, 1, 12, tzinfo=UTC), -240, 0) == (NOON_S, -240)


def test_now_is_the_clock_and_the_local_time_of_the_system():
    before, moment, after = time.time(), read_moment("now", None, 0), time.time()
    assert int(before) <= moment.time_s <= after
    assert moment.utc_offset_min == datetime.now().astimezone().utcoffset() // timedelta(minutes=1)
    assert read_moment("now", 330, 0).utc_offset_min == 330


@pytest.mark.parametrize("at", [EARLIEST_S, LATEST_S - 1])
def test_the_plausible_range_includes_its_ends(at):
    assert read_moment(at, None, 0).time_s == at


@pytest.mark.parametrize(
    ("at", "error", "says"),
    [
        (EARLIEST_S - 1, ValueError, "outside 1990..2100"),
        (LATEST_S, ValueError, "outside 1990..2100"),
        (0, ValueError, "outside 1990..2100"),
        (-5.5, ValueError, "outside 1990..2100"),
        (datetime(1970, 1, 1, tzinfo=UTC), ValueError, "outside 1990..2100"),
        (NOON_S * 1000, ValueError, "milliseconds: divide it by 1000"),
        (NOON_S * 1000.0, ValueError, "milliseconds: divide it by 1000"),
        (NOON_S * 10**6, ValueError, "microseconds: divide it by 1000000"),
        (float("nan"), ValueError, "finite"),
        (float("inf"), ValueError, "finite"),
        (datetime(2026, 1, 1), ValueError, r"no time zone.*astimezone"),
        ("2026-01-01T12:00:00Z", ValueError, "datetime.fromisoformat"),
        (True, TypeError, "expected 'now', a datetime with a time zone, or unix seconds"),
        (None, TypeError, "got NoneType"),
        ([NOON_S], TypeError, "got list"),
        (datetime(2026, 1, 1).date(), TypeError, "got date"),
    ],
)
def test_errors_say_what_to_pass(at, error, says):
    with pytest.raises(error, match=says):
        read_moment(at, None, 0)


@pytest.mark.parametrize(
    ("offset", "error", "says"),
    [
        (841, ValueError, "-840..840"),
        (-32400, ValueError, "not seconds"),
        (True, TypeError, "whole minutes"),
        (60.0, TypeError, "whole minutes"),
        ("60", TypeError, "whole minutes"),
    ],
)
def test_offsets_are_whole_minutes(offset, error, says):
    with pytest.raises(error, match=says):
        read_moment(NOON_S, offset, 0)


def test_a_datetime_far_from_any_zone_is_refused():
    nowhere = timezone(timedelta(hours=20))
    with pytest.raises(ValueError, match=r"-840\.\.840"):
        read_moment(datetime(2026, 1, 1, tzinfo=nowhere), None, 0)
