"""The history in a SQLite file: an event that was acknowledged survives the process."""

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from edgebehave.arguments import check_name
from edgebehave.histories.history import Mark, Match, NamedEvents, UserEvent
from edgebehave.histories.retention import HISTORY_EVENTS, Retention
from edgebehave.histories.sqlite_file import SqliteFile

_INSERT_EVENT = """
INSERT INTO events SELECT :user, :time_s, coalesce(max(arrival) + 1, 0), :offset, :event, :location
FROM events WHERE user = :user AND time_s = :time_s
"""

_FIND_EVENT = """
SELECT 1 FROM events WHERE user = :user AND time_s = :time_s AND utc_offset_min = :offset AND event = :event
AND location IS :location
"""


class SqliteHistory:
    """The history of a `Predictor` in a file, which survives the process.

    It implements `History`, which describes the methods.

    Durable: `append` (and so `Predictor.observe`) returns after the event has reached the disk. The event survives a
    kill at any moment and, unless `survives_power_loss` is False, a loss of power. `append_many` waits for the disk
    once, and a kill leaves all of its events or none. After a restart, predictions are equal to the bit.

    Shared: several threads may use one SqliteHistory, and several processes may each open one on the same
    file, which must lie on a local disk. Each sees the acknowledged events of the others. Writers wait for
    each other, up to `timeout_s`; give all of them the same `max_age`. A process that forks opens a new one.

    Forgetting: the events that `forget`, `forget_events` and `expire` remove are overwritten, and the file
    is rewritten without them before the call returns, which takes time in proportion to the size of the
    file. Then neither the file nor its journal holds a byte of them. Old blocks that a file system or flash
    memory keeps, snapshots and backups are not reached.
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
        """Open the file, or make it if it does not exist; its folder must exist.

        max_events, max_age  as in `MemoryHistory`. The file keeps the largest `max_events` that it
                             was ever opened with.
        timeout_s            seconds to wait for other processes.
        survives_power_loss  False: no waiting for the disk (synchronous=NORMAL). Faster, and still
                             safe from kills; a loss of power may cost the latest events.
        erases_at_once       False: forgetting is quick, but traces of forgotten events may stay
                             in the file until `erase` is called. For servers with large files.
        The file and its journals can be read by the account of the process alone (mode 600); an older file that
        others could read is closed to them. Encrypt the disk against whoever holds the device.
        Raises HistoryError if the file is damaged, is something else, or of a newer version; ValueError for
        ":memory:", see `MemoryHistory`.
        """
        self._retention = Retention(max_events, max_age)
        self._file = SqliteFile(path, timeout_s, survives_power_loss, erases_at_once)
        self.path = self._file.path
        try:
            self.keep(self._retention.max_events)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "SqliteHistory":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing is lost if this is not called."""
        self._file.close()

    def keep(self, max_events: int) -> None:
        with self._file.writing():
            self._file.execute("UPDATE settings SET max_events = ? WHERE max_events < ?", (max_events, max_events))

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark | None:
        with self._file.writing():
            return self._append(user, event, location, time_s, utc_offset_min)

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark | None]:
        with self._file.writing():
            return [self._append(*row) for row in rows]

    def mark(self, user: str) -> Mark | None:
        with self._file.reading():
            return self._mark(user)

    def latest(self, user: str, max_events: int) -> tuple[Mark, NamedEvents] | None:
        with self._file.reading():
            # One statement sees one state of the file, even if others write meanwhile.
            rows = self._file.execute(
                "SELECT changes, num_events, event, location, time_s, utc_offset_min"
                " FROM users JOIN events ON events.user = users.id WHERE name = ?"
                " ORDER BY time_s DESC, arrival DESC LIMIT ?",
                (_stored(user), max_events),
            ).fetchall()
            if not rows:
                return None
            mark = Mark(*map(_integer, rows[0][:2]))
            try:
                if mark.num_events < len(rows):
                    raise ValueError(f"{len(rows)} events of {mark.num_events}")
                return mark, NamedEvents.of(
                    (_name(event), None if location is None else _name(location), _integer(time_s), _integer(offset))
                    for _, _, event, location, time_s, offset in reversed(rows)
                )
            except (ValueError, OverflowError) as error:
                raise sqlite3.DatabaseError(f"damaged: the history of {user!r:.60}: {error}") from error

    def last_offset_min(self, user: str) -> int:
        with self._file.reading():
            row = self._file.execute(
                "SELECT utc_offset_min FROM users JOIN events ON events.user = users.id"
                " WHERE name = ? ORDER BY time_s DESC, arrival DESC LIMIT 1",
                (_stored(user),),
            ).fetchone()
            return 0 if row is None else _integer(row[0])

    def users(self) -> list[str]:
        with self._file.reading():
            rows = self._file.execute("SELECT name FROM users ORDER BY id").fetchall()
            return [_name(name) for (name,) in rows]

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        with self._file.writing():
            if self._user_id(user) is not None:
                raise ValueError(f"user {user!r:.60} has a history already: forget it first")
            user_id = self._add_user(user)
            for row in events.rows():
                self._insert(user_id, *row)
            self._file.execute("UPDATE users SET num_events = ? WHERE id = ?", (num_events, user_id))
            self._retain(user_id, int(events.time_s.max()))
            mark = self._mark(user)
            assert mark is not None
            return mark

    def forget(self, user: str) -> bool:
        with self._file.forgetting():
            user_id = self._user_id(user)
            if user_id is None:
                return False
            self._remove(user_id)
            return True

    def forget_events(self, user: str, match: Match) -> int:
        with self._file.forgetting():
            user_id = self._user_id(user)
            if user_id is None:
                return 0
            num_forgotten = self._file.execute(
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
            if num_forgotten:
                self._file.execute(
                    "UPDATE users SET changes = changes + 1, num_events = num_events - ? WHERE id = ?",
                    (num_forgotten, user_id),
                )
                self._remove_if_empty(user_id)
            return int(num_forgotten)

    def expire(self, now_s: int) -> int:
        """Erase the events of all users that have reached `max_age` at a moment. Returns their number.

        Users without younger events are forgotten. For a user who comes back this happens
        without a call; call it now and then with the current time if users who stay away must not be kept.
        """
        oldest_s = self._retention.oldest_at(now_s)
        with self._file.forgetting():
            aged = self._file.execute("SELECT DISTINCT user FROM events WHERE time_s < ?", (oldest_s,)).fetchall()
            num_expired = 0
            for (user_id,) in aged:
                num_expired += self._expire(user_id, oldest_s)
                self._remove_if_empty(user_id)
            return num_expired

    def erase(self) -> None:
        """Rewrite the file so that no trace of forgotten events is left in it or its journal.

        Raises HistoryBusyError if other processes keep the file busy; the next opening or erasing then
        does it. Forgotten events are out of every answer already.
        """
        self._file.erase()

    def check(self) -> None:
        """Read the whole file and raise HistoryError if anything in it is damaged."""
        with self._file.reading():
            found = [str(row[0]) for row in self._file.execute("PRAGMA integrity_check")]
            if found != ["ok"]:
                raise sqlite3.DatabaseError(found[0])

    def _append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark | None:
        user_id = self._user_id(user)
        if user_id is None:
            user_id = self._add_user(user)
        latest_s = self._latest_s(user_id)
        is_late = latest_s is not None and time_s < latest_s
        row = (event, location, time_s, utc_offset_min)
        could_repeat = latest_s is not None and time_s <= latest_s
        if could_repeat and self._file.execute(_FIND_EVENT, _values(user_id, *row)).fetchone() is not None:
            return None
        self._insert(user_id, *row)
        self._file.execute(
            "UPDATE users SET changes = changes + ?, num_events = num_events + 1 WHERE id = ?", (is_late, user_id)
        )
        self._retain(user_id, time_s if latest_s is None else max(time_s, latest_s))
        mark = self._mark(user)
        assert mark is not None
        return mark

    def _add_user(self, user: str) -> int:
        user_id = self._file.execute(
            "INSERT INTO users (name, changes, num_events) SELECT ?, next_life, 0 FROM settings", (_stored(user),)
        ).lastrowid
        assert user_id is not None
        return user_id

    def _insert(self, user_id: int, event: str, location: str | None, time_s: int, utc_offset_min: int) -> None:
        self._file.execute(_INSERT_EVENT, _values(user_id, event, location, time_s, utc_offset_min))

    def _user_id(self, user: str) -> int | None:
        row = self._file.execute("SELECT id FROM users WHERE name = ?", (_stored(user),)).fetchone()
        return None if row is None else row[0]

    def _mark(self, user: str) -> Mark | None:
        row = self._file.execute("SELECT changes, num_events FROM users WHERE name = ?", (_stored(user),)).fetchone()
        return None if row is None else Mark(*map(_integer, row))

    def _latest_s(self, user_id: int) -> int | None:
        (latest_s,) = self._file.execute("SELECT max(time_s) FROM events WHERE user = ?", (user_id,)).fetchone()
        return None if latest_s is None else _integer(latest_s)

    def _retain(self, user_id: int, latest_s: int) -> None:
        """Delete the events that are too many or too old."""
        (num_retained, max_events) = self._file.execute(
            "SELECT (SELECT count(*) FROM events WHERE user = ?), max_events FROM settings", (user_id,)
        ).fetchone()
        if num_retained > _integer(max_events):
            self._file.execute(
                "DELETE FROM events WHERE (user, time_s, arrival) IN (SELECT user, time_s, arrival"
                " FROM events WHERE user = ? ORDER BY time_s, arrival LIMIT ?)",
                (user_id, num_retained - max_events),
            )
        if self._retention.max_age is not None:
            self._expire(user_id, self._retention.oldest_s(latest_s))

    def _expire(self, user_id: int, oldest_s: int) -> int:
        num_expired = self._file.execute(
            "DELETE FROM events WHERE user = ? AND time_s < ?", (user_id, oldest_s)
        ).rowcount
        if num_expired:
            self._file.execute("UPDATE users SET changes = changes + 1 WHERE id = ?", (user_id,))
        return int(num_expired)

    def _remove_if_empty(self, user_id: int) -> None:
        if self._latest_s(user_id) is None:
            self._remove(user_id)

    def _remove(self, user_id: int) -> None:
        self._file.execute(
            "UPDATE settings SET next_life = 1 + max(next_life, (SELECT changes FROM users WHERE id = ?))", (user_id,)
        )
        self._file.execute("DELETE FROM events WHERE user = ?", (user_id,))
        self._file.execute("DELETE FROM users WHERE id = ?", (user_id,))


def _values(user_id: int, event: str, location: str | None, time_s: int, utc_offset_min: int) -> dict[str, Any]:
    """An event as the named parameters of a statement."""
    names = {"event": _stored(event), "location": _stored(location)}
    return names | {"user": user_id, "time_s": time_s, "offset": utc_offset_min}


def _stored(name: str | None) -> str | bytes | None:
    """A name as SQLite takes it: text, or bytes if it holds lone surrogates. Text never equals bytes."""
    if name is None:
        return None
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _name(stored: object) -> str:
    """A name from its stored form. SQLite keeps no checksums, so type and value are checked."""
    try:
        if isinstance(stored, bytes):
            stored = stored.decode("utf-8", "surrogatepass")
        name = check_name(stored, "a name")
        if name != stored:
            raise ValueError(f"a name of {len(name)} characters")
        return name
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"damaged: {error}") from error


def _integer(stored: Any) -> int:
    """A number from its stored form, checked for its type."""
    if type(stored) is not int:
        raise sqlite3.DatabaseError(f"damaged: {stored!r:.40} is in the place of a number")
    return stored
