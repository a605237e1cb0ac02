"""Kernels and cues of the lookup against numbers worked by hand."""

import math

import numpy as np
import pytest
import torch

from edgebehave_train.universal.lookup import (
    CUES,
    KERNELS,
    LOOKBACK,
    NUM_CUES,
    TIMED_CUES,
    TIMED_KERNELS,
    pairs,
)
from edgebehave_train.universal.sequences import NO_NAME, Sequences

DAY, HOUR = 86400, 3600
MONDAY, TUESDAY, SATURDAY, NEXT_MONDAY = 4 * DAY, 5 * DAY, 9 * DAY, 11 * DAY  # day 0 is a Thursday
NAMES = [0, 1, 0, 1, 0]
LOCATIONS = [7, 5, 7, 7, 3]
TIMES = [
    MONDAY + 8 * HOUR,
    MONDAY + 9 * HOUR,
    TUESDAY + 8 * HOUR,
    SATURDAY + 8 * HOUR + 1800,
    NEXT_MONDAY + 8 * HOUR + 1800,
]


def one_user(name, location=None, local_s=None) -> Sequences:
    location = [-1] * len(name) if location is None else location
    local_s = [60 * i for i in range(len(name))] if local_s is None else local_s
    return Sequences(*(torch.tensor([column]) for column in (name, location, local_s)))


@pytest.fixture(scope="module")
def by_hand():
    """Pairs of the last of five behaviors and all of them: {name of a kernel or cue: (5,)}."""
    found = pairs(one_user(NAMES, LOCATIONS, TIMES), torch.tensor([4]))
    kernels = {name: found.weights[0, 0, :, k] for k, name in enumerate(KERNELS)}
    cues = {f"cue {name}": found.cues[0, 0, :, k] for k, name in enumerate(CUES)}
    return kernels | cues


# The query comes after 1, 0, 1, 0 (latest first); before behaviors 0 to 3 came nothing; 0; 1, 0; 0, 1, 0.
ALL_SHARED, HALF_SHARED = (math.exp(4) - 1) / 20, (math.exp(2) - 1) / 20
# Gaps: 48 h before the query, 23 h before behavior 2; one half hour between their times of day.
MOMENT = math.exp(-1 / 18) * math.exp(-0.5 * ((math.log(289) - math.log(139)) / 0.7) ** 2)
HALF_HOUR = math.exp(-1 / 8)
KERNELS_BY_HAND = {
    "frequency": [1, 1, 1, 1],
    "recency": [0.729, 0.81, 0.9, 1],
    "slow_recency": [0.912673, 0.9409, 0.97, 1],
    "order_1": [0, 0, 1, 0],
    "order_2": [0, 0, 1, 0],
    "order_3": [0, 0, 0, 0],
    "order_1_recent": [0, 0, 0.97, 0],
    "order_2_recent": [0, 0, 0.97, 0],
    "longest": [0, 0, 9 * 0.97, 0],
    "skip": [0, 0, 1, 0],
    "bag": [0, HALF_SHARED, ALL_SHARED, ALL_SHARED],
    "bag_recent": [0, HALF_SHARED * 0.9409, ALL_SHARED * 0.97, ALL_SHARED],
    "location": [0, 1, 0, 1],
    "location_recent": [0, 0.9409, 0, 1],
    "hour": [HALF_HOUR, HALF_HOUR, HALF_HOUR, 0],
    "week": [math.exp(-0.5), math.exp(-0.5), 0, 0],
    "order_1_moment": [0, 0, MOMENT, 0],
}
CUES_BY_HAND = {
    "age": [math.log(4) / 4, math.log(3) / 4, math.log(2) / 4, 0],
    "latest": [0, 0, 0, 1],
    "elapsed": [math.log1p(120.5) / 4, math.log1p(119.5) / 4, math.log1p(96.5) / 4, 0],
    "order_1": [0, 0, 1, 0],
    "overlap": [0, 0.5, 1, 1],
    "location": [0, 1, 0, 1],
    "repeat": [0, 1, 0, 1],
    "alternation": [1, 0, 1, 0],
    "at_location": [1, 0, 1, 1],
    "clock_1": [math.exp(-0.5)] * 3 + [1],
    "day_type": [1, 1, 1, 0],
    "weekday": [1, 1, 0, 0],
    "same_day": [0, 0, 0, 0],
}


