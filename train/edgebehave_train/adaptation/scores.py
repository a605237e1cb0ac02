"""Scores of new and known behaviors before and after an adaptation, on the same targets.

Predictions are compared by the names of the log, so that models may have different vocabularies. A
model without a behavior can still predict it: on a device an event that the vocabulary lacks is a
behavior of the user's own, which the habit kernels predict from its second occurrence on. A
predicted event is a hit if it is an event of the target behavior.
"""

# T targets, R targets of a block, N events, C candidates

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import PARTS, TRAIN, part_of_event
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.metrics.scoring import Experts, target_probs
from edgebehave_train.training.checkpoint import Checkpoint

_CUTOFF = 5


@dataclass(frozen=True, kw_only=True)
class AdaptationScores:
    """One model on one part of a log.

    hr_at_1              of all targets.
    hr_at_1_known        of the targets that pretraining knew.
    macro_recall         mean recall over the behaviors that the part holds.
    recall, recall_at_5  of each new behavior, by name: share of its targets that were the first
                         prediction, or among the first five; NaN where the part has none.
    num_targets          of each new behavior in the part.
    """

    hr_at_1: float
    hr_at_1_known: float
    macro_recall: float
    recall: dict[str, float]
    recall_at_5: dict[str, float]
    num_targets: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score_adaptation(
    store: EventStore, checkpoint: Checkpoint, new: Sequence[str], part: str = "validation"
) -> dict[str, AdaptationScores]:
    """Score a model, adapted or not, on a log with behaviors that pretraining lacked.

    checkpoint  of any log; it need not know the new behaviors.
    new         names of the behaviors that pretraining lacked.
    part        "validation" or "test", by the checkpoint's split; a reading of the test part is
                noted in the checkpoint.
    Returns     "habits" (the mixture; not there for a plain model) and "network alone".
    """
    parts = part_of_event(store, checkpoint.config.split)
    log = map_log(store, checkpoint.vocabulary)
    behaviors = log.behavior_log(parts == TRAIN)
    targets = behaviors.targets(parts == PARTS[part])
    model = checkpoint.load_model()
    private = _behavior_of_private_id(store, behaviors)
    # Ids of the checkpoint as ids of the store.
    named = store.vocabulary.translate(checkpoint.vocabulary, "behaviors").tolist()

    def in_store(user: int, behavior: int) -> int:
        if behavior < len(named):
            return named[behavior]
        return private.get((user, behavior), UNKNOWN)  # UNKNOWN: a private id of another user

    which_experts: dict[str, Experts] = {"habits": "all", "network alone": "network"}
    if not model.config.habits:
        del which_experts["habits"]
    scores = {}
    for name, experts in which_experts.items():
        first_T5 = np.zeros((len(targets), _CUTOFF), np.int64)
        for which, probs_RC in target_probs(model, log, behaviors, targets, experts=experts):
            best_R5 = _first(probs_RC, _CUTOFF)
            for i, ids in zip(np.arange(len(targets))[which].tolist(), best_R5, strict=True):
                user = int(targets.user[i])
                first_T5[i, : len(ids)] = [in_store(user, behavior) for behavior in ids.tolist()]
        behavior_T = store.behavior[targets.event].astype(np.int64)
        scores[name] = _scores(store, behavior_T, first_T5, new)
    if part == "test":
        record_measurement(checkpoint.path, store, part)
    return scores


def _first(probs_RC: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """The k most probable candidates except for column 0, the lower id first in a tie, (R, k).

    UNKNOWN replaces candidates of probability 0, as private ids are for the network alone.
    """
    best_Rk = np.argsort(-probs_RC[:, 1:], axis=1, kind="stable")[:, :k] + 1
    return np.where(np.take_along_axis(probs_RC, best_Rk, 1) > 0, best_Rk, UNKNOWN)


def _behavior_of_private_id(store: EventStore, behaviors: BehaviorLog) -> dict[tuple[int, int], int]:
    """{(user, private id): the behavior of its event in the store}."""
    private = np.flatnonzero(behaviors.behavior >= behaviors.num_behaviors)
    users = np.searchsorted(behaviors.user_start, private, side="right") - 1
    ids = behaviors.behavior[private]
    stands_for = store.behavior[behaviors.event[private]]
    return {
        (user, one): (UNKNOWN if b == NO_BEHAVIOR else b)
        for user, one, b in zip(users.tolist(), ids.tolist(), stands_for.tolist(), strict=True)
    }


def _scores(
    store: EventStore, behavior_T: npt.NDArray[np.int64], first_T5: npt.NDArray[np.int64], new: Sequence[str]
) -> AdaptationScores:
    """Hits, by behavior; all ids are the store's."""
    hit_T, near_T = first_T5[:, 0] == behavior_T, (first_T5 == behavior_T[:, None]).any(1)
    new_id = {name: store.vocabulary.behavior_id(name) for name in new}
    is_new_T = np.isin(behavior_T, list(new_id.values()))
    count = np.bincount(behavior_T)
    hits, near = np.bincount(behavior_T, hit_T), np.bincount(behavior_T, near_T)

    def share(sums: npt.NDArray[Any], b: int) -> float:
        return float(sums[b] / count[b]) if b < len(count) and count[b] else float("nan")

    there = np.flatnonzero(count)
    return AdaptationScores(
        hr_at_1=float(hit_T.mean()),
        hr_at_1_known=float(hit_T[~is_new_T].mean()) if not is_new_T.all() else float("nan"),
        macro_recall=float((hits[there] / count[there]).mean()),
        recall={name: share(hits, b) for name, b in new_id.items()},
        recall_at_5={name: share(near, b) for name, b in new_id.items()},
        num_targets={name: int(count[b]) if b < len(count) else 0 for name, b in new_id.items()},
    )
