"""Intervals of metrics by resampling users (the cluster bootstrap).

Targets of one user depend on each other, so whole users are drawn with replacement: every resample
has as many users as the sample, and every metric is computed on it. The interval lies between the
2.5 % and the 97.5 % quantile of these values; the value beside it is that of the sample itself.
Differences are paired: both predictors are measured on the same resamples.

Means over behaviors, such as macro recall, are ratios of small sums, and the hits of a rare behavior
often come from one user: a resample without that user loses them all, one with the user twice gains
little. Most resampled values then lie below the value of the sample. The interval shows the spread,
not this bias; in paired differences part of it cancels.
"""

# B resamples at a time, U users with targets

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave_train.metrics.prediction_metrics import MetricSums, evaluate_predictions
from edgebehave_train.metrics.ranking import Predictions

NUM_RESAMPLES = 1000
COVERAGE = 0.95
_TERMS_AT_A_TIME = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A metric, or a difference of two, with the ends of its interval; NaN without targets.

    The ends are NaN if all targets are of one user: one cluster says nothing about others.
    """

    value: float
    low: float
    high: float

    def span(self) -> str:
        """The ends as "0.405-0.422"; "" if they are NaN."""
        return "" if math.isnan(self.low) else f"{self.low:.3f}-{self.high:.3f}"

    def signed(self) -> str:
        """A difference as "+0.055 [+0.049, +0.061]", without ends if they are NaN."""
        return f"{self.value:+.3f}" + ("" if math.isnan(self.low) else f" [{self.low:+.3f}, {self.high:+.3f}]")


def metric_intervals(
    predictions: Predictions, train_counts_V: npt.NDArray[np.integer], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Every metric of `metrics` with its interval; the same seed gives the same resamples."""
    value = evaluate_predictions(predictions, train_counts_V)
    samples = _resampled_metrics(predictions, train_counts_V, num_resamples, seed)
    return {name: percentile_interval(value[name], samples[name]) for name in value}


def paired_differences(
    first: Predictions,
    second: Predictions,
    train_counts_V: npt.NDArray[np.integer],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """first - second in every metric, with intervals of the difference.

    Raises ValueError unless both predicted the same targets.
    """
    return paired_mean_differences([first], [second], train_counts_V, num_resamples, seed)


def paired_mean_differences(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    train_counts_V: npt.NDArray[np.integer],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Mean over the runs of one recipe minus mean over those of another, in every metric.

    Means of several runs have narrower intervals than single runs. The interval is over users, for
    these runs; `seed_intervals` measures the variation over seeds.
    Raises ValueError unless all predicted the same targets.
    """
    targets = first[0].targets
    for other in (*first, *second):
        if not (
            np.array_equal(targets.event, other.targets.event)
            and np.array_equal(targets.behavior, other.targets.behavior)
        ):
            raise ValueError(
                "a paired difference needs predictors of the same targets; evaluate all on one part of one log"
            )

    def resampled(predictions: Predictions) -> dict[str, npt.NDArray[np.float64]]:
        """The metric of the sample itself, then those of the resamples."""
        value = evaluate_predictions(predictions, train_counts_V)
        samples = _resampled_metrics(predictions, train_counts_V, num_resamples, seed)
        return {name: np.append(value[name], samples[name]) for name in value}

    def mean(runs: Sequence[Predictions]) -> dict[str, npt.NDArray[np.float64]]:
        of_runs = [resampled(run) for run in runs]
        return {name: np.mean([one[name] for one in of_runs], axis=0) for name in of_runs[0]}

    of_first, of_second = mean(first), mean(second)
    differences = {name: of_first[name] - of_second[name] for name in of_first}
    return {name: percentile_interval(float(all_[0]), all_[1:]) for name, all_ in differences.items()}


def user_resamples(num_users: int, num_resamples: int, seed: int, at_a_time: int) -> Iterator[npt.NDArray[np.float64]]:
    """Number of times that each resample holds each user, in pieces of (at_a_time, U) float64.

    The resamples do not depend on at_a_time: pieces of any size follow one stream.
    """
    generator = np.random.default_rng(seed)
    share_U = np.full(num_users, 1 / num_users)
    for start in range(0, num_resamples, at_a_time):
        size = min(at_a_time, num_resamples - start)
        yield generator.multinomial(num_users, share_U, size=size).astype(np.float64)


def _resampled_metrics(
    predictions: Predictions, train_counts_V: npt.NDArray[np.integer], num_resamples: int, seed: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Every metric of every resample, (num_resamples,) each."""
    if num_resamples < 1 or len(predictions) == 0:
        raise ValueError(
            f"intervals need a resample and a target, got {num_resamples} resamples of {len(predictions)} targets"
        )
    sums = MetricSums(predictions, train_counts_V)
    if sums.num_users < 2:
        return {name: np.full(num_resamples, np.nan) for name in evaluate_predictions(predictions, train_counts_V)}
    at_a_time = max(1, _TERMS_AT_A_TIME // max(sums.num_terms, sums.num_users))
    pieces = [sums.metrics(weight_BU) for weight_BU in user_resamples(sums.num_users, num_resamples, seed, at_a_time)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def percentile_interval(value: float, samples: npt.ArrayLike) -> Interval:
    """A value with the percentile interval of its resampled values; resamples without a value (NaN) are left out."""
    values = np.asarray(samples, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(value=value, low=np.nan, high=np.nan)
    low, high = np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(value=value, low=float(low), high=float(high))
