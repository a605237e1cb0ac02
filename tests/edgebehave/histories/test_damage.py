"""Histories whose bytes changed on the disk: the users affected are named, the others go on, and rescue keeps them."""

import sqlite3
from collections import Counter
from zlib import crc32

import pytest
from history_rows import START_S, rows_at, rows_of, tell

import damage_files
from edgebehave import DamagedHistoryError, HistoryError, Predictor, SqliteHistory, rescue_history
from edgebehave.histories.checksums import checksum_of, event_checksum
from edgebehave.histories.history import Match

VERSION_1 = """
CREATE TABLE settings (only_row INTEGER PRIMARY KEY CHECK (only_row = 0), max_events INTEGER NOT NULL,
  next_life INTEGER NOT NULL, erase_pending INTEGER NOT NULL);
CREATE TABLE users (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, changes INTEGER NOT NULL,
  num_events INTEGER NOT NULL);
CREATE TABLE events (user INTEGER NOT NULL REFERENCES users, time_s INTEGER NOT NULL, arrival INTEGER NOT NULL,
  utc_offset_min INTEGER NOT NULL, event BLOB NOT NULL, location BLOB, PRIMARY KEY (user, time_s, arrival)
) WITHOUT ROWID;
INSERT INTO settings VALUES (0, 700, 4, 0);
PRAGMA application_id = 0x45446248;
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path):
    """A history of ada and bob, 60 events each."""
    with SqliteHistory(tmp_path / "h.db", survives_power_loss=False) as history:
        for user in ("ada", "bob"):
            tell(history, rows_at(range(60)), user)
    return tmp_path / "h.db"


def change(path, statement: str, *values) -> None:
    """Change a row as no runtime would; SQLite itself finds nothing wrong."""
    with sqlite3.connect(path) as other:
        other.execute(statement, values)
    other.close()


DAMAGES = {
    "a name": "UPDATE events SET event = 'other' WHERE user = 2 AND arrival = 0 AND time_s % 60 = 3",
    "a location": "UPDATE events SET location = NULL WHERE user = 2 AND location = 'home'",
    "a time": f"UPDATE events SET time_s = time_s + 1000 WHERE user = 2 AND time_s = {START_S + 7}",
    "an offset": f"UPDATE events SET utc_offset_min = 60 WHERE user = 2 AND time_s = {START_S + 7}",
    "a checksum": f"UPDATE events SET checksum = checksum + 1 WHERE user = 2 AND time_s = {START_S + 7}",
    "a kind": f"UPDATE events SET checksum = 'x' WHERE user = 2 AND time_s = {START_S + 7}",
    "a lost event": f"DELETE FROM events WHERE user = 2 AND time_s = {START_S + 7}",
    "all events lost": "DELETE FROM events WHERE user = 2",
    "a number of events": "UPDATE users SET num_events = 61 WHERE id = 2",
    "changes": "UPDATE users SET changes = 1 WHERE id = 2",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_row_names_its_user_and_the_other_goes_on(path, tmp_path, damage):
    change(path, DAMAGES[damage])
    with SqliteHistory(path, survives_power_loss=False) as history:
        assert history.users() == ["ada", "bob"]
        with pytest.raises(DamagedHistoryError, match=r"h\.db is damaged in the history of 'bob'") as error:
            history.latest("bob", 1000)
        assert error.value.users == ("bob",)
        assert rows_of(history, "ada") == rows_at(range(60))
        tell(history, rows_at([100]), "ada")
        assert history.last_offset_min("ada") == 0
        with pytest.raises(DamagedHistoryError, match="is damaged: the histories of 'bob'; rescue_history") as error:
            history.check()
        assert error.value.users == ("bob",)
    assert rescue_history(path, tmp_path / "new.db") == ["bob"]
    with SqliteHistory(tmp_path / "new.db") as new:
        assert new.users() == ["ada"]
        assert rows_of(new, "ada") == [*rows_at(range(60)), *rows_at([100])]
        assert new.mark("ada").num_events == 61
    with SqliteHistory(path, survives_power_loss=False) as history:
        assert history.forget("bob") is True
        tell(history, rows_at([5]), "bob")
        assert rows_of(history, "bob") == rows_at([5])
        history.check()


def test_more_events_do_not_hide_what_was_lost(path):
    change(path, DAMAGES["a lost event"])
    with SqliteHistory(path, survives_power_loss=False) as history:
        tell(history, rows_at([200]), "bob")
        history.forget_events("bob", Match("event 3", None, 0, 2**33))
        with pytest.raises(DamagedHistoryError, match="events are lost or changed"):
            history.last_offset_min("bob")


def test_a_damaged_row_of_a_user_is_no_number_to_go_on_from(path):
    change(path, DAMAGES["changes"])
    with SqliteHistory(path, survives_power_loss=False) as history:
        for call in (lambda: history.mark("bob"), lambda: tell(history, rows_at([99]), "bob")):
            with pytest.raises(DamagedHistoryError, match="the row of this user does not fit its checksum"):
                call()
        assert history.forget("bob") is True
        (mark,) = tell(history, rows_at([1]), "bob")
        assert mark == (2**40 + 1, 1)


@pytest.mark.parametrize("statement", ["DELETE FROM users WHERE id = 2", "UPDATE users SET name = 'eve' WHERE id = 2"])
def test_a_lost_user_is_no_new_user(path, statement):
    change(path, statement)
    with SqliteHistory(path, survives_power_loss=False) as history:
        for call in (history.users, lambda: history.mark("bob"), lambda: history.forget("bob")):
            with pytest.raises(DamagedHistoryError, match="names of users are lost or changed"):
                call()
        with pytest.raises(DamagedHistoryError, match="names of users are lost"):
            tell(history, rows_at([1]), "bob")
        assert rows_of(history, "ada") == rows_at(range(60))
    lost = rescue_history(path, path.with_name("new.db"))
    assert lost in ([""], ["eve"])


def test_settings_that_changed_keep_a_file_closed_and_rescue_opens_it(path, tmp_path):
    change(path, "UPDATE settings SET max_events = 3")
    with pytest.raises(DamagedHistoryError, match="its settings do not fit their checksum; rescue_history"):
        SqliteHistory(path)
    assert rescue_history(path, tmp_path / "new.db") == []
    with SqliteHistory(tmp_path / "new.db") as new:
        assert [rows_of(new, user) for user in new.users()] == [rows_at(range(60))] * 2


def test_a_rescue_that_cannot_write_ends_and_leaves_no_file(path, tmp_path, monkeypatch):
    """On a full disk no user is called damaged who is not: the caller would delete the only copy."""
    put = SqliteHistory.put

    def full_at_bob(self, user, *events):
        if user == "bob":
            raise HistoryError("new.db: database or disk is full")
        return put(self, user, *events)

    monkeypatch.setattr(SqliteHistory, "put", full_at_bob)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(HistoryError, match="disk is full"):
        rescue_history(path, tmp_path / "new.db")
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    assert rescue_history(path, tmp_path / "new.db") == []


def test_tables_that_changed_are_refused(path):
    change(path, "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM events; END")
    with pytest.raises(DamagedHistoryError, match="its tables are not those of a history"):
        SqliteHistory(path)


def test_events_of_a_user_who_is_missing_are_found(path):
    change(path, "INSERT INTO events VALUES (9, 1767268800, 0, 0, 'mail', NULL, 0)")
    with SqliteHistory(path, survives_power_loss=False) as history:
        with pytest.raises(DamagedHistoryError, match="events of a user who is missing") as error:
            history.check()
        assert error.value.users == ()


def test_expiry_goes_past_a_damaged_user(path):
    from datetime import timedelta

    change(path, DAMAGES["changes"])
    with SqliteHistory(path, max_age=timedelta(hours=1), survives_power_loss=False) as history:
        assert history.expire(START_S + 10**6) == 120
        assert history.users() == ["bob"]
        with pytest.raises(DamagedHistoryError):
            history.mark("bob")


OLD_ROWS = [
    *((3, START_S + i, 0, 60, f"event {i % 9}", None if i % 2 else "home") for i in range(600)),
    *((7, START_S, 0, 0, "mail", None), (7, START_S, 1, 0, b"\xed\xa0\x81", None)),
]


@pytest.fixture
def old_path(tmp_path):
    """A file of version 1."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_1)
        old.execute("INSERT INTO users VALUES (3, 'bob', 2, 700), (7, ?, 0, 2)", (b"\xed\xa0\x80",))
        old.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", OLD_ROWS)
    old.close()
    return path


