"""Both histories against the obvious model: a list per user, sorted by time, cut to its end."""

import os
import sqlite3
import threading
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave import HistoryBusyError, HistoryError, MemoryHistory, SqliteHistory
from edgebehave.histories.history import Mark, Match, NamedColumn, NamedEvents
from edgebehave.histories.retention import Retention

START_S = 1_767_268_800
KINDS = ("memory", "sqlite")


class Row(NamedTuple):
    event: str
    location: str | None
    time_s: int
    utc_offset_min: int


def make(kind: str, folder, **options):
    if kind == "memory":
        return MemoryHistory(**options)
    return SqliteHistory(folder / "history.db", survives_power_loss=False, **options)


@pytest.fixture(params=KINDS)
def history(request, tmp_path):
    return make(request.param, tmp_path)


def rows_of(history, user: str = "ada", max_events: int = 10**6) -> list[Row]:
    found = history.latest(user, max_events)
    if found is None:
        return []
    return [Row(*row) for row in found[1].rows()]


def tell(history, rows, user: str = "ada") -> list[Mark]:
    return [history.append(user, *row) for row in rows]


def rows_at(seconds) -> list[Row]:
    """An event per time, told apart by its number."""
    locations = [None, "home", "\ud800", "a\0b"]
    return [Row(f"event {i}", locations[i % 4], START_S + s, -60 * (i % 3)) for i, s in enumerate(seconds)]


# --- the obvious model ---------------------------------------------------------------------------


class ListHistory:
    """All that a history of one user promises, said as plainly as it can be."""

    def __init__(self, max_events: int, max_age_s: int | None) -> None:
        self.max_events, self.max_age_s = max_events, max_age_s
        self.rows: list[Row] = []
        self.num_events = 0

    def append(self, row: Row) -> bool:
        """Whether it was nothing but a new latest event."""
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
        if isinstance(step, Row):
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


# --- retention -----------------------------------------------------------------------------------


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


# --- users, import, memory -----------------------------------------------------------------------


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


# --- a file --------------------------------------------------------------------------------------


def test_a_file_remembers(tmp_path):
    with SqliteHistory(tmp_path / "h.db") as first:
        tell(first, rows_at([5, 1, 1]))
        rows, mark = rows_of(first), first.mark("ada")
    with SqliteHistory(tmp_path / "h.db") as second:
        assert (rows_of(second), second.mark("ada")) == (rows, mark)
        second.check()
    with pytest.raises(HistoryError, match=r"h\.db: .*closed"):
        second.mark("ada")


def test_what_others_write_is_seen(tmp_path):
    with SqliteHistory(tmp_path / "h.db") as one, SqliteHistory(tmp_path / "h.db") as other:
        one.keep(600)
        for i, row in enumerate(rows_at(range(600))[-20:]):
            (one, other)[i % 2].append("ada", *row)
            assert one.mark("ada") == other.mark("ada")
        assert rows_of(one) == rows_of(other) == rows_at(range(600))[-20:]
        other.forget("ada")
        assert one.mark("ada") is None
        assert one._file.execute("SELECT max_events FROM settings").fetchone() == (600,)


def content(folder) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.mark.parametrize("journal", ["truncate", "wal"])
def test_forgetting_leaves_no_byte_in_the_file_or_its_journal(tmp_path, journal, monkeypatch):
    if journal == "wal":
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 52, 0))
    with SqliteHistory(tmp_path / "h.db") as history:
        assert history._file.pragma("journal_mode") == journal
        rows = [Row(f"secret-{i:03}", f"place-{i:03}", START_S + 7 * i, 0) for i in range(400)]
        for i, row in enumerate(rows):
            tell(history, [row], f"user-{i % 4}")
        assert history.forget_events("user-1", Match("secret-201", None, 0, 2**33)) == 1
        assert history.forget_events("user-1", Match(None, "place-101", 0, 2**33)) == 1
        assert history.forget_events("user-2", Match(None, None, START_S, START_S + 700)) == 25
        assert history.forget("user-3") is True
        gone = {201, 101, *range(2, 101, 4), *range(3, 400, 4)}
        left = content(tmp_path)
        for i, row in enumerate(rows):
            # Times are written as SQLite does: four bytes, the high one first.
            traces = (row.event.encode(), row.location.encode(), row.time_s.to_bytes(4, "big"))
            assert [trace in left for trace in traces] == [i not in gone] * 3
        assert b"user-3" not in left
        history.check()
    assert len(rows_of(SqliteHistory(tmp_path / "h.db"), "user-2")) == 75