@pytest.mark.parametrize("name", KERNELS_BY_HAND)
def test_a_kernel_by_hand(by_hand, name):
    np.testing.assert_allclose(by_hand[name], [*KERNELS_BY_HAND[name], 0], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", CUES_BY_HAND)
def test_a_cue_by_hand(by_hand, name):
    np.testing.assert_allclose(by_hand[f"cue {name}"][:4], CUES_BY_HAND[name], rtol=2e-6, atol=1e-7)


def test_location_moment_by_hand(by_hand):
    # Behaviors 1 and 3 follow one at location 7: after 1 h at 9:00, and after 4 days and half an hour at 8:30.
    expected = [
        math.exp(-d * d / 18) * math.exp(-0.5 * ((math.log(289) - math.log1p(gap_h * 6)) / 0.7) ** 2)
        for d, gap_h in ((1, 1), (0, 96.5))
    ]
    np.testing.assert_allclose(by_hand["location_moment"], [0, expected[0], 0, expected[1], 0], rtol=1e-5, atol=1e-7)


def test_the_clock_goes_around_midnight():
    found = pairs(one_user([0, 0], local_s=[MONDAY + 1800, MONDAY + DAY - 1800]), torch.tensor([1]))
    assert found.weights[0, 0, 0, KERNELS.index("hour")] == pytest.approx(math.exp(-0.5 * (2 / 2) ** 2))


def test_no_location_equals_no_other():
    found = pairs(one_user([0, 1, 0, 1, 0]), torch.tensor([4]))
    for name in ("location", "location_recent", "location_moment"):
        assert not found.weights[..., KERNELS.index(name)].any()
    for name in ("location", "at_location"):
        assert not found.cues[..., CUES.index(name)].any()


def test_a_query_looks_at_the_last_lookback_behaviors():
    length = LOOKBACK + 10
    found = pairs(one_user([0] * length), torch.tensor([length - 1, 3]))
    assert found.is_past[0, 0].nonzero()[:, 0].tolist() == list(range(9, length - 1))
    assert found.is_past[0, 1].nonzero()[:, 0].tolist() == [0, 1, 2]
    assert not found.weights[found.is_past == 0].any()


def test_positions_behind_the_end_are_no_past_and_no_query():
    found = pairs(one_user([0, 1, NO_NAME, NO_NAME]), torch.arange(4))
    assert found.is_past[0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_without_time_nothing_is_left_of_what_needs_it():
    found = pairs(one_user(NAMES, LOCATIONS, TIMES), torch.tensor([3, 4]))
    is_timed = torch.tensor([[True, False]])
    left = found.without_time(is_timed)
    untimed = [k for k in range(len(KERNELS)) if k not in TIMED_KERNELS]
    assert torch.equal(left.weights[:, 0], found.weights[:, 0])
    assert torch.equal(left.weights[:, 1][..., untimed], found.weights[:, 1][..., untimed])
    assert not left.weights[:, 1][..., list(TIMED_KERNELS)].any()
    assert not left.cues[:, 1][..., list(TIMED_CUES)].any()
    assert {CUES[k] for k in range(NUM_CUES) if k not in TIMED_CUES} == {
        *("age", "latest", "elapsed", "order_1", "order_2", "order_3", "overlap"),
        *("location", "repeat", "alternation", "at_location"),
    }


@pytest.mark.parametrize("moved_s", [5 * HOUR, -40 * DAY])  # later, and before the behavior before it
def test_what_is_left_without_time_does_not_depend_on_it(moved_s):
    found = []
    for time_s in (TIMES[4], TIMES[4] + moved_s):
        there = pairs(one_user(NAMES, LOCATIONS, [*TIMES[:4], time_s]), torch.tensor([4]))
        found.append(there.without_time(torch.tensor([[False]])))
    past = slice(0, 4)  # column 4 is the query itself, which is masked
    assert torch.equal(found[0].weights, found[1].weights)
    assert torch.equal(found[0].cues[:, :, past], found[1].cues[:, :, past])
