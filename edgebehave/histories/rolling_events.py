"""The latest events of one user as ids of a vocabulary, in bounded memory."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

_FIRST_ROOM = 16


class IdEvents(NamedTuple):
    """Columns of consecutive events as ids, oldest first; all (n,) int64."""

    event: IntArray
    behavior: IntArray
    location: IntArray
    time_s: IntArray
    utc_offset_min: IntArray


class RollingEvents:
    """A buffer of the last `capacity` events as ids, and the number of events that there ever were.

    It only grows at its end; for a history that changed elsewhere, make a new one.
    """

    def __init__(self, capacity: int, num_skipped: int = 0) -> None:
        """An empty buffer for a user who had `num_skipped` events before those that will be added."""
        assert capacity > 0, capacity
        self.capacity = capacity
        self.count = num_skipped
        """Events of the user, kept or not. The first one kept is event number count - len."""
        # The events are columns _start.._stop of a buffer. They slide to the right until the room is used
        # up and then start over, so that most additions move nothing.
        self._columns = np.empty((len(IdEvents._fields), min(capacity, _FIRST_ROOM)), np.int64)
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def num_bytes(self) -> int:
        """Memory of the buffer."""
        return self._columns.nbytes

    def latest(self, num_events: int | None = None) -> IdEvents:
        """The last events, all by default, fewer if there are fewer.

        They are views: read them before events are added, and do not write to them.
        """
        start = self._start
        if num_events is not None:
            start = max(start, self._stop - num_events)
        return IdEvents(*self._columns[:, start : self._stop])

    def latest_offset_min(self) -> int:
        """Offset of local time of the latest event in minutes; there must be an event."""
        assert self._stop > self._start, "an empty history has no latest event"
        return int(self._columns[-1, self._stop - 1])

    def rows(self, num_events: int) -> list[list[int]]:
        """The last events one by one, each with the fields of `IdEvents`."""
        rows: list[list[int]] = self._columns[:, self._stop - num_events : self._stop].T.tolist()
        return rows

    def past(self, num_events: int) -> IntArray:
        """The last events as the graphs take them, (4, n): all columns but `event`; a view."""
        return self._columns[1:, max(self._start, self._stop - num_events) : self._stop]

    def append(self, event: int, behavior: int, location: int, time_s: int, utc_offset_min: int) -> None:
        """Add the latest event."""
        self._make_room(1)
        self._columns[:, self._stop] = (event, behavior, location, time_s, utc_offset_min)
        self._added(1)

    def extend(self, events: IdEvents) -> None:
        """Add events that come after all others."""
        num_new = len(events.event)
        num_kept = min(num_new, self.capacity)
        self._make_room(num_kept)
        for row, column in zip(self._columns, events, strict=True):
            row[self._stop : self._stop + num_kept] = column[num_new - num_kept :]
        self._added(num_kept)
        self.count += num_new - num_kept

    def _added(self, num_events: int) -> None:
        self.count += num_events
        self._stop += num_events
        self._start = max(self._start, self._stop - self.capacity)

    def _make_room(self, num_events: int) -> None:
        """Leave at least `num_events` columns free behind the last event."""
        room = self._columns.shape[1]
        if self._stop + num_events <= room:
            return
        kept = self._columns[:, max(self._start, self._stop + num_events - self.capacity) : self._stop]
        num_kept = kept.shape[1]
        if num_kept + num_events > room // 2:
            room = max(2 * room, num_kept + num_events)
            room = min(room, self.capacity + self.capacity // 4 + 1)
        columns = np.empty((len(IdEvents._fields), room), np.int64)
        columns[:, :num_kept] = kept
        self._columns, self._start, self._stop = columns, 0, num_kept
