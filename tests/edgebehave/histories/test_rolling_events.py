"""The buffer of ids against the obvious model: a list, cut to its end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.histories.rolling_events import IdEvents, RollingEvents

Row = tuple[int, int, int, int, int]


def rows(first: int, num_rows: int) -> list[Row]:
    """Events told apart by their number."""
    return [(i, i % 3, i % 5 - 1, 7 * i, -60 * (i % 2)) for i in range(first, first + num_rows)]


def events(rows: list[Row]) -> IdEvents:
    return IdEvents(*np.array(rows, np.int64).reshape(-1, len(IdEvents._fields)).T)


def kept(buffer: RollingEvents, num_events: int | None = None) -> list[Row]:
    return [tuple(row) for row in np.stack(buffer.latest(num_events), 1).tolist()]


@settings(deadline=None)
@given(
    steps=st.lists(st.none() | st.integers(0, 60), max_size=40),
    capacity=st.integers(1, 40),
    num_skipped=st.integers(0, 5),
    num_asked=st.integers(1, 50),
)
def test_it_equals_a_list_cut_to_its_end(steps, capacity, num_skipped, num_asked):
    """None: one event is appended; a number: so many at once."""
    buffer, model = RollingEvents(capacity, num_skipped), []
    for step in steps:
        new = rows(len(model), 1 if step is None else step)
        model += new
        if step is None:
            buffer.append(*new[0])
        else:
            buffer.extend(events(new))
        assert kept(buffer) == model[-capacity:]
        assert kept(buffer, num_asked) == model[-capacity:][-num_asked:]
        assert kept(buffer, 0) == []
        assert buffer.count == num_skipped + len(model)
        assert len(buffer) == min(capacity, len(model))


@given(num_events=st.integers(1, 60), capacity=st.integers(1, 40), num_asked=st.integers(1, 40))
def test_its_other_views_are_those_of_the_latest_events(num_events, capacity, num_asked):
    buffer = RollingEvents(capacity)
    model = rows(0, num_events)
    for row in model:
        buffer.append(*row)
    assert buffer.count == num_events
    assert buffer.latest_offset_min() == model[-1][-1]
    assert buffer.past(num_asked).T.tolist() == [list(row[1:]) for row in model[-capacity:][-num_asked:]]
    num_asked = min(num_asked, len(buffer))
    assert buffer.rows(num_asked) == [list(row) for row in model[-num_asked:]]


def test_what_it_never_had_is_an_error_of_ours():
    with pytest.raises(AssertionError, match="0"):
        RollingEvents(0)
    with pytest.raises(AssertionError, match="no latest event"):
        RollingEvents(1).latest_offset_min()


def test_room_grows_from_sixteen_events_as_they_come():
    """A small history is small; most additions move nothing."""
    buffer = RollingEvents(100)
    rooms = []
    for number in range(600):
        before = buffer._columns
        buffer.append(*rows(number, 1)[0])
        if buffer._columns is not before:
            rooms.append((number, buffer._columns.shape[1]))
    assert (RollingEvents(100).num_bytes, RollingEvents(3).num_bytes) == (640, 120)
    assert rooms[:4] == [(16, 32), (32, 64), (64, 126), (126, 126)]
    assert len(rooms) < 24


def test_memory_stays_bounded():
    buffer = RollingEvents(100)
    for i in range(500):
        buffer.extend(events(rows(10 * i, 10)))
    assert buffer._columns.shape[1] <= 126
    buffer.extend(events(rows(5000, 1000)))
    assert buffer._columns.shape[1] <= 126
    assert kept(buffer) == rows(5900, 100)