def test_a_file_that_is_only_read_stays_as_it_is(path, old_path):
    for file, user, num_events in ((path, "ada", 60), (old_path, "bob", 700)):
        file.chmod(0o644)
        before = file.read_bytes(), file.stat().st_mtime_ns, sorted(file.parent.iterdir())
        with SqliteHistory(file, reads_only=True, max_events=900) as history:
            assert history.mark(user).num_events == num_events
            assert history.mark("nobody") is None
            history.check()
            with pytest.raises(HistoryError, match="readonly"):
                history.forget(user)
            with pytest.raises(HistoryError, match="readonly"):
                tell(history, rows_at([999]), user)
        assert (file.read_bytes(), file.stat().st_mtime_ns, sorted(file.parent.iterdir())) == before
        assert file.stat().st_mode & 0o777 == 0o644


def test_only_reading_makes_no_file_and_finds_damage_of_version_1(tmp_path, old_path):
    with pytest.raises(HistoryError, match="unable to open database file; there is no such file"):
        SqliteHistory(tmp_path / "none.db", reads_only=True)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(HistoryError, match=r"empty\.db is an empty file"):
        SqliteHistory(tmp_path / "empty.db", reads_only=True)
    change(old_path, "UPDATE users SET num_events = 599 WHERE id = 3")
    with SqliteHistory(old_path, reads_only=True) as history:
        with pytest.raises(DamagedHistoryError) as error:
            history.check()
        assert error.value.users == ("bob",)


