"""Acting on predictions: the threshold of a payoff, and precision at each coverage."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave import NOTHING, OperatingPoint, Payoff, Prediction, operating_points


def test_an_action_pays_from_the_threshold_on():
    payoff = Payoff(benefit=3, cost=1)
    assert payoff.threshold == pytest.approx(0.25)
    assert payoff.expected(0.25) == pytest.approx(0)
    assert payoff.expected(0.5) == pytest.approx(1)
    assert payoff.expected(0) == -1
    assert Payoff(benefit=1, cost=0).threshold == 0
    assert Payoff(benefit=1e308, cost=1e308).threshold == pytest.approx(0.5)


@given(st.floats(1e-6, 1e6), st.floats(0, 1e6), st.floats(0, 1))
def test_expected_worth_is_positive_above_the_threshold_alone(benefit, cost, probability):
    payoff = Payoff(benefit=benefit, cost=cost)
    if abs(probability - payoff.threshold) > 1e-9:
        assert (payoff.expected(probability) > 0) == (probability > payoff.threshold)


def test_worthwhile_keeps_the_predictions_that_pay_and_never_nothing():
    answer = [Prediction(NOTHING, 0.5), Prediction("mail", 0.3), Prediction("music", 0.15), Prediction("maps", 0.05)]
    assert [p.behavior for p in Payoff(benefit=9, cost=1).worthwhile(answer)] == ["mail", "music"]
    assert Payoff(benefit=1, cost=1).worthwhile(answer) == []
    assert Payoff(benefit=1, cost=1).worthwhile([]) == []


@pytest.mark.parametrize(
    ("benefit", "cost", "says"),
    [
        (0, 1, "benefit"),
        (-1, 1, "benefit"),
        (float("inf"), 1, "benefit"),
        (float("nan"), 1, "benefit"),
        (1, -1, "cost"),
        (1, float("nan"), "cost"),
    ],
)
def test_payoffs_that_make_no_sense(benefit, cost, says):
    with pytest.raises(ValueError, match=f"^{says} must be"):
        Payoff(benefit=benefit, cost=cost)


def test_points_of_four_predictions():
    points = operating_points([0.9, 0.5, 0.5, 0.2], [True, True, False, False], [0.25, 0.5, 1])
    assert points == [
        OperatingPoint(coverage=0.25, threshold=0.9, precision=1.0),
        OperatingPoint(coverage=0.75, threshold=0.5, precision=pytest.approx(2 / 3)),  # both of 0.5
        OperatingPoint(coverage=1.0, threshold=0.2, precision=0.5),
    ]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_points_ascend_and_the_last_one_acts_always(pairs):
    probability, is_right = [p for p, _ in pairs], [hit for _, hit in pairs]
    points = operating_points(probability, is_right)
    assert bool(points) == bool(pairs)
    assert all(a.coverage < b.coverage and a.threshold > b.threshold for a, b in itertools.pairwise(points))
    if points:
        assert points[-1].coverage == 1
        assert points[-1].precision == pytest.approx(np.mean(is_right))


def test_lists_that_do_not_fit():
    with pytest.raises(ValueError, match="equal length"):
        operating_points([0.5], [])
    with pytest.raises(ValueError, match="equal length"):
        operating_points([[0.5]], [[True]])
    with pytest.raises(ValueError, match="coverages"):
        operating_points([0.5], [True], [0])