def test_a_file_that_lost_its_way_to_erasing_is_erased_when_opened(tmp_path):
    with SqliteHistory(tmp_path / "h.db", erases_at_once=False) as history:
        tell(history, rows_at(range(300)), "secret")
        tell(history, rows_at(range(30)), "other")
        history.forget("secret")
        assert history._file.execute("SELECT erase_pending FROM settings").fetchone() == (1,)
        size = history.path.stat().st_size
    with SqliteHistory(tmp_path / "h.db") as history:
        assert history._file.execute("SELECT erase_pending FROM settings").fetchone() == (0,)
        assert history.path.stat().st_size < size


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("PRAGMA application_id = 7", "a database, but not a history of edgebehave"),
        ("PRAGMA user_version = 2", "version 2, this edgebehave reads version 1: update"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, statement, says):
    path = tmp_path / "h.db"
    SqliteHistory(path).close()
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=says):
        SqliteHistory(path)
    assert path.read_bytes() == before


def test_what_is_no_file_of_sqlite_is_refused(tmp_path):
    (tmp_path / "h.db").write_text("dear diary, " * 1000)
    with pytest.raises(HistoryError, match="not a database"):
        SqliteHistory(tmp_path / "h.db")
    with pytest.raises(HistoryError, match="unable to open"):
        SqliteHistory(tmp_path / "no folder" / "h.db")
    assert (tmp_path / "h.db").read_text() == "dear diary, " * 1000


def use(path) -> None:
    """Everything a predictor asks of a history."""
    with SqliteHistory(path, survives_power_loss=False, timeout_s=0.1) as history:
        for user in history.users():
            history.mark(user)
            history.last_offset_min(user)
            rows_of(history, user)
            history.append(user, "x", None, START_S + 10**6, 0)
            history.forget_events(user, Match("event 3", None, 0, 2**33))
        history.check()


def test_a_damaged_file_is_an_error_of_ours_or_gives_valid_events(tmp_path):
    """SQLite keeps no checksums: a flipped letter of a name is another name."""
    with SqliteHistory(tmp_path / "h.db", survives_power_loss=False) as history:
        for user in ("ada", "bob"):
            tell(history, rows_at(range(60)), user)
    good = (tmp_path / "h.db").read_bytes()
    draw, damaged = np.random.default_rng(0), tmp_path / "damaged.db"
    num_refused = 0
    for trial in range(200):
        data = bytearray(good)
        # The first two pages, which hold the schema and the settings, and then all of the file.
        end = 8192 if trial % 2 else len(data)
        for location in draw.integers(0, end, 1 + trial % 3):
            data[location] ^= int(draw.integers(1, 256))
        damaged.write_bytes(data)
        try:
            use(damaged)
        except HistoryError:
            num_refused += 1
    assert num_refused > 20


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.99])
def test_a_truncated_file_is_refused_and_left_as_it_is(tmp_path, share):
    with SqliteHistory(tmp_path / "h.db", survives_power_loss=False) as history:
        tell(history, rows_at(range(300)))
    good = (tmp_path / "h.db").read_bytes()
    (tmp_path / "h.db").write_bytes(good[: int(len(good) * share)])
    before = (tmp_path / "h.db").read_bytes()
    with (
        pytest.raises(HistoryError, match=r"h\.db"),
        SqliteHistory(tmp_path / "h.db") as history,
    ):
        history.check()
    assert (tmp_path / "h.db").read_bytes() == before


def test_who_waits_too_long_is_told_so_and_nothing_is_noted(tmp_path):
    path = tmp_path / "h.db"
    with SqliteHistory(path) as patient, SqliteHistory(path, timeout_s=0.05) as hasty:
        tell(patient, rows_at([1]))
        with patient._file.writing(), pytest.raises(HistoryBusyError, match="kept busy by other"):
            tell(hasty, rows_at([2]))
        assert rows_of(hasty) == rows_at([1])
        tell(hasty, rows_at([2]), "bob")
        assert rows_of(patient, "bob") == rows_at([2])


def test_what_cannot_be_erased_at_once_is_erased_later(tmp_path):
    path = tmp_path / "h.db"
    with SqliteHistory(path, timeout_s=0.05) as history, SqliteHistory(path) as other:
        tell(history, rows_at(range(100)))
        reading = other._file.execute("SELECT * FROM events")
        reading.fetchone()
        with pytest.raises(HistoryBusyError):
            history.forget("ada")
        reading.close()
        history.forget("ada")
        assert history._file.pragma("page_count") < 10
        assert b"event 7" not in path.read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_fork_opens_a_history_of_its_own(tmp_path):
    with SqliteHistory(tmp_path / "h.db") as history:
        process = os.fork()
        if process == 0:
            try:
                history.mark("ada")
            except HistoryError as error:
                os._exit(0 if "before a fork" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(process, 0)[1] == 0
        tell(history, rows_at([1]))
