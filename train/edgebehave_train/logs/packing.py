"""Packed rows: many users in one row of a batch, without padding between them."""

# S ranges, P pieces of ranges, R rows, T events per row

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_SHARE_EVENTS = 60
"""Events in each piece of a share of a log."""


def share_of_ranges(ranges: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.int64]:
    """A seeded share of the events of some ranges, in pieces of 60 events or a whole range.

    Pieces and not whole users, so that one percent of a log of 93 users holds several of them. With the same seed, a
    larger share contains the smaller ones.

    ranges   (S, 2) first and past-the-end positions.
    share    of the events, in (0, 1]; 1 gives the ranges back.
    Returns  (S', 2), at least one piece, ascending.
    """
    if share >= 1:
        return ranges
    num_pieces = -(-np.maximum(ranges[:, 1] - ranges[:, 0], 0) // _SHARE_EVENTS)
    number = np.arange(num_pieces.sum()) - np.repeat(num_pieces.cumsum() - num_pieces, num_pieces)
    first = np.repeat(ranges[:, 0], num_pieces) + _SHARE_EVENTS * number
    pieces = np.stack([first, np.minimum(first + _SHARE_EVENTS, np.repeat(ranges[:, 1], num_pieces))], 1)
    order = np.random.default_rng(seed).permutation(len(pieces))
    shuffled = pieces[order]
    events = (shuffled[:, 1] - shuffled[:, 0]).cumsum()
    wanted = share * (events[-1] if len(events) else 0)
    taken = shuffled[: int(np.searchsorted(events, wanted)) + 1]
    return taken[np.argsort(taken[:, 0])]


class Pieces(NamedTuple):
    """Pieces of ranges that make some rows; all (P,) int64, in the order of the rows.

    row          0, 1, ... in the order in which the rows are asked for.
    start, stop  first and past-the-end position in the log.
    ask_start    first position that has a target; None = start.
    """

    row: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    ask_start: npt.NDArray[np.int64] | None = None

    def positions(self) -> npt.NDArray[np.int64]:
        """The positions of all pieces, end to end."""
        return positions_of(self.start, self.stop)


def positions_of(start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """start[0], ..., stop[0] - 1, start[1], ...: the positions of some ranges, end to end."""
    lengths = stop - start
    ends = lengths.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - (ends - lengths), lengths)


class PackedRows:
    """Ranges of a log, laid end to end and broken into rows; it holds the ranges and no events.

    A sequence of R rows; `pieces` says of what some of them are made.
    """

    def __init__(
        self,
        ranges: npt.NDArray[np.int64],
        row_events: int,
        rng: np.random.Generator | None = None,
        cut: bool = True,
    ) -> None:
        """Arguments as in `pack_rows`."""
        ranges = ranges[ranges[:, 1] > ranges[:, 0]]
        if rng is not None:
            ranges = ranges[rng.permutation(len(ranges))]
        self._start = ranges[:, 0].copy()
        self._ends = (ranges[:, 1] - ranges[:, 0]).cumsum()
        total = int(self._ends[-1]) if len(ranges) else 0
        if cut:
            borders = np.arange(0, total + row_events, row_events) if total else np.zeros(1, np.int64)
            self._borders = np.minimum(borders, total)
        else:
            is_last = np.diff((self._ends - 1) // row_events, append=-1) != 0
            self._borders = np.append(0, self._ends[is_last])

    def __len__(self) -> int:
        return len(self._borders) - 1

    def pieces(self, rows: npt.NDArray[np.integer] | Sequence[int]) -> Pieces:
        """Of what some rows are made."""
        rows = np.asarray(rows, np.int64)
        begin, end = self._borders[rows], self._borders[rows + 1]
        first, last = np.searchsorted(self._ends, begin, "right"), np.searchsorted(self._ends, end)
        num_pieces = last - first + 1
        which = positions_of(first, last + 1)
        of_range = np.where(which > 0, self._ends[which - 1], 0)
        shift = self._start[which] - of_range
        start = np.maximum(of_range, np.repeat(begin, num_pieces)) + shift
        stop = np.minimum(self._ends[which], np.repeat(end, num_pieces)) + shift
        return Pieces(np.repeat(np.arange(len(rows)), num_pieces), start, stop)


def pack_rows(
    ranges: npt.NDArray[np.int64], row_events: int, rng: np.random.Generator | None = None, cut: bool = True
) -> list[npt.NDArray[np.int64]]:
    """Lay ranges of a log end to end and break them into rows.

    ranges      (S, 2) int64, first and past-the-end position of each user's events; the empty ones are skipped.
    row_events  T. With cut, every row but the last has exactly T events and a user may continue in the next row
                without its past; where the cuts fall changes with the shuffle. Without, rows end where users do and
                have about T events or one long user.
    rng         shuffles the users; None keeps their order.
    Returns     rows of positions in the log, (T,) int64 each.
    """
    packed = PackedRows(ranges, row_events, rng, cut)
    if not len(packed):
        return []
    pieces = packed.pieces(np.arange(len(packed)))
    num_events = np.bincount(pieces.row, pieces.stop - pieces.start).astype(np.int64)
    return np.split(pieces.positions(), num_events.cumsum()[:-1])
