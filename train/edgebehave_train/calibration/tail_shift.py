"""The prior shift of the SDK's option `tail`: its direction, and its strength at tail = 1.

    log r_b = tau (log q_b / p_b - mean under p)          p'(b) ~ p(b) r_b^tail

p are the training frequencies (a behavior without a count in training counts as seen once). q is
the worst-case prior of a checkpoint trained with DRO, otherwise uniform. tau is the smallest of a
grid whose macro recall on the validation part is within 2 % of the highest; with a larger tau both
macro recall and HR@1 fall.
"""

# T targets, C candidates, V behaviors, id 0 included

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.vocabulary import UNKNOWN

FloatArray = npt.NDArray[np.floating]

TAUS = tuple(n / 20 for n in range(26))
TAILS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Values of `tail` in reports."""

_NEAR_PEAK = 0.98
_LOWEST_RATIO = 0.1
"""Least q_b / p_b: DRO's worst case may give a behavior no weight at all."""


def log_prior_ratio(behavior_counts_V: npt.NDArray[np.integer], worst_case_V: FloatArray | None = None) -> FloatArray:
    """log q_b / p_b, centered under p; (V,), 0 for id 0.

    worst_case_V  q of DRO; None: uniform.
    """
    known = slice(UNKNOWN + 1, None)
    counts = np.maximum(behavior_counts_V[known], 1).astype(np.float64)
    prior = counts / counts.sum()
    q = np.full_like(prior, 1 / max(len(prior), 1))
    if worst_case_V is not None:
        q = np.maximum(np.asarray(worst_case_V, np.float64)[known], _LOWEST_RATIO * prior)
    log_ratio_V = np.zeros(len(behavior_counts_V))
    log_ratio = np.log(q / prior)
    log_ratio_V[known] = log_ratio - prior @ log_ratio
    return log_ratio_V


def worst_case_of(worst_case: Sequence[float] | None, num_behaviors: int) -> FloatArray | None:
    """q of a checkpoint trained with DRO over behaviors, from its `TrainingRecord`; None for all others."""
    if worst_case is None or len(worst_case) != num_behaviors:
        return None
    return np.array(worst_case, np.float64)


def choose_tau(probs_TC: FloatArray, target_T: npt.NDArray[np.integer], ratio_V: FloatArray) -> float:
    """tau of tail = 1, from calibrated predictions of validation targets; 0 if it helps nothing."""
    recalls = [operating_point(probs_TC, target_T, ProbabilityShift(log_ratio_V=tau * ratio_V), 1.0)[1] for tau in TAUS]
    best = np.nanmax(recalls) if not np.all(np.isnan(recalls)) else np.nan
    near = np.flatnonzero(np.array(recalls) >= _NEAR_PEAK * best)
    return TAUS[near[0]] if len(near) else 0.0


def operating_point(
    probs_TC: FloatArray, target_T: npt.NDArray[np.integer], shift: ProbabilityShift, tail: float
) -> tuple[float, float]:
    """HR@1, and macro recall over the behaviors of the vocabulary, at one value of tail.

    shift  only its ratios are used: calibration keeps the order of the candidates.
    """
    num_behaviors = len(shift.log_ratio_V)
    factor_C = np.ones(probs_TC.shape[1], probs_TC.dtype)
    factor_C[:num_behaviors] = np.exp(tail * shift.log_ratio_V)
    predicted_T = (probs_TC[:, 1:] * factor_C[1:]).argmax(1) + 1
    hit_T = predicted_T == target_T
    known_T = (target_T != UNKNOWN) & (target_T < num_behaviors)
    num_V = np.bincount(target_T[known_T], minlength=num_behaviors)
    hit_V = np.bincount(target_T[known_T & hit_T], minlength=num_behaviors)
    occurs_V = num_V > 0
    if not occurs_V.any():
        return float("nan"), float("nan")
    return float(hit_T.mean()), float((hit_V[occurs_V] / num_V[occurs_V]).mean())
