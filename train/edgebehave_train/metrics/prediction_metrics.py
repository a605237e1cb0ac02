"""Metrics of predictions: ranks of the targets, and recall and precision of behaviors.

Two families. Rank metrics are means over targets and give a tie its expected value: a target with
g candidates above it that ties with t - 1 others stands at each rank g+1 .. g+t with probability
1/t. Class metrics look at the top prediction alone (`Predictions.predicted`) and count, for each
behavior b,

    N_b   targets that are b            P_b   predictions of b           TP_b  both at once

    recall_b = TP_b / N_b               precision_b = TP_b / P_b, 0 if b is never predicted

A target that the training vocabulary lacks (id 0) counts and is a miss in all of them, except that
the means over behaviors leave it out: it is not one behavior.

Names in the tables:

    hr_at_k                  HR@k; with one relevant item it is recall@k, too
    ndcg_at_k                NDCG@k
    mrr                      mean reciprocal rank
    hr_at_1_switches         HR@1 where the next behavior differs from the last
    hr_at_1_repeats          HR@1 where the user has had the next behavior before
    hr_at_1_explores         HR@1 where the next behavior is new to the user
    weighted_precision       sum_b N_b precision_b / sum_b N_b
    weighted_recall          sum_b N_b recall_b / sum_b N_b: the accuracy of the top prediction
    macro_precision          mean of precision_b over known behaviors with N_b > 0
    macro_recall             mean of recall_b over the same
    {head,medium,tail}_accuracy
                             sum of TP_b / sum of N_b over the behaviors of the group
    {head,medium,tail}_category_accuracy
                             mean of recall_b over the behaviors of the group with N_b > 0

The groups are BehaviorLM's (arXiv 2505.17682): head behaviors make up more than 5 % of the
training part, medium ones 1 to 5 %, tail ones less than 1 %. Unknown targets belong to the tail,
whose accuracy they lower. A metric without a single target is NaN.

Installed packages add metrics that are means over targets, under their own names (`extensions.py`).
"""

# T targets, V known behaviors (id 0 included), B weightings of the users, U users with targets,
# G (user, behavior) pairs

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.extensions import METRIC_GROUP, extension_names, load_extension
from edgebehave_train.logs.frequencies import GROUPS, group_of_behavior
from edgebehave_train.metrics.ranking import OUT_OF_REACH, Predictions

CUTOFFS = (1, 3, 4, 5, 10)
"""The k of HR@k and NDCG@k; 4 are the slots of a dock."""
_CLASS_METRICS = (
    *("weighted_precision", "weighted_recall", "macro_precision", "macro_recall"),
    *(f"{group}_{kind}" for group in GROUPS for kind in ("accuracy", "category_accuracy")),
)


def hit_rate_at_k(predictions: Predictions, k: int) -> npt.NDArray[np.float64]:
    """Chance that each target is among the first k: HR@k is the mean.

        h = min(max((k - g) / t, 0), 1)        g above the target, t tied with it, itself included

    Returns (T,) float64.
    """
    above = predictions.num_greater.astype(np.float64)
    return np.clip((k - above) / predictions.num_tied, 0, 1)


def ndcg_at_k(predictions: Predictions, k: int) -> npt.NDArray[np.float64]:
    """Expected gain of each target's rank, cut after k: NDCG@k is the mean.

        d = 1/t * sum of 1 / log2(1 + r) over the ranks r = g+1 .. min(g + t, k)

    The ideal gain is 1: there is one relevant behavior. Returns (T,) float64.
    """
    gain = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    return _mean_over_tie(predictions, gain)


