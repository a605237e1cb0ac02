"""Histories in a SQLite file: an event that was acknowledged survives."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgebehave.histories.history import (
    HistoryBusyError,
    HistoryError,
    Mark,
    Match,
    NamedColumn,
    NamedEvents,
    UserEvent,
)
from edgebehave.histories.retention import HISTORY_EVENTS, Retention
from edgebehave.names import check_name

SCHEMA_VERSION = 1
"""PRAGMA user_version of the files that this runtime reads and writes."""

_APPLICATION_ID = 0x45446248
"""PRAGMA application_id: "EDbH", tells our files from other people's databases."""

_WAL_IS_SAFE_FROM = (3, 51, 3)
"""Before it, two connections in WAL mode could lose a commit (a reset of the log in a race)."""

# Names are TEXT, or BLOB where they hold lone surrogates, which UTF-8 has not. Times are UTC
# seconds. Events of the same second differ by `arrival`.
_SCHEMA = f"""
CREATE TABLE settings (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 0),
  max_events INTEGER NOT NULL,
  next_life INTEGER NOT NULL,
  erase_pending INTEGER NOT NULL
);
CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  changes INTEGER NOT NULL,
  num_events INTEGER NOT NULL
);
CREATE TABLE events (
  user INTEGER NOT NULL REFERENCES users,
  time_s INTEGER NOT NULL,
  arrival INTEGER NOT NULL,
  utc_offset_min INTEGER NOT NULL,
  event BLOB NOT NULL,
  location BLOB,
  PRIMARY KEY (user, time_s, arrival)
) WITHOUT ROWID;
INSERT INTO settings VALUES (0, 1, 0, 0);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

_INSERT_EVENT = """
INSERT INTO events SELECT :user, :time_s, coalesce(max(arrival) + 1, 0), :offset, :event, :location
FROM events WHERE user = :user AND time_s = :time_s
"""


class SqliteHistory:
    """The history of a `Predictor` in a file of its own, which survives the process.

    Implements `History`, which says what the methods do.

    Durable: `append` (and so `Predictor.observe`) returns after the event has reached the disk: it
    survives a kill at any moment, and, unless told otherwise, a loss of power. `append_many` waits
    for the disk once, and a kill leaves all of its events or none. After a restart predictions are
    equal to the bit.

    Shared: several threads may use one SqliteHistory, and several processes may each open one on
    the same file, which must lie on a local disk. Each sees what the others acknowledged. Writers
    wait for each other, up to `timeout_s`; give all of them the same `max_age`. A process that
    forks opens a new one.

    Forgetting: what `forget`, `forget_events` and `expire` remove is overwritten, and the file is
    rewritten without it before they return, which takes time in proportion to its size; neither the
    file nor its journal holds a byte of it then. What file systems and flash memory keep of blocks
    that were overwritten, snapshots and backups are beyond this.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_events: int = HISTORY_EVENTS,
        max_age: timedelta | None = None,
        timeout_s: float = 10.0,
        survives_power_loss: bool = True,
        erases_at_once: bool = True,
    ) -> None:
        """Open the file, or make it if it is not there; its folder must be.

        max_events, max_age  as in `MemoryHistory`. The file keeps the largest `max_events` that it
                             was ever opened with.
        timeout_s            how long to wait for other processes.
        survives_power_loss  False: no waiting for the disk (synchronous=NORMAL). Faster, and still
                             safe from kills; a loss of power may cost the latest events.
        erases_at_once       False: forgetting is quick, but traces of what was forgotten may stay
                             in the file until `erase` is called. For servers with large files.
        Raises HistoryError if the file is damaged, is something else, or of a newer version.
        """
        self._retention = Retention(max_events, max_age)
        self.path = Path(path)
        self._erases_at_once = erases_at_once
        self._timeout_s = timeout_s
        self._process = os.getpid()
        self._lock = threading.RLock()
        with self._explained():
            # Transactions are begun and ended by hand: isolation_level None.
            self._sql = sqlite3.connect(
                self.path.absolute(),
                timeout=timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._open(survives_power_loss)
            except BaseException:
                self._sql.close()
                raise

    def __enter__(self) -> "SqliteHistory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        with self._lock:
            self._sql.close()

    def keep(self, max_events: int) -> None:
        with self._writing():
            self._sql.execute("UPDATE settings SET max_events = ? WHERE max_events < ?", (max_events, max_events))

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark:
        with self._writing():
            return self._append(user, event, location, time_s, utc_offset_min)

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark]:
        with self._writing():
            return [self._append(*row) for row in rows]

    def mark(self, user: str) -> Mark | None:
        with self._reading():
            row = self._sql.execute("SELECT changes, num_events FROM users WHERE name = ?", (_stored(user),)).fetchone()
            return None if row is None else Mark(*map(_integer, row))

    def latest(self, user: str, max_events: int) -> tuple[Mark, NamedEvents] | None:
        with self._reading():
            # One statement sees one state of the file, whatever others write meanwhile.
            rows = self._sql.execute(
                "SELECT changes, num_events, event, location, time_s, utc_offset_min"
                " FROM users JOIN events ON events.user = users.id WHERE name = ?"
                " ORDER BY time_s DESC, arrival DESC LIMIT ?",
                (_stored(user), max_events),
            ).fetchall()
            if not rows:
                return None
            try:
                return _read(rows[::-1])
            except (ValueError, OverflowError) as error:
                raise sqlite3.DatabaseError(f"damaged: the history of {user!r:.60}: {error}") from error

    def last_offset_min(self, user: str) -> int:
        with self._reading():
            row = self._sql.execute(
                "SELECT utc_offset_min FROM users JOIN events ON events.user = users.id"
                " WHERE name = ? ORDER BY time_s DESC, arrival DESC LIMIT 1",
                (_stored(user),),
            ).fetchone()
            return 0 if row is None else _integer(row[0])

    def users(self) -> list[str]:
        with self._reading():
            rows = self._sql.execute("SELECT name FROM users ORDER BY id").fetchall()
            return [_name(name) for (name,) in rows]

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        with self._writing():
            user_id, latest_s = self._user_to_write(user)
            if latest_s is not None:
                raise ValueError(f"user {user!r:.60} has a history already: forget it first")
            for row in zip(
                events.event.rows(),
                events.location.rows(),
                events.time_s.tolist(),
                events.utc_offset_min.tolist(),
                strict=True,
            ):
                self._insert(user_id, *row)
            self._sql.execute("UPDATE users SET num_events = ? WHERE id = ?", (num_events, user_id))
            self._retain(user_id, int(events.time_s[-1]))
            return self._mark(user_id)

    def forget(self, user: str) -> bool:
        with self._writing():
            row = self._sql.execute("SELECT id FROM users WHERE name = ?", (_stored(user),)).fetchone()
            if row is not None:
                self._end_life(row[0])
                self._to_be_erased()
        if row is not None:
            self._erase_what_was_forgotten()
        return row is not None

    def forget_events(self, user: str, match: Match) -> int:
        with self._writing():
            row = self._sql.execute("SELECT id FROM users WHERE name = ?", (_stored(user),)).fetchone()
            if row is None:
                return 0
            user_id = row[0]
            num_forgotten = self._sql.execute(
                "DELETE FROM events WHERE user = :user AND time_s BETWEEN :first_s AND :last_s"
                " AND (:event IS NULL OR event = :event)"
                " AND (:location IS NULL OR location = :location)",
                {
                    "user": user_id,
                    "first_s": match.first_s,
                    "last_s": match.last_s,
                    "event": _stored(match.event),
                    "location": _stored(match.location),
                },
            ).rowcount
            if not num_forgotten:
                return 0
            self._changed(user_id)
            self._sql.execute(
                "UPDATE users SET num_events = num_events - ? WHERE id = ?",
                (num_forgotten, user_id),
            )
            if self._latest_s(user_id) is None:
                self._end_life(user_id)
            self._to_be_erased()
        self._erase_what_was_forgotten()
        return int(num_forgotten)

    def expire(self, now_s: int) -> int:
        """Erase what has reached `max_age` at a moment, of all users; returns how many events.

        Users with nothing younger are forgotten as a whole. For users who come back this happens by
        itself; call it now and then, with the time, where others are not to be kept for ever.
        """
        oldest_s = self._retention.oldest_at(now_s)
        with self._writing():
            aged = self._sql.execute("SELECT DISTINCT user FROM events WHERE time_s < ?", (oldest_s,)).fetchall()
            num_expired = 0
            for (user_id,) in aged:
                num_expired += self._expire(user_id, oldest_s)
                if self._latest_s(user_id) is None:
                    self._end_life(user_id)
            if num_expired:
                self._to_be_erased()
        if num_expired:
            self._erase_what_was_forgotten()
        return num_expired

    def erase(self) -> None:
        """Rewrite the file so that nothing of what was forgotten is left in it or its journal.

        Raises HistoryBusyError if others keep it busy; it then happens at the next opening or
        erasing. What was forgotten is out of every answer already.
        """
        with self._lock, self._explained():
            self._sql.execute("VACUUM")
            self._empty_log()
            with self._writing():
                self._sql.execute("UPDATE settings SET erase_pending = 0")
            self._empty_log()

    def check(self) -> None:
        """Read the whole file and raise HistoryError if anything in it is damaged."""
        with self._reading():
            found = [str(row[0]) for row in self._sql.execute("PRAGMA integrity_check")]
            if found != ["ok"]:
                raise sqlite3.DatabaseError(found[0])

    def _open(self, survives_power_loss: bool) -> None:
        self._sql.execute("PRAGMA secure_delete = ON")
        self._sql.execute(f"PRAGMA synchronous = {'FULL' if survives_power_loss else 'NORMAL'}")
        # Only there is fsync no promise, and only there does this do anything.
        self._sql.execute(f"PRAGMA fullfsync = {'ON' if survives_power_loss else 'OFF'}")
        self._check_kind()
        self._choose_journal()
        with self._writing():
            if self._is_new():
                for statement in _SCHEMA.split(";"):
                    self._sql.execute(statement)
            self._check_kind()
        self.keep(self._retention.max_events)
        if self._erases_at_once and self._sql.execute("SELECT erase_pending FROM settings").fetchone() != (0,):
            self.erase()

    def _is_new(self) -> bool:
        (num_tables,) = self._sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return (num_tables, self._pragma("application_id")) == (0, 0)

    def _check_kind(self) -> None:
        if self._is_new():
            return
        if self._pragma("application_id") != _APPLICATION_ID:
            raise HistoryError(f"{self.path} is a database, but not a history of edgebehave")
        version = self._pragma("user_version")
        if version != SCHEMA_VERSION:
            raise HistoryError(
                f"{self.path} is a history of version {version}, this edgebehave reads version "
                f"{SCHEMA_VERSION}: update edgebehave"
            )

    def _choose_journal(self) -> None:
        # Truncated, and not kept or only unlinked: what a commit or an erasure leaves is no bytes.
        wanted = "wal" if sqlite3.sqlite_version_info >= _WAL_IS_SAFE_FROM else "truncate"
        if self._pragma("journal_mode") != wanted:
            (mode,) = self._sql.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
            if mode != wanted:
                raise HistoryError(
                    f"{self.path} keeps its journal as {mode!r}, this SQLite "
                    f"({sqlite3.sqlite_version}) needs {wanted!r}: close it in other processes"
                )

    def _empty_log(self) -> None:
        """Move what a write-ahead log holds into the file, and leave no byte in the log."""
        if self._pragma("journal_mode") != "wal":
            return
        (is_busy, *_) = self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise HistoryBusyError(f"{self.path} is in use: its journal still holds what was forgotten; call erase()")

    def _pragma(self, name: str) -> Any:
        return self._sql.execute(f"PRAGMA {name}").fetchone()[0]

    def _append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark:
        user_id, latest_s = self._user_to_write(user)
        self._insert(user_id, event, location, time_s, utc_offset_min)
        is_late = latest_s is not None and time_s < latest_s
        if is_late:
            self._changed(user_id)
        self._sql.execute("UPDATE users SET num_events = num_events + 1 WHERE id = ?", (user_id,))
        self._retain(user_id, time_s if latest_s is None else max(time_s, latest_s))
        return self._mark(user_id)

    def _user_to_write(self, user: str) -> tuple[int, int | None]:
        """Id of a user, a new one if need be, and the time of the latest event."""
        name = _stored(user)
        row = self._sql.execute("SELECT id FROM users WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return row[0], self._latest_s(row[0])
        cursor = self._sql.execute(
            "INSERT INTO users (name, changes, num_events) SELECT ?, next_life, 0 FROM settings",
            (name,),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid, None

    def _latest_s(self, user_id: int) -> int | None:
        (latest_s,) = self._sql.execute("SELECT max(time_s) FROM events WHERE user = ?", (user_id,)).fetchone()
        return None if latest_s is None else _integer(latest_s)

    def _mark(self, user_id: int) -> Mark:
        row = self._sql.execute("SELECT changes, num_events FROM users WHERE id = ?", (user_id,)).fetchone()
        return Mark(*map(_integer, row))

    def _insert(
        self,
        user_id: int,
        event: str | None,
        location: str | None,
        time_s: int,
        utc_offset_min: int,
    ) -> None:
        self._sql.execute(
            _INSERT_EVENT,
            {
                "user": user_id,
                "time_s": time_s,
                "offset": utc_offset_min,
                "event": _stored(event),
                "location": _stored(location),
            },
        )

    def _retain(self, user_id: int, latest_s: int) -> None:
        """Let go of what is too much or too old."""
        (num_retained, max_events) = self._sql.execute(
            "SELECT (SELECT count(*) FROM events WHERE user = ?), max_events FROM settings",
            (user_id,),
        ).fetchone()
        if num_retained > _integer(max_events):
            self._sql.execute(
                "DELETE FROM events WHERE (user, time_s, arrival) IN (SELECT user, time_s, arrival"
                " FROM events WHERE user = ? ORDER BY time_s, arrival LIMIT ?)",
                (user_id, num_retained - max_events),
            )
        if self._retention.max_age is not None:
            self._expire(user_id, self._retention.oldest_s(latest_s))

    def _expire(self, user_id: int, oldest_s: int) -> int:
        num_expired = self._sql.execute(
            "DELETE FROM events WHERE user = ? AND time_s < ?", (user_id, oldest_s)
        ).rowcount
        if num_expired:
            self._changed(user_id)
        return int(num_expired)

    def _changed(self, user_id: int) -> None:
        self._sql.execute("UPDATE users SET changes = changes + 1 WHERE id = ?", (user_id,))

    def _end_life(self, user_id: int) -> None:
        self._sql.execute(
            "UPDATE settings SET next_life = 1 + max(next_life, (SELECT changes FROM users WHERE id = ?))",
            (user_id,),
        )
        self._sql.execute("DELETE FROM events WHERE user = ?", (user_id,))
        self._sql.execute("DELETE FROM users WHERE id = ?", (user_id,))

    def _erase_what_was_forgotten(self) -> None:
        if not self._erases_at_once:
            return
        try:
            self.erase()
        except HistoryError as error:
            raise type(error)(
                f"it is forgotten, but traces are left in the file until erase() succeeds: {error}"
            ) from error

    def _to_be_erased(self) -> None:
        # In the same transaction: should the process end here, the next one to open erases.
        self._sql.execute("UPDATE settings SET erase_pending = 1")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._explained():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction: all of it reaches the disk, or nothing."""
        with self._lock, self._explained():
            # Immediate: a reader that becomes a writer could not wait for another one.
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of SQLite as ours."""
        if self._process != os.getpid():
            raise HistoryError(f"{self.path} was opened before a fork: open a SqliteHistory anew")
        try:
            yield
        except UnicodeDecodeError as error:
            # Python's module could not read the message of an error.
            raise HistoryError(f"{self.path} is damaged: {error}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise HistoryBusyError(
                    f"{self.path} is kept busy by other processes for {self._timeout_s} s: "
                    "try again, or give a larger timeout_s"
                ) from error
            raise HistoryError(f"{self.path}: {error}") from error


def _read(rows: list[tuple[Any, ...]]) -> tuple[Mark, NamedEvents]:
    """Columns from rows."""
    changes, num_events, event, location, time_s, offset_min = zip(*rows, strict=True)
    for number in (changes[0], num_events[0], *time_s, *offset_min):
        _integer(number)
    if num_events[0] < len(rows):
        raise ValueError(f"{len(rows)} events of {num_events[0]}")
    events = NamedEvents(
        NamedColumn.of([_name(name) for name in event]),
        NamedColumn.of([None if name is None else _name(name) for name in location]),
        np.array(time_s, np.int64),
        np.array(offset_min, np.int64),
    )
    events.check()
    return Mark(changes[0], num_events[0]), events


def _stored(name: str | None) -> str | bytes | None:
    """A name as SQLite takes it. The two forms cannot be equal."""
    if name is None or name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")
    return name


def _name(stored: object) -> str:
    """A name as it was. SQLite keeps no checksums: believe no type and no value."""
    try:
        if isinstance(stored, bytes):
            stored = stored.decode("utf-8", "surrogatepass")
        return check_name(stored, "a name")
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"damaged: {error}") from error


def _integer(stored: object) -> int:
    """A number that is one."""
    if type(stored) is not int:
        raise sqlite3.DatabaseError(f"damaged: {stored!r:.40} is in the place of a number")
    return stored
