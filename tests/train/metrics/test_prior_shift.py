"""Prior shift: ratios of logit adjustment, and the scores of shifted predictions."""

import numpy as np
import pytest

from edgebehave_train.metrics.prior_shift import adjustment_ratio, shifted_scores

PROBS_RC = np.array([[0.0, 0.6, 0.3, 0.06, 0.04]], np.float32)
COUNTS_V = np.array([0, 75, 25, 0])  # and one private behavior: both zeros count as seen once


def test_adjustment_divides_by_the_prior_to_the_power_of_tau():
    expected = PROBS_RC / np.array([0.01, 0.75, 0.25, 0.01, 0.01]) ** 0.5
    scores = shifted_scores(PROBS_RC, adjustment_ratio(COUNTS_V, 5, 0.5))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_tau_zero_changes_nothing():
    np.testing.assert_array_equal(shifted_scores(PROBS_RC, adjustment_ratio(COUNTS_V, 5, 0.0)), PROBS_RC)


def test_a_shift_there_and_back_changes_no_share():
    ratio = np.array([1, 0.5, 4, 2, 1])
    there = shifted_scores(PROBS_RC, ratio)
    back = shifted_scores(there / there.sum(), 1 / ratio)
    assert back / back.sum() == pytest.approx(PROBS_RC, rel=1e-6)
