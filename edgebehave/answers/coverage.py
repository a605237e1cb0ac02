"""Sets that hold the next behavior as often as they promise, and no larger than that takes.

A set is every candidate whose probability reaches a threshold, and always the most probable one
(split conformal prediction with the score 1 - p: Sadinle, Lei & Wasserman 2019, arXiv 1609.00451).
The thresholds come with the bundle, where the validation part of the training log made them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_TINY = 1e-30
"""What is impossible belongs to no set."""


@dataclass(frozen=True, kw_only=True)
class CoverageThresholds:
    """Thresholds for a grid of coverages.

    coverage   (N,) in (0, 1), ascending.
    threshold  (N,) in [0, 1], not ascending.
    """

    coverage: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        coverage, threshold = self.coverage, self.threshold
        if coverage.ndim != 1 or coverage.shape != threshold.shape or not len(coverage):
            raise ValueError("conformal: coverage and threshold must be lists of equal length")
        if not (coverage.min() > 0 and coverage.max() < 1 and (np.diff(coverage) > 0).all()):
            raise ValueError("conformal: coverages must ascend within 0..1")
        if not (threshold.min() >= 0 and threshold.max() <= 1 and (np.diff(threshold) <= 0).all()):
            raise ValueError("conformal: thresholds must not ascend, within 0..1")

    def at(self, coverage: float) -> float:
        """The threshold for a coverage in 0..1: that of the grid's next higher one, else 0."""
        index = int(np.searchsorted(self.coverage, coverage - 1e-9))
        return float(self.threshold[index]) if index < len(self.threshold) else 0.0

    def members(self, probs: npt.NDArray[np.floating], coverage: float) -> npt.NDArray[np.bool_]:
        """Which of (..., C) candidates belong to the sets; at least the most probable of each."""
        inside: npt.NDArray[np.bool_] = probs >= max(self.at(coverage), _TINY)
        inside |= (probs == probs.max(-1, keepdims=True)) & ~inside.any(-1, keepdims=True)
        return inside


@dataclass(kw_only=True)
class AdaptiveCoverage:
    """A coverage that is kept while people change: adaptive conformal inference.

        a <- a + step (a* - missed)         Gibbs & Candes 2021 (arXiv 2106.00170), Eq. 2

    a* = 1 - target is the share of misses wanted, 1 - a what is asked of `prediction_set`. After
    T updates the share of misses differs from a* by at most (1 + step) / (step T), whatever
    happens. Ask for `coverage`, and `update` with what came:

        wanted = AdaptiveCoverage(target=0.9)
        answer = predictor.prediction_set("ada", coverage=wanted.coverage)
        wanted.update(any(p.behavior == "mail.open" for p in answer))

    One per user follows that user, one for all of them needs fewer events to find its level.
    Its fields are all of its state.

    target  share of the sets that hold what comes next, in (0, 1).
    step    how much one miss moves, in (0, 1]: 0.05 for one user, less for many.
    level   1 - a as it stands, which may leave 0..1 for a while; starts at the target.
    """

    target: float = 0.9
    step: float = 0.05
    level: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"target must lie between 0 and 1, got {self.target}")
        if not 0 < self.step <= 1:
            raise ValueError(f"step must lie in (0, 1], got {self.step}")

    @property
    def coverage(self) -> float:
        """What to ask for, in 0..1."""
        return min(max(self._level, 0.0), 1.0)

    def update(self, covered: bool) -> None:
        """Take note of whether the last set held what came."""
        missed = 0.0 if covered else 1.0
        self.level = self._level - self.step * (1 - self.target - missed)

    @property
    def _level(self) -> float:
        return self.target if self.level is None else self.level
