"""Baselines without a model: most popular, most recent, most frequent, Markov chains.

All are prequential, as on a device: for a target they use the training part of all users and all
earlier events of the same user, those of validation and test included.

    most_popular           frequency in the training part, the same for all users
    most_recently_used     time of the user's last occurrence
    most_frequently_used   number of the user's occurrences
    markov(order)          frequency after the last `order` behaviors, with back-off

Equal scores stay tied. `habit_baseline.py` holds the strongest baseline.
"""

# R targets in a block, C candidates (known behaviors with id 0, then spare ids), n own behaviors

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.metrics.ranking import Predictions, rank_in_blocks

_BLOCK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class TargetBlock:
    """Some targets of one user.

    which  slice of the targets.
    user   index of the user.
    rows   (R,) rows of the targets among the user's behaviors, ascending.
    """

    which: slice
    user: int
    rows: npt.NDArray[np.int64]


def target_blocks(log: BehaviorLog, targets: Targets) -> Iterator[TargetBlock]:
    """The targets user by user, at most a few hundred at a time.

    Raises ValueError for targets in the training part: the baselines have counted them.
    """
    if log.is_train[targets.row].any():
        raise ValueError("targets lie in the training part, which the baselines have counted")
    starts = np.flatnonzero(np.diff(targets.user, prepend=-1))
    for start, stop in zip(starts, np.append(starts[1:], len(targets)), strict=True):
        user = int(targets.user[start])
        for first in range(start, stop, _BLOCK_ROWS):
            which = slice(first, min(first + _BLOCK_ROWS, stop))
            yield TargetBlock(which=which, user=user, rows=targets.row[which] - log.user_start[user])


def most_popular(log: BehaviorLog, targets: Targets) -> Predictions:
    """score(b) = occurrences of b in the training part."""

    def blocks() -> Iterator[tuple[slice, npt.NDArray[np.integer]]]:
        for block in target_blocks(log, targets):
            yield block.which, np.tile(log.train_counts, (len(block.rows), 1))

    return rank_in_blocks(targets, blocks())


def most_recently_used(log: BehaviorLog, targets: Targets) -> Predictions:
    """score(b) = index of the user's last b; behaviors that the user never had tie at the end."""

    def blocks() -> Iterator[tuple[slice, npt.NDArray[np.floating]]]:
        for block in target_blocks(log, targets):
            behavior = log.user(block.user).behavior[: block.rows[-1]]
            age = np.arange(len(behavior))
            last_RC = np.full((len(block.rows), log.num_candidates), -1)
            np.maximum.at(last_RC, (_first_to_see(block.rows, age), behavior), age)
            last_RC = np.maximum.accumulate(last_RC, axis=0)
            yield block.which, _without_unused_spares(last_RC, last_RC < 0, log)

    return rank_in_blocks(targets, blocks())


def most_frequently_used(log: BehaviorLog, targets: Targets) -> Predictions:
    """score(b) = occurrences of b in the user's past."""

    def blocks() -> Iterator[tuple[slice, npt.NDArray[np.floating]]]:
        for block in target_blocks(log, targets):
            behavior = log.user(block.user).behavior[: block.rows[-1]]
            seen_by = _first_to_see(block.rows, np.arange(len(behavior)))
            count_RC = np.zeros((len(block.rows), log.num_candidates))
            np.add.at(count_RC, (seen_by, behavior), 1)
            count_RC = count_RC.cumsum(0)
            yield block.which, _without_unused_spares(count_RC, count_RC == 0, log)

    return rank_in_blocks(targets, blocks())


