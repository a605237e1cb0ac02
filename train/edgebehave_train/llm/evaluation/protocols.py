"""BehaviorLM's two protocols, on the probabilities of any predictors for the same samples.

    users     samples of the users of the test part as they come: weighted precision and recall.
    balanced  up to 500 samples of each behavior: the accuracy overall and of head, medium and tail
              behaviors, more than 5 %, 1 to 5 % and less than 1 % of the training part.

The metrics are those of `edgebehave_train.metrics.prediction_metrics`; of its names, `weighted_recall` is the share
of samples whose most probable behavior came, "overall accuracy", and `macro_recall` the mean of
that share over behaviors. They are equal where all behaviors have the same number of samples.
Every predictor chooses among the V - 1 known behaviors, so that all rows have the same task. The
intervals come from resampling users; a resample of a balanced set is balanced on average only.
"""

# S samples, V behaviors (id 0 included), R samples of a block, C candidates of a checkpoint

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.evaluation.habit_baseline import habit_scores
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.evaluation.part_predictions import PartTargets, part_targets
from edgebehave_train.llm.prompts.samples import LogSamples
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.frequencies import GROUPS, group_of_behavior
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import part_of_event
from edgebehave_train.metrics.bootstrap import NUM_RESAMPLES, Interval, metric_intervals, paired_differences
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.metrics.ranking import rank_in_blocks
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint

PER_BEHAVIOR = 500
"""Samples of a behavior in the balanced set at most, as in the paper."""

Protocol = Literal["users", "balanced"]
SHOWN: Mapping[Protocol, Mapping[str, str]] = {
    "users": {
        "weighted_precision": "weighted precision",
        "weighted_recall": "weighted recall",
        "hr_at_3": "HR@3",
        "macro_recall": "mean over behaviors",
    },
    "balanced": {
        "weighted_recall": "overall",
        "macro_recall": "mean over behaviors",
        "head_accuracy": "head",
        "medium_accuracy": "medium",
        "tail_accuracy": "tail",
    },
}
"""Metrics and titles of the columns of a table; its JSON holds all metrics."""

FloatMatrix = npt.NDArray[np.floating]


def balanced_samples(samples: LogSamples, per_behavior: int = PER_BEHAVIOR, seed: int = 0) -> LogSamples:
    """Up to `per_behavior` samples of each behavior, drawn without replacement.

    With the same seed a smaller set is part of a larger one, behavior by behavior. Behaviors
    without a sample stay without. Raises ValueError for a count below 1.
    """
    if per_behavior < 1:
        raise ValueError(f"per_behavior must be 1 or more samples, got {per_behavior}")
    drawn = []
    for behavior in np.unique(samples.behavior).tolist():
        of_behavior = np.flatnonzero(samples.behavior == behavior)
        order = np.random.default_rng([seed, behavior]).permutation(len(of_behavior))
        drawn.append(of_behavior[order[:per_behavior]])
    return samples.take(np.sort(np.concatenate(drawn)))


