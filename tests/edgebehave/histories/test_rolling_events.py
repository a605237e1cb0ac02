"""The buffer of ids against the obvious model: a list, cut to its end."""

import numpy as np
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


def test_memory_stays_bounded():
    buffer = RollingEvents(100)
    for i in range(500):
        buffer.extend(events(rows(10 * i, 10)))
    assert buffer._columns.shape[1] <= 126
    buffer.extend(events(rows(5000, 1000)))
    assert buffer._columns.shape[1] <= 126
    assert kept(buffer) == rows(5900, 100)
