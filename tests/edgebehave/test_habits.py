"""The habit kernels by hand, and as distributions."""

from math import exp, log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.habits import (
    DECAY,
    GAP_UNIT_S,
    GAP_WIDTH,
    HOUR_WIDTH,
    KERNELS,
    MOMENT_WIDTH,
    TIMED_KERNELS,
    HabitHistory,
    HabitWeights,
    clock_similarity,
    gap_similarity,
    habit_probs,
    kernel_weights,
)

A, B, C = 1, 2, 3
MONDAY_S = 1_767_571_200  # 2026-01-05 00:00 UTC
HOUR_S, DAY_S = 3600, 86_400


def history_of(behavior, location=None, time_s=None, utc_offset_min=0) -> HabitHistory:
    n = len(behavior)
    return HabitHistory(
        behavior=np.array(behavior, np.int64),
        location=np.zeros(n, np.int64) if location is None else np.array(location, np.int64),
        time_s=MONDAY_S + np.array(range(n) if time_s is None else time_s, np.int64),
        utc_offset_min=np.full(n, utc_offset_min),
    )


def weights_of(history: HabitHistory, time_s: int | None, utc_offset_min: int = 0) -> dict:
    weights_KN = kernel_weights(history, time_s, utc_offset_min)
    return dict(zip(KERNELS, weights_KN.tolist(), strict=True))


def test_kernels_of_the_sequence_by_hand():
    # The last behavior is A at location 7, after B; before that: A after B, and B at location 7.
    history = history_of([B, A, C, B, A], location=[7, 8, 7, 9, 7])
    weights = weights_of(history, MONDAY_S + HOUR_S)
    assert weights["frequency"] == [1, 1, 1, 1, 1]
    assert weights["recency"] == pytest.approx([DECAY**4, DECAY**3, DECAY**2, DECAY, 1])
    assert weights["transition"] == [0, 0, 1, 0, 0]
    assert weights["second_order"] == [0, 0, 1, 0, 0]
    assert weights["location"] == [0, 1, 0, 1, 0]


def test_hour_by_hand():
    # Monday 8:00, Tuesday 9:00 and 23:50, Saturday 8:00; asked on Wednesday at 8:00.
    at = [8 * HOUR_S, DAY_S + 9 * HOUR_S, DAY_S + 23 * HOUR_S + 3000, 5 * DAY_S + 8 * HOUR_S]
    weights = weights_of(history_of([A, B, C, A], time_s=at), MONDAY_S + 9 * DAY_S + 8 * HOUR_S)
    clock = [exp(-((d / HOUR_WIDTH) ** 2) / 2) for d in (0, 2, 17)]
    assert weights["hour"] == pytest.approx([*clock, 0], rel=1e-5)


def test_moments_by_hand():
    # A, two hours later B at 10:00; A again, and asked one hour after it, at 11:00.
    at = [8 * HOUR_S, 10 * HOUR_S, DAY_S + 10 * HOUR_S]
    history = history_of([A, B, A], location=[5, 6, 5], time_s=at)
    weights = weights_of(history, MONDAY_S + DAY_S + 11 * HOUR_S)
    apart = log1p(2 * HOUR_S / GAP_UNIT_S) - log1p(HOUR_S / GAP_UNIT_S)
    both = exp(-((2 / MOMENT_WIDTH) ** 2) / 2) * exp(-((apart / GAP_WIDTH) ** 2) / 2)
    assert weights["transition_moment"] == pytest.approx([0, both, 0], rel=1e-5)
    assert weights["location_moment"] == pytest.approx([0, both, 0], rel=1e-5)


def test_clocks_go_around():
    slots = np.array([0, 1, 24, 47])
    similar = clock_similarity(slots, np.array(47), 2.0)
    assert similar == pytest.approx([exp(-1 / 8), exp(-4 / 8), exp(-(23**2) / 8), 1])


def test_gaps_are_alike_on_a_logarithmic_scale():
    hour, day = np.array(HOUR_S), np.array(DAY_S)
    assert gap_similarity(hour, hour) == 1
    assert gap_similarity(hour, 2 * hour) > gap_similarity(hour, day)
    assert gap_similarity(day, day + hour) > gap_similarity(hour, 2 * hour)
    assert gap_similarity(np.array(-5), np.array(0)) == 1


def test_time_is_local():
    history = history_of([A, B], time_s=[0, 9 * HOUR_S], utc_offset_min=540)
    here = weights_of(history, MONDAY_S + DAY_S, 540)["hour"]
    assert here == weights_of(history, MONDAY_S + DAY_S + 9 * HOUR_S, 0)["hour"]
    assert here[0] == 1


def test_probabilities_by_hand():
    history = history_of([B, A, A])
    probs_KV, evidence_K = habit_probs(history, 4, None)
    assert probs_KV[KERNELS.index("frequency")] == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert probs_KV[KERNELS.index("transition")] == pytest.approx([0, 1, 0, 0])
    assert evidence_K[KERNELS.index("frequency")] == 3


def test_an_unknown_moment_silences_the_kernels_that_need_one():
    history = history_of([A, B, A, B], location=[1, 1, 1, 1])
    _, known_K = habit_probs(history, 4, MONDAY_S)
    _, unknown_K = habit_probs(history, 4, None)
    for kernel, known, unknown in zip(KERNELS, known_K, unknown_K, strict=True):
        assert known > 0 or kernel == "second_order"
        assert unknown == (0 if kernel in TIMED_KERNELS else known)


def test_no_history_is_no_evidence():
    probs_KV, evidence_K = habit_probs(history_of([]), 4, MONDAY_S)
    assert not probs_KV.any()
    assert not evidence_K.any()


@given(rows=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 10**6)), max_size=40))
def test_each_kernel_is_a_distribution_or_nothing(rows):
    rows = sorted(rows, key=lambda row: row[2])
    history = history_of(*zip(*rows, strict=True)) if rows else history_of([])
    probs_KV, evidence_K = habit_probs(history, 6, MONDAY_S + 10**6)
    # The guard of the division shows where all that is left of the evidence is a far tail.
    certain = evidence_K > 1e-6
    assert probs_KV[certain].sum(1) == pytest.approx(1, abs=1e-4)
    assert (probs_KV.sum(1) <= 1 + 1e-4).all()
    assert not probs_KV[evidence_K == 0].any()


def test_events_without_a_behavior_are_left_out():
    columns = (np.array(column) for column in ([A, -1, B], [4, 5, 6], [10, 20, 30], [0, 60, 0]))
    history = HabitHistory.of_events(*columns)
    assert history.behavior.tolist() == [A, B]
    assert history.location.tolist() == [4, 6]
    assert history.time_s.tolist() == [10, 30]
    assert history.utc_offset_min.tolist() == [0, 0]


def test_weights_survive_their_vector():
    weights = HabitWeights()
    again = HabitWeights.from_vector(weights.to_vector())
    total = sum(weights.weight)
    assert again.weight == pytest.approx([weight / total for weight in weights.weight])
    assert again.shrinkage == pytest.approx(weights.shrinkage)
    assert again.popularity == pytest.approx(weights.popularity / total)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weight": (1.0,)}, "one number per kernel"),
        ({"weight": (-1.0,) * len(KERNELS)}, "negative"),
        ({"shrinkage": (0.0,) * len(KERNELS)}, "positive"),
    ],
)
def test_weights_are_checked(change, says):
    with pytest.raises(ValueError, match=says):
        HabitWeights(**change)
