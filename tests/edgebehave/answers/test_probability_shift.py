"""The last step: worked by hand, monotone, and 0 stays 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.answers.probability_shift import ProbabilityShift

NOTHING = np.zeros(3)


def test_no_shift_changes_nothing():
    probs = np.array([0.0, 0.7, 0.2, 0.1])
    np.testing.assert_allclose(ProbabilityShift(log_ratio_V=NOTHING).apply(probs, 0.7), probs)


def test_temperature_by_hand():
    shift = ProbabilityShift(log_ratio_V=NOTHING, temperature=0.5)
    np.testing.assert_allclose(shift.apply(np.array([0, 0.8, 0.2])), [0, 0.64 / 0.68, 0.04 / 0.68])


def test_boost_by_hand():
    shift = ProbabilityShift(log_ratio_V=NOTHING, boost=2.0)
    odds = 0.64 * np.exp(2 * 0.8) / (0.36 * np.exp(2 * 0.6))
    np.testing.assert_allclose(shift.apply(np.array([0, 0.64, 0.36])), [0, odds / (1 + odds), 1 / (1 + odds)])


def test_the_tail_shift_by_hand():
    """Names beyond the vocabulary keep their weight; at tail 0.5 the ratio counts as its square root."""
    shift = ProbabilityShift(log_ratio_V=np.log([1.0, 0.5, 4.0]))
    probs = np.array([0, 0.6, 0.2, 0.2])
    np.testing.assert_allclose(shift.apply(probs, 1.0), np.array([0, 0.3, 0.8, 0.2]) / 1.3)
    half = np.array([0, 0.6 * 0.5**0.5, 0.2 * 2, 0.2])
    np.testing.assert_allclose(shift.apply(probs, 0.5), half / half.sum())


@given(
    probs=st.lists(st.floats(1e-12, 1), min_size=2, max_size=20),
    temperature=st.floats(0.3, 3),
    boost=st.floats(0, 5),
)
def test_calibration_keeps_the_order(probs, temperature, boost):
    probs = np.array(probs) / np.sum(probs)
    shift = ProbabilityShift(log_ratio_V=np.zeros(1), temperature=temperature, boost=boost)
    shifted = shift.apply(probs)
    assert shifted.sum() == pytest.approx(1)
    assert (np.diff(shifted[np.argsort(probs, kind="stable")]) >= -1e-12).all()


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"boost": -1.0}])
def test_what_would_reverse_the_order_is_refused(wrong):
    with pytest.raises(ValueError, match="temperature must be positive and boost not negative"):
        ProbabilityShift(log_ratio_V=NOTHING, **wrong)
