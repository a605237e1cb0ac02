"""The last step of a prediction: calibration, and the dial toward rare behaviors.

    p'(b) ~ p(b)^(1/T) exp(g sqrt p(b)) r_b^tail

T and g make probabilities come true: "0.3" should be right in 30 % of the cases. T > 1 gives more
to the improbable, as in temperature scaling (Guo et al. 2017, arXiv 1706.04599); g >= 0 gives more
to the probable, which T alone would take it from. Both keep the order of the candidates.

r_b ~ (q_b / p_b)^tau shifts the prior from p, the frequencies of the training log, toward q, under
which rare behaviors count (Menon et al. 2021, arXiv 2007.07314, Eq. 9, where q is uniform). With
tail = 0 probabilities stay calibrated, with tail = 1 the shift is the one that validation chose.
log r is centered: sum_b p_b log r_b = 0. Names of the user's own have no frequency in training;
their r is 1, that of the typical event, and so is that of what nobody can name.

In a bundle, all of this is inside predict.onnx; the functions here say what it computes.
"""

# C candidates, id 0 included; V behaviors of the vocabulary, id 0 included

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class ProbabilityShift:
    """The numbers of the last step.

    log_ratio_V  (V,) log r_b; 0 for id 0.
    temperature  T > 0.
    boost        g >= 0.
    """

    log_ratio_V: FloatArray
    temperature: float = 1.0
    boost: float = 0.0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.boost >= 0):
            raise ValueError(
                f"temperature must be positive and boost not negative, got {self.temperature} and {self.boost}"
            )

    def apply(self, probs: FloatArray, tail: float = 0.0) -> FloatArray:
        """p' of (..., C) probabilities, C >= V, as (..., C) float64; p(b) = 0 stays 0."""
        probs = np.asarray(probs, np.float64)
        with np.errstate(divide="ignore"):
            scores = np.log(probs) / self.temperature + self.boost * np.sqrt(probs)
        scores[..., : len(self.log_ratio_V)] += tail * self.log_ratio_V
        scores -= scores.max(-1, keepdims=True)
        shifted = np.exp(scores)
        shifted /= shifted.sum(-1, keepdims=True)
        return shifted


def shift_prior(probs_V: FloatArray, log_ratio_V: FloatArray, tail: float) -> FloatArray:
    """p(b) r_b^tail, normalized: the dial alone, (V,) float32; p itself at tail 0."""
    if tail == 0:
        return probs_V
    shift = ProbabilityShift(log_ratio_V=log_ratio_V)
    return shift.apply(probs_V, tail).astype(np.float32)
