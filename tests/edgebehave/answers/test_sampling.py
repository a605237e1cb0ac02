"""Temperature and top-p on numbers worked by hand."""

import numpy as np
import pytest

from edgebehave.answers.sampling import Sampling

PROBS = np.array([[0.1, 0.6, 0.3]])


def test_temperature_one_and_top_p_one_change_nothing():
    assert Sampling().adjusted(2 * PROBS)[0] == pytest.approx(PROBS[0])


def test_half_the_temperature_squares_the_probabilities():
    assert Sampling(temperature=0.5).adjusted(PROBS)[0] == pytest.approx(np.array([0.01, 0.36, 0.09]) / 0.46)


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, [0, 1, 0]), (0.59, [0, 1, 0]), (0.61, [0, 2 / 3, 1 / 3])])
def test_top_p_keeps_the_fewest_that_hold_enough(top_p, kept):
    assert Sampling(top_p=top_p).adjusted(PROBS)[0] == pytest.approx(kept)


def test_draws_invert_the_distribution_function():
    picks = np.array([0.0, 0.09, 0.11, 0.69, 0.71, 0.99])
    assert Sampling().draw(np.repeat(PROBS, 6, 0), picks).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"top_p": 0}, {"top_p": 1.2}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)
