"""A rolling history against the obvious model: a list, sorted by time, cut to its end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.private_names import PrivateNames
from edgebehave.rolling_history import Events, RollingHistory

Row = tuple[int, int, int, int, int]

TIMES = st.lists(st.integers(0, 30), max_size=80)
CAPACITIES = st.integers(1, 40)


def rows_at(times: list[int]) -> list[Row]:
    """An event per time, told apart by its number."""
    return [(i, i % 3, i % 5 - 1, time, -60 * (i % 2)) for i, time in enumerate(times)]


def insert(history: RollingHistory, row: Row) -> bool:
    return history.insert(**dict(zip(Events._fields, row, strict=True)))


def kept(history: RollingHistory) -> list[Row]:
    return [tuple(row) for row in np.stack(history.latest(), 1).tolist()]


@settings(deadline=None)
@given(times=TIMES, capacity=CAPACITIES)
def test_it_equals_a_sorted_list_cut_to_its_end(times, capacity):
    history, model = RollingHistory(capacity), []
    for count, row in enumerate(rows_at(times), 1):
        was_latest = all(other[3] <= row[3] for other in model)
        # sorted() is stable: events of the same second stay in the order in which they came.
        model = sorted([*model, row], key=lambda row: row[3])[-capacity:]
        assert insert(history, row) == was_latest
        assert kept(history) == model
        assert (history.count, len(history)) == (count, len(model))


@settings(deadline=None)
@given(
    times=st.lists(st.integers(0, 10**6), unique=True, max_size=60),
    capacity=CAPACITIES,
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter(times, capacity, random):
    in_order, shuffled = RollingHistory(capacity), RollingHistory(capacity)
    rows = rows_at(sorted(times))
    for row in rows:
        insert(in_order, row)
    random.shuffle(rows)
    for row in rows:
        insert(shuffled, row)
    assert kept(in_order) == kept(shuffled)
    assert in_order.count == shuffled.count


@settings(deadline=None)
@given(times=TIMES, capacity=CAPACITIES, num_events=st.integers(0, 100))
def test_latest_is_the_end_of_the_history(times, capacity, num_events):
    history = RollingHistory(capacity)
    for row in rows_at(times):
        insert(history, row)
    end = np.stack(history.latest(num_events), 1).tolist()
    assert [tuple(row) for row in end] == (kept(history)[-num_events:] if num_events else [])


def test_a_full_history_counts_what_it_cannot_keep():
    history = RollingHistory(2)
    for row in rows_at([10, 20]):
        assert insert(history, row)
    assert not insert(history, (7, 0, 1, 5, 0))
    assert [row[3] for row in kept(history)] == [10, 20]
    assert history.count == 3


def test_a_late_event_displaces_the_oldest_of_a_full_history():
    history = RollingHistory(3)
    for row in rows_at([10, 20, 30]):
        insert(history, row)
    assert not insert(history, (7, 0, 1, 25, 0))
    assert [row[3] for row in kept(history)] == [20, 25, 30]


def test_memory_stays_bounded():
    history = RollingHistory(100)
    for row in rows_at(list(range(5000))):
        insert(history, row)
    assert history._columns.shape[1] <= 126
    assert [row[3] for row in kept(history)] == list(range(4900, 5000))


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
