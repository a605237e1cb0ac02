"""The time until the next behavior: a distribution over bins, and over a user's own waiting times.

    edge_i = GAP_UNIT_S (exp(i STEP) - 1),  i = 0..B        linear below a minute, then logarithmic

A network gives one probability per bin. Inside a bin the time is one of Q quantiles of the waiting times that training
saw there: times of logs are rounded to a minute, ten minutes or half an hour, and generated times should be rounded
alike. Waiting times copied from the user's past are
kept as they are. So the distribution is a finite one, and p(gap > t) is a sum.

Bins and not a mixture of log-normals: waiting times have several sharp peaks (seconds later in the same session, after
work, the next morning) whose number differs between logs, a softmax over bins has no shape to choose, its loss is
convex in the scores, and it mixes with own waiting times by adding masses. A bin is 18 % wide, less than the half hour
of the clock up to waits of 3 hours.
"""

# U queries, B bins, Q quantiles in a bin, C past waiting times, G = B Q + C possible ones

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NUM_BINS = 72
NUM_QUANTILES = 16
NUM_PACES = 12
"""Groups of adjacent bins in which a user's own waiting times are counted for the network."""

GAP_UNIT_S = 60.0
LONGEST_GAP_S = 90 * 86400.0
"""Start of the last bin; a longer wait counts as one of the last bin."""

STEP = float(np.log1p(LONGEST_GAP_S / GAP_UNIT_S)) / (NUM_BINS - 1)


def bin_of_gap(gap_s: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Bin 0..B-1 of waiting times in seconds, any shape; a negative wait counts as 0."""
    waited = np.maximum(np.asarray(gap_s, np.float64), 0)
    # 1e-9 keeps an edge, also one that is rounded down, in the bin that it starts.
    position = np.log1p(waited / GAP_UNIT_S) / STEP + 1e-9
    return np.minimum(position, NUM_BINS - 1).astype(np.int64)


def pace_of_bin(gap_bin: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Group 0..NUM_PACES-1 of bins."""
    return gap_bin // (NUM_BINS // NUM_PACES)


def gap_at(position: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Waiting time in seconds at a position on the axis of the bins: 2.5 is the middle of bin 2."""
    seconds: npt.NDArray[np.float64] = GAP_UNIT_S * np.expm1(np.asarray(position, float) * STEP)
    return seconds


def gaps_in_bins(gap_s: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """(B, Q) seconds: the quantiles (q + 1/2) / Q of some waiting times in each bin; even steps over the bin where
    there are none, but never more than the longest waiting time.

    A softmax gives every bin some probability. For a log of single days, bins of weeks would otherwise be drawn once
    in ten thousand times, and each such draw moves the mean by half an hour.
    """
    middle = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    values = np.floor(gap_at(np.arange(NUM_BINS)[:, None] + middle)).astype(np.float32)
    values = np.minimum(values, np.max(gap_s, initial=0))
    bin_of = bin_of_gap(gap_s)
    for b in np.unique(bin_of):
        inside = gap_s[bin_of == b]
        values[b] = np.quantile(inside, middle, method="inverted_cdf")
    return values


@dataclass(frozen=True, kw_only=True)
class GapDistribution:
    """p(gap | state) of several users.

    probs_UG  (U, G) probabilities; a row sums to 1.
    gap_s_UG  (U, G) the waiting times they belong to, in seconds; not sorted, not distinct.
    """

    probs_UG: npt.NDArray[np.float64]
    gap_s_UG: npt.NDArray[np.int64]

    @classmethod
    def of_mixture(
        cls,
        bins_UB: npt.NDArray[np.floating],
        within_UBQ: npt.NDArray[np.floating],
        values_BQ: npt.NDArray[np.floating],
        own_UC: npt.NDArray[np.floating],
        own_s_UC: npt.NDArray[np.integer],
    ) -> "GapDistribution":
        """From probabilities of bins and of own past waiting times, which sum to 1 together.

        bins_UB, values_BQ  (U, B) probabilities and (B, Q) seconds as in `gaps_in_bins`.
        within_UBQ          (U, B, Q) probabilities of the seconds in each bin.
        own_UC, own_s_UC    (U, C) probabilities and seconds.
        """
        num_users = len(bins_UB)
        in_bins = (bins_UB[:, :, None] * within_UBQ).reshape(num_users, -1)
        values = np.broadcast_to(values_BQ.ravel(), (num_users, values_BQ.size))
        return cls(
            probs_UG=np.concatenate([in_bins, own_UC], 1).astype(np.float64),
            gap_s_UG=np.concatenate([values.astype(np.int64), own_s_UC.astype(np.int64)], 1),
        )

    def survival(self, gap_s: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """S(t) = p(gap > t), (U,): the probability that nothing happens within t seconds, a number or (U,)."""
        t_U1 = np.broadcast_to(np.asarray(gap_s), len(self.probs_UG))[:, None]
        survival: npt.NDArray[np.float64] = (self.probs_UG * (self.gap_s_UG > t_U1)).sum(1)
        return survival

    def later_than(self, elapsed_s: npt.NDArray[np.integer]) -> "GapDistribution":
        """p(gap | gap > elapsed) for users whose last behavior was `elapsed_s` (U,) ago; a user for whom that has no
        probability waits one second more."""
        probs = self.probs_UG * (self.gap_s_UG > elapsed_s[:, None])
        total = probs.sum(1, keepdims=True)
        is_lost = total == 0
        gap_s = np.where(is_lost, elapsed_s[:, None] + 1, self.gap_s_UG)
        probs = np.where(is_lost, 1 / probs.shape[1], probs / np.where(is_lost, 1, total))
        return GapDistribution(probs_UG=probs, gap_s_UG=gap_s)

    def draw(self, pick_U: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """A waiting time in seconds for each user, (U,), by a uniform number in [0, 1) each."""
        mass = self.probs_UG.cumsum(1)
        index = (pick_U[:, None] * mass[:, -1:] >= mass).sum(1)
        index = np.minimum(index, mass.shape[1] - 1)
        return np.take_along_axis(self.gap_s_UG, index[:, None], 1)[:, 0]
