"""Rank of each target among the candidates: the input of all metrics.

The candidates are the columns of a score matrix except for column 0 (unknown). A target that ties
with others stands at every rank of the tie with the same probability; the top prediction of a tie
is its lowest id, the most frequent in training.
"""

# T targets, R targets in a block, V known behaviors, C >= V columns, id 0 included

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.logs.behavior_log import Targets

OUT_OF_REACH = np.iinfo(np.int32).max
"""`num_greater` of an unknown target."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of one predictor for some targets; all arrays of shape (T,) int32.

    num_greater  candidates that score higher than the target; OUT_OF_REACH for target 0.
    num_tied     candidates that score the same, the target included: at least 1.
    predicted    id of the highest score, 1..C-1.
    """

    targets: Targets
    num_greater: npt.NDArray[np.int32]
    num_tied: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.predicted)


def rank_targets(
    scores_TC: npt.NDArray[np.floating | np.integer], target_T: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """`num_greater`, `num_tied` and `predicted` of a block of predictions, all (T,) int32.

    scores_TC  any scale, higher is more probable; -inf is allowed, column 0 is not read.
    target_T   ids 0..V-1; 0 is out of reach.
    Raises ValueError for NaN: it would rank every target first.
    """
    candidates_TC = scores_TC[:, 1:]
    if np.isnan(candidates_TC).any():
        raise ValueError("scores hold NaN; no target can be ranked")
    known = target_T != UNKNOWN
    own_T1 = np.take_along_axis(candidates_TC, np.maximum(target_T - 1, 0)[:, None], 1)
    num_greater = np.where(known, (candidates_TC > own_T1).sum(1), OUT_OF_REACH)
    num_tied = np.where(known, (candidates_TC == own_T1).sum(1), 1)
    predicted = candidates_TC.argmax(1) + 1
    return num_greater.astype(np.int32), num_tied.astype(np.int32), predicted.astype(np.int32)


class Ranking:
    """Collects predictions from score matrices that come in pieces."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._columns = tuple(np.zeros(len(targets), np.int32) for _ in range(3))
        self._times_scored = np.zeros(len(targets), np.int32)

    def add(self, which: npt.NDArray[np.integer] | slice, scores_RC: npt.NDArray[np.floating | np.integer]) -> None:
        """Rank some of the targets: indices or a slice, and their scores."""
        ranks = rank_targets(scores_RC, self.targets.behavior[which])
        for column, rank in zip(self._columns, ranks, strict=True):
            column[which] = rank
        self._times_scored[which] += 1

    def finish(self) -> Predictions:
        """Raises ValueError unless every target was scored exactly once."""
        wrong = np.count_nonzero(self._times_scored != 1)
        if wrong:
            raise ValueError(f"{wrong} of {len(self.targets)} targets were not scored exactly once")
        num_greater, num_tied, predicted = self._columns
        return Predictions(targets=self.targets, num_greater=num_greater, num_tied=num_tied, predicted=predicted)


def rank_in_blocks(
    targets: Targets, blocks: Iterable[tuple[npt.NDArray[np.integer] | slice, npt.NDArray[np.floating | np.integer]]]
) -> Predictions:
    """Predictions from score matrices that come in pieces, so that no large one is in memory.

    blocks  pairs (which targets, scores_RC) that together cover every target once.
    Raises ValueError if they do not.
    """
    ranking = Ranking(targets)
    for which, scores_RC in blocks:
        ranking.add(which, scores_RC)
    return ranking.finish()
