"""A prediction, and the ranking of candidates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_FEW = 10


class Prediction(NamedTuple):
    """A behavior and the probability, in 0..1, that it comes next."""

    behavior: str
    probability: float


def predictions(names: Sequence[str], probs: FloatArray, chosen: IntArray) -> list[Prediction]:
    """The candidates at some positions, in the order of the positions.

    names   of the candidates, (C,).
    probs   (C,) float32.
    chosen  (k,) int64, positions of candidates.
    """
    best = zip(chosen.tolist(), probs[chosen].tolist(), strict=True)
    return [Prediction(names[i], probability) for i, probability in best]


def best_first(probs: FloatArray, k: int) -> IntArray:
    """Positions of the k largest; equal probabilities keep the order of the candidates."""
    if k > _FEW:
        return np.argsort(-probs, kind="stable")[:k]
    # For a few, this is quicker than sorting all candidates.
    left = probs.copy()
    best = np.empty(min(k, len(probs)), np.int64)
    for rank in range(len(best)):
        best[rank] = left.argmax()
        left[best[rank]] = -1.0
    return best
