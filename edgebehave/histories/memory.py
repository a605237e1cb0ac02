"""The history in memory: 14 bytes an event; it ends with the process."""

import struct
import threading
from bisect import bisect_right
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from edgebehave.histories.forks import HISTORY_LOCKS, free_at_fork
from edgebehave.histories.history import Mark, Match, NamedColumn, NamedEvents, UserEvent
from edgebehave.histories.retention import HISTORY_EVENTS, Retention

# 1990..2100 fits unsigned seconds, -840..840 minutes fits two bytes.
_EVENT = struct.Struct("<Iiih")
_COLUMNS = np.dtype([("time_s", "<u4"), ("event", "<i4"), ("location", "<i4"), ("offset", "<i2")])
_SIZE = _EVENT.size

_time_at = struct.Struct("<I").unpack_from


class SharedNames:
    """Ids for the names of all users, with a count of the events that use each: an unused name leaves memory.

    Id 0 is "no name". The id of a name that left is given to the next new one.
    """

    def __init__(self) -> None:
        self._id_of: dict[str, int] = {}
        self._name_of: list[str | None] = [None]
        self._num_uses = [0]
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._id_of)

    def __getitem__(self, name_id: int) -> str | None:
        return self._name_of[name_id]

    def take(self, name: str | None) -> int:
        """The id of a name, for one more event."""
        if name is None:
            return 0
        name_id = self._id_of.get(name)
        if name_id is None:
            if self._free:
                name_id = self._free.pop()
                self._name_of[name_id] = name
            else:
                name_id = len(self._name_of)
                self._name_of.append(name)
                self._num_uses.append(0)
            self._id_of[name] = name_id
        self._num_uses[name_id] += 1
        return name_id

    def release(self, name_id: int) -> None:
        """Count one event less for an id."""
        if not name_id:
            return
        self._num_uses[name_id] -= 1
        if not self._num_uses[name_id]:
            name = self._name_of[name_id]
            assert name is not None
            del self._id_of[name]
            self._name_of[name_id] = None
            self._free.append(name_id)

    def find(self, name: str) -> int:
        """The id of a name, -1 if no event uses it."""
        return self._id_of.get(name, -1)