def test_a_file_of_version_1_gets_checksums_and_loses_nothing(tmp_path, old_path):
    path, rows = old_path, OLD_ROWS
    for _ in range(2):
        with SqliteHistory(path) as history:
            assert history.users() == ["bob", "\ud800"]
            assert history.mark("bob") == (2, 700)
            assert [tuple(row) for row in rows_of(history, "bob")] == [(e, p, t, o) for _, t, _, o, e, p in rows[:600]]
            assert [row.event for row in rows_of(history, "\ud800")] == ["mail", "\ud801"]
            history.check()
            settings = history._file.settings()
            assert (settings.max_events, settings.next_life, settings.num_users) == (700, 4, 2)
            assert history._file.pragma("user_version") == 2
    assert rescue_history(path, tmp_path / "new.db") == []


def test_a_damaged_file_of_version_1_is_rescued_as_far_as_it_says(tmp_path):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_1)
        old.execute("INSERT INTO users VALUES (1, 'ada', 0, 3), (2, 'bob', 0, 1), (3, 'eve', 0, 9)")
        rows = [(user, START_S + i, 0, 0, "mail", None) for user in (1, 2) for i in range(2)]
        old.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
    old.close()
    assert rescue_history(path, tmp_path / "new.db") == ["bob", "eve"]  # more events than were observed; none
    with SqliteHistory(tmp_path / "new.db") as new:
        assert (new.users(), new.mark("ada").num_events) == (["ada"], 3)


def test_rescue_says_what_it_cannot_do(path, tmp_path):
    with pytest.raises(FileExistsError, match="name a new file"):
        rescue_history(path, path)
    with pytest.raises(HistoryError, match="is not a file"):
        rescue_history(tmp_path / "none.db", tmp_path / "new.db")
    (tmp_path / "text.db").write_text("dear diary " * 1000)
    with pytest.raises(HistoryError, match="nothing can be read"):
        rescue_history(tmp_path / "text.db", tmp_path / "new.db")


