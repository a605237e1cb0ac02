"""The users of a damaged history file who are whole, copied into a new file."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from edgebehave.histories.checksums import checksum_of, event_checksum, is_whole
from edgebehave.histories.history import HistoryError, NamedEvents
from edgebehave.histories.retention import HISTORY_EVENTS
from edgebehave.histories.sqlite import SqliteHistory, stored_name

_USERS = {
    1: "SELECT id, name, num_events, (SELECT count(*) FROM events WHERE user = id), 0, 0 FROM users",
    2: "SELECT id, name, changes, num_events, num_retained, events_sum, checksum FROM users",
}
_EVENTS = {
    1: "SELECT event, location, time_s, arrival, utc_offset_min, 0 FROM events WHERE user = ? ORDER BY time_s, arrival",
    2: "SELECT event, location, time_s, arrival, utc_offset_min, checksum FROM events WHERE user = ?"
    " ORDER BY time_s, arrival",
}


def rescue_history(path: str | Path, into: str | Path) -> list[str]:
    """Copy every user of a damaged `SqliteHistory` who is whole into a new file; the damaged one stays as it is.

    path     the damaged file, which no process may have open.
    into     the new file, which must not exist yet. Delete `path` afterwards: it holds what was not copied.
    Returns  the names of users who were left out, as far as they can be read; "" stands for each other one.
    Raises HistoryError if nothing at all can be read or `into` cannot be written, as on a full disk, and then leaves no
    `into`; FileExistsError if it exists.
    """
    path, into = Path(path), Path(into)
    if into.exists():
        raise FileExistsError(f"{into} exists: name a new file")
    if not path.is_file():
        raise HistoryError(f"{path} is not a file")
    damaged = sqlite3.connect(path.absolute(), isolation_level=None)
    try:
        try:
            (version,) = damaged.execute("PRAGMA user_version").fetchone()
            rows = _all_users(damaged, _USERS.get(version, _USERS[2]))
        except sqlite3.Error as error:
            raise HistoryError(f"{path} is damaged where its users are kept, nothing can be read: {error}") from error
        lost: list[str] = []
        with SqliteHistory(into) as new:
            for row in rows:
                name = ""
                try:
                    name = stored_name(row[1])
                    num_events, events = _whole(damaged, version, row)
                except (sqlite3.Error, TypeError, ValueError, OverflowError):
                    lost.append(name)
                    continue
                # A failure of the new file, as on a full disk, is no damage of this user: it ends the rescue.
                new.keep(max(HISTORY_EVENTS, len(events)))
                try:
                    new.put(name, num_events, events)
                except ValueError:  # a second row of this name
                    lost.append(name)
            lost += [""] * max(0, _num_users(damaged, version) - len(rows))
        return lost
    except BaseException:
        for end in ("", "-wal", "-shm", "-journal"):
            into.with_name(into.name + end).unlink(missing_ok=True)
        raise
    finally:
        damaged.close()


def _all_users(damaged: sqlite3.Connection, select: str) -> list[tuple[Any, ...]]:
    """The rows of all users in the order of their first event, from both ends of a table that is broken."""
    found: dict[Any, tuple[Any, ...]] = {}
    errors: list[sqlite3.Error] = []
    for order in ("id", "id DESC", "name"):
        try:
            for row in damaged.execute(f"{select} ORDER BY {order}"):
                found.setdefault(row[0], row)
        except sqlite3.Error as error:
            errors.append(error)
    if errors and not found:
        raise errors[0]
    return sorted(found.values(), key=lambda row: (type(row[0]) is not int, row[0]))


def _whole(damaged: sqlite3.Connection, version: int, row: tuple[Any, ...]) -> tuple[int, NamedEvents]:
    """The number of events and the retained events of a user. Raises ValueError if they are damaged."""
    rows = damaged.execute(_EVENTS[2 if version != 1 else 1], (row[0],)).fetchall()
    if version == 1:
        num_events, num_retained = row[2], row[3]
        are_whole = len(rows) == num_retained and type(num_events) is int and num_events >= num_retained > 0
    else:
        _, _, _, num_events, num_retained, events_sum, _ = row
        sums = [checksum for *_, checksum in rows]
        are_whole = is_whole(row) and (num_retained, events_sum) == (len(sums), sum(sums)) and num_retained > 0
        for event, location, time_s, arrival, offset, checksum in rows:
            are_whole &= event_checksum(row[0], time_s, arrival, offset, event, location) == checksum
    if not are_whole:
        raise ValueError("events or the row of the user are damaged")
    return num_events, NamedEvents.of(
        (stored_name(event), None if location is None else stored_name(location), time_s, offset)
        for event, location, time_s, _, offset, _ in rows
    )


def _num_users(damaged: sqlite3.Connection, version: int) -> int:
    """How many users there were, 0 if that is not known."""
    with contextlib.suppress(sqlite3.Error):
        row = damaged.execute(
            "SELECT max_events, next_life, erase_pending, num_users, names_sum, checksum FROM settings"
        ).fetchone()
        if version != 1 and row is not None and checksum_of(*row[:-1]) == row[-1]:
            return int(row[3])
    return 0
