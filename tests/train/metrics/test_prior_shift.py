"""Prior shift: ratios of logit adjustment, and the scores of shifted predictions."""

import numpy as np
import pytest

from edgebehave_train.metrics.prior_shift import adjusted_scores, adjustment_divisor, shifted_scores

PROBS_RC = np.array([[0.0, 0.6, 0.3, 0.06, 0.04]], np.float32)
COUNTS_V = np.array([0, 75, 25, 0])  # and one private behavior: both zeros count as seen once


def test_adjustment_divides_by_the_prior_to_the_power_of_tau():
    expected = PROBS_RC / np.array([0.01, 0.75, 0.25, 0.01, 0.01]) ** 0.5
    scores = adjusted_scores(PROBS_RC, adjustment_divisor(COUNTS_V, 5, 0.5))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_tau_zero_changes_nothing():
    np.testing.assert_array_equal(adjusted_scores(PROBS_RC, adjustment_divisor(COUNTS_V, 5, 0.0)), PROBS_RC)


def test_adjusted_scores_are_rounded_as_quotients():
    """Scores halfway between two numbers of float32, where a product with the inverse is rounded otherwise."""
    probs_RC = np.random.default_rng(0).random((1, 100), np.float32)
    halfway_C = probs_RC[0] + np.spacing(probs_RC[0]).astype(np.float64) / 2
    divisor_C = probs_RC[0] / halfway_C
    scores = adjusted_scores(probs_RC, divisor_C)
    np.testing.assert_array_equal(scores, (probs_RC / divisor_C).astype(np.float32))
    assert (scores != shifted_scores(probs_RC, divisor_C**-1)).any()


def test_a_shift_there_and_back_changes_no_share():
    ratio = np.array([1, 0.5, 4, 2, 1])
    there = shifted_scores(PROBS_RC, ratio)
    back = shifted_scores(there / there.sum(), 1 / ratio)
    assert back / back.sum() == pytest.approx(PROBS_RC, rel=1e-6)
