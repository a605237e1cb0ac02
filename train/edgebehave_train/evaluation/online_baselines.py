"""Baselines that count one user online, over the whole past: Markov chains of the user, and follow the leader.

They need no training part and no other user, so they are what an app can have for nothing on the first day. The
predictors themselves are those of `edgebehave.follow_the_leader`.
"""

# R targets in a block, C candidates (known behaviors with id 0, then spare ids)

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from edgebehave.follow_the_leader import FollowTheLeader
from edgebehave_train.evaluation.baselines import Baseline, target_blocks
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.metrics.ranking import Predictions, rank_in_blocks


def follow_the_leader(log: BehaviorLog, targets: Targets, predictor: str | None = None) -> Predictions:
    """score(b) = the rank of b from below; behaviors that the user never had tie at the end.

    predictor  one of `edgebehave.follow_the_leader.PREDICTORS`; default: the leader at each target.
    """

    def blocks() -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        counted, user, num_told = FollowTheLeader(), -1, 0
        for block in target_blocks(log, targets):
            behavior = log.user(block.user).behavior
            if block.user != user:
                counted, user, num_told = FollowTheLeader(), block.user, 0
            scores_RC = np.full((len(block.rows), log.num_candidates), -np.inf)
            scores_RC[:, : log.num_behaviors] = 0
            for scores_C, row in zip(scores_RC, block.rows.tolist(), strict=True):
                for told in behavior[num_told:row].tolist():
                    counted.observe(told)
                num_told = row
                ranking = counted.ranking(predictor) if row else []
                scores_C[ranking] = np.arange(len(ranking), 0, -1)
            yield block.which, scores_RC

    return rank_in_blocks(targets, blocks())


ONLINE_BASELINES: dict[str, Baseline] = {
    "online_markov_1": partial(follow_the_leader, predictor="markov_1"),
    "online_markov_2": partial(follow_the_leader, predictor="markov_2"),
    "follow_the_leader": follow_the_leader,
}
"""Baselines of this file by the names of their rows in a table."""
