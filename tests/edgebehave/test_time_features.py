"""Weekday and slot against datetime, at every edge."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.time_features import (
    NUM_SLOTS,
    NUM_WEEKDAYS,
    SECONDS_PER_SLOT,
    weekday_and_slot,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_OFFSET_MIN = 840


def by_datetime(time_s, utc_offset_min):
    """The slow, obvious way; works before 1970 too."""
    local = (EPOCH + timedelta(seconds=time_s)).astimezone(timezone(timedelta(minutes=utc_offset_min)))
    return local.weekday(), local.hour * 2 + local.minute // 30


@given(st.integers(-2_000_000_000, 4_102_444_800), st.integers(-MAX_OFFSET_MIN, MAX_OFFSET_MIN))
def test_any_moment_agrees_with_datetime(time_s, utc_offset_min):
    weekday, slot = weekday_and_slot(time_s, utc_offset_min)
    assert (int(weekday), int(slot)) == by_datetime(time_s, utc_offset_min)


def test_every_slot_edge_of_the_week_agrees_with_datetime():
    monday_s = 1_399_852_800  # 2014-05-12T00:00:00Z
    edges = monday_s + SECONDS_PER_SLOT * np.arange(-1, NUM_WEEKDAYS * NUM_SLOTS + 1)
    times = np.concatenate([edges - 1, edges, edges + 1])
    for utc_offset_min in (-840, -300, -240, -210, 0, 330, 345, 765, 840):
        weekday, slot = weekday_and_slot(times, utc_offset_min)
        assert weekday.dtype == slot.dtype == np.int64
        expected = [by_datetime(int(time_s), utc_offset_min) for time_s in times]
        assert list(zip(weekday.tolist(), slot.tolist(), strict=True)) == expected


def test_the_epoch_was_a_thursday():
    assert [int(x) for x in weekday_and_slot(0, 0)] == [3, 0]
    assert [int(x) for x in weekday_and_slot(-1, 0)] == [2, 47]
    assert [int(x) for x in weekday_and_slot(0, -1)] == [2, 47]


@given(
    st.lists(st.integers(0, 4_102_444_800), min_size=1, max_size=20),
    st.integers(-MAX_OFFSET_MIN, MAX_OFFSET_MIN),
)
def test_arrays_are_worked_out_element_by_element(times, utc_offset_min):
    weekday, slot = weekday_and_slot(times, utc_offset_min)
    assert weekday.shape == slot.shape == (len(times),)
    for i, time_s in enumerate(times):
        assert (weekday[i], slot[i]) == weekday_and_slot(time_s, utc_offset_min)
    assert ((weekday >= 0) & (weekday < NUM_WEEKDAYS)).all()
    assert ((slot >= 0) & (slot < NUM_SLOTS)).all()


def test_times_and_offsets_broadcast_and_small_types_do_not_overflow():
    times = np.array([[1_400_000_000], [1_400_001_800]], np.int64)
    offsets = np.array([-840, 0, 840], np.int16)
    weekday, slot = weekday_and_slot(times, offsets)
    assert weekday.shape == (2, 3)
    for i, time_s in enumerate(times[:, 0]):
        for j, offset in enumerate(offsets):
            expected = by_datetime(int(time_s), int(offset))
            assert (weekday[i, j], slot[i, j]) == expected
