"""The answer of two models together: by hand, at its ends, and for names that one of them does not know."""

import numpy as np
import pytest

from edgebehave.answers.combination import Powers

NAMED = np.array([0.0, 0.5, 0.2, 0.2, 0.1, 0.0])
OWN = np.array([0.0, 0.6, 0.0, 0.0, 0.2, 0.0])
"""Behaviors 1 and 4 were used; 0.2 is left for a new one, which may be 2 or 3; column 5 is an empty slot."""


def test_powers_multiply_as_by_hand():
    universal = np.array([0.6, 0.1, 0.1, 0.2])
    named = NAMED[1:5]
    scores = universal**0.5 * named**2 * np.exp([0, 0.3, 0.3, 0])
    found = Powers(universal=0.5, named=2.0, unused=0.3).combine(NAMED, OWN)
    np.testing.assert_allclose(found[1:5], scores / scores.sum(), rtol=1e-12)
    assert found[0] == found[5] == 0


def test_powers_1_and_0_are_the_universal_model_and_0_and_1_the_named_one():
    np.testing.assert_allclose(Powers().combine(NAMED, OWN)[1:5], [0.6, 0.1, 0.1, 0.2], rtol=1e-9)
    np.testing.assert_allclose(Powers(universal=0.0, named=1.0).combine(NAMED, OWN), NAMED, rtol=1e-9)


def test_a_name_that_the_named_model_gives_nothing_stays_a_candidate_if_it_was_used():
    own = np.array([0.0, 0.3, 0.0, 0.0, 0.2, 0.4])
    found = Powers(universal=1.0, named=0.1).combine(NAMED, own)
    assert 0 < found[5] < 0.4
    assert found.sum() == pytest.approx(1)


def test_rows_are_independent_and_no_candidate_at_all_gives_zeros():
    both = Powers(universal=0.6, named=0.4).combine(np.stack([NAMED, 0 * NAMED]), np.stack([OWN, 0 * OWN]))
    np.testing.assert_array_equal(both[0], Powers(universal=0.6, named=0.4).combine(NAMED, OWN))
    assert not both[1].any()


@pytest.mark.parametrize("powers", [{"universal": -0.1}, {"named": float("nan")}, {"unused": 21.0}])
def test_powers_out_of_range_are_refused(powers):
    with pytest.raises(ValueError, match="powers must lie"):
        Powers(**powers)