def reciprocal_rank(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Expected 1 / rank of each target, 0 if it is unknown: MRR is the mean.

        1/t * sum of 1 / r over the ranks r = g+1 .. g+t

    Returns (T,) float64.
    """
    reachable = predictions.num_greater != OUT_OF_REACH
    last_rank = (predictions.num_greater + predictions.num_tied)[reachable].max(initial=1)
    gain = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, last_rank + 1))])
    return _mean_over_tie(predictions, gain)


def _mean_over_tie(predictions: Predictions, cumulative_gain: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean gain of the ranks of each tie; ranks behind the end of the table gain nothing."""
    end = len(cumulative_gain) - 1
    above = np.minimum(predictions.num_greater, end)
    below = np.minimum(predictions.num_greater.astype(np.int64) + predictions.num_tied, end)
    return (cumulative_gain[below] - cumulative_gain[above]) / predictions.num_tied


def added_metrics() -> list[str]:
    """Names of the metrics that installed packages add (`extensions.py`)."""
    return extension_names(METRIC_GROUP)


def evaluate_predictions(
    predictions: Predictions, train_counts_V: npt.NDArray[np.integer], cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """Every metric of the list at the top of this file.

    train_counts_V  (V,) occurrences of each behavior in the training part.
    """
    sums = MetricSums(predictions, train_counts_V, cutoffs)
    metrics = sums.metrics(np.ones((1, sums.num_users)))
    return {name: float(value_B[0]) for name, value_B in metrics.items()}


class MetricSums:
    """The sums that all metrics are made of, per user.

    A metric of any sample of users is a function of these sums, each user's multiplied by the number
    of times that the sample holds the user: the point estimate and the bootstrap share this code.

    num_users  U, users that have a target.
    num_terms  largest number of terms per weighting: the memory of `metrics` grows with it.
    """

    def __init__(
        self, predictions: Predictions, train_counts_V: npt.NDArray[np.integer], cutoffs: Sequence[int] = CUTOFFS
    ) -> None:
        targets = predictions.targets
        users, user_T = np.unique(targets.user, return_inverse=True)
        self.num_users = len(users)
        self._group_V = group_of_behavior(train_counts_V)
        num_behaviors = len(train_counts_V)

        ones = np.ones(len(targets))
        means = {f"hr_at_{k}": (hit_rate_at_k(predictions, k), ones) for k in cutoffs}
        means |= {f"ndcg_at_{k}": (ndcg_at_k(predictions, k), ones) for k in cutoffs}
        means["mrr"] = (reciprocal_rank(predictions), ones)
        masks = {"switches": targets.is_switch, "repeats": targets.is_repeat, "explores": ~targets.is_repeat}
        for name, where in masks.items():
            means[f"hr_at_1_{name}"] = (hit_rate_at_k(predictions, 1) * where, where.astype(np.float64))
        for name in extension_names(METRIC_GROUP, (*means, *_CLASS_METRICS)):
            means[name] = _added_metric(name, predictions)
        self._mean_names = list(means)
        self._value_UM = self._by_user(user_T, [value for value, _ in means.values()])
        self._count_UM = self._by_user(user_T, [count for _, count in means.values()])

        hit = predictions.predicted == targets.behavior
        # A predicted spare id is a miss, and counts for no known behavior.
        named = predictions.predicted < num_behaviors
        self._targets = _BehaviorSums(user_T, targets.behavior, num_behaviors)
        self._hits = _BehaviorSums(user_T[hit], targets.behavior[hit], num_behaviors)
        self._named = _BehaviorSums(user_T[named], predictions.predicted[named], num_behaviors)
        self.num_terms = max(self._targets.num_terms, self._named.num_terms, num_behaviors, 1)

    def _by_user(
        self, user_T: npt.NDArray[np.integer], columns: list[npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.float64]:
        sums = [np.bincount(user_T, weights=c, minlength=self.num_users) for c in columns]
        return np.stack(sums, 1)

    def metrics(self, weight_BU: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[np.float64]]:
        """Every metric, (B,) each, of B samples that hold user u weight_BU[:, u] times."""
        value_BM, count_BM = weight_BU @ self._value_UM, weight_BU @ self._count_UM
        mean_BM = _ratio(value_BM, count_BM, empty=np.nan)
        metrics = {name: mean_BM[:, m] for m, name in enumerate(self._mean_names)}

        target_BV = self._targets.totals(weight_BU)
        hit_BV = self._hits.totals(weight_BU)
        recall_BV = _ratio(hit_BV, target_BV, empty=0.0)
        precision_BV = _ratio(hit_BV, self._named.totals(weight_BU), empty=0.0)
        num_targets_B = target_BV.sum(1)
        weighted_B = (precision_BV * target_BV).sum(1)
        metrics["weighted_precision"] = _ratio(weighted_B, num_targets_B, empty=np.nan)
        metrics["weighted_recall"] = _ratio(hit_BV.sum(1), num_targets_B, empty=np.nan)

        occurs_BV = target_BV > 0
        occurs_BV[:, UNKNOWN] = False
        metrics["macro_precision"] = _mean_where(precision_BV, occurs_BV)
        metrics["macro_recall"] = _mean_where(recall_BV, occurs_BV)
        for index, group in enumerate(GROUPS):
            member_V = self._group_V == index
            metrics[f"{group}_accuracy"] = _ratio(
                hit_BV[:, member_V].sum(1), target_BV[:, member_V].sum(1), empty=np.nan
            )
            metrics[f"{group}_category_accuracy"] = _mean_where(recall_BV, occurs_BV & member_V)
        return metrics


def _added_metric(name: str, predictions: Predictions) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Value of each target by the metric of another package, and 1 where it counts, 0 where it does not."""
    value_T = np.asarray(load_extension(METRIC_GROUP, name)(predictions), np.float64)
    if value_T.shape != (len(predictions),):
        raise ValueError(
            f"the metric {name!r} must give {len(predictions)} values, one per target, got {value_T.shape}"
        )
    counts_T = ~np.isnan(value_T)
    return np.where(counts_T, value_T, 0.0), counts_T.astype(np.float64)


class _BehaviorSums:
    """Occurrences of each behavior per user, sparse."""

    def __init__(self, user: npt.NDArray[np.integer], behavior: npt.NDArray[np.integer], num_behaviors: int) -> None:
        num_users = int(user.max(initial=0)) + 1
        pair = behavior.astype(np.int64) * num_users + user
        pair_G, self._count_G = np.unique(pair, return_counts=True)
        self._user_G = pair_G % num_users
        # Pairs are sorted by behavior: each behavior's are adjacent.
        self._behaviors, self._first = np.unique(pair_G // num_users, return_index=True)
        self._num_behaviors = num_behaviors
        self.num_terms = len(pair_G)

    def totals(self, weight_BU: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(B, V) occurrences of each behavior among weighted users."""
        total_BV = np.zeros((len(weight_BU), self._num_behaviors))
        if len(self._first):
            term_BG = weight_BU[:, self._user_G] * self._count_G
            total_BV[:, self._behaviors] = np.add.reduceat(term_BG, self._first, axis=1)
        return total_BV


def _ratio(
    numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64], *, empty: float
) -> npt.NDArray[np.float64]:
    out = np.full(np.broadcast(numerator, denominator).shape, empty)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _mean_where(value_BV: npt.NDArray[np.float64], where_BV: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return _ratio((value_BV * where_BV).sum(1), where_BV.sum(1).astype(float), empty=np.nan)
