"""Retention by number and by age, in both histories."""

from datetime import timedelta

import pytest
from history_rows import KINDS, START_S, Row, make, rows_at, rows_of, tell

from edgebehave import MemoryHistory
from edgebehave.histories.retention import Retention


@pytest.fixture(params=KINDS)
def history(request, tmp_path):
    return make(request.param, tmp_path)


def test_a_full_history_counts_what_it_cannot_keep(history):
    history = type(history)(max_events=2) if isinstance(history, MemoryHistory) else history
    for row in rows_at([10, 20, 5]):
        history.append("ada", *row)
    assert history.mark("ada").num_events == 3


def test_what_is_kept_may_grow_but_not_shrink(history):
    history.keep(600)
    history.keep(100)
    tell(history, rows_at(range(700)))
    assert rows_of(history) == rows_at(range(700))[100:]


def test_age_counts_back_from_the_latest_event(history, tmp_path):
    kind = "memory" if isinstance(history, MemoryHistory) else "sqlite"
    (tmp_path / "aged").mkdir()
    aged = make(kind, tmp_path / "aged", max_age=timedelta(days=32))
    day = 86400
    midnight = START_S // day * day - START_S
    rows = rows_at(midnight + day * i for i in range(40))
    tell(aged, rows)
    assert rows_of(aged) == rows[-33:]
    assert aged.mark("ada").num_events == 40


@pytest.mark.parametrize("max_age", [timedelta(minutes=1), timedelta(days=30), timedelta(10**5)])
def test_at_least_31_of_32_parts_of_the_age_are_kept_and_never_more_than_all(max_age):
    retention = Retention(max_age=max_age)
    for latest_s in range(1_700_000_000, 1_700_000_200, 7):
        age_s = latest_s - retention.oldest_s(latest_s)
        assert max_age.total_seconds() * 31 / 32 - 1 <= age_s <= max_age.total_seconds()


def test_an_event_from_the_future_makes_nothing_age(history, tmp_path):
    kind = "memory" if isinstance(history, MemoryHistory) else "sqlite"
    (tmp_path / "aged").mkdir()
    aged = make(kind, tmp_path / "aged", max_age=timedelta(days=365))
    now = Retention(max_age=timedelta(minutes=1)).oldest_s(4_000_000_000)
    tell(aged, [Row("now", None, now, 0), Row("clock was wrong", None, 4_000_000_000, 0)])
    assert [row.event for row in rows_of(aged)] == ["now", "clock was wrong"]


@pytest.mark.parametrize("kind", KINDS)
def test_users_who_stay_away_expire_when_asked_to(kind, tmp_path):
    history = make(kind, tmp_path, max_age=timedelta(days=10))
    tell(history, rows_at([0]), "gone")
    tell(history, rows_at([0, 5 * 86400, 12 * 86400]), "here")
    before = history.mark("here")
    assert history.expire(START_S + 13 * 86400) == 1
    assert history.users() == ["here"]
    assert len(rows_of(history, "here")) == 2
    assert history.mark("here").num_events == 3
    assert history.mark("here") == before
    assert history.expire(START_S + 30 * 86400) == 2
    assert history.users() == []


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"max_events": 0}, ValueError, "max_events must be at least 1, got 0"),
        ({"max_events": 2.5}, TypeError, "max_events must be an integer"),
        ({"max_age": 30}, TypeError, "max_age must be a timedelta or None, got 30"),
        ({"max_age": timedelta(seconds=59)}, ValueError, "at least a minute"),
    ],
)
def test_a_retention_that_means_nothing_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        MemoryHistory(**options)


def test_an_age_is_a_time_span_of_a_minute_or_more():
    with pytest.raises(TypeError, match="max_age must be a timedelta or None, got 60"):
        Retention(max_age=60)
    with pytest.raises(ValueError, match=r"max_age must be at least a minute, got 0:00:59"):
        Retention(max_age=timedelta(seconds=59))


def test_without_an_age_nothing_expires(history):
    assert Retention().oldest_s(START_S) == Retention().oldest_at(START_S) == 0
    tell(history, rows_at([1, 2]))
    assert history.expire(4_000_000_000) == 0
    assert rows_of(history) == rows_at([1, 2])
