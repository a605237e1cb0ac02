"""Calibration: the error by hand, and parameters that made the data are found again."""

import numpy as np
import pytest

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave_train.calibration.calibration import (
    calibration_error,
    fit_calibration,
    mean_nll,
    top_confidence,
)

NOTHING = np.zeros(1)


def drawn(probs_TC, seed=0):
    """What comes if the probabilities are true."""
    u_T1 = np.random.default_rng(seed).random((len(probs_TC), 1))
    return (probs_TC.cumsum(1) < u_T1 * probs_TC.sum(1, keepdims=True)).sum(1)


def random_probs(num_targets=20_000, num_candidates=12, seed=1):
    scores = 1.5 * np.random.default_rng(seed).normal(size=(num_targets, num_candidates))
    probs = np.exp(scores)
    probs[:, 0] = 0
    return probs / probs.sum(1, keepdims=True)


def test_the_error_by_hand():
    confidence = np.array([0.1, 0.2, 0.8, 0.9])
    hit = np.array([False, True, True, True])
    # By mass: means 0.15 and 0.85, hits 0.5 and 1. By width (four of them): three bins.
    assert calibration_error(confidence, hit, num_bins=2) == pytest.approx((0.7 + 0.3) / 4)
    assert calibration_error(confidence, hit, "width", 4) == pytest.approx((0.7 + 0.3) / 4)
    assert calibration_error(confidence, hit, "width", 10) == pytest.approx((0.1 + 0.8 + 0.2 + 0.1) / 4)
    assert np.isnan(calibration_error(confidence[:0], hit[:0]))


def test_confidence_of_the_top_leaves_out_what_has_no_name():
    confidence, hit = top_confidence(np.array([[0.6, 0.1, 0.3], [0.0, 0.7, 0.3]]), np.array([2, 0]))
    np.testing.assert_allclose(confidence, [0.3, 0.7])
    assert hit.tolist() == [True, False]


@pytest.mark.parametrize(("temperature", "boost"), [(1.0, 0.0), (1.4, 0.0), (1.3, 1.5), (0.7, 0.8)])
def test_it_finds_what_made_the_data(temperature, boost):
    probs = random_probs()
    truth = ProbabilityShift(log_ratio_V=NOTHING, temperature=temperature, boost=boost)
    target = drawn(truth.apply(probs))
    fitted = fit_calibration(probs, target)
    # The two partly make up for each other, so that neither is sharply known.
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.boost == pytest.approx(boost, abs=0.5)
    shift = ProbabilityShift(log_ratio_V=NOTHING, temperature=fitted.temperature, boost=fitted.boost)
    assert calibration_error(*top_confidence(shift.apply(probs), target)) < 0.015
    assert mean_nll(shift.apply(probs), target) <= mean_nll(truth.apply(probs), target) + 1e-4


def test_no_other_parameters_lose_less():
    probs = random_probs()
    target = drawn(ProbabilityShift(log_ratio_V=NOTHING, temperature=1.3, boost=1.5).apply(probs))
    fitted = fit_calibration(probs, target)

    def loss(temperature, boost):
        shift = ProbabilityShift(log_ratio_V=NOTHING, temperature=temperature, boost=boost)
        ridge = 2.5 * ((1 / temperature - 1) ** 2 + boost**2)
        return mean_nll(shift.apply(probs), target) * len(target) + ridge

    best = loss(fitted.temperature, fitted.boost)
    for factor, more in ((1.05, 0), (0.95, 0), (1, 0.1), (1, -0.1)):
        assert best < loss(factor * fitted.temperature, fitted.boost + more)


def test_a_negative_boost_becomes_temperature_alone():
    probs = random_probs()
    flattened = np.where(probs > 0, probs * np.exp(-1.5 * np.sqrt(probs)), 0)
    target = drawn(flattened / flattened.sum(1, keepdims=True))
    fitted = fit_calibration(probs, target)
    assert fitted.boost == 0
    assert fitted.temperature > 1


def test_without_targets_nothing_is_changed():
    fitted = fit_calibration(np.zeros((0, 4)), np.zeros(0, np.int64))
    assert (fitted.temperature, fitted.boost) == (1.0, 0.0)
    impossible = fit_calibration(np.array([[0, 1.0, 0]]), np.array([2]))
    assert (impossible.temperature, impossible.boost) == (1.0, 0.0)
