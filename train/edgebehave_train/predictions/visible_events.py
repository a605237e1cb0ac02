"""The events of one user that a model can see, and the number of all: what a `Predictor` keeps of them, in less time.

`observe` takes every event one by one, and a model looks back on some hundred of them. The rest only counts.
"""

import numpy as np
import numpy.typing as npt

from edgebehave.arguments import check_name
from edgebehave.histories.history import NamedColumn, NamedEvents

Column = npt.NDArray[np.generic]


class VisibleEvents:
    """The latest events of one user, read in pieces of any size, oldest first.

    As `observe` does, it counts an event once that equals a kept one in event, location, second and offset.

    num_kept    events that are kept, the latest.
    num_events  events so far, kept or not.
    """

    def __init__(self, num_kept: int) -> None:
        self.num_kept = num_kept
        self.num_events = 0
        self._second: int | None = None
        self._seen: dict[tuple[object, ...], None] = {}  # events of the latest second, as many as are kept
        self._pieces: list[tuple[Column, ...]] = []
        self._num_in_pieces = 0

    def add(self, event: Column, location: Column, time_s: npt.NDArray[np.int64], utc_offset_min: Column) -> None:
        """Take in the next events, arrays (n,) with ascending times.

        event, location  names; "" is no location.
        """
        if not len(time_s):
            return
        is_new = self._is_new(event, location, time_s, utc_offset_min)
        self.num_events += int(is_new.sum())
        kept = np.flatnonzero(is_new)[-self.num_kept :]
        self._pieces.append(tuple(column[kept] for column in (event, location, time_s, utc_offset_min)))
        self._num_in_pieces += len(kept)
        if self._num_in_pieces > 2 * self.num_kept:
            self._pieces = [self.columns()]
            self._num_in_pieces = len(self._pieces[0][0])

    def columns(self) -> tuple[Column, ...]:
        """Events, locations, times and offsets of the kept events."""
        return tuple(np.concatenate(pieces)[-self.num_kept :] for pieces in zip(*self._pieces, strict=True))

    def named(self) -> NamedEvents:
        """The kept events, at least one. Raises TypeError or ValueError for a name that `observe` refuses."""
        event, location, time_s, utc_offset_min = (column.tolist() for column in self.columns())
        rows = zip(event, (name or None for name in location), time_s, utc_offset_min, strict=True)
        named = NamedEvents.of(rows)
        _check_names(named.event, "event")
        _check_names(named.location, "location")
        return named

    def _is_new(self, event: Column, location: Column, time_s: npt.NDArray[np.int64], offset_min: Column) -> Column:
        """Whether each row is another event than those of its second before it, (n,) bool."""
        is_new = np.ones(len(time_s), bool)
        is_tied = time_s[1:] == time_s[:-1]
        begins_tied = int(time_s[0]) == self._second
        # Rows that share their second, and the last one, whose second may go on in the next piece.
        rows = np.flatnonzero(np.append(begins_tied, is_tied) | np.append(is_tied, True))
        columns = (column[rows].tolist() for column in (time_s, event, location, offset_min))
        for row, second, *values in zip(rows.tolist(), *columns, strict=True):
            if second != self._second:
                self._second, self._seen = second, {}
            if (key := tuple(values)) in self._seen:
                is_new[row] = False
                continue
            self._seen[key] = None
            if len(self._seen) > self.num_kept:
                del self._seen[next(iter(self._seen))]
        return is_new


def _check_names(column: NamedColumn, what: str) -> None:
    for name in column.names:
        if name is not None:
            check_name(name, what)
