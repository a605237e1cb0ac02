"""Prediction sets: the smallest sets that hold the next behavior in a wanted share of the cases.

A set holds every candidate whose probability reaches a threshold, and always the most probable one
(split conformal prediction with the score 1 - p: Sadinle, Lei & Wasserman 2019, arXiv 1609.00451).
The thresholds come with the bundle; they were computed on the validation part of the training log.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_TINY = 1e-30
"""Candidates of a smaller probability are impossible and belong to no set."""


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
        """(..., C) mask of the candidates in the sets; each set holds at least its most probable candidate."""
        inside: npt.NDArray[np.bool_] = probs >= max(self.at(coverage), _TINY)
        inside |= (probs == probs.max(-1, keepdims=True)) & ~inside.any(-1, keepdims=True)
        return inside


@dataclass(kw_only=True)
class AdaptiveCoverage:
    """Adaptive conformal inference: keeps the share of correct sets at its target while users change.

        a <- a + step (a* - missed)         Gibbs & Candes 2021 (arXiv 2106.00170), Eq. 2

    a* = 1 - target is the wanted share of misses, 1 - a the coverage to ask `prediction_set` for. After T
    updates the share of misses differs from a* by at most (1 + step) / (step T), for any sequence of
    events. Ask for `coverage`, then `update` with the result:

        wanted = AdaptiveCoverage(target=0.9)
        answer = predictor.prediction_set("ada", coverage=wanted.coverage)
        wanted.update(any(p.behavior == "mail.open" for p in answer))

    One object per user follows that user; one object for all users needs fewer events to find its level.
    Its fields are all of its state.

    target  share of the sets that hold the next behavior, in (0, 1).
    step    change of the level after one miss, in (0, 1]: 0.05 for one user, less for many.
    level   the current 1 - a, which may leave 0..1 for a while; starts at the target.
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
        """The coverage to ask for, in 0..1."""
        return min(max(self._level, 0.0), 1.0)

    def update(self, covered: bool) -> None:
        """Adapt the level. covered: whether the last set held the behavior that came."""
        missed = 0.0 if covered else 1.0
        self.level = self._level - self.step * (1 - self.target - missed)

    @property
    def _level(self) -> float:
        return self.target if self.level is None else self.level
