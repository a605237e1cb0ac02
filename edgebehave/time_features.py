"""Weekday and time slot of an event, from UTC seconds and the offset of local time."""

import numpy as np
import numpy.typing as npt

SECONDS_PER_SLOT = 1800
NUM_SLOTS = 48
NUM_WEEKDAYS = 7

# 1970-01-01 was a Thursday: three days after Monday, which is weekday 0.
_EPOCH_AFTER_MONDAY_S = 3 * 86400
_WEEK_S = 7 * 86400


def weekday_and_slot(
    time_s: npt.ArrayLike, utc_offset_min: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Local weekday (Monday = 0) and half-hour slot (0..47) of moments in time.

    time_s          integers, UTC seconds since 1970, any shape, negative allowed.
    utc_offset_min  integers, minutes to add for local time, broadcast against time_s.
    Returns two int64 arrays of the broadcast shape.
    """
    local_s = np.asarray(time_s, np.int64) + 60 * np.asarray(utc_offset_min, np.int64)
    second_of_week = (local_s + _EPOCH_AFTER_MONDAY_S) % _WEEK_S
    return second_of_week // 86400, second_of_week % 86400 // SECONDS_PER_SLOT
