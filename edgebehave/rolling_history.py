"""The latest events of one user, in the order of time, in bounded memory."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

_FIRST_ROOM = 16


class Events(NamedTuple):
    """Columns of consecutive events, oldest first; all (n,) int64."""

    event: IntArray
    location: IntArray
    behavior: IntArray
    time_s: IntArray
    utc_offset_min: IntArray


_TIME = Events._fields.index("time_s")


class RollingHistory:
    """At most `capacity` events in the order of time, and how many there ever were.

    Events may arrive in any order. One that is older than the latest goes to its place in time,
    after events of the same second; a full history then lets go of its oldest. One that is older
    than everything in a full history is not kept, but it counts: exactly as if it had come first
    and been displaced since. So the same events make the same history, whatever the order in
    which they arrive (events of the same second keep theirs).
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self._count = 0
        # The events are columns _start.._stop of a buffer; it slides to the right until the room
        # is used up and then starts over, so that most insertions move nothing.
        self._columns = np.empty((len(Events._fields), min(capacity, _FIRST_ROOM)), np.int64)
        self._start = self._stop = 0

    @property
    def count(self) -> int:
        """Events inserted, kept or not. The first one kept is event number count - len."""
        return self._count

    def __len__(self) -> int:
        return self._stop - self._start

    def latest(self, num_events: int | None = None) -> Events:
        """The last events, all by default, fewer if there are fewer; views, not to be written.

        They are valid until the next insertion.
        """
        start = self._start
        if num_events is not None:
            start = max(start, self._stop - num_events)
        return Events(*self._columns[:, start : self._stop])

    def insert(
        self, *, event: int, location: int, behavior: int, time_s: int, utc_offset_min: int
    ) -> bool:
        """Put an event at its place in time.

        Returns  True if it is the latest event: all others kept their place and their number.
        """
        self._count += 1
        self._make_room()
        times = self._columns[_TIME, self._start : self._stop]
        is_latest = len(times) == 0 or time_s >= int(times[-1])
        place = self._stop
        if not is_latest:
            place = self._start + int(np.searchsorted(times, time_s, side="right"))
        if len(times) == self.capacity:
            if place == self._start:
                return False
            self._start += 1
        self._columns[:, place + 1 : self._stop + 1] = self._columns[:, place : self._stop]
        self._columns[:, place] = (event, location, behavior, time_s, utc_offset_min)
        self._stop += 1
        return is_latest

    def _make_room(self) -> None:
        """Leave at least one column free behind the last event."""
        room = self._columns.shape[1]
        if self._stop < room:
            return
        kept = self._columns[:, self._start : self._stop]
        if len(self) > room // 2:
            room = min(2 * room, self.capacity + self.capacity // 4 + 1)
        columns = np.empty((len(Events._fields), room), np.int64)
        columns[:, : len(self)] = kept
        self._columns, self._start, self._stop = columns, 0, len(self)
