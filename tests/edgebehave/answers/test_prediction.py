"""The ranking of candidates against a stable sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.answers.prediction import Prediction, best_first, predictions


@given(values=st.lists(st.integers(0, 5), max_size=40), k=st.integers(1, 50))
def test_best_first_is_a_stable_sort_cut_to_k(values, k):
    probs = np.array(values, np.float32) / 5
    expected = sorted(range(len(values)), key=lambda i: -values[i])[:k]
    assert best_first(probs, k).tolist() == expected
    assert probs.tolist() == (np.array(values, np.float32) / 5).tolist()


def test_predictions_are_the_chosen_candidates_in_their_order():
    chosen = predictions(["a", "b", "c"], np.array([0.5, 0.25, 0.125], np.float32), np.array([2, 0]))
    assert chosen == [Prediction("c", 0.125), Prediction("a", 0.5)]
    assert chosen[0].probability == pytest.approx(0.125)