def test_a_predictor_goes_on_for_the_others(path):
    change(path, DAMAGES["a name"])
    predictor = Predictor(history=SqliteHistory(path), model="habits")
    assert predictor.predict("ada", at=START_S + 1000)
    with pytest.raises(DamagedHistoryError):
        predictor.predict("bob", at=START_S + 1000)
    predictor.forget("bob")
    assert predictor.predict("bob", at=START_S + 1000) == []


def test_checksums_tell_values_and_kinds_apart():
    values = [(), (None,), (1,), ("1",), (b"1",), (1, 1), (11,), ("1", "1"), ("11",), ("1", None), (-1,), ("",), (b"",)]
    sums = {checksum_of(*each) for each in values}
    assert len(sums) == len(values)
    assert checksum_of(1.0) == checksum_of(True) == -1
    # The form in which values are summed is that of the files out there.
    assert event_checksum(1, START_S, 0, 60, "mail", None) == crc32(b"1;1767268800;0;60;t4:mailn")
    assert checksum_of(-3, "é", b"\xed\xa0\x80") == crc32(b"-3;t2:\xc3\xa9b3:\xed\xa0\x80")


@pytest.mark.slow
def test_damage_at_rest_is_found_or_has_no_meaning():
    """The short form of research/damage_files.py, whose figures are in docs/reliability.md."""
    ends = damage_files.trials(60, damage_files.make_history, damage_files.read_history, damage_files.damage_history, 3)
    assert (ends.get("different", 0), ends.get("traceback", 0), ends["whole users not rescued"]) == (0, 0, 0)
    assert ends["found"] > 40
    assert ends["users rescued"] > 500


def test_judging_finds_a_silent_difference(tmp_path):
    damage_files.make_history(tmp_path / "one", 0)
    whole = damage_files.read_history(tmp_path / "one")
    with SqliteHistory(tmp_path / "one" / "history.db") as history:
        history.append("user 1", "app.x", None, START_S + 10**6, 0)
    assert damage_files.judge_history(tmp_path / "one", whole, Counter()) == "different"


FOREIGN = {
    "a time out of range": {"time_s": 5},
    "an offset out of range": {"utc_offset_min": 5000},
    "an empty name": {"event": ""},
    "bytes that are no name": {"location": b"\xff"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_values_that_no_runtime_writes_are_refused_in_spite_of_their_checksums(path, kind):
    """A file of another origin: whoever writes it can write checksums too."""
    row = {"user": 2, "time_s": START_S + 100, "arrival": 0, "utc_offset_min": 0, "event": "mail", "location": None}
    values = [*(row | FOREIGN[kind]).values()]
    with SqliteHistory(path, survives_power_loss=False) as history:
        bob = history._find("bob")
        checksum = event_checksum(*values)
        with history._file.writing():
            history._file.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, checksum))
            history._save(bob._replace(num_events=61, num_retained=61, events_sum=bob.events_sum + checksum))
        with pytest.raises(DamagedHistoryError, match="in the history of 'bob'"):
            history.latest("bob", 1000)
        assert rows_of(history, "ada") == rows_at(range(60))


def test_a_text_that_is_no_text_is_damage_of_its_user(path):
    change(path, f"UPDATE events SET location = CAST(x'ff' AS TEXT) WHERE user = 2 AND time_s = {START_S + 7}")
    with SqliteHistory(path, survives_power_loss=False) as history:
        with pytest.raises(DamagedHistoryError, match=r"of 'bob': .*decode.*whole, forget ends this one$") as error:
            history.latest("bob", 1000)
        assert error.value.users == ("bob",)


def test_a_user_without_an_event_cannot_be(path):
    with SqliteHistory(path, survives_power_loss=False) as history:
        with history._file.writing():
            history._save(history._find("bob")._replace(num_events=0, num_retained=0, events_sum=0))
            history._file.execute("DELETE FROM events WHERE user = 2")
        with pytest.raises(DamagedHistoryError, match="in the history of 'bob': events are lost"):
            history.latest("bob", 1000)


