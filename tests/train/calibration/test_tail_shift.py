"""The tail shift: ratios by hand, and a tau that stops where macro recall has peaked."""

import numpy as np
import pytest

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave_train.calibration.tail_shift import choose_tau, log_prior_ratio, operating_point, worst_case_of

COUNTS = np.array([0, 90, 9, 0])


def test_ratios_toward_uniform_by_hand():
    ratio = log_prior_ratio(COUNTS)
    prior = np.array([0.9, 0.09, 0.01])  # what was never seen counts once
    assert ratio[0] == 0
    np.testing.assert_allclose(np.diff(ratio[1:]), [np.log(10), np.log(9)])
    assert prior @ ratio[1:] == pytest.approx(0)


def test_ratios_toward_the_worst_case_keep_a_tenth_of_everybody():
    ratio = log_prior_ratio(np.array([0, 50, 50]), np.array([0, 1.0, 0.0]))
    np.testing.assert_allclose(ratio[1] - ratio[2], np.log(1 / 0.05))


def test_the_worst_case_is_that_of_behaviors():
    assert worst_case_of([0, 0.5, 0.5], 3).tolist() == [0, 0.5, 0.5]
    assert worst_case_of([0.5, 0.5], 3) is None  # of groups
    assert worst_case_of(None, 3) is None


def test_operating_points_by_hand():
    shift = ProbabilityShift(log_ratio_V=np.log([1.0, 1.0, 10.0]))
    probs = np.array([[0, 0.9, 0.1, 0.0], [0, 0.8, 0.2, 0.0], [0, 0.1, 0.0, 0.9]])
    target = np.array([1, 2, 3])  # the last is a name of the user's own
    assert operating_point(probs, target, shift, 0.0) == (2 / 3, 0.5)
    assert operating_point(probs, target, shift, 0.9) == (1.0, 1.0)
    assert np.isnan(operating_point(probs[2:], target[2:], shift, 0.0)[0])


def test_tau_is_the_smallest_near_the_peak():
    draw = np.random.default_rng(0)
    prior = np.array([0.0, 0.8, 0.15, 0.05])
    target = draw.choice(4, size=4000, p=prior)
    evidence = draw.normal(size=(4000, 4))
    evidence[np.arange(4000), target] += 1.0
    # p(b | x) by Bayes, for unit normals shifted by 1.
    probs = prior * np.exp(evidence)
    probs /= probs.sum(1, keepdims=True)
    ratio = log_prior_ratio(np.array([0, 80, 15, 5]))
    tau = choose_tau(probs, target, ratio)
    assert 0.6 <= tau <= 1.1

    def macro(tau):
        return operating_point(probs, target, ProbabilityShift(log_ratio_V=tau * ratio), 1.0)[1]

    assert macro(tau) >= 0.98 * macro(1.0)
    assert macro(tau) > macro(0.0) + 0.1


def test_without_known_targets_the_dial_does_nothing():
    assert choose_tau(np.zeros((0, 4)), np.zeros(0, np.int64), log_prior_ratio(COUNTS)) == 0
