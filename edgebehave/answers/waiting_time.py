"""The time until the next behavior, as a finite distribution: wait.onnx makes it."""

# G possible waiting times

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOTHING = "<nothing>"
"""What is predicted where nothing happens within the time that was asked about."""


@dataclass(frozen=True, kw_only=True)
class WaitingTime:
    """p(time from the last behavior to the next one).

    gap_s  (G,) seconds >= 0, in any order, repeated at will.
    probs  (G,) their probabilities.
    """

    gap_s: npt.NDArray[np.floating]
    probs: npt.NDArray[np.floating]

    def nothing_within(self, waited_s: float, within_s: float) -> float:
        """The probability that nothing happens for `within_s` after `waited_s` without anything,

            S(waited + within) / S(waited),   S(t) = p(gap > t)

        and 1 where the wait has outlasted everything that is possible.
        """
        still_waiting = self._sum(self.gap_s > waited_s)
        if still_waiting <= 0:
            return 1.0
        return self._sum(self.gap_s > waited_s + within_s) / still_waiting

    def median(self, after_s: float, until_s: float) -> float:
        """Half of what may happen in (after, until] has happened by then; the middle of the two
        where nothing may."""
        inside = (self.gap_s > after_s) & (self.gap_s <= until_s)
        gap_s, probs = self.gap_s[inside], self.probs[inside].astype(np.float64)
        if probs.sum() <= 0:
            return (after_s + until_s) / 2
        order = np.argsort(gap_s, kind="stable")
        mass = probs[order].cumsum()
        return float(gap_s[order][np.searchsorted(mass, mass[-1] / 2)])

    def in_hours(self, shares_BQ: npt.NDArray[np.float64]) -> "WaitingTime":
        """With other shares of the waiting times in each bin: the first B Q of all, Q a bin."""
        probs = self.probs.astype(np.float64)
        in_bins = probs[: shares_BQ.size].reshape(shares_BQ.shape)
        probs[: shares_BQ.size] = (in_bins.sum(1, keepdims=True) * shares_BQ).ravel()
        return WaitingTime(gap_s=self.gap_s, probs=probs)

    def draw(self, pick: float, waited_s: int) -> int:
        """A waiting time in whole seconds by a uniform number in [0, 1).

        Where the last behavior was `waited_s` > 0 ago, a longer one than that, parts of a second
        not counted; a second longer if none is possible.
        """
        gap_s = self.gap_s.astype(np.int64)
        probs = self.probs if waited_s <= 0 else self.probs * (gap_s > waited_s)
        mass = probs.cumsum(dtype=np.float64)
        if mass[-1] <= 0:
            return waited_s + 1
        return int(gap_s[np.searchsorted(mass, pick * mass[-1], side="right")])

    def _sum(self, which: npt.NDArray[np.bool_]) -> float:
        return float(self.probs[which].sum(dtype=np.float64))
