"""A table: models beside the baselines that cost nothing, on the same targets, with intervals.

Every row answers for the same targets: all events of a part that have a behavior, but for the
first of each user. Baselines and models see everything before the target, as on a device, and
the network stays as it was trained.
"""

# T targets, V behaviors, U spare ids

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HabitWeights
from edgebehave_train.evaluation.baselines import BASELINES
from edgebehave_train.evaluation.habit_baseline import habits
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.frequencies import candidate_prior
from edgebehave_train.logs.mapped_log import MappedLog, map_log
from edgebehave_train.logs.split import PARTS, TRAIN, VALIDATION, part_of_event
from edgebehave_train.metrics.bootstrap import Interval, metric_intervals, paired_differences
from edgebehave_train.metrics.ranking import Predictions, Ranking
from edgebehave_train.metrics.scoring import Experts, target_probs
from edgebehave_train.training.checkpoint import Checkpoint

Predictor = Callable[[BehaviorLog, Targets], Predictions]
EARLY_S = {"asked 10 min early": 600, "asked 60 min early": 3600}

Scorer = Callable[[npt.NDArray[np.int64], npt.NDArray[np.float32]], npt.NDArray[np.floating]]
"""(which targets, probs_RC) -> scores_RC."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One predictor: its metrics with 95 % intervals, and the paired differences of the first
    model from it, which say whether the model is better by more than chance.

    name         of the predictor.
    kind         "baseline", "peer", "model" or "variant" (a model asked or adjusted in another
                 way).
    predictions  what it predicted.
    """

    name: str
    kind: str
    predictions: Predictions
    metrics: dict[str, Interval]
    model_minus_this: dict[str, Interval] | None = None

    def to_json(self) -> dict[str, Any]:
        difference = self.model_minus_this
        return {
            "name": self.name,
            "kind": self.kind,
            "metrics": {name: dataclasses.astuple(i) for name, i in self.metrics.items()},
            "model_minus_this": difference and {name: dataclasses.astuple(i) for name, i in difference.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Table:
    """What `evaluate` measured.

    part          "validation" or "test".
    num_targets   predictions per row, and how many of them the vocabulary does not know.
    test_reads    how often the test part has been read with these checkpoints, this time included.
    """

    part: str
    rows: list[Row]
    num_targets: int
    num_unknown: int
    num_users: int
    test_reads: int
    habit_weights: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**content, "rows": [row.to_json() for row in self.rows]}

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The log as it is asked at one moment: its behaviors and the targets among them.

    early_s  seconds before the target at which it is asked for; None: the time is not known.
    tuned_on  targets of the validation part, which the baselines may be tuned on.
    """

    log: MappedLog
    behaviors: BehaviorLog
    targets: Targets
    tuned_on: Targets
    early_s: int | None


def ask(log: MappedLog, parts: npt.NDArray[np.int8], part: str, early_s: int | None = 0) -> Asked:
    """The targets of one part, asked on time or early; parts (N,) of `part_of_event`."""
    behaviors = log.behavior_log(parts == TRAIN, early_s)
    return Asked(
        log=log,
        behaviors=behaviors,
        targets=behaviors.targets(parts == PARTS[part]),
        tuned_on=behaviors.targets(parts == VALIDATION),
        early_s=early_s,
    )


def evaluate(
    store: EventStore,
    checkpoints: Sequence[Checkpoint],
    *,
    names: Sequence[str] | None = None,
    part: str = "validation",
    adjust: Sequence[float] = (),
    variants: bool = True,
    peers: Mapping[str, Predictor] | None = None,
    num_resamples: int = 1000,
    on_row: Callable[[str], None] = lambda name: None,
) -> Table:
    """Score checkpoints and every baseline on one part of a log.

    checkpoints  trained on the same log with the same split; the first is the one that all
                 others are compared with.
    names        of the checkpoints in the table; default: the names of their folders.
    part         "validation" or "test"; a reading of the test part is noted in each checkpoint.
    adjust       tau of post-hoc logit adjustment, one more row per checkpoint and tau:
                 log p(b) - tau log prior(b)  (Menon et al. 2021).
    variants     also rows for the network alone, no query time, and asking early.
    peers        other models that predict the same targets, by the names of their rows.
    Raises ValueError if the checkpoints do not share vocabulary and split, or two rows a name.
    """
    if part not in ("validation", "test"):
        raise ValueError(f"part must be validation or test, got {part!r}")
    first = checkpoints[0]
    for checkpoint in checkpoints:
        checkpoint.require_log(store)
    for other in checkpoints[1:]:
        if other.vocabulary != first.vocabulary or other.config.split != first.config.split:
            raise ValueError(
                f"{other.path} and {first.path} do not share vocabulary and split; evaluate them one at a time"
            )
    names = names or [checkpoint.path.name for checkpoint in checkpoints]
    peers = peers or {}
    taken = [*BASELINES, "habits", *peers, *names]
    if len(set(taken)) < len(taken):
        twice = next(name for name in taken if taken.count(name) > 1)
        raise ValueError(f"two rows of the table are called {twice!r}; give the models other names")
    counts = first.behavior_counts
    parts = part_of_event(store, first.config.split)
    log = map_log(store, first.vocabulary)

    on_time = ask(log, parts, part)
    if not len(on_time.targets):
        raise ValueError(f"the {part} part of {store.path} holds nothing to predict")
    predictions: dict[str, tuple[str, Predictions]] = {}

    def add(name: str, kind: str, result: Predictions) -> None:
        predictions[name] = (kind, result)
        on_row(name)

    weights = tune_habits(on_time.behaviors, on_time.tuned_on)
    for name, result in predict_baselines(on_time, weights):
        add(name, "baseline", result)
    for name, peer in peers.items():
        add(name, "peer", peer(on_time.behaviors, on_time.targets))
    for name, checkpoint in zip(names, checkpoints, strict=True):
        result, *adjusted = predict(checkpoint, on_time, [0.0, *adjust])
        add(name, "model", result)
        for tau, shifted in zip(adjust, adjusted, strict=True):
            add(f"{name}, adjusted tau {tau:g}", "variant", shifted)
        if not variants:
            continue
        if checkpoint.config.habits:
            (alone,) = predict(checkpoint, on_time, experts="network")
            add(f"{name}, network alone", "variant", alone)
        if checkpoint.config.query_context != "none":
            moments = {"no query time": None, **EARLY_S}
            for label, early_s in moments.items():
                (result,) = predict(checkpoint, ask(log, parts, part, early_s))
                add(f"{name}, {label}", "variant", result)

    model = predictions[names[0]][1]
    rows = [
        Row(
            name=name,
            kind=kind,
            predictions=result,
            metrics=metric_intervals(result, counts, num_resamples),
            model_minus_this=None if name == names[0] else paired_differences(model, result, counts, num_resamples),
        )
        for name, (kind, result) in predictions.items()
    ]
    test_reads = [_record(checkpoint, part, rows, store) for checkpoint in checkpoints]
    return Table(
        part=part,
        rows=rows,
        num_targets=len(on_time.targets),
        num_unknown=int((on_time.targets.behavior == 0).sum()),
        num_users=len(np.unique(on_time.targets.user)),
        test_reads=max(test_reads),
        habit_weights=dataclasses.asdict(weights),
    )


def predict_part(store: EventStore, checkpoint: Checkpoint, part: str = "validation") -> Predictions:
    """Predictions of one checkpoint for one part, asked on time; no table and no record."""
    checkpoint.require_log(store)
    parts = part_of_event(store, checkpoint.config.split)
    return predict(checkpoint, ask(map_log(store, checkpoint.vocabulary), parts, part))[0]


def predict_baselines(asked: Asked, habit_weights: HabitWeights) -> Iterator[tuple[str, Predictions]]:
    """Every baseline by name, `habits` last."""
    for name, baseline in BASELINES.items():
        yield name, baseline(asked.behaviors, asked.targets)
    yield "habits", habits(asked.behaviors, asked.targets, habit_weights)


def predict(
    checkpoint: Checkpoint,
    asked: Asked,
    taus: Sequence[float] = (0.0,),
    experts: Experts = "all",
) -> list[Predictions]:
    """Predictions of a checkpoint for every tau, from one pass over its probabilities.

    taus     of post-hoc logit adjustment; 0 = none.
    experts  "network" leaves the habit kernels out.
    """

    def adjusted(tau: float) -> Scorer:
        return lambda which, probs_RC: adjust_probs(probs_RC, checkpoint.behavior_counts, tau)

    return predict_scored(checkpoint, asked, [adjusted(tau) for tau in taus], experts)


def predict_scored(
    checkpoint: Checkpoint, asked: Asked, scorers: Sequence[Scorer], experts: Experts = "all"
) -> list[Predictions]:
    """Predictions of a checkpoint for every way to score its probabilities, from one pass."""
    blocks = target_probs(checkpoint.load_model(), asked.log, asked.behaviors, asked.targets, asked.early_s, experts)
    rankings = [Ranking(asked.targets) for _ in scorers]
    for which, probs_RC in blocks:
        for scorer, ranking in zip(scorers, rankings, strict=True):
            ranking.add(which, scorer(which, probs_RC))
    return [ranking.finish() for ranking in rankings]


def adjust_probs(
    probs_RC: npt.NDArray[np.float32], behavior_counts_V: npt.NDArray[np.int64], tau: float
) -> npt.NDArray[np.float32]:
    """Scores p(b) / pi_b^tau: post-hoc logit adjustment (Menon et al. 2021, Eq. 9)."""
    if tau == 0:
        return probs_RC
    prior_C = candidate_prior(behavior_counts_V, probs_RC.shape[1])
    return (probs_RC / prior_C**tau).astype(np.float32)


def _record(checkpoint: Checkpoint, part: str, rows: list[Row], store: EventStore) -> int:
    """Keep the table in metrics.json; returns how often the test part has been read."""
    metrics = checkpoint.read_metrics()
    num_reads = note_reading(metrics, part, store)
    metrics[part] = {row.name: {name: interval.value for name, interval in row.metrics.items()} for row in rows}
    checkpoint.write_metrics(metrics)
    return num_reads


def note_reading(metrics: dict[str, Any], part: str, store: EventStore) -> int:
    """Note in a checkpoint's metrics that a part was read; how often the test part was."""
    reads = metrics.setdefault("test_reads", [])
    if part == "test":
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        reads.append({"at": now, "data_fingerprint": store.fingerprint})
    return len(reads)
