"""Packed rows: many users in one row of a batch, without padding between them."""

# R rows, T events per row

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
    pieces = [
        (first, min(first + _SHARE_EVENTS, stop))
        for start, stop in ranges.tolist()
        for first in range(start, stop, _SHARE_EVENTS)
    ]
    order = np.random.default_rng(seed).permutation(len(pieces))
    shuffled = np.array(pieces, np.int64).reshape(-1, 2)[order]
    events = (shuffled[:, 1] - shuffled[:, 0]).cumsum()
    wanted = share * (events[-1] if len(events) else 0)
    taken = shuffled[: int(np.searchsorted(events, wanted)) + 1]
    return taken[np.argsort(taken[:, 0])]


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
    ranges = ranges[ranges[:, 1] > ranges[:, 0]]
    if rng is not None:
        ranges = ranges[rng.permutation(len(ranges))]
    lengths = ranges[:, 1] - ranges[:, 0]
    ends = lengths.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    flat = np.arange(total) + np.repeat(ranges[:, 0] - (ends - lengths), lengths)
    if cut:
        borders = np.arange(row_events, total, row_events)
    else:
        row_of_user = (ends - 1) // row_events
        borders = ends[:-1][row_of_user[1:] != row_of_user[:-1]]
    return np.split(flat, borders) if total else []
