"""Histories in a file: durable, shared, erased without a trace; a damaged file is an error."""

import os
import sqlite3

import numpy as np
import pytest
from history_rows import START_S, Row, rows_at, rows_of, tell

from edgebehave import HistoryBusyError, HistoryError, SqliteHistory
from edgebehave.histories.history import Match
from edgebehave.histories.sqlite_file import SqliteFile


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


def test_a_number_of_numpy_is_stored_as_a_number(tmp_path):
    with SqliteHistory(tmp_path / "h.db", max_events=np.int64(3)) as history:
        tell(history, rows_at(range(5)))
        assert rows_of(history) == rows_at(range(5))[2:]
        assert history._file.execute("SELECT max_events FROM settings").fetchone() == (3,)


def test_put_retains_once_for_all_rows(tmp_path):
    with SqliteHistory(tmp_path / "h.db", max_events=100) as history, SqliteHistory(tmp_path / "2.db") as other:
        tell(other, rows_at(range(300)))
        statements: list[str] = []
        history._file._sql.set_trace_callback(statements.append)
        mark = history.put("ada", 400, other.latest("ada", 300)[1])
        assert sum("LIMIT" in statement for statement in statements) == 1
        assert rows_of(history) == rows_at(range(300))[200:]
        assert mark.num_events == history.mark("ada").num_events == 400


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
        ("PRAGMA user_version = 3", "version 3, this edgebehave reads versions up to 2: update"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, monkeypatch, statement, says):
    path = tmp_path / "h.db"
    SqliteHistory(path).close()
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    before = path.read_bytes()
    for version in ((3, 40, 0), (3, 52, 0)):  # a journal of the newer kind is noted in the file
        monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
        with pytest.raises(HistoryError, match=says):
            SqliteHistory(path)
        assert path.read_bytes() == before


def test_a_file_that_becomes_newer_while_it_is_opened_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "h.db"
    SqliteHistory(path).close()

    def another_process_updates(self) -> None:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 3")
        other.close()

    monkeypatch.setattr(SqliteFile, "_choose_journal", another_process_updates)
    with pytest.raises(HistoryError, match="a history of version 3"):
        SqliteHistory(path)


@pytest.mark.parametrize(
    ("version", "journal"), [((3, 51, 2), "truncate"), ((3, 51, 3), "wal"), ((3, 52, 0), "wal"), ((4, 0, 0), "wal")]
)
def test_the_journal_follows_the_version_of_sqlite(tmp_path, monkeypatch, version, journal):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with SqliteHistory(tmp_path / "h.db") as history:
        assert history._file.pragma("journal_mode") == journal


@pytest.mark.parametrize("survives", [True, False])
def test_the_settings_of_a_connection(tmp_path, survives):
    with SqliteHistory(tmp_path / "h.db", survives_power_loss=survives, max_events=1) as history:
        pragma = history._file.pragma
        assert pragma("secure_delete") == 1
        assert (pragma("synchronous"), pragma("fullfsync")) == ((2, 1) if survives else (1, 0))
        tell(history, rows_at([1, 2]))
        assert (rows_of(history), history.mark("ada")) == (rows_at([1, 2])[1:], (0, 2))


def statements_of(history, call) -> str:
    """What SQLite ran in a call."""
    ran: list[str] = []
    history._file._sql.set_trace_callback(ran.append)
    call()
    history._file._sql.set_trace_callback(None)
    return "; ".join(ran)


def test_a_file_is_rewritten_only_if_something_was_forgotten(tmp_path):
    with SqliteHistory(tmp_path / "h.db") as history:
        tell(history, rows_at([1, 2]))
        assert "VACUUM" not in statements_of(history, lambda: history.forget("bob"))
        assert "VACUUM" not in statements_of(history, lambda: history.forget_events("ada", Match("no", None, 0, 2**33)))
        assert "VACUUM" in statements_of(history, lambda: history.forget("ada"))
        assert "VACUUM" in statements_of(history, history.erase)


def test_a_new_file_has_nothing_to_erase(tmp_path, monkeypatch):
    monkeypatch.setattr(SqliteFile, "erase", lambda self: pytest.fail("nothing was forgotten"))
    SqliteHistory(tmp_path / "h.db").close()


