"""Habit baseline: the kernels of `edgebehave.habits`, mixed with fixed weights, without a network.

    p(b) = ( sum_k a_k m_k(b) / (E_k + c_k) + a_0 q(b) ) / Z,       m_k(b) = sum_j w_k(j) [b_j = b]

with E_k the evidence of kernel k, q the frequencies of the training part, and Z the sum over all b.
As m_k = E_k p_k, the weight of kernel k is a_k E_k / (E_k + c_k): a_k / 2 where its evidence equals
its shrinkage c_k. Tuned are one weight and one shrinkage per kernel and the weight of popularity, the
same for all users.
"""

# T targets, K kernels, R targets in a block, C candidates, n history columns, G listed candidates

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HabitWeights
from edgebehave_train.evaluation.baselines import target_blocks
from edgebehave_train.kernels.habit_kernels import KernelBlock, kernel_blocks
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.metrics.ranking import Predictions, rank_in_blocks

FloatArray = npt.NDArray[np.float64]


def habits(log: BehaviorLog, targets: Targets, weights: HabitWeights | None = None) -> Predictions:
    """Predictions of the mixture; asked at `log.query_time_s`."""
    return rank_in_blocks(targets, habit_scores(log, targets, weights or HabitWeights()))


def habit_scores(log: BehaviorLog, targets: Targets, weights: HabitWeights) -> Iterator[tuple[slice, FloatArray]]:
    """Z p(b) of every target: pairs (slice of the targets, (R, C) scores)."""
    prior_C = popularity_prior(log)
    weight_K = np.array(weights.weight)
    shrinkage_K = np.array(weights.shrinkage)
    for which, block, behavior in target_kernels(log, targets):
        evidence_KR = block.weights_KRC.sum(2)
        scale_KR = weight_K[:, None] / (evidence_KR + shrinkage_K[:, None])
        vote_Rn = np.einsum("kr,krn->rn", scale_KR, block.weights_KRC)
        scores_RC = np.tile(weights.popularity * prior_C, (len(vote_Rn), 1))
        distinct, mass = sum_by_behavior(vote_Rn, behavior)
        scores_RC[:, distinct] += mass
        yield which, scores_RC


def popularity_prior(log: BehaviorLog) -> FloatArray:
    """(C,) training frequencies; 0 for spare ids."""
    prior_C = np.zeros(log.num_candidates)
    prior_C[: log.num_behaviors] = log.train_counts / max(int(log.train_counts.sum()), 1)
    return prior_C


def target_kernels(log: BehaviorLog, targets: Targets) -> Iterator[tuple[slice, KernelBlock, npt.NDArray[np.integer]]]:
    """Slice of the targets, their kernel weights, and the behavior in each history column."""
    for some in target_blocks(log, targets):
        history = log.user(some.user)
        first, stop = int(some.rows[0]), int(some.rows[-1]) + 1
        for block in kernel_blocks(history, first, stop):
            # Targets need not be consecutive; the rows between them are computed and dropped.
            low, high = np.searchsorted(some.rows, [block.rows.start, block.rows.stop])
            if low == high:
                continue
            asked = some.rows[low:high] - block.rows.start
            yield (
                slice(some.which.start + int(low), some.which.start + int(high)),
                replace(block, weights_KRC=block.weights_KRC[:, asked]),
                history.behavior[block.columns],
            )


def sum_by_behavior(
    vote: npt.NDArray[np.floating], behavior: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.floating]]:
    """Distinct behaviors of the n columns, ascending, and the sums (..., distinct) over them."""
    order = np.argsort(behavior, kind="stable")
    distinct, first = np.unique(behavior[order], return_index=True)
    return distinct, np.add.reduceat(vote[..., order], first, axis=-1)
