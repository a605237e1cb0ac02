"""One answer from two models: the named one, trained on a log, and the universal one, which reads the user's own past.

    log p(b) = u log U(b) + n log N(b) + x [b unused] - log Z

N knows the names of the log; U knows the names that this user has used and how likely a new one is. A name that the
user has not used within reach of U gets N's share of the new name:

    U(b) = U(new) N(b) / sum of N over the unused names

So both multiply, as the kernels of the universal model do. Three numbers are fitted to the validation part of the log;
weights that look at the user, the moment or the past success of both were tried and are no better.
"""

# C candidates, id 0 included

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_LEAST = 1e-9
"""Least probability that a model can give to a candidate: so it never excludes one of the other model."""


@dataclass(frozen=True, kw_only=True)
class Powers:
    """Weights of the two models.

    universal, named  u and n, at least 0.
    unused            x, added to names that the user has not used.
    """

    universal: float = 1.0
    named: float = 0.0
    unused: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.universal <= 10 and 0 <= self.named <= 10 and abs(self.unused) <= 20):
            raise ValueError(f"powers must lie in [0, 10], unused in [-20, 20], got {self}")

    def combine(self, named: FloatArray, own: FloatArray) -> npt.NDArray[np.float64]:
        """p of every candidate, (..., C) float64; column 0, the unknown behavior, gets nothing.

        named  (..., C) N; 0 for a column that holds no candidate.
        own    (..., C) U of the names used, 0 for the others; what is missing to 1 is the new name's.
        """
        log_universal, log_named, is_used, is_candidate = terms(named, own)
        scores = self.universal * log_universal + self.named * log_named + np.where(is_used, 0.0, self.unused)
        scores = np.where(is_candidate, scores, -np.inf)
        highest = scores.max(-1, keepdims=True)
        probs = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
        combined: npt.NDArray[np.float64] = probs / np.maximum(probs.sum(-1, keepdims=True), _LEAST)
        return combined


def terms(
    named: FloatArray, own: FloatArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """log U, log N, whether a name was used, and whether a column holds a candidate; all (..., C)."""
    named, own = np.asarray(named, np.float64), np.asarray(own, np.float64)
    is_used = own > 0
    is_candidate = is_used | (named > 0)
    is_candidate[..., 0] = False
    is_used = is_used & is_candidate
    new = 1 - np.where(is_used, own, 0.0).sum(-1, keepdims=True)
    floored = np.where(is_candidate, np.maximum(named, _LEAST), 0.0)
    unused = np.where(is_used, 0.0, floored)
    of_new = np.maximum(new, _LEAST) * unused / np.maximum(unused.sum(-1, keepdims=True), _LEAST)
    log_universal = np.log(np.maximum(np.where(is_used, own, of_new), 1e-30))
    return log_universal, np.log(np.maximum(floored, _LEAST)), is_used, is_candidate
