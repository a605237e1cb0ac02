"""The last step of a prediction: calibration, and the tail shift toward rare behaviors.

    p'(b) ~ p(b)^(1/T) exp(g sqrt p(b)) r_b^tail

Calibration: T and g make probabilities true, so that "0.3" is right in 30 % of the cases. T > 1 gives more
to improbable behaviors, as in temperature scaling (Guo et al. 2017, arXiv 1706.04599); g >= 0 gives back to
probable behaviors some of what T > 1 takes from them. Both keep the order of the candidates.

Tail shift: r_b ~ (q_b / p_b)^tau shifts the prior from p, the frequencies of the training log, toward q, in
which rare behaviors have more weight (Menon et al. 2021, arXiv 2007.07314, Eq. 9, with q uniform). At
tail = 0 probabilities stay calibrated; tail = 1 is the shift that was best on the validation part. log r is
centered: sum_b p_b log r_b = 0. A name of the user's own has no training frequency; its r is 1, that of the
typical event. So is the r of column 0, the unknown behavior.

In a bundle, predict.onnx computes all of this; the functions here define it.
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
