"""Which events a model must read so that all questions of the validation part can be asked."""

# N events, U users, S of them with a question

import numpy as np
import numpy.typing as npt


def asking_ranges(
    next_behavior: npt.NDArray[np.int64],
    is_asked: npt.NDArray[np.bool_],
    bounds: npt.NDArray[np.int64],
    receptive_field: int,
) -> npt.NDArray[np.int64]:
    """The events that a model must read to be asked for the validation part: no older ones.

    next_behavior    (N,) as in MappedLog.
    is_asked         (N,) bool, events of the validation part.
    bounds           (U, 4) as from `part_bounds`.
    receptive_field  events that rebuild a state, the last one included.
    Returns          (S, 2) first and past-the-end positions, of the users who are asked.
    """
    asking = np.flatnonzero((next_behavior >= 0) & is_asked[next_behavior])
    first, stop = (np.searchsorted(asking, bounds[:, column]) for column in (0, 2))
    is_user_asked = stop > first
    oldest = asking[first[is_user_asked]] - receptive_field + 1
    start = np.maximum(oldest, bounds[is_user_asked, 0])
    return np.stack([start, asking[stop[is_user_asked] - 1] + 1], 1)
