"""Both histories against the obvious model: a list per user, sorted by time, cut to its end."""

import threading
from datetime import timedelta

import pytest
from history_rows import KINDS, START_S, Row, make, rows_at, rows_of, tell
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave import MemoryHistory
from edgebehave.histories.history import Mark, Match


@pytest.fixture(params=KINDS)
def history(request, tmp_path):
    return make(request.param, tmp_path)


class ListHistory:
    """The rules of a history of one user, in the plainest code."""

    def __init__(self, max_events: int, max_age_s: int | None) -> None:
        self.max_events, self.max_age_s = max_events, max_age_s
        self.rows: list[Row] = []
        self.num_events = 0

    def append(self, row: Row) -> bool:
        """True if the row became the latest event and nothing else changed."""
        is_latest = not self.rows or row.time_s >= self.rows[-1].time_s
        self.num_events += 1
        # sorted() is stable: events of the same second stay in the order in which they came.
        self.rows = sorted([*self.rows, row], key=lambda row: row.time_s)[-self.max_events :]
        return not self.expire() and is_latest

    def expire(self) -> bool:
        if self.max_age_s is None:
            return False
        step_s = self.max_age_s // 32
        oldest = -(-(self.rows[-1].time_s - self.max_age_s) // step_s) * step_s
        kept = [row for row in self.rows if row.time_s >= oldest]
        has_expired = len(kept) < len(self.rows)
        self.rows = kept
        return has_expired

    def forget(self, match: Match) -> int:
        kept = [
            row
            for row in self.rows
            if not (
                match.event in (None, row.event)
                and match.location in (None, row.location)
                and match.first_s <= row.time_s <= match.last_s
            )
        ]
        num_forgotten = len(self.rows) - len(kept)
        self.num_events = self.num_events - num_forgotten if kept else 0
        self.rows = kept
        return num_forgotten


ROW = st.builds(
    Row,
    event=st.sampled_from(["a", "b", "\ud800", "a\0b", "🦊"]),
    location=st.sampled_from([None, "home", "\udfff"]),
    time_s=st.integers(START_S, START_S + 300),
    utc_offset_min=st.sampled_from([-840, 0, 840]),
)
MATCH = st.builds(
    Match,
    event=st.sampled_from([None, "a", "\ud800", "never"]),
    location=st.sampled_from([None, None, "home", "\udfff"]),
    first_s=st.integers(START_S, START_S + 300),
    last_s=st.integers(START_S, START_S + 300),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.one_of(ROW, ROW, ROW, MATCH), max_size=60),
    max_events=st.integers(1, 20),
    max_age_s=st.none() | st.integers(60, 200),
)
def test_it_equals_a_sorted_list_cut_to_its_end(kind, tmp_path_factory, steps, max_events, max_age_s):
    age = None if max_age_s is None else timedelta(seconds=max_age_s)
    folder = tmp_path_factory.mktemp("h") if kind == "sqlite" else None
    options = {} if kind == "memory" else {"erases_at_once": False}
    history = make(kind, folder, max_events=max_events, max_age=age, **options)
    model = ListHistory(max_events, max_age_s)
    seen_marks: set[Mark] = set()
    for step in steps:
        before = history.mark("ada")
        if isinstance(step, Row) and step in model.rows:
            assert history.append("ada", *step) is None  # the same event twice
        elif isinstance(step, Row):
            is_latest = model.append(step)
            mark = history.append("ada", *step)
            assert mark == history.mark("ada")
            if before is not None:
                assert (mark.changes == before.changes) == is_latest
        else:
            assert history.forget_events("ada", step) == model.forget(step)
        assert rows_of(history) == model.rows
        mark = history.mark("ada")
        assert (mark.num_events if mark else 0) == model.num_events
        if mark != before and mark is not None:
            # No two states of a user, not even in two lives, have the same mark.
            assert mark not in seen_marks
            seen_marks.add(mark)
        assert history.users() == (["ada"] if model.rows else [])
        assert history.last_offset_min("ada") == (model.rows[-1].utc_offset_min if model.rows else 0)
        assert rows_of(history, max_events=3) == model.rows[-3:]
    if kind == "sqlite":
        history.check()
        history.close()


@settings(deadline=None)
@given(
    seconds=st.lists(st.integers(0, 10**6), unique=True, max_size=60),
    max_events=st.integers(1, 40),
    max_age_s=st.none() | st.integers(60, 10**6),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter(seconds, max_events, max_age_s, random):
    age = None if max_age_s is None else timedelta(seconds=max_age_s)
    rows = rows_at(sorted(seconds))
    in_order = MemoryHistory(max_events=max_events, max_age=age)
    tell(in_order, rows)
    random.shuffle(rows)
    shuffled = MemoryHistory(max_events=max_events, max_age=age)
    tell(shuffled, rows)
    assert rows_of(in_order) == rows_of(shuffled)
    if rows:
        assert in_order.mark("ada").num_events == shuffled.mark("ada").num_events == len(rows)


def test_users_are_apart_and_in_order(history):
    tell(history, rows_at([1, 2]), "zoe")
    tell(history, rows_at([5]), "\ud800")
    tell(history, rows_at([3]), "zoe")
    assert history.users() == ["zoe", "\ud800"]
    assert history.forget("zoe") is True
    assert history.forget("zoe") is False
    assert history.forget_events("zoe", Match(None, None, 0, 2**33)) == 0
    assert history.mark("zoe") is None
    assert history.latest("zoe", 5) is None
    assert rows_of(history, "\ud800") == rows_at([5])


def test_put_is_what_latest_gave(history):
    rows = rows_at([1, 1, 5, 9])
    tell(history, rows)
    mark, events = history.latest("ada", 3)
    put = history.put("bob", mark.num_events, events)
    assert put.num_events == 4
    assert rows_of(history, "bob") == rows[1:]
    with pytest.raises(ValueError, match="user 'bob' has a history already: forget it first"):
        history.put("bob", mark.num_events, events)
    assert rows_of(history, "bob") == rows[1:]


def test_threads_may_share_a_history(history):
    def work(number: int) -> None:
        tell(history, [Row(f"{number}", "p", START_S + i, 0) for i in range(50)], "ada")
        tell(history, [Row(f"{number}", "p", START_S + i, 0) for i in range(20)], f"u{number}")
        rows_of(history)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.mark("ada").num_events == 200
    rows = rows_of(history)
    for number in range(4):
        mine = [row.time_s for row in rows if row.event == f"{number}"]
        assert mine == list(range(START_S, START_S + 50))
        assert len(rows_of(history, f"u{number}")) == 20
