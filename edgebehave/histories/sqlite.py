"""The history in a SQLite file: an event that was acknowledged survives the process."""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from edgebehave.arguments import check_name
from edgebehave.histories.checksums import UserRow, checksum_of, event_checksum, is_whole
from edgebehave.histories.history import DamagedHistoryError, Mark, Match, NamedEvents, UserEvent
from edgebehave.histories.retention import HISTORY_EVENTS, Retention
from edgebehave.histories.sqlite_file import SqliteFile

_FIND_EVENT = """
SELECT 1 FROM events WHERE user = :user AND time_s = :time_s AND utc_offset_min = :offset AND event = :event
AND location IS :location
"""

_USER = "SELECT id, name, changes, num_events, num_retained, events_sum, checksum FROM users"


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

    Damage: rows have checksums, which are verified when a user is read. Bytes that changed on the disk raise
    DamagedHistoryError, which names the user; others go on. `check` finds all damage, and
    `edgebehave.rescue_history` copies the users who are whole.
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
        reads_only: bool = False,
    ) -> None:
        """Open the file, or make it if it does not exist; its folder must exist.

        max_events, max_age  as in `MemoryHistory`. The file keeps the largest `max_events` that it
                             was ever opened with.
        timeout_s            seconds to wait for other processes.
        survives_power_loss  False: no waiting for the disk (synchronous=NORMAL). Faster, and still
                             safe from kills; a loss of power may cost the latest events.
        erases_at_once       False: forgetting is quick, but traces of forgotten events may stay
                             in the file until `erase` is called. For servers with large files.
        reads_only           True: the file must exist and stays as it is, of version 1 too; what would write raises
                             HistoryError. SQLite undoes the transaction of a process that was killed.
        The file and its journals can be read by the account of the process alone (mode 600); an older file that
        others could read is closed to them. Encrypt the disk against whoever holds the device.
        A file of version 1, without checksums, gets them when it is opened; older runtimes then refuse it.
        Raises HistoryError if the file is something else or of a newer version, DamagedHistoryError if what all
        users share is damaged; ValueError for ":memory:", see `MemoryHistory`.
        """
        self._retention = Retention(max_events, max_age)
        self._file = SqliteFile(path, timeout_s, survives_power_loss, erases_at_once, reads_only)
        self.path = self._file.path
        self._names_are_whole = False
        self._reads_only = reads_only
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
        if self._reads_only:
            return
        with self._file.writing():
            if self._file.settings().max_events < max_events:
                self._file.set(max_events=max_events)

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark | None:
        with self._file.writing(user):
            return self._append(user, event, location, time_s, utc_offset_min)

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark | None]:
        with self._file.writing():
            return [self._append(*row) for row in rows]

    def mark(self, user: str) -> Mark | None:
        with self._file.reading(user):
            found = self._find(user)
            return None if found is None else _mark(found)

    def latest(self, user: str, max_events: int) -> tuple[Mark, NamedEvents] | None:
        with self._file.snapshot(user):
            found = self._find(user)
            if found is None:
                return None
            return _mark(found), self._events(found, max_events)

    def last_offset_min(self, user: str) -> int:
        with self._file.snapshot(user):
            found = self._find(user)
            return 0 if found is None else int(self._events(found, 1).utc_offset_min[0])

    def users(self) -> list[str]:
        with self._file.snapshot():
            rows = self._file.execute("SELECT id, name FROM users ORDER BY id").fetchall()
            self._check_names(rows)
            return [stored_name(name) for _, name in rows]

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        with self._file.writing(user):
            if self._find(user) is not None:
                raise ValueError(f"user {user!r:.60} has a history already: forget it first")
            new = self._add_user(user)
            for row in events.rows():
                new = self._insert(new, *row)
            new = self._retain(new._replace(num_events=num_events), int(events.time_s.max()))
            self._save(new)
            return _mark(new)

    def forget(self, user: str) -> bool:
        with self._file.forgetting(user):
            # The row may be damaged: whoever is forgotten has no history to protect.
            row = self._file.execute(f"{_USER} WHERE name = ?", (_stored(user),)).fetchone()
            if row is None:
                self._check_all_names()
                return False
            self._remove(UserRow(*row[:-1]), is_whole(row))
            return True

    def forget_events(self, user: str, match: Match) -> int:
        with self._file.forgetting(user):
            found = self._find(user)
            if found is None:
                return 0
            fits = "time_s BETWEEN :first_s AND :last_s"
            if match.event is not None:
                fits += " AND event = :event"
            if match.location is not None:
                fits += " AND location = :location"
            names = {"event": _stored(match.event), "location": _stored(match.location)}
            left = self._delete(found, fits, names | {"first_s": match.first_s, "last_s": match.last_s})
            num_forgotten = found.num_retained - left.num_retained
            if num_forgotten:
                self._save(left._replace(changes=left.changes + 1, num_events=left.num_events - num_forgotten))
                self._remove_if_empty(left)
            return num_forgotten

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
                row = self._file.execute(f"{_USER} WHERE id = ?", (user_id,)).fetchone()
                if row is None:
                    raise self._file.damage(None, "events of a user who is missing")
                # A damaged row keeps its wrong checksum, so that it is found.
                found = UserRow(*row[:-1]) if is_whole(row) else UserRow(user_id, row[1], 0, 0, 0, 0)
                left = self._expire(found, oldest_s)
                num_expired += found.num_retained - left.num_retained
                if is_whole(row):
                    self._save(left)
                    self._remove_if_empty(left)
            return num_expired

    def erase(self) -> None:
        """Rewrite the file so that no trace of forgotten events is left in it or its journal.

        Raises HistoryBusyError if other processes keep the file busy; the next opening or erasing then
        does it. Forgotten events are out of every answer already.
        """
        self._file.erase()

    def check(self) -> None:
        """Read the whole file and raise DamagedHistoryError, which names all users affected, if anything is damaged."""
        damaged: list[str] = []
        says: list[str] = []
        with self._file.reading():
            says += [str(row[0]) for row in self._file.execute("PRAGMA integrity_check") if row[0] != "ok"]
        for user in self.users():
            try:
                self.latest(user, 2**31)
            except DamagedHistoryError as error:
                damaged.append(user)
                says.append(str(error))
        with self._file.reading():
            orphans = "SELECT count(*) FROM events WHERE user NOT IN (SELECT id FROM users)"
            if self._file.execute(orphans).fetchone() != (0,):
                says.append("events of a user who is missing")
        if says:
            what = f"the histories of {', '.join(map(repr, damaged))}" if damaged else says[0]
            raise DamagedHistoryError(
                f"{self.path} is damaged: {what}; rescue_history copies the users who are whole", damaged
            )

    def _append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark | None:
        found = self._find(user)
        latest_s = None if found is None else self._latest_s(found.id)
        if found is not None and latest_s is not None and time_s <= latest_s:
            values = {"event": _stored(event), "location": _stored(location), "offset": utc_offset_min}
            values |= {"user": found.id, "time_s": time_s}
            if self._file.execute(_FIND_EVENT, values).fetchone() is not None:
                return None
        is_late = latest_s is not None and time_s < latest_s
        new = self._insert(found or self._add_user(user), event, location, time_s, utc_offset_min)
        new = new._replace(changes=new.changes + is_late, num_events=new.num_events + 1)
        new = self._retain(new, time_s if latest_s is None else max(time_s, latest_s))
        self._save(new)
        return _mark(new)

    def _find(self, user: str) -> UserRow | None:
        """The row of a user. Raises DamagedHistoryError if it is damaged, or if it may have been lost."""
        row = self._file.execute(f"{_USER} WHERE name = ?", (_stored(user),)).fetchone()
        if row is None:
            if not self._names_are_whole:
                self._check_all_names()
                self._names_are_whole = True
            return None
        if not is_whole(row):
            raise self._file.damage(user, "the row of this user does not fit its checksum")
        return UserRow(*row[:-1])

    def _check_all_names(self) -> None:
        """Raise DamagedHistoryError if a user was lost, so that one who is not found is a new one."""
        with self._file.snapshot():
            rows = self._file.execute("SELECT id, name FROM users NOT INDEXED").fetchall()
            self._check_names(rows)
            found = self._file.execute("PRAGMA integrity_check(users)").fetchone()
            if found != ("ok",):
                raise self._file.damage(None, str(found[0]))

    def _check_names(self, rows: list[tuple[Any, Any]]) -> None:
        settings = self._file.settings()
        if (settings.num_users, settings.names_sum) != (len(rows), sum(checksum_of(*row) for row in rows)):
            raise self._file.damage(None, "names of users are lost or changed")

    def _events(self, user: UserRow, max_events: int) -> NamedEvents:
        """The last events of a user, of whom all must be whole; inside `snapshot`."""
        rows = self._file.execute(
            "SELECT event, location, time_s, arrival, utc_offset_min, checksum FROM events WHERE user = ?"
            " ORDER BY time_s DESC, arrival DESC LIMIT ?",
            (user.id, max_events),
        ).fetchall()
        events_sum = _sum(row[-1] for row in rows)
        num_retained = len(rows)
        if num_retained == max_events:
            num_retained, events_sum = self._file.execute(
                "SELECT count(*), sum(checksum) FROM events WHERE user = ?", (user.id,)
            ).fetchone()
        if (num_retained, events_sum) != (user.num_retained, user.events_sum) or not rows:
            raise self._file.damage(user.name, "events are lost or changed")
        for event, location, time_s, arrival, offset, checksum in rows:
            if event_checksum(user.id, time_s, arrival, offset, event, location) != checksum:
                raise self._file.damage(user.name, "an event does not fit its checksum")
        try:
            if user.num_events < num_retained:
                raise ValueError(f"{num_retained} events of {user.num_events}")
            return NamedEvents.of(
                (stored_name(event), None if location is None else stored_name(location), time_s, offset)
                for event, location, time_s, _, offset, _ in reversed(rows)
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise self._file.damage(user.name, str(error)) from error

    def _add_user(self, user: str) -> UserRow:
        settings, name = self._file.settings(), _stored(user)
        (user_id,) = self._file.execute("SELECT coalesce(max(id), 0) + 1 FROM users").fetchone()
        new = UserRow(user_id, name, settings.next_life, 0, 0, 0)
        self._file.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)", (*new, checksum_of(*new)))
        names_sum = settings.names_sum + checksum_of(user_id, name)
        self._file.set(num_users=settings.num_users + 1, names_sum=names_sum)
        return new

    def _save(self, user: UserRow) -> None:
        self._file.execute(
            "UPDATE users SET changes = ?, num_events = ?, num_retained = ?, events_sum = ?, checksum = ? WHERE id = ?",
            (*user[2:], checksum_of(*user), user.id),
        )

    def _insert(self, user: UserRow, event: str, location: str | None, time_s: int, utc_offset_min: int) -> UserRow:
        (arrival,) = self._file.execute(
            "SELECT coalesce(max(arrival) + 1, 0) FROM events WHERE user = ? AND time_s = ?", (user.id, time_s)
        ).fetchone()
        row = (user.id, time_s, arrival, utc_offset_min, _stored(event), _stored(location))
        checksum = event_checksum(*row)
        self._file.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, checksum))
        return user._replace(num_retained=user.num_retained + 1, events_sum=user.events_sum + checksum)

    def _delete(self, user: UserRow, fits: str, values: dict[str, Any], order: str = "") -> UserRow:
        """Delete the events that fit a condition, and what `user` counts and sums of them; `_save` is the caller's."""
        rows = self._file.execute(
            f"SELECT time_s, arrival, checksum FROM events WHERE user = :user AND {fits} {order}",
            values | {"user": user.id},
        ).fetchall()
        for time_s, arrival, _ in rows:
            key = (user.id, time_s, arrival)
            self._file.execute("DELETE FROM events WHERE user = ? AND time_s = ? AND arrival = ?", key)
        return user._replace(
            num_retained=user.num_retained - len(rows), events_sum=user.events_sum - _sum(row[-1] for row in rows)
        )

    def _latest_s(self, user_id: int) -> int | None:
        (latest_s,) = self._file.execute("SELECT max(time_s) FROM events WHERE user = ?", (user_id,)).fetchone()
        return None if latest_s is None else _integer(latest_s)

    def _retain(self, user: UserRow, latest_s: int) -> UserRow:
        """Delete the events that are too many or too old."""
        surplus = user.num_retained - self._file.settings().max_events
        if surplus > 0:
            user = self._delete(user, "true", {"surplus": surplus}, "ORDER BY time_s, arrival LIMIT :surplus")
        if self._retention.max_age is not None:
            user = self._expire(user, self._retention.oldest_s(latest_s))
        return user

    def _expire(self, user: UserRow, oldest_s: int) -> UserRow:
        left = self._delete(user, "time_s < :oldest_s", {"oldest_s": oldest_s})
        return left._replace(changes=left.changes + 1) if left != user else left

    def _remove_if_empty(self, user: UserRow) -> None:
        if self._latest_s(user.id) is None:
            self._remove(user, True)

    def _remove(self, user: UserRow, knows_changes: bool) -> None:
        settings = self._file.settings()
        # Of a damaged row, `changes` is not known: a number that no user has reached.
        life = max(settings.next_life, user.changes) if knows_changes else settings.next_life + 2**40
        names_sum = settings.names_sum - checksum_of(user.id, user.name)
        self._file.set(next_life=life + 1, num_users=settings.num_users - 1, names_sum=names_sum)
        self._file.execute("DELETE FROM events WHERE user = ?", (user.id,))
        self._file.execute("DELETE FROM users WHERE id = ?", (user.id,))


def _mark(user: UserRow) -> Mark:
    return Mark(user.changes, user.num_events)


def _sum(checksums: Iterable[Any]) -> int:
    """The sum of checksums, one that is no number left out: then the sum is wrong, as it should be."""
    return sum(checksum for checksum in checksums if type(checksum) is int)


def _stored(name: str | None) -> Any:
    """A name as SQLite takes it: text, or bytes if it holds lone surrogates. Text never equals bytes."""
    if name is None:
        return None
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def stored_name(stored: object) -> str:
    """A name from its stored form, checked: the file may be of another origin."""
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
