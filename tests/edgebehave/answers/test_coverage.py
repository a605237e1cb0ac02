"""Prediction sets: thresholds come from the safe side, and the adaptive level keeps its word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave import AdaptiveCoverage
from edgebehave.answers.coverage import CoverageThresholds

THRESHOLDS = CoverageThresholds(coverage=np.array([0.5, 0.8, 0.9]), threshold=np.array([0.3, 0.1, 0.0]))


@pytest.mark.parametrize(
    ("coverage", "threshold"),
    [(0.0, 0.3), (0.5, 0.3), (0.51, 0.1), (0.8, 0.1), (0.81, 0.0), (0.95, 0.0), (1.0, 0.0)],
)
def test_a_coverage_takes_the_next_threshold_that_promises_as_much(coverage, threshold):
    assert THRESHOLDS.at(coverage) == threshold


def test_members_reach_the_threshold_and_are_possible():
    probs = np.array([0.5, 0.2, 0.1, 0.05, 0.0])
    assert THRESHOLDS.members(probs, 0.5).tolist() == [True, False, False, False, False]
    assert THRESHOLDS.members(probs, 0.8).tolist() == [True, True, True, False, False]
    assert THRESHOLDS.members(probs, 0.9).tolist() == [True, True, True, True, False]


def test_a_set_holds_at_least_the_most_probable():
    probs = np.array([[0.2, 0.1], [0.4, 0.35]])
    members = THRESHOLDS.members(probs, 0.5)
    assert members.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    ("coverage", "threshold"),
    [
        ([], []),
        ([0.5], [0.1, 0.2]),
        ([0.5, 0.4], [0.2, 0.1]),
        ([0.4, 0.5], [0.1, 0.2]),
        ([0.0], [0.1]),
        ([0.5], [1.5]),
        ([float("nan")], [0.1]),
        ([0.5], [float("nan")]),
    ],
)
def test_thresholds_that_make_no_sense(coverage, threshold):
    with pytest.raises(ValueError, match="conformal: "):
        CoverageThresholds(coverage=np.array(coverage), threshold=np.array(threshold))


def test_a_miss_asks_for_more_and_a_hit_for_less():
    wanted = AdaptiveCoverage(target=0.9, step=0.1)
    assert wanted.coverage == 0.9
    wanted.update(covered=False)
    assert wanted.coverage == pytest.approx(0.99)
    wanted.update(covered=True)
    assert wanted.coverage == pytest.approx(0.98)


@given(
    target=st.floats(0.05, 0.95),
    step=st.floats(0.01, 0.5),
    luck=st.lists(st.booleans(), min_size=1, max_size=300),
)
def test_the_share_of_misses_is_bounded_whatever_happens(target, step, luck):
    """Gibbs & Candes 2021, Proposition 4.1: all candidates miss nothing, none would miss all."""
    wanted = AdaptiveCoverage(target=target, step=step)
    misses = 0
    for lucky in luck:
        covered = wanted.coverage >= 1 or (wanted.coverage > 0 and lucky)
        misses += not covered
        wanted.update(covered)
    bound = (max(target, 1 - target) + step) / (step * len(luck))
    assert abs(misses / len(luck) - (1 - target)) <= bound + 1e-9


@pytest.mark.parametrize("wrong", [{"target": 1.0}, {"target": 0}, {"step": 0}, {"step": 2}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match="must lie"):
        AdaptiveCoverage(**wrong)