def test_a_reading_sees_one_state_of_the_file(tmp_path):
    path = tmp_path / "h.db"
    with SqliteHistory(path) as history, SqliteHistory(path, timeout_s=0.05) as other:
        tell(history, rows_at([1]))
        with history._file.snapshot():
            history.mark("ada")
            with pytest.raises(HistoryBusyError, match=r"kept busy by other processes for 0\.05 s: try again"):
                tell(other, rows_at([1, 2])[1:])
        tell(other, rows_at([1, 2])[1:])
        assert rows_of(history) == rows_at([1, 2])


def test_a_journal_that_others_read_keeps_its_erasure_pending(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 52, 0))
    path = tmp_path / "h.db"
    with SqliteHistory(path, timeout_s=0.05) as history, SqliteHistory(path) as other:
        tell(history, rows_at(range(50)), "secret")
        with other._file.snapshot():
            other.mark("secret")
            with pytest.raises(HistoryBusyError, match="it is forgotten, but traces are left in the file until erase"):
                history.forget("secret")
            assert history._file.settings().erase_pending == 1
        history.erase()
        assert history._file.settings().erase_pending == 0
        assert (tmp_path / "h.db-wal").stat().st_size == 0


def test_a_file_that_cannot_be_used_is_closed(tmp_path, monkeypatch):
    closed: list[str] = []

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            closed.append("file")
            super().close()

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, factory=Connection, **options))
    (tmp_path / "text").write_text("dear diary, " * 1000)
    with pytest.raises(HistoryError):
        SqliteHistory(tmp_path / "text")
    assert closed == ["file"]

    def full(self, max_events):
        raise HistoryError("the disk is full")

    monkeypatch.setattr(SqliteHistory, "keep", full)
    with pytest.raises(HistoryError, match="disk is full"):
        SqliteHistory(tmp_path / "h.db")
    assert closed == ["file"] * 2


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_what_is_no_file_keeps_its_mode(tmp_path):
    folder = tmp_path / "h.db"
    folder.mkdir(mode=0o755)
    with pytest.raises(HistoryError, match="unable to open database file; it is a folder, name a file"):
        SqliteHistory(folder)
    assert mode(folder) == 0o755


def test_what_is_no_file_of_sqlite_is_refused(tmp_path):
    (tmp_path / "h.db").write_text("dear diary, " * 1000)
    with pytest.raises(HistoryError, match="not a database") as error:
        SqliteHistory(tmp_path / "h.db")
    assert type(error.value) is HistoryError  # nothing of it can be rescued
    with pytest.raises(HistoryError, match=r"unable to open database file; the folder .*no folder does not exist"):
        SqliteHistory(tmp_path / "no folder" / "h.db")
    with pytest.raises(HistoryError, match="unable to open database file"):
        SqliteHistory(tmp_path / f"{'x' * 300}.db")  # longer than a name of a file may be
    with pytest.raises(ValueError, match="needs the name of a file, got ''"):
        SqliteHistory("")
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
        for position in draw.integers(0, end, 1 + trial % 3):
            data[position] ^= int(draw.integers(1, 256))
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


def mode(path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
@pytest.mark.parametrize("journal", ["truncate", "wal"])
def test_other_accounts_cannot_read_a_history(tmp_path, journal, monkeypatch):
    if journal == "wal":
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 52, 0))
    before = os.umask(0)
    try:
        with SqliteHistory(tmp_path / "h.db") as history:
            tell(history, rows_at([1, 2]))
            with history._file.writing():
                history._file.execute("DELETE FROM events")
                files = {path.name: mode(path) for path in tmp_path.iterdir()}
                assert len(files) > 1
                assert set(files.values()) == {0o600}
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_a_history_that_others_could_read_is_closed_to_them(tmp_path):
    with SqliteHistory(tmp_path / "h.db") as history:
        tell(history, rows_at([1, 2]))
    (tmp_path / "h.db").chmod(0o677)
    with SqliteHistory(tmp_path / "h.db") as history:
        assert rows_of(history) == rows_at([1, 2])
    assert mode(tmp_path / "h.db") == 0o600


def test_a_history_in_memory_is_another_class():
    with pytest.raises(ValueError, match="use MemoryHistory"):
        SqliteHistory(":memory:")
    assert not os.path.exists(":memory:")


def test_a_history_of_the_process_before_a_fork_says_so(tmp_path, monkeypatch):
    history = SqliteHistory(tmp_path / "h.db")
    process = os.getpid()
    monkeypatch.setattr("edgebehave.histories.sqlite_file.os.getpid", lambda: process + 1)
    with pytest.raises(HistoryError, match="opened before a fork"):
        history.users()
