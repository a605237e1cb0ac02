"""Histories in memory: 14 bytes an event, gone with the process."""

import struct
import threading
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from edgebehave.histories.history import Mark, Match, NamedColumn, NamedEvents, UserEvent
from edgebehave.histories.retention import HISTORY_EVENTS, Retention
from edgebehave.histories.shared_names import SharedNames

# 1990..2100 fits unsigned seconds, -840..840 minutes fits two bytes.
_EVENT = struct.Struct("<Iiih")
_COLUMNS = np.dtype([("time_s", "<u4"), ("event", "<i4"), ("location", "<i4"), ("offset", "<i2")])
_SIZE = _EVENT.size

_time_at = struct.Struct("<I").unpack_from


class _UserLog:
    """Events of one user, packed one behind the other in the order of time."""

    __slots__ = ("changes", "num_events", "packed")

    def __init__(self, changes: int, num_events: int = 0) -> None:
        self.changes = changes
        self.num_events = num_events
        self.packed = bytearray()

    def mark(self) -> Mark:
        return Mark(self.changes, self.num_events)

    def latest_s(self) -> int:
        return int(_time_at(self.packed, len(self.packed) - _SIZE)[0])

    def end_of(self, time_s: int) -> int:
        """Where the events up to a moment end, in bytes."""
        low, high = 0, len(self.packed) // _SIZE
        while low < high:
            middle = (low + high) // 2
            if _time_at(self.packed, middle * _SIZE)[0] <= time_s:
                low = middle + 1
            else:
                high = middle
        return low * _SIZE


class MemoryHistory:
    """The default history of a `Predictor`: everything in memory, nothing on disk.

    Implements `History`, which says what the methods do. Events take 14 bytes; names are kept once
    for all users, and leave memory with the last event that has them. Safe for use from several
    threads; several predictors of one process may share it.
    """

    def __init__(self, *, max_events: int = HISTORY_EVENTS, max_age: timedelta | None = None) -> None:
        """An empty history.

        max_events  events retained per user, the latest; a `Predictor` whose bundle looks back
                    further raises it.
        max_age     None: of any age. Otherwise see `Retention`: older ones are dropped when the
                    user's next event comes, or when `expire` is called.
        """
        self._retention = Retention(max_events, max_age)
        self._users: dict[str, _UserLog] = {}
        self._names = SharedNames()
        # `changes` of a user's next life; higher than that of any life that ended.
        self._next_life = 0
        self._lock = threading.Lock()

    def keep(self, max_events: int) -> None:
        with self._lock:
            if max_events > self._retention.max_events:
                self._retention = Retention(max_events, self._retention.max_age)

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark:
        with self._lock:
            return self._append(user, event, location, time_s, utc_offset_min)

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark]:
        with self._lock:
            return [self._append(*row) for row in rows]

    def mark(self, user: str) -> Mark | None:
        # Taken without the lock it could pair the changes of now with the events of before.
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
            if log is None:
                return 0
            return int(_EVENT.unpack_from(log.packed, len(log.packed) - _SIZE)[3])

    def users(self) -> list[str]:
        with self._lock:
            return list(self._users)

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        with self._lock:
            if user in self._users:
                raise ValueError(f"user {user!r:.60} has a history already: forget it first")
            log = self._users[user] = _UserLog(self._next_life, num_events)
            rows = zip(
                events.event.rows(),
                events.location.rows(),
                events.time_s.tolist(),
                events.utc_offset_min.tolist(),
                strict=True,
            )
            for event, location, time_s, offset_min in rows:
                event_id, location_id = self._names.take(event), self._names.take(location)
                log.packed += _EVENT.pack(time_s, event_id, location_id, offset_min)
            too_many = len(log.packed) - self._retention.max_events * _SIZE
            if too_many > 0:
                self._drop_first(log, too_many)
            self._expire(log, self._retention.oldest_s(log.latest_s()))
            return log.mark()

    def forget(self, user: str) -> bool:
        with self._lock:
            if user not in self._users:
                return False
            self._end_life(user)
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
                    # -1 is the id of no name: nothing matches one that no row has.
                    name_id = self._names.find(name)
                    matches &= rows[column] == (-1 if name_id is None else name_id)
            num_matches = int(matches.sum())
            if num_matches == len(rows):
                self._end_life(user)
            elif num_matches:
                self._release(rows[matches])
                log.packed = bytearray(rows[~matches].tobytes())
                log.num_events -= num_matches
                log.changes += 1
            return num_matches

    def expire(self, now_s: int) -> int:
        """Drop what has reached `max_age` at a moment, of all users; returns how many events.

        Users with nothing younger are forgotten as a whole. For users who come back this happens by
        itself; call it now and then, with the time, where others are not to be kept for ever.
        """
        with self._lock:
            oldest_s = self._retention.oldest_at(now_s)
            num_dropped = 0
            for user, log in list(self._users.items()):
                if log.latest_s() < oldest_s:
                    num_dropped += len(log.packed) // _SIZE
                    self._end_life(user)
                else:
                    num_dropped += self._expire(log, oldest_s)
            return num_dropped

    def _append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark:
        log = self._users.get(user)
        if log is None:
            log = self._users[user] = _UserLog(self._next_life)
        event_id, location_id = self._names.take(event), self._names.take(location)
        row = _EVENT.pack(time_s, event_id, location_id, utc_offset_min)
        log.num_events += 1
        packed = log.packed
        if not packed or time_s >= log.latest_s():
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
        for _, event, location, _ in _EVENT.iter_unpack(log.packed[:num_bytes]):
            self._names.release(event)
            self._names.release(location)
        del log.packed[:num_bytes]

    def _end_life(self, user: str) -> None:
        log = self._users.pop(user)
        self._drop_first(log, len(log.packed))
        self._next_life = max(self._next_life, log.changes) + 1

    def _release(self, rows: "np.ndarray[tuple[int], np.dtype[np.void]]") -> None:
        for column in ("event", "location"):
            for name_id in rows[column].tolist():
                self._names.release(name_id)
