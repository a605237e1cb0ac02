"""The events that a model sees are those that a history keeps after `observe`, and as many count."""

import numpy as np
import pytest

from edgebehave.histories.memory import MemoryHistory
from edgebehave_train.predictions.visible_events import VisibleEvents


def columns(rows):
    event, location, time_s, offset_min = zip(*rows, strict=True)
    names = (np.array(event, object), np.array([name or "" for name in location], object))
    return (*names, np.array(time_s), np.array(offset_min))


def observed(rows, num_kept):
    history = MemoryHistory(max_events=num_kept)
    for event, location, time_s, offset_min in rows:
        history.append("me", event, location, time_s, offset_min)
    mark, events = history.latest("me", 2**31)
    return mark.num_events, list(events.rows())


def visible(rows, num_kept, size):
    events = VisibleEvents(num_kept)
    for start in range(0, len(rows), size):
        events.add(*columns(rows[start : start + size]))
    return events.num_events, list(events.named().rows())


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_history_keeps(seed):
    """Many events in one second, repeated ones among them, some more than are kept; pieces of any size."""
    rng = np.random.default_rng(seed)
    num_rows = 200
    time_s = 1_700_000_000 + np.sort(rng.integers(0, [5, 40, 1000][seed % 3], num_rows))
    rows = [
        (f"e{rng.integers(4)}", [None, "home", "work"][rng.integers(3)], int(second), 60 * int(rng.integers(2)))
        for second in time_s
    ]
    for num_kept in (3, 17, 500):
        assert len({visible(rows, num_kept, size)[0] for size in (1, 7, 64, 200)}) == 1
        for size in (1, 7, 64, 200):
            assert visible(rows, num_kept, size) == observed(rows, num_kept)


def test_memory_is_that_of_the_kept_events():
    events = VisibleEvents(10)
    for start in range(0, 10_000, 100):
        events.add(*columns([("e", None, 1_700_000_000 + row, 0) for row in range(start, start + 100)]))
        assert sum(len(piece[0]) for piece in events._pieces) <= 30
    assert events.num_events == 10_000
    assert events.named().time_s.tolist() == [1_700_009_990 + i for i in range(10)]


def test_a_name_that_observe_refuses_is_refused():
    events = VisibleEvents(10)
    events.add(*columns([("x" * 2000, None, 1_700_000_000, 0)]))
    with pytest.raises(ValueError, match="event must be at most 1024 bytes"):
        events.named()
