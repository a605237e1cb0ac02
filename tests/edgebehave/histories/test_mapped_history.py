"""A mapped history follows names one by one or many at once, to the same ids."""

import numpy as np
import pytest
from history_rows import START_S, Row, rows_at
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.histories.history import Mark, NamedEvents
from edgebehave.histories.mapped_history import MappedHistory, PrivateNames
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN_NAME, Vocabulary

VOCABULARY = Vocabulary(
    events=(UNKNOWN_NAME, "mail.open", "mail.read", "screen.on"),
    locations=(UNKNOWN_NAME, "home"),
    behaviors=(UNKNOWN_NAME, "mail"),
    event_to_behavior=(0, 1, 1, NO_BEHAVIOR),
)


def mapped(rows: list[Row], capacity: int = 10) -> MappedHistory:
    return MappedHistory(VOCABULARY, capacity, Mark(0, len(rows)), NamedEvents.of(rows))


def test_names_become_ids_and_own_names_get_ids_behind_the_vocabulary():
    names = [("mail.read", "home"), ("screen.on", None), ("mail", "cafe"), ("chess", "cafe"), ("chess", "home")]
    history = mapped([Row(event, location, START_S + i, 0) for i, (event, location) in enumerate(names)])
    events = history.events.latest()
    assert events.event.tolist() == [2, 3, 0, 0, 0]
    assert events.behavior.tolist() == [1, NO_BEHAVIOR, 1, 2, 2]
    assert events.location.tolist() == [1, 0, 2, 2, 1]
    assert (history.own_behaviors.name_of(2), history.own_locations.name_of(2)) == ("chess", "cafe")


@given(
    events=st.lists(st.sampled_from(["mail.open", "screen.on", "mail", "chess", "go"]), min_size=1, max_size=30),
    cut=st.integers(1, 30),
    num_asked=st.integers(1, 12),
)
def test_one_by_one_is_many_at_once(events, cut, num_asked):
    rows = [Row(event, ["home", "cafe", None][i % 3], START_S + i, 60) for i, event in enumerate(events)]
    at_once, followed, in_two = mapped(rows), mapped(rows[:1]), mapped(rows[:cut])
    for i, row in enumerate(rows[1:], 2):
        followed.append(Mark(0, i), *row)
    if rows[cut:]:
        in_two.extend(Mark(0, len(rows)), NamedEvents.of(rows[cut:]))
    for other in (followed, in_two):
        assert other.mark == at_once.mark
        np.testing.assert_array_equal(other.events.latest(), at_once.events.latest())
        assert other.is_plain(num_asked) == at_once.is_plain(num_asked)
    assert at_once.is_plain(num_asked) == all(e in ("mail.open", "mail") for e in events[-min(10, num_asked) :])


def test_events_before_the_mapped_ones_count():
    history = MappedHistory(VOCABULARY, 10, Mark(3, 100), NamedEvents.of(rows_at([1, 2])))
    assert (history.events.count, len(history.events)) == (100, 2)
    assert history.network_state is None


@given(st.lists(st.text(min_size=1, max_size=3)))
def test_private_names_round_trip(names):
    private = PrivateNames(10)
    ids = [private.id_of(name) for name in names]
    assert [private.name_of(i) for i in ids] == names
    assert len(set(ids)) == len(set(names)) == len(private)
    assert min(ids, default=10) == 10


def test_a_dropped_name_gets_a_new_id():
    private = PrivateNames(5)
    a, b = private.id_of("a"), private.id_of("b")
    private.keep_only(np.array([b, b]))
    assert private.name_of(b) == "b"
    assert private.id_of("a") not in (a, b)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time_s": START_S - 5}, "not in the order of time"),
        ({"time_s": 5_000_000_000}, "outside 1990..2100"),
        ({"utc_offset_min": 841}, "impossible offset"),
    ],
)
def test_events_out_of_order_or_range_are_refused(change, says):
    row = Row("a", None, START_S, 0)
    with pytest.raises(ValueError, match=says):
        NamedEvents.of([row, row._replace(**change)])


def test_rows_of_events_are_the_rows_they_were_made_of():
    rows = rows_at([0, 0, 7, 9])
    assert list(NamedEvents.of(rows).rows()) == rows
