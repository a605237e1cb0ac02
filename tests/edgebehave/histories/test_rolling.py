"""A rolling history against the obvious model: a list, cut to its end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.histories.private_names import PrivateNames
from edgebehave.histories.rolling import Events, RollingHistory

Row = tuple[int, int, int, int, int]


def rows(first: int, num_rows: int) -> list[Row]:
    """Events told apart by their number."""
    return [(i, i % 3, i % 5 - 1, 7 * i, -60 * (i % 2)) for i in range(first, first + num_rows)]


def events(rows: list[Row]) -> Events:
    return Events(*np.array(rows, np.int64).reshape(-1, len(Events._fields)).T)


def kept(history: RollingHistory, num_events: int | None = None) -> list[Row]:
    return [tuple(row) for row in np.stack(history.latest(num_events), 1).tolist()]


@settings(deadline=None)
@given(
    steps=st.lists(st.none() | st.integers(0, 60), max_size=40),
    capacity=st.integers(1, 40),
    num_skipped=st.integers(0, 5),
    num_asked=st.integers(1, 50),
)
def test_it_equals_a_list_cut_to_its_end(steps, capacity, num_skipped, num_asked):
    """None: one event is appended; a number: so many at once."""
    history, model = RollingHistory(capacity, num_skipped), []
    for step in steps:
        new = rows(len(model), 1 if step is None else step)
        model += new
        if step is None:
            history.append(**dict(zip(Events._fields, new[0], strict=True)))
        else:
            history.extend(events(new))
        assert kept(history) == model[-capacity:]
        assert kept(history, num_asked) == model[-capacity:][-num_asked:]
        assert kept(history, 0) == []
        assert history.count == num_skipped + len(model)
        assert len(history) == min(capacity, len(model))


def test_memory_stays_bounded():
    history = RollingHistory(100)
    for i in range(500):
        history.extend(events(rows(10 * i, 10)))
    assert history._columns.shape[1] <= 126
    history.extend(events(rows(5000, 1000)))
    assert history._columns.shape[1] <= 126
    assert kept(history) == rows(5900, 100)


def test_it_needs_room_for_one_event():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        RollingHistory(0)


@given(st.lists(st.text(min_size=1, max_size=3)))
def test_private_names_round_trip(names):
    private = PrivateNames(10)
    ids = [private.id_of(name) for name in names]
    assert [private.name_of(i) for i in ids] == names
    assert len(set(ids)) == len(set(names)) == len(private)
    assert min(ids, default=10) == 10


def test_a_dropped_name_gets_an_id_that_nobody_had():
    private = PrivateNames(5)
    a, b = private.id_of("a"), private.id_of("b")
    private.keep_only(np.array([b, b]))
    assert private.name_of(b) == "b"
    assert private.id_of("a") not in (a, b)
