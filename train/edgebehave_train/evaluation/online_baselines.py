"""Baselines that count one user online, over the whole past: Markov chains of the user, and follow the leader.

They need no training part and no other user, so they are what an app can have for nothing on the first day. The
predictors themselves are those of `edgebehave.follow_the_leader`.
"""

# R targets in a block, C candidates (known behaviors with id 0, then spare ids)

from collections.abc import Sequence

import numpy as np

from edgebehave.follow_the_leader import FollowTheLeader
from edgebehave_train.evaluation.baselines import target_blocks
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.metrics.ranking import Predictions, Ranking

ONLINE_BASELINES = {"online_markov_1": "markov_1", "online_markov_2": "markov_2", "follow_the_leader": None}
"""{name of the row in a table: one of `edgebehave.follow_the_leader.PREDICTORS`; None: the leader at each target}."""


def online_baselines(
    log: BehaviorLog, targets: Targets, names: Sequence[str] = tuple(ONLINE_BASELINES)
) -> dict[str, Predictions]:
    """Predictions of some of ONLINE_BASELINES by name, from one pass over the log.

    score(b) = the rank of b from below; behaviors that the user never had tie at the end, and a spare id among them
    is no candidate.
    """
    rankings = {name: Ranking(targets) for name in names}
    counted, user, num_told = FollowTheLeader(), -1, 0
    for block in target_blocks(log, targets):
        if block.user != user:
            counted, user, num_told = FollowTheLeader(), block.user, 0
        behavior = log.user(user).behavior
        scores = {name: np.full((len(block.rows), log.num_candidates), -np.inf) for name in names}
        for index, row in enumerate(block.rows.tolist()):
            for told in behavior[num_told:row].tolist():
                counted.observe(told)
            num_told = row
            for name, scores_RC in scores.items():
                ranked = counted.ranking(ONLINE_BASELINES[name])
                scores_RC[index, : log.num_behaviors] = 0
                scores_RC[index, ranked] = np.arange(len(ranked), 0, -1)
        for name, scores_RC in scores.items():
            rankings[name].add(block.which, scores_RC)
    return {name: ranking.finish() for name, ranking in rankings.items()}