def test_damage_of_what_all_users_share_names_none(path):
    change(path, "DELETE FROM settings")
    with pytest.raises(DamagedHistoryError, match=r"users who are whole$") as error:
        SqliteHistory(path)
    assert error.value.users == ()


def test_fewer_events_than_are_retained_cannot_be(path):
    with SqliteHistory(path, survives_power_loss=False) as history:
        with history._file.writing():
            history._save(history._find("bob")._replace(num_events=59))
        with pytest.raises(DamagedHistoryError, match="60 events of 59"):
            history.latest("bob", 1000)


def test_a_damaged_user_of_a_name_in_bytes_is_named_as_it_was(path):
    with SqliteHistory(path, survives_power_loss=False) as history:
        tell(history, rows_at([1, 2]), "\ud800")
    change(path, "UPDATE events SET event = 'other' WHERE user = 3")
    with SqliteHistory(path, survives_power_loss=False) as history:
        with pytest.raises(DamagedHistoryError) as error:
            history.check()
        assert error.value.users == ("\ud800",)


def test_expiry_of_events_without_a_user_is_an_error(path):
    from datetime import timedelta

    change(path, f"INSERT INTO events VALUES (9, {START_S}, 0, 0, 'mail', NULL, 0)")
    with SqliteHistory(path, max_age=timedelta(hours=1), survives_power_loss=False) as history:
        with pytest.raises(DamagedHistoryError, match="events of a user who is missing"):
            history.expire(START_S + 10**6)
        assert rows_of(history, "ada") == rows_at(range(60))


def test_a_time_that_is_no_number_is_damage(path):
    change(path, f"UPDATE events SET time_s = 'noon' WHERE user = 2 AND time_s = {START_S + 59}")
    history = SqliteHistory(path, survives_power_loss=False)
    with pytest.raises(DamagedHistoryError, match=r"in the history of 'bob': damaged: 'noon' is in the place of a"):
        tell(history, rows_at([100]), "bob")


def test_an_index_that_lost_a_name_is_found_before_a_user_counts_as_new(path):
    """Overwrites the name in the index alone, as a flipped bit would."""
    data = path.read_bytes()
    with sqlite3.connect(path) as other:
        (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name LIKE 'sqlite_autoindex%'").fetchone()
    other.close()
    begin = 4096 * (page - 1)
    index = data[begin : begin + 4096].replace(b"bob", b"bpb")
    path.write_bytes(data[:begin] + index + data[begin + 4096 :])
    with SqliteHistory(path, survives_power_loss=False) as history:
        for call in (lambda: history.mark("bob"), lambda: tell(history, rows_at([1]), "bob"), history.check):
            with pytest.raises(DamagedHistoryError, match=r"h\.db is damaged"):
                call()
        assert rows_of(history, "ada") == rows_at(range(60))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("reads_only", [False, True])
@pytest.mark.parametrize(
    "harm",
    [
        "CREATE TRIGGER copies AFTER DELETE ON events BEGIN INSERT INTO users VALUES (9, 'x', 0, 0); END",
        "CREATE VIEW more AS SELECT * FROM events",
        "CREATE TABLE more (anything)",
        "ALTER TABLE users ADD COLUMN large AS (zeroblob(900000000))",
        """DROP TABLE events;
        CREATE VIEW events AS WITH RECURSIVE n(user) AS (SELECT 1 UNION ALL SELECT user + 1 FROM n)
        SELECT user, 1 AS time_s, 0 AS arrival, 0 AS utc_offset_min, 'a' AS event, NULL AS location FROM n""",
    ],
    ids=lambda harm: " ".join(str(harm).split()[:2]),
)
def test_a_file_whose_reading_would_run_something(tmp_path, version, reads_only, harm):
    """A view without an end ran as soon as a file of version 1 was opened."""
    path = tmp_path / "h.db"
    if version == 2:
        SqliteHistory(path).close()
    with sqlite3.connect(path) as other:
        other.executescript(harm if version == 2 else VERSION_1 + harm)
    other.close()
    with pytest.raises(DamagedHistoryError, match="its tables are not those of a history"):
        SqliteHistory(path, reads_only=reads_only)
