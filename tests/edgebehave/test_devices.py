"""What happens to devices: clocks that are wrong, events that are told twice, forks, copies, full disks."""

import copy
import os
import pickle  # noqa: TID251 - a test that nothing of ours is pickled
import signal
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from lives import START_S, TINY

from edgebehave import HistoryError, MemoryHistory, Predictor, SqliteHistory
from edgebehave.histories import sqlite_file

DAY_S = 86_400


@pytest.fixture(params=["memory", "sqlite"])
def history(request, tmp_path):
    return MemoryHistory() if request.param == "memory" else SqliteHistory(tmp_path / "h.db")


@pytest.mark.parametrize("at", [lambda now: now + DAY_S + 60, lambda now: 4_070_908_800])
def test_an_event_of_a_wrong_clock_is_refused(history, at):
    predictor = Predictor(history=history)
    predictor.observe("ada", "mail", at=time.time() - 60)
    before = predictor.export_user("ada")
    for late in (at(time.time()), datetime.fromtimestamp(at(time.time()), UTC)):
        with pytest.raises(ValueError, match=r"days after this device's clock, 1 are allowed: .*max_ahead=None"):
            predictor.observe("ada", "camera", at=late)
    with pytest.raises(ValueError, match="days after this device's clock"):
        predictor.observe_many(["ada", "bob"], ["mail", "camera"], at=[time.time(), at(time.time())])
    assert predictor.export_user("ada") == before
    assert predictor.users == ["ada"]
    predictor.observe("ada", "mail", at=time.time() + DAY_S - 60)  # a time zone, a clock that was put back


def test_another_limit_and_none(history):
    strict = Predictor(history=history, max_ahead=timedelta(minutes=5))
    with pytest.raises(ValueError, match="device's clock"):
        strict.observe("ada", "mail", at=time.time() + 400)
    Predictor(history=history, max_ahead=None).observe("ada", "mail", at=4_000_000_000)
    with pytest.raises(ValueError, match="max_ahead must be longer than zero"):
        Predictor(max_ahead=timedelta(0))
    with pytest.raises(TypeError, match=r"history must be a history, got a path: pass SqliteHistory\('h.db'\)"):
        Predictor(history="h.db")
    with pytest.raises(TypeError, match=r"max_ahead must be a datetime\.timedelta"):
        Predictor(max_ahead=60)


def test_the_same_event_counts_once(history):
    once, often = Predictor(), Predictor(history=history)
    events = [("mail", START_S, "home", 60), ("bus", START_S, None, 60), ("mail", START_S + 900, None, 60)]
    events += [("mail", START_S, None, 60), ("mail", START_S, "home", 0)]  # another place, another offset
    for event, at, location, offset in events:
        once.observe("ada", event, at=at, location=location, utc_offset_min=offset)
        for _ in range(3):
            often.observe("ada", event, at=at, location=location, utc_offset_min=offset)
            often.predict("ada", at=START_S + 1000)
    often.observe_many(
        ["ada"] * 5,
        [event for event, *_ in events],
        at=[at for _, at, _, _ in events],
        location=[location for _, _, location, _ in events],
        utc_offset_min=[offset for *_, offset in events],
    )
    assert often.num_events("ada") == 5
    assert often.export_user("ada") == once.export_user("ada")
    assert often.predict("ada", at=START_S + 1000) == once.predict("ada", at=START_S + 1000)


def test_an_event_that_others_told_already_counts_once(tmp_path):
    """Two processes hear of the same event; the one that is late has a mapped history that is behind."""
    one, other = (Predictor(history=SqliteHistory(tmp_path / "h.db")) for _ in range(2))
    one.observe("ada", "mail", at=START_S)
    one.predict("ada", at=START_S + 60)
    for predictor in (other, one):
        predictor.observe("ada", "bus", at=START_S + 30)
    alone = Predictor()
    for event, at in (("mail", START_S), ("bus", START_S + 30)):
        alone.observe("ada", event, at=at)
    assert one.predict("ada", at=START_S + 60) == alone.predict("ada", at=START_S + 60)
    assert one.num_events("ada") == 2


def test_an_import_keeps_what_older_versions_counted_twice():
    predictor = Predictor()
    predictor.observe("ada", "mail", at=START_S)
    predictor.observe("ada", "mail", at=START_S + 1)
    text = predictor.export_user("ada").decode().replace(str(START_S + 1), str(START_S))
    other = Predictor()
    other.import_user("ada", text)
    assert other.num_events("ada") == 2
    assert other.export_user("ada").decode() == text


def test_a_predictor_says_what_to_do_instead_of_pickling():
    predictor = Predictor()
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make one in each process, with Predictor"):
            copied(predictor)


def _ends(child: int, seconds: float) -> int | None:
    """The exit status of a child, None if it has not ended in time; it is then killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("with_bundle", [True, False])
def test_a_child_of_a_fork_under_load_goes_on(with_bundle):
    if with_bundle:
        pytest.importorskip("onnxruntime")
    predictor = Predictor.load(TINY / "int8") if with_bundle else Predictor()
    predictor.observe("ada", "mail", at=START_S)
    stop, errors = threading.Event(), []

    def work(number: int) -> None:
        at = START_S + number
        try:
            while not stop.is_set():
                at += 4
                predictor.observe("ada", f"event {at % 7}", at=at)
                predictor.predict("ada", at=at)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    predictor.observe("ada", "mail", at=START_S + 10**6)
                    answer = predictor.predict("ada", at=START_S + 10**6 + 60)
                    known = Predictor.load(TINY / "int8") if with_bundle else Predictor()
                    known.import_user("ada", predictor.export_user("ada"))
                    status = 0 if known.predict("ada", at=START_S + 10**6 + 60) == answer else 2
                finally:
                    os._exit(status)
            assert _ends(child, 60) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_a_full_disk_does_not_keep_a_history_closed(tmp_path, monkeypatch):
    path = tmp_path / "h.db"
    predictor = Predictor(history=SqliteHistory(path))
    predictor.observe("ada", "secret", at=START_S)
    predictor.observe("bob", "mail", at=START_S)

    def full(self) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise HistoryError(f"{self.path}: {error}") from error

    with monkeypatch.context() as disk:
        disk.setattr(sqlite_file.SqliteFile, "erase", full)
        with pytest.raises(HistoryError, match="it is forgotten, but traces are left"):
            predictor.forget("ada")
        with pytest.warns(RuntimeWarning, match="stay in the file until there is room"):
            history = SqliteHistory(path)
        assert history.users() == ["bob"]
        history.append("bob", "bus", None, START_S + 60, 0)
        history.close()
    with SqliteHistory(path) as history:
        assert history.users() == ["bob"]
        assert history._file.execute("SELECT erase_pending FROM settings").fetchone() == (0,)
