"""Clocks of devices that jump or stand behind, with and without `max_age`: nothing is lost without a word."""

import time
from datetime import timedelta

import pytest

from edgebehave import MemoryHistory, Predictor, SqliteHistory

DAY_S = 86_400
NOW_S = 1_750_000_000


@pytest.fixture
def clock(monkeypatch):
    """The clock of the device: `clock[0]` is what it says."""
    says = [float(NOW_S)]
    monkeypatch.setattr(time, "time", lambda: says[0])
    return says


@pytest.fixture(params=["memory", "sqlite"])
def make_history(request, tmp_path):
    if request.param == "memory":
        return MemoryHistory
    return lambda **options: SqliteHistory(tmp_path / "h.db", **options)


def told(predictor, user="ada"):
    """Seconds of the retained events."""
    found = predictor._history.latest(user, 2**31)
    return [] if found is None else found[1].time_s.tolist()


def test_a_clock_that_jumps_forward_and_back(clock, make_history):
    """What was dated while the clock was ahead stays, at its own time; what comes after goes to its place."""
    predictor = Predictor(history=make_history())
    predictor.observe("ada", "mail", at=NOW_S - 60)
    clock[0] += 400 * DAY_S
    predictor.observe("ada", "camera", at=clock[0])  # the app asks the same clock
    clock[0] = NOW_S + 60.0
    predictor.observe("ada", "bus", at=NOW_S + 60)
    assert told(predictor) == [NOW_S - 60, NOW_S + 60, NOW_S + 400 * DAY_S]
    assert predictor.num_events("ada") == 3
    assert predictor.predict("ada", at=NOW_S + 120)
    # It is the latest event until its day: the app can take it out.
    assert predictor.forget_event("ada", at=clock[0] + 10, until=4_000_000_000) == 1
    assert told(predictor) == [NOW_S - 60, NOW_S + 60]


def test_a_clock_behind_refuses_and_keeps(clock, make_history):
    """A device that starts in 1990, or a year ago: an event of the right time is an error, not a loss."""
    predictor = Predictor(history=make_history())
    predictor.observe("ada", "mail", at=NOW_S)
    clock[0] = NOW_S - 365 * DAY_S
    with pytest.raises(ValueError, match=r"days after this device's clock"):
        predictor.observe("ada", "bus", at=NOW_S + 60)
    assert told(predictor) == [NOW_S]
    predictor.observe("ada", "bus", at=clock[0])  # dated by the wrong clock: kept, before the others
    assert told(predictor) == [NOW_S - 365 * DAY_S, NOW_S]


@pytest.mark.parametrize("behind", [1, 40, 400])
def test_a_clock_behind_the_history_with_max_age_drops_nothing(clock, make_history, behind):
    """Age counts from the latest event, or from the clock if that is earlier: a clock behind keeps more, never less."""
    predictor = Predictor(history=make_history(max_age=timedelta(days=30)))
    times = [NOW_S - days * DAY_S for days in (20, 10, 0)]
    for at in times:
        predictor.observe("ada", "mail", at=at)
    clock[0] -= behind * DAY_S
    predictor.observe("ada", "bus", at=NOW_S - 5 * DAY_S if behind == 1 else clock[0])
    assert set(times) <= set(told(predictor))
    predictor._history.expire(int(clock[0]))
    assert set(times) <= set(told(predictor))


def test_a_clock_ahead_with_max_age_drops_what_is_old_by_it_and_later_events_stay(clock, make_history):
    """An event dated by a clock that is a year ahead ages the others: the clock is all there is to ask."""
    predictor = Predictor(history=make_history(max_age=timedelta(days=30)), max_ahead=None)
    predictor.observe("ada", "mail", at=NOW_S)
    predictor.observe("ada", "camera", at=NOW_S + 365 * DAY_S)  # the clock itself is right: nothing ages
    assert told(predictor) == [NOW_S, NOW_S + 365 * DAY_S]
    clock[0] += 365 * DAY_S
    predictor.observe("ada", "bus", at=clock[0] + 1)
    assert told(predictor) == [NOW_S + 365 * DAY_S, NOW_S + 365 * DAY_S + 1]
    assert predictor.num_events("ada") == 3  # it still counts
