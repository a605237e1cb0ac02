"""The time until the next behavior: a finite distribution from wait.onnx, shaped by the user's hours of the day."""

# G possible waiting times, U users, C past behaviors, D day types (workday, weekend), S half hours,
# B bins, Q gaps in a bin

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.habits import FIRST_WEEKEND_DAY
from edgebehave.time_features import NUM_SLOTS, weekday_and_slot

NOTHING = "<nothing>"
"""The candidate for no behavior `within` the given time."""

CLOCK_SHRINKAGE = 20.0
"""Behaviors of the training log that are added to a user's own hours of the day."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class WaitingTime:
    """p(time from the last behavior to the next one).

    gap_s  (G,) seconds >= 0, in any order; values may repeat.
    probs  (G,) their probabilities.
    """

    gap_s: npt.NDArray[np.floating]
    probs: npt.NDArray[np.floating]

    def nothing_within(self, waited_s: float, within_s: float) -> float:
        """The probability that nothing happens for `within_s` more, after `waited_s` without a behavior,

            S(waited + within) / S(waited),   S(t) = p(gap > t)

        and 1 if the wait is already longer than every possible gap.
        """
        still_waiting = self._sum(self.gap_s > waited_s)
        if still_waiting <= 0:
            return 1.0
        return self._sum(self.gap_s > waited_s + within_s) / still_waiting

    def median(self, after_s: float, until_s: float) -> float:
        """The median of the gaps in (after, until]; the middle of the two if no gap lies there."""
        inside = (self.gap_s > after_s) & (self.gap_s <= until_s)
        gap_s, probs = self.gap_s[inside], self.probs[inside].astype(np.float64)
        if probs.sum() <= 0:
            return (after_s + until_s) / 2
        order = np.argsort(gap_s, kind="stable")
        mass = probs[order].cumsum()
        return float(gap_s[order][np.searchsorted(mass, mass[-1] / 2)])

    def in_hours(self, shares_BQ: FloatArray) -> "WaitingTime":
        """The distribution with these shares inside each bin; the first B Q gaps are the Q gaps of each bin."""
        probs = self.probs.astype(np.float64)
        in_bins = probs[: shares_BQ.size].reshape(shares_BQ.shape)
        probs[: shares_BQ.size] = (in_bins.sum(1, keepdims=True) * shares_BQ).ravel()
        return WaitingTime(gap_s=self.gap_s, probs=probs)

    def draw(self, pick: float, waited_s: int) -> int:
        """A waiting time in whole seconds, drawn by a uniform number in [0, 1).

        If the last behavior was `waited_s` > 0 ago, the waiting time is longer than that in whole
        seconds; it is one second longer if no longer gap is possible.
        """
        gap_s = self.gap_s.astype(np.int64)
        probs = self.probs if waited_s <= 0 else self.probs * (gap_s > waited_s)
        mass = probs.cumsum(dtype=np.float64)
        if mass[-1] <= 0:
            return waited_s + 1
        return int(gap_s[np.searchsorted(mass, pick * mass[-1], side="right")])

    def _sum(self, which: npt.NDArray[np.bool_]) -> float:
        return float(self.probs[which].sum(dtype=np.float64))


def clock_rates(
    time_s_UC: IntArray,
    utc_offset_min_UC: IntArray,
    is_there_UC: npt.NDArray[np.bool_],
    prior_DS: npt.NDArray[np.floating],
) -> FloatArray:
    """(U, 2, 48) share of each user's behaviors in each half hour of workdays and of weekends.

    The user's counts are smoothed over neighboring half hours; CLOCK_SHRINKAGE behaviors of the training log,
    which are spread as `prior_DS`, are added.

    is_there_UC  False for columns that hold no behavior.
    """
    weekday, slot = weekday_and_slot(time_s_UC, utc_offset_min_UC)
    counts = np.zeros((len(slot), 2, NUM_SLOTS))
    user, column = is_there_UC.nonzero()
    day_type = (weekday >= FIRST_WEEKEND_DAY).astype(np.int64)
    np.add.at(counts, (user, day_type[user, column], slot[user, column]), 1)
    smooth = (np.roll(counts, 1, 2) + 2 * counts + np.roll(counts, -1, 2)) / 4
    total = counts.sum(2, keepdims=True)
    rate: FloatArray = (smooth + CLOCK_SHRINKAGE * prior_DS) / (total + CLOCK_SHRINKAGE)
    return rate


def shares_in_bins(
    rate_UDS: FloatArray, start_s_U: IntArray, utc_offset_min_U: IntArray, gap_s_BQ: npt.NDArray[np.floating]
) -> FloatArray:
    """(U, B, Q) probabilities of the waiting times inside each bin, counted from `start_s_U`.

    A waiting time is likelier if it ends in a half hour in which the user is often active. This matters for
    long waiting times, whose bins are hours wide.
    """
    end_s = start_s_U[:, None, None] + gap_s_BQ.astype(np.int64)
    weekday, slot = weekday_and_slot(end_s, utc_offset_min_U[:, None, None])
    day_type = (weekday >= FIRST_WEEKEND_DAY).astype(np.int64)
    user = np.arange(len(end_s))[:, None, None]
    weight_UBQ = rate_UDS[user, day_type, slot]
    shares: FloatArray = weight_UBQ / weight_UBQ.sum(2, keepdims=True)
    return shares
