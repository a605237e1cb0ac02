"""The history in memory: names leave it with their last event."""

import numpy as np
from history_rows import START_S, rows_at, rows_of, tell

from edgebehave import MemoryHistory
from edgebehave.histories.history import Match, NamedColumn, NamedEvents
from edgebehave.histories.memory import SharedNames


def test_put_retains_what_fits():
    history = MemoryHistory(max_events=2)
    times = START_S + np.arange(3)
    column = NamedColumn.of(["a", "b", "c"])
    history.put("ada", 10, NamedEvents(column, column, times, times * 0))
    assert [row.event for row in rows_of(history)] == ["b", "c"]
    assert history.mark("ada").num_events == 10


def test_names_leave_memory_with_their_last_event():
    history = MemoryHistory(max_events=5)
    tell(history, rows_at(range(1000)))
    tell(history, rows_at(range(3)), "bob")
    assert len(history._names) == 5 + 3 + 3
    assert len(history._names._name_of) < 20
    history.forget_events("bob", Match("event 1", None, 0, 2**33))
    history.forget("ada")
    assert set(history._names._id_of) == {"event 0", "event 2", "\ud800"}
    history.forget("bob")
    assert len(history._names) == 0
    assert set(history._names._name_of) == {None}


def test_shared_names_count_their_uses_and_reuse_ids():
    names = SharedNames()
    a, b = names.take("a"), names.take("b")
    assert (names.take("a"), names.take(None)) == (a, 0)
    names.release(a)
    assert (names.find("a"), names[a]) == (a, "a")
    names.release(a)
    names.release(0)
    assert (names.find("a"), names[0], len(names)) == (-1, None, 1)
    assert names.take("c") == a != b
