"""Calibration of probabilities, and the calibration error.

    p'(b) ~ p(b)^(1/T) exp(g sqrt p(b))          (`edgebehave.answers.probability_shift`)

T and g minimize -log p'(y) on predictions that the model was not trained on. With a = 1/T this is
a multinomial logistic regression on two features of each candidate, log p and sqrt p: convex, and
solved by Newton's method in a few steps. T alone (g = 0) is temperature scaling. It fails on logs
with strong habits: improbable targets need T > 1, the most probable candidate needs T < 1, and the
loss follows the improbable targets.
"""

# T targets, C candidates, id 0 included, F = 2 features

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

NUM_BINS = 15
_RIDGE = 5.0
"""Curvature that pulls (a, g) to (1, 0), in targets; it matters for tiny logs only."""

_BLOCK = 2048
_MIN_SLOPE = 0.2


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """T and g."""

    temperature: float = 1.0
    boost: float = 0.0


def fit_calibration(
    probs_TC: FloatArray, target_T: npt.NDArray[np.integer], *, temperature_only: bool = False
) -> Calibration:
    """The T and g of least loss; targets of probability 0 are left out.

    probs_TC          p(b) of every target.
    target_T          column of every target.
    temperature_only  leave g at 0.
    """
    own_T = probs_TC[np.arange(len(target_T)), target_T]
    possible = np.flatnonzero(own_T > 0)
    free = [0] if temperature_only else [0, 1]
    start = np.array([1.0, 0.0])
    weights_F = start.copy()
    for _ in range(20):
        gradient_F = _RIDGE * (weights_F - start)
        curvature_FF = _RIDGE * np.eye(2)
        for first in range(0, len(possible), _BLOCK):
            which = possible[first : first + _BLOCK]
            slope_F, bend_FF = _derivatives(probs_TC[which], target_T[which], weights_F)
            gradient_F, curvature_FF = gradient_F + slope_F, curvature_FF + bend_FF
        step_F = np.zeros(2)
        step_F[free] = np.linalg.solve(curvature_FF[np.ix_(free, free)], gradient_F[free])
        weights_F = weights_F - np.clip(step_F, -1, 1)
        weights_F[0] = max(weights_F[0], _MIN_SLOPE)
        if np.abs(step_F).max() < 1e-6:
            break
    if weights_F[1] < 0:
        # A negative g could reverse the order of candidates; T alone cannot.
        return fit_calibration(probs_TC, target_T, temperature_only=True)
    return Calibration(temperature=float(1 / weights_F[0]), boost=float(weights_F[1]))


def _derivatives(
    probs_RC: FloatArray, target_R: npt.NDArray[np.integer], weights_F: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gradient (F,) and Hessian (F, F) of the summed loss: E f - f_y, and Cov f."""
    probs_RC = probs_RC.astype(np.float64)
    with np.errstate(divide="ignore"):
        log_RC = np.log(probs_RC)
    features = [np.where(probs_RC > 0, log_RC, 0.0), np.sqrt(probs_RC)]
    scores_RC = weights_F[0] * log_RC + weights_F[1] * features[1]
    scores_RC -= scores_RC.max(1, keepdims=True)
    shifted_RC = np.exp(scores_RC)
    shifted_RC /= shifted_RC.sum(1, keepdims=True)
    means = [(shifted_RC * feature).sum(1) for feature in features]
    rows = np.arange(len(target_R))
    gradient = [(mean - feature[rows, target_R]).sum() for mean, feature in zip(means, features, strict=True)]
    hessian = [
        [((shifted_RC * features[i] * features[j]).sum(1) - means[i] * means[j]).sum() for j in range(2)]
        for i in range(2)
    ]
    return np.array(gradient), np.array(hessian)


def top_confidence(probs_TC: FloatArray, target_T: npt.NDArray[np.integer]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Probability of the most probable candidate, (T,), and whether it is the target, (T,)."""
    best_T = probs_TC[:, 1:].argmax(1) + 1
    return probs_TC[np.arange(len(best_T)), best_T], best_T == target_T


def calibration_error(
    confidence_T: FloatArray, hit_T: npt.NDArray[np.bool_], bins: str = "mass", num_bins: int = NUM_BINS
) -> float:
    """Expected calibration error of the top prediction (Guo et al. 2017, Eq. 3).

        ECE = sum_m n_m / n | mean hit of bin m - mean confidence of bin m |

    bins  "mass": equally many targets in each, in the order of confidence; "width": confidences
          from m / num_bins to (m + 1) / num_bins.
    Returns NaN without any target.
    """
    if not len(confidence_T):
        return float("nan")
    if bins == "mass":
        order = np.argsort(confidence_T, kind="stable")
        bin_T = np.empty(len(order), np.int64)
        bin_T[order] = np.arange(len(order)) * num_bins // len(order)
    elif bins == "width":
        bin_T = np.minimum((confidence_T * num_bins).astype(np.int64), num_bins - 1)
    else:
        raise ValueError(f"bins must be mass or width, got {bins!r}")
    gap_M = np.bincount(bin_T, weights=hit_T - confidence_T.astype(np.float64))
    return float(np.abs(gap_M).sum() / len(confidence_T))


def mean_nll(probs_TC: FloatArray, target_T: npt.NDArray[np.integer]) -> float:
    """Mean of -log p(y) over the targets of positive probability, in nats."""
    own_T = probs_TC[np.arange(len(target_T)), target_T]
    own_T = own_T[own_T > 0]
    return float(-np.log(own_T).mean()) if len(own_T) else float("nan")