def _first_to_see(rows: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index of the first target that has each behavior in its past."""
    return np.searchsorted(rows, column, side="right")


def _without_unused_spares(
    scores_RC: npt.NDArray[np.integer | np.floating], unused_RC: npt.NDArray[np.bool_], log: BehaviorLog
) -> npt.NDArray[np.float64]:
    """Scores in which a spare id without a behavior is no candidate."""
    candidate_RC: npt.NDArray[np.float64] = scores_RC.astype(np.float64)
    spare_RC = candidate_RC[:, log.num_behaviors :]
    spare_RC[unused_RC[:, log.num_behaviors :]] = -np.inf
    return candidate_RC


def markov(log: BehaviorLog, targets: Targets, order: int) -> Predictions:
    """Markov chain of order 1 or 2, interpolated with the shorter contexts.

    Witten-Bell smoothing (Witten and Bell 1991; the recursion of Chen and Goodman 1999): the
    more different behaviors follow a context h, the smaller the weight of its counts,

        p_n(b | h) = (c(h, b) + T(h) p_{n-1}(b | h')) / (c(h) + T(h))

    with c(h, b) occurrences of b after h, c(h) their sum, T(h) the number of different b after
    h, and h' the context without its oldest behavior. p_0 has the empty context, p_{-1} is
    uniform over the known behaviors, and a context that never occurred leaves p_{n-1} as it is.
    The counts are those of the training parts of all users and of the user's events since then, with
    equal weight: this is a chain of the population, not of one user.
    """
    if order not in (1, 2):
        raise ValueError(f"a Markov baseline has order 1 or 2, got {order}")
    shared = [_SharedCounts(log, length) for length in range(order + 1)]
    known = log.num_behaviors - 1
    uniform_C = np.zeros(log.num_candidates)
    uniform_C[1 : log.num_behaviors] = 1 / known if known else 0

    def blocks() -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        for block in target_blocks(log, targets):
            start = log.user_start[block.user]
            probs_RC = np.tile(uniform_C, (len(block.rows), 1))
            for counts in shared:
                counts_RC = counts.before(start + block.rows, start)
                total_R1 = counts_RC.sum(1, keepdims=True)
                distinct_R1 = np.count_nonzero(counts_RC, axis=1)[:, None]
                smoothed_RC = counts_RC + distinct_R1 * probs_RC
                probs_RC = np.where(total_R1 > 0, smoothed_RC / np.maximum(total_R1 + distinct_R1, 1), probs_RC)
            yield block.which, probs_RC

    return rank_in_blocks(targets, blocks())


class _SharedCounts:
    """Counts of the behaviors after each context of one length, in the training part and since.

    A context is one integer: the ids of the last `length` behaviors, -1 where the user has fewer.
    Spare ids differ in meaning between users, so counts with a spare id are used for their user alone.
    """

    def __init__(self, log: BehaviorLog, length: int) -> None:
        self._log = log
        num_candidates = log.num_candidates
        is_shared = log.is_train & (log.behavior > 0) & (log.behavior < log.num_behaviors)
        key = np.zeros(len(log.behavior), np.int64)
        exists = np.ones(len(log.behavior), bool)
        history = np.arange(len(key)) - np.repeat(log.user_start[:-1], np.diff(log.user_start))
        for back in range(1, length + 1):
            before = np.roll(log.behavior, back)
            key = key * num_candidates + before
            exists &= history >= back
            is_shared &= (before > 0) & (before < log.num_behaviors)
        self._key = np.where(exists, key, -1)
        self._is_shared = is_shared & exists
        shared_key = self._key[self._is_shared]
        shared_next = log.behavior[self._is_shared]
        order = np.lexsort((shared_next, shared_key))
        shared_key, shared_next = shared_key[order], shared_next[order]
        is_new = np.diff(shared_key, prepend=-1) != 0
        is_new |= np.diff(shared_next, prepend=-1) != 0
        pair = np.flatnonzero(is_new)
        self._pair_count = np.diff(np.append(pair, len(shared_key)))
        self._pair_next = shared_next[pair]
        self._pair_key = shared_key[pair]

    def before(self, rows: npt.NDArray[np.int64], user_start: int) -> npt.NDArray[np.float64]:
        """c(h, b) of the context of each row, from training and the user's rows before it, (R, C).

        rows        (R,) rows of the log, of one user, ascending.
        user_start  first row of the user.
        """
        counts_RC = np.zeros((len(rows), self._log.num_candidates))
        context = self._key[rows]
        first = np.searchsorted(self._pair_key, context, side="left")
        num_pairs = np.searchsorted(self._pair_key, context, side="right") - first
        row = np.repeat(np.arange(len(rows)), num_pairs)
        pair = np.arange(len(row)) + np.repeat(first - np.cumsum(num_pairs) + num_pairs, num_pairs)
        counts_RC[row, self._pair_next[pair]] = self._pair_count[pair]

        own = user_start + np.flatnonzero(~self._is_shared[user_start : rows[-1]])
        own = own[self._key[own] >= 0]
        same_context = self._key[own][None] == context[:, None]
        row, column = np.nonzero(same_context & (own[None] < rows[:, None]))
        np.add.at(counts_RC, (row, self._log.behavior[own[column]]), 1)
        counts_RC[:, 0] = 0
        return counts_RC


Baseline = Callable[[BehaviorLog, Targets], Predictions]

BASELINES: dict[str, Baseline] = {
    "most_popular": most_popular,
    "most_recently_used": most_recently_used,
    "most_frequently_used": most_frequently_used,
    "markov_1": partial(markov, order=1),
    "markov_2": partial(markov, order=2),
}
"""Baselines of this file by the names of their rows in a table."""
