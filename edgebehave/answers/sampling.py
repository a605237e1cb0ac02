"""Random draws of candidates, with temperature and top-p."""

# U queries, C candidates

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of a draw.

    temperature  T > 0: probabilities become p^(1/T) / Z; below 1 the likely ones gain.
    top_p        in (0, 1]: draws come from the fewest candidates that hold this share of the
                 probability (nucleus sampling, Holtzman et al. 2020).
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")

    def adjusted(self, probs_UC: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Probabilities after temperature, then top-p; rows sum to 1."""
        probs = probs_UC.astype(np.float64)
        probs /= probs.sum(1, keepdims=True)
        if self.temperature != 1:
            probs = (probs / probs.max(1, keepdims=True)) ** (1 / self.temperature)
            probs /= probs.sum(1, keepdims=True)
        if self.top_p < 1:
            order = np.argsort(-probs, axis=1, kind="stable")
            ranked = np.take_along_axis(probs, order, 1)
            before = ranked.cumsum(1) - ranked
            ranked[before >= self.top_p] = 0
            np.put_along_axis(probs, order, ranked, 1)
            probs /= probs.sum(1, keepdims=True)
        return probs

    def draw(self, probs_UC: npt.NDArray[np.floating], pick_U: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """A candidate of each row, (U,) int64.

        pick_U  (U,) uniform numbers in [0, 1).
        """
        mass = self.adjusted(probs_UC).cumsum(1)
        index = (pick_U[:, None] * mass[:, -1:] >= mass).sum(1)
        drawn: npt.NDArray[np.int64] = np.minimum(index, mass.shape[1] - 1)
        return drawn