class _UserLog:
    """Events of one user in the order of time, packed into bytes."""

    __slots__ = ("changes", "num_events", "packed")

    def __init__(self, changes: int) -> None:
        self.changes = changes
        self.num_events = 0
        self.packed = bytearray()

    def mark(self) -> Mark:
        return Mark(self.changes, self.num_events)

    def latest_s(self) -> int:
        return int(_time_at(self.packed, len(self.packed) - _SIZE)[0])

    def holds(self, row: bytes, time_s: int) -> bool:
        """Whether one of the events of this second is this one."""
        same_second = self.packed[self.end_of(time_s - 1) : self.end_of(time_s)]
        return any(same_second[at : at + _SIZE] == row for at in range(0, len(same_second), _SIZE))

    def end_of(self, time_s: int) -> int:
        """Number of bytes of the events up to a moment."""
        numbers = range(len(self.packed) // _SIZE)
        return _SIZE * bisect_right(numbers, time_s, key=lambda number: _time_at(self.packed, number * _SIZE)[0])


class MemoryHistory:
    """The default history of a `Predictor`: everything in memory, nothing on disk.

    It implements `History`, which describes the methods. Events take 14 bytes. Names are kept once for all
    users, and leave memory with the last event that has them. Safe for use from several threads; several
    predictors of one process may share it.
    """

    def __init__(self, *, max_events: int = HISTORY_EVENTS, max_age: timedelta | None = None) -> None:
        """An empty history.

        max_events  events retained per user, the latest; a `Predictor` whose bundle looks back further raises it.
        max_age     None: of any age. Otherwise see `Retention`: older ones are dropped when the
                    user's next event comes, or when `expire` is called.
        """
        self._retention = Retention(max_events, max_age)
        self._users: dict[str, _UserLog] = {}
        self._names = SharedNames()
        # `changes` of a user who is new or was forgotten; higher than that of any user forgotten so far.
        self._next_life = 0
        self._lock = threading.Lock()
        free_at_fork(self, HISTORY_LOCKS)

    def locks(self) -> list[threading.Lock]:
        return [self._lock]

    def keep(self, max_events: int) -> None:
        with self._lock:
            if max_events > self._retention.max_events:
                self._retention = Retention(max_events, self._retention.max_age)

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark | None:
        with self._lock:
            return self._append(user, event, location, time_s, utc_offset_min)

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark | None]:
        with self._lock:
            return [self._append(*row) for row in rows]

    def mark(self, user: str) -> Mark | None:
        # Without the lock, `changes` could be read before a change and `num_events` after it.
        with self._lock:
            log = self._users.get(user)
            return None if log is None else log.mark()

    def latest(self, user: str, max_events: int) -> tuple[Mark, NamedEvents] | None:
        with self._lock:
            log = self._users.get(user)
            if log is None:
                return None
            start = max(0, len(log.packed) - max_events * _SIZE)
            rows = np.frombuffer(bytes(log.packed[start:]), _COLUMNS)
            return log.mark(), NamedEvents(
                self._named(rows["event"]),
                self._named(rows["location"]),
                rows["time_s"].astype(np.int64),
                rows["offset"].astype(np.int64),
            )

    def last_offset_min(self, user: str) -> int:
        with self._lock:
            log = self._users.get(user)
            return 0 if log is None else int(_EVENT.unpack_from(log.packed, len(log.packed) - _SIZE)[3])

    def users(self) -> list[str]:
        with self._lock:
            return list(self._users)

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        with self._lock:
            if user in self._users:
                raise ValueError(f"user {user!r:.60} has a history already: forget it first")
            for row in events.rows():
                self._append(user, *row, may_repeat=True)
            log = self._users[user]
            log.num_events = num_events
            return log.mark()

    def forget(self, user: str) -> bool:
        with self._lock:
            if user not in self._users:
                return False
            self._remove(user)
            return True

    def forget_events(self, user: str, match: Match) -> int:
        with self._lock:
            log = self._users.get(user)
            if log is None:
                return 0
            rows = np.frombuffer(bytes(log.packed), _COLUMNS)
            matches = (rows["time_s"] >= match.first_s) & (rows["time_s"] <= match.last_s)
            for column, name in (("event", match.event), ("location", match.location)):
                if name is not None:
                    matches &= rows[column] == self._names.find(name)
            num_matches = int(matches.sum())
            if num_matches == len(rows):
                self._remove(user)
            elif num_matches:
                self._release(rows[matches].tobytes())
                log.packed = bytearray(rows[~matches].tobytes())
                log.num_events -= num_matches
                log.changes += 1
            return num_matches

    def expire(self, now_s: int) -> int:
        """Drop the events of all users that have reached `max_age` at a moment. Returns their number.

        Users without younger events are forgotten. For a user who comes back this happens
        without a call; call it now and then with the current time if users who stay away must not be kept.
        """
        with self._lock:
            oldest_s = self._retention.oldest_at(now_s)
            num_dropped = 0
            for user, log in list(self._users.items()):
                if log.latest_s() < oldest_s:
                    num_dropped += len(log.packed) // _SIZE
                    self._remove(user)
                else:
                    num_dropped += self._expire(log, oldest_s)
            return num_dropped

    def _append(
        self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int, may_repeat: bool = False
    ) -> Mark | None:
        log = self._users.get(user)
        if log is None:
            log = self._users[user] = _UserLog(self._next_life)
        row = _EVENT.pack(time_s, self._names.take(event), self._names.take(location), utc_offset_min)
        packed = log.packed
        latest_s = log.latest_s() if packed else -1
        is_last = time_s > latest_s
        if not is_last and not may_repeat and log.holds(row, time_s):
            self._release(row)
            return None
        log.num_events += 1
        if time_s >= latest_s:
            packed += row
        else:
            position = log.end_of(time_s)
            packed[position:position] = row
            log.changes += 1
        if len(packed) > self._retention.max_events * _SIZE:
            self._drop_first(log, len(packed) - self._retention.max_events * _SIZE)
        if self._retention.max_age is not None:
            self._expire(log, self._retention.oldest_s(log.latest_s()))
        return log.mark()

    def _named(self, ids: "np.ndarray[tuple[int], np.dtype[np.int32]]") -> NamedColumn:
        used, index = np.unique(ids, return_inverse=True)
        return NamedColumn([self._names[i] for i in used.tolist()], index.astype(np.int64))

    def _expire(self, log: _UserLog, oldest_s: int) -> int:
        if _time_at(log.packed)[0] >= oldest_s:
            return 0
        num_bytes = log.end_of(oldest_s - 1)
        self._drop_first(log, num_bytes)
        log.changes += 1
        return num_bytes // _SIZE

    def _drop_first(self, log: _UserLog, num_bytes: int) -> None:
        self._release(log.packed[:num_bytes])
        del log.packed[:num_bytes]

    def _remove(self, user: str) -> None:
        log = self._users.pop(user)
        self._release(log.packed)
        self._next_life = max(self._next_life, log.changes) + 1

    def _release(self, packed: bytes | bytearray) -> None:
        """Count one event less for each name in these events."""
        for _, event, location, _ in _EVENT.iter_unpack(packed):
            self._names.release(event)
            self._names.release(location)