def random_samples(samples: LogSamples, num_samples: int, seed: int = 0) -> LogSamples:
    """Some samples drawn uniformly, or all if there are no more: a language model is slow.

    Raises ValueError for a number below 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be 1 or more, got {num_samples}")
    order = np.random.default_rng(seed).permutation(len(samples))
    return samples.take(np.sort(order[:num_samples]))


@dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """One predictor in a table.

    metrics               every metric of `edgebehave_train.metrics.prediction_metrics` with its 95 % interval.
    reference_minus_this  paired differences of the table's reference from this row.
    """

    metrics: Mapping[str, Interval]
    reference_minus_this: Mapping[str, Interval] | None = None


@dataclass(frozen=True, kw_only=True)
class ProtocolTable:
    """Predictors under one protocol, on the same samples.

    num_samples    S; of num_users users and num_behaviors behaviors.
    group_samples  how many of the samples are of head, medium and tail behaviors.
    reference      name of the row whose differences from the others are given, if any.
    """

    protocol: Protocol
    part: str
    num_samples: int
    num_users: int
    num_behaviors: int
    group_samples: Mapping[str, int]
    rows: Mapping[str, ProtocolRow]
    reference: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All content; intervals as [value, low, high], null for what could not be measured."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rows = {
            name: {
                "metrics": _intervals_json(row.metrics),
                "reference_minus_this": row.reference_minus_this and _intervals_json(row.reference_minus_this),
            }
            for name, row in self.rows.items()
        }
        return {**content, "group_samples": dict(self.group_samples), "rows": rows}

    def to_markdown(self) -> str:
        """The metrics of the protocol with intervals, and a line about the samples."""
        shown = SHOWN[self.protocol]
        cells = [["", *shown.values()]]
        for name, row in self.rows.items():
            cells.append([name, *(_interval_text(row.metrics[metric]) for metric in shown)])
        groups = ", ".join(f"{number} {group}" for group, number in self.group_samples.items())
        return (
            f"{self.protocol}, {self.part} part: {self.num_samples} samples ({groups}) of "
            f"{self.num_users} users, {self.num_behaviors} behaviors; 95 % intervals over users\n\n" + _markdown(cells)
        )


def protocol_table(
    protocol: Protocol,
    samples: LogSamples,
    probs: Mapping[str, FloatMatrix],
    *,
    reference: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> ProtocolTable:
    """The table of one protocol.

    samples    of the protocol: of a part, or drawn from it by `balanced_samples`.
    probs      name of each row and its probabilities (S, V), or any scores with the same ranking;
               column 0 is ignored.
    reference  a row whose paired differences from all others are measured, too.
    seed       of the resamples.
    Raises ValueError for another protocol, a matrix of another shape or with NaN, no rows, and a
    reference that is no row.
    """
    if protocol not in SHOWN:
        raise ValueError(f"protocol must be one of {', '.join(SHOWN)}, got {protocol!r}")
    if not probs:
        raise ValueError("a table needs a row; give the probabilities of a predictor")
    if reference not in (None, *probs):
        raise ValueError(f"the reference must be one of the rows {list(probs)}, got {reference!r}")
    shape = (len(samples), samples.vocabulary.num_behaviors)
    predictions = {}
    for name, matrix in probs.items():
        if matrix.shape != shape:
            raise ValueError(
                f"row {name!r} has probabilities of shape {matrix.shape}, expected {shape}: samples and behaviors"
            )
        predictions[name] = rank_in_blocks(samples.targets, [(slice(None), matrix)])
    counts_V = samples.train_counts
    rows = {
        name: ProtocolRow(
            metrics=metric_intervals(result, counts_V, num_resamples, seed),
            reference_minus_this=None
            if reference in (None, name)
            else paired_differences(predictions[reference], result, counts_V, num_resamples, seed),
        )
        for name, result in predictions.items()
    }
    group_of_sample = group_of_behavior(counts_V)[samples.behavior]
    return ProtocolTable(
        protocol=protocol,
        part=samples.part,
        num_samples=len(samples),
        num_users=len(np.unique(samples.targets.user)),
        num_behaviors=len(np.unique(samples.behavior)),
        group_samples={g: int((group_of_sample == i).sum()) for i, g in enumerate(GROUPS)},
        rows=rows,
        reference=reference,
    )


def checkpoint_probs(checkpoint: Checkpoint, store: EventStore, samples: LogSamples) -> npt.NDArray[np.float32]:
    """Probabilities of the samples' behaviors by a BehaveGPT checkpoint, (S, V); column 0 is 0.

    It reads each user's whole past, as on a device, and predicts at the time of the target. The
    user's own behaviors beyond the vocabulary are left out and the others not scaled up: rows sum
    to at most 1. A reading of the test part is recorded in the checkpoint, as by `edgebehave evaluate`.
    Raises ValueError if the checkpoint was trained on another log, vocabulary or split.
    """
    require_same_task(checkpoint, store, samples)
    asked = _asked(store, samples)
    if samples.part == "test":
        record_measurement(checkpoint.path, store, samples.part)
    probs_SV = np.zeros((len(samples), samples.vocabulary.num_behaviors), np.float32)
    model = checkpoint.load_model()
    for which, probs_RC in target_probs(model, asked.log, asked.behaviors, samples.targets):
        probs_SV[which] = probs_RC[:, : probs_SV.shape[1]]
    probs_SV[:, UNKNOWN] = 0
    return probs_SV


def require_same_task(checkpoint: Checkpoint, store: EventStore, samples: LogSamples) -> None:
    """Raises ValueError if a checkpoint was trained on another log, vocabulary or split."""
    checkpoint.require_log(store)
    if checkpoint.config.split != samples.split or checkpoint.vocabulary != samples.vocabulary:
        raise ValueError(
            f"{checkpoint.path} and the samples do not share vocabulary and split; train a "
            f"checkpoint on {samples.split}"
        )


def habit_sample_probs(store: EventStore, samples: LogSamples) -> npt.NDArray[np.float32]:
    """Probabilities by the `habits` baseline, (S, V); rows sum to 1, column 0 is 0.

    Its weights are tuned on the validation part, as in every table.
    """
    asked = _asked(store, samples)
    weights = tune_habits(asked.behaviors, asked.validation_targets)
    probs_SV = np.zeros((len(samples), samples.vocabulary.num_behaviors), np.float32)
    for which, scores_RC in habit_scores(asked.behaviors, samples.targets, weights):
        scores_RV = scores_RC[:, : probs_SV.shape[1]].copy()
        scores_RV[:, UNKNOWN] = 0
        probs_SV[which] = scores_RV / scores_RV.sum(1, keepdims=True)
    return probs_SV


def _asked(store: EventStore, samples: LogSamples) -> PartTargets:
    """The log behind the samples. Raises ValueError if the samples are of another log."""
    log = map_log(store, samples.vocabulary)
    asked = part_targets(log, part_of_event(store, samples.split), samples.part)
    here = np.isin(asked.targets.event, samples.targets.event)
    found = asked.targets.take(here)
    if not (
        np.array_equal(found.event, samples.targets.event) and np.array_equal(found.behavior, samples.targets.behavior)
    ):
        raise ValueError(f"the samples are not of the log {store.path}; draw them from it again")
    return asked


def _intervals_json(intervals: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    return {
        name: [None if math.isnan(end) else float(end) for end in dataclasses.astuple(interval)]
        for name, interval in intervals.items()
    }


def _interval_text(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    width = [max(map(len, column)) for column in zip(*cells, strict=True)]
    header, *rows = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in width) + "|"
    return "\n".join([header, rule, *rows])
