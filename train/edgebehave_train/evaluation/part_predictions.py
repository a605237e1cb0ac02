"""Predictions of a checkpoint and of the baselines for the targets of one part of a log.

Targets are all events of a part that have a behavior, except the first of each user. Baselines and
models see everything before a target, as on a device; the network is not trained further.
"""

# R targets in a block, C candidates

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HabitWeights
from edgebehave_train.evaluation.baselines import BASELINES, Baseline
from edgebehave_train.evaluation.habit_baseline import habits
from edgebehave_train.evaluation.online_baselines import ONLINE_BASELINES, online_baselines
from edgebehave_train.extensions import BASELINE_GROUP, extension_names, load_extension
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, map_log
from edgebehave_train.logs.split import PARTS, TRAIN, VALIDATION, part_of_event
from edgebehave_train.metrics.prior_shift import adjusted_scores, adjustment_divisor
from edgebehave_train.metrics.ranking import Predictions, Ranking
from edgebehave_train.metrics.scoring import Experts, target_probs
from edgebehave_train.training.checkpoint import Checkpoint

BASELINE_NAMES = (*BASELINES, *ONLINE_BASELINES, "habits")
"""Rows of every table before the models; those of `added_baselines` follow."""

_LABELS = {
    "most_recently_used": "most recently used (MRU)",
    "most_frequently_used": "most frequently used (MFU)",
    "markov_1": "Markov, order 1",
    "markov_2": "Markov, order 2",
    "online_markov_1": "online Markov, order 1",
    "online_markov_2": "online Markov, order 2",
}

Scorer = Callable[[npt.NDArray[np.int64], npt.NDArray[np.float32]], npt.NDArray[np.floating]]
"""(which targets, probs_RC) -> scores_RC."""


@dataclass(frozen=True, kw_only=True)
class PartTargets:
    """The targets of one part, and the log that they are predicted from.

    validation_targets  targets of the validation part, on which the baselines may be tuned.
    ask_early_s         seconds between the prediction and the target; None: the time is unknown.
    """

    log: MappedLog
    behaviors: BehaviorLog
    targets: Targets
    validation_targets: Targets
    ask_early_s: int | None


def part_targets(log: MappedLog, parts: npt.NDArray[np.int8], part: str, ask_early_s: int | None = 0) -> PartTargets:
    """The targets of one part, asked on time or early; parts (N,) of `part_of_event`."""
    behaviors = log.behavior_log(parts == TRAIN, ask_early_s)
    return PartTargets(
        log=log,
        behaviors=behaviors,
        targets=behaviors.targets(parts == PARTS[part]),
        validation_targets=behaviors.targets(parts == VALIDATION),
        ask_early_s=ask_early_s,
    )


def checkpoint_targets(store: EventStore, checkpoint: Checkpoint, part: str) -> PartTargets:
    """The targets of a part of the log that a checkpoint was trained on, by its own split.

    Raises ValueError for another part than "validation" and "test", for another log, or without targets.
    """
    if part not in ("validation", "test"):
        raise ValueError(f"part must be validation or test, got {part!r}")
    checkpoint.require_log(store)
    asked = part_targets(map_log(store, checkpoint.vocabulary), part_of_event(store, checkpoint.config.split), part)
    if not len(asked.targets):
        raise ValueError(
            f"the {part} part of {store.path} holds nothing to predict; use a longer log, or another --split"
        )
    return asked


def predict_part(store: EventStore, checkpoint: Checkpoint, part: str = "validation") -> Predictions:
    """Predictions of one checkpoint for one part, asked on time; nothing is recorded."""
    return predict(checkpoint, checkpoint_targets(store, checkpoint, part))[0]


def baseline_label(name: str) -> str:
    """Name of a baseline for people."""
    return _LABELS.get(name, name.replace("_", " "))


def added_baselines() -> list[str]:
    """Names of the baselines that installed packages add (`extensions.py`)."""
    return extension_names(BASELINE_GROUP, BASELINE_NAMES)


def predict_baselines(asked: PartTargets, habit_weights: HabitWeights) -> Iterator[tuple[str, Predictions]]:
    """Every baseline by name, in the order of BASELINE_NAMES, then those of other packages."""
    for name, baseline in BASELINES.items():
        yield name, baseline(asked.behaviors, asked.targets)
    yield from online_baselines(asked.behaviors, asked.targets).items()
    yield "habits", habits(asked.behaviors, asked.targets, habit_weights)
    for name in added_baselines():
        added: Baseline = load_extension(BASELINE_GROUP, name)
        yield name, added(asked.behaviors, asked.targets)


def predict(
    checkpoint: Checkpoint, asked: PartTargets, taus: Sequence[float] = (0.0,), experts: Experts = "all"
) -> list[Predictions]:
    """Predictions of a checkpoint for every tau of logit adjustment (0 = none), from one pass.

    experts  "network" leaves the habit kernels out.
    """
    return predict_scored(checkpoint, asked, [adjusted(checkpoint, asked, tau) for tau in taus], experts)


def adjusted(checkpoint: Checkpoint, asked: PartTargets, tau: float) -> Scorer:
    """Scores by post-hoc logit adjustment with the training frequencies of a checkpoint."""
    if tau == 0:
        return lambda which, probs_RC: probs_RC
    divisor_C = adjustment_divisor(checkpoint.behavior_counts, asked.behaviors.num_candidates, tau)
    return lambda which, probs_RC: adjusted_scores(probs_RC, divisor_C)


def predict_scored(
    checkpoint: Checkpoint, asked: PartTargets, scorers: Sequence[Scorer], experts: Experts = "all"
) -> list[Predictions]:
    """Predictions of a checkpoint for every way to score its probabilities, from one pass."""
    model = checkpoint.load_model()
    rankings = [Ranking(asked.targets) for _ in scorers]
    for which, probs_RC in target_probs(model, asked.log, asked.behaviors, asked.targets, asked.ask_early_s, experts):
        for scorer, ranking in zip(scorers, rankings, strict=True):
            ranking.add(which, scorer(which, probs_RC))
    return [ranking.finish() for ranking in rankings]
