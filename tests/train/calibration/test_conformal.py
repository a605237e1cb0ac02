"""Thresholds of prediction sets: by hand, and coverage on users that were not seen."""

import numpy as np
import pytest

from edgebehave_train.calibration.conformal import GRID, coverage_thresholds


def test_by_hand_every_user_weighs_the_same():
    # Three users: one with four targets, two with one. With a fourth at infinity each has 1/4.
    own = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1])
    user = np.array([0, 0, 0, 0, 1, 2])
    probs = np.stack([np.zeros(6), own, 1 - own], 1)
    thresholds = coverage_thresholds(probs, np.ones(6, np.int64), user)
    at = {coverage: thresholds.at(coverage) for coverage in (0.06, 0.25, 0.5, 0.75, 0.76)}
    assert at == {0.06: 0.9, 0.25: 0.6, 0.5: 0.5, 0.75: 0.1, 0.76: 0.0}


def test_what_is_no_candidate_is_covered_by_nothing():
    probs = np.array([[0.0, 0.6, 0.4]] * 20)
    target = np.array([1] * 15 + [0] * 5)
    thresholds = coverage_thresholds(probs, target, np.arange(20))
    assert thresholds.at(0.7) == 0.6
    assert thresholds.at(0.8) == 0


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_new_users_are_covered_as_promised(coverage):
    """Users differ in how predictable they are and in how many events they have."""
    draw = np.random.default_rng(0)

    def people(num_users):
        num_events = draw.integers(1, 60, num_users)
        user = np.repeat(np.arange(num_users), num_events)
        skill = np.repeat(draw.uniform(0, 4, num_users), num_events)
        scores = draw.normal(size=(len(user), 10))
        target = draw.integers(1, 10, len(user))
        scores[np.arange(len(user)), target] += skill
        scores[:, 0] = -np.inf
        probs = np.exp(scores)
        return probs / probs.sum(1, keepdims=True), target, user

    thresholds = coverage_thresholds(*people(600))
    probs, target, user = people(600)
    members = thresholds.members(probs[:, 1:], coverage)
    covered = members[np.arange(len(target)), target - 1]
    per_user = np.bincount(user, covered) / np.bincount(user)
    assert coverage - 0.03 < per_user.mean() < coverage + 0.05


def test_the_grid_is_what_a_bundle_ships():
    thresholds = coverage_thresholds(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0))
    assert thresholds.coverage.tolist() == list(GRID)
    assert not thresholds.threshold.any()
