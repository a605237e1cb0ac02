"""Acting on predictions: from what an action costs and earns, the probability from which it pays.

A right action earns `benefit`, a needless one costs `cost`. An action on a prediction of probability p is worth

    p benefit - (1 - p) cost

on average, which is positive from the threshold cost / (cost + benefit) on.
"""

# T predictions

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave.answers.prediction import Prediction
from edgebehave.answers.waiting_time import NOTHING

COVERAGES = tuple(n / 20 for n in range(1, 21))
"""Shares of the moments that operating points are made for."""


@dataclass(frozen=True, kw_only=True)
class Payoff:
    """Benefit and cost of an action on a prediction, in any unit: money, milliseconds, battery.

        payoff = Payoff(benefit=300, cost=100)  # a prefetch saves 300 ms; a needless one costs as much as 100 ms
        predictor.predict("me", min_confidence=payoff.threshold)  # [] if no action pays
        payoff.worthwhile(predictor.predict("me", k=5))  # every prediction that pays

    It assumes calibrated probabilities: those of a bundle or of the universal model, at tail 0.

    benefit  of a right action, above 0.
    cost     of a needless action, 0 or above.
    """

    benefit: float
    cost: float

    def __post_init__(self) -> None:
        if not 0 < self.benefit < math.inf:
            raise ValueError(f"benefit must be above 0 and finite, got {self.benefit}")
        if not 0 <= self.cost < math.inf:
            raise ValueError(f"cost must be 0 or above and finite, got {self.cost}")

    @property
    def threshold(self) -> float:
        """The probability from which an action pays, in [0, 1)."""
        return self.cost / self.benefit / (1 + self.cost / self.benefit)

    def expected(self, probability: float) -> float:
        """The worth of an action that is right with this probability."""
        return probability * self.benefit - (1 - probability) * self.cost

    def worthwhile(self, predictions: Iterable[Prediction]) -> list[Prediction]:
        """The predictions whose actions pay, each for itself; NOTHING, on which nobody acts, is left out."""
        return [p for p in predictions if p.probability >= self.threshold and p.behavior != NOTHING]


class OperatingPoint(NamedTuple):
    """The result of acting on the first prediction whenever its probability reaches a threshold.

    coverage   share of the moments at which the app acts, in 0..1.
    threshold  of the probability, in 0..1.
    precision  share of the actions that are right, in 0..1.
    """

    coverage: float
    threshold: float
    precision: float


def operating_points(
    probability: npt.ArrayLike, is_right: npt.ArrayLike, coverages: Sequence[float] = COVERAGES
) -> list[OperatingPoint]:
    """Precision at each coverage, from past first predictions, the fewest actions first.

    probability  (T,) of the first prediction of each moment.
    is_right     (T,) whether it came.
    coverages    shares in (0, 1]. Equal probabilities stay together, so a point may have a larger one.
    Raises ValueError for arrays of different length. Without predictions there are no points.
    """
    probability_T, is_right_T = np.asarray(probability, np.float64), np.asarray(is_right, bool)
    if probability_T.ndim != 1 or probability_T.shape != is_right_T.shape:
        raise ValueError("probability and is_right must be lists of equal length")
    if not all(0 < coverage <= 1 for coverage in coverages):
        raise ValueError("coverages must lie in (0, 1]")
    if not len(probability_T):
        return []
    best_first = np.sort(probability_T)[::-1]
    wanted = {max(1, round(coverage * len(best_first))) for coverage in coverages}
    thresholds = sorted({float(best_first[number - 1]) for number in wanted}, reverse=True)
    return [
        OperatingPoint(float(acts_T.mean()), threshold, float(is_right_T[acts_T].mean()))
        for threshold in thresholds
        for acts_T in [probability_T >= threshold]
    ]
