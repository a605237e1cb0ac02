"""At which hours of the day users are about, and how that shapes when something happens next."""

# U users, C past behaviors, D day types (workday, weekend), S half hours, B bins, Q gaps in a bin

import numpy as np
import numpy.typing as npt

from edgebehave.habits import FIRST_WEEKEND_DAY
from edgebehave.time_features import NUM_SLOTS, weekday_and_slot

CLOCK_SHRINKAGE = 20.0
"""Behaviors of everybody that stand beside a user's own hours of the day."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def clock_rates(
    time_s_UC: IntArray,
    utc_offset_min_UC: IntArray,
    is_there_UC: npt.NDArray[np.bool_],
    prior_DS: npt.NDArray[np.floating],
) -> FloatArray:
    """(U, 2, 48) share of a user's behaviors in each half hour of workdays and weekends: own
    counts, smoothed over neighbors, and CLOCK_SHRINKAGE behaviors of everybody (`prior`)."""
    weekday, slot = weekday_and_slot(time_s_UC, utc_offset_min_UC)
    counts = np.zeros((len(slot), 2, NUM_SLOTS))
    user, column = is_there_UC.nonzero()
    day_type = (weekday >= FIRST_WEEKEND_DAY).astype(np.int64)
    np.add.at(counts, (user, day_type[user, column], slot[user, column]), 1)
    smooth = (np.roll(counts, 1, 2) + 2 * counts + np.roll(counts, -1, 2)) / 4
    total = counts.sum(2, keepdims=True)
    rate: FloatArray = (smooth + CLOCK_SHRINKAGE * prior_DS) / (total + CLOCK_SHRINKAGE)
    return rate


def shares_in_bins(
    rate_UDS: FloatArray,
    start_s_U: IntArray,
    utc_offset_min_U: IntArray,
    gap_s_BQ: npt.NDArray[np.floating],
) -> FloatArray:
    """(U, B, Q) probabilities of the waiting times in each bin, counted from `start_s`: those that
    end in an hour of the day when the user is about are likelier. A bin of the next morning is
    hours wide."""
    end_s = start_s_U[:, None, None] + gap_s_BQ.astype(np.int64)
    weekday, slot = weekday_and_slot(end_s, utc_offset_min_U[:, None, None])
    day_type = (weekday >= FIRST_WEEKEND_DAY).astype(np.int64)
    user = np.arange(len(end_s))[:, None, None]
    weight_UBQ = rate_UDS[user, day_type, slot]
    shares: FloatArray = weight_UBQ / weight_UBQ.sum(2, keepdims=True)
    return shares
