"""A table of models beside the baselines, on the same targets, with intervals."""

import dataclasses
import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgebehave_train.evaluation.baselines import Baseline
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.evaluation.part_predictions import (
    BASELINE_NAMES,
    PartTargets,
    added_baselines,
    baseline_label,
    checkpoint_targets,
    part_targets,
    predict,
    predict_baselines,
)
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import part_of_event
from edgebehave_train.metrics.bootstrap import Interval, metric_intervals, paired_differences
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k
from edgebehave_train.metrics.ranking import Predictions
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.universal.own_names import LOOKUP_FILE
from edgebehave_train.wording import counted, number_or_blank, without_blank_columns

if TYPE_CHECKING:
    import pandas

EARLY_S = {"no query time": None, "asked 10 min early": 600, "asked 60 min early": 3600}
"""`ask_early_s` of the rows of a model that is asked in another way."""

EVENTS_SEEN = (1, 2, 5, 10, 20, 50, 100, 500)
"""Behaviors of a user before a prediction: where a table of the first days begins a new line."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One predictor: its metrics with 95 % intervals.

    kind              "baseline", "peer", "model" or "variant" (a model that is asked or adjusted in another way).
    model_minus_this  paired differences of the first model from this row; None for the first model itself.
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Table:
    """The result of `evaluate`.

    part         "validation" or "test".
    num_targets  predictions per row.
    num_unknown  targets that the vocabulary does not know.
    share_new    of the targets that their user had never had before: HR@1 on them is `hr_at_1_explores`, and
                 `hr_at_1_repeats` on the others.
    by_events_seen  HR@1 of baselines, peers and models by the number of behaviors that their user had had, from each of
                 EVENTS_SEEN to below the next: {"seen", "queries", "hr_at_1": {name of the row: value}}.
    warnings     what makes the figures doubtful, a line each.
    test_reads   how often the test part has been read with these checkpoints, this time included.
    """

    part: str
    rows: list[Row]
    num_targets: int
    num_unknown: int
    share_new: float
    num_users: int
    test_reads: int
    habit_weights: dict[str, Any]
    warnings: tuple[str, ...] = ()
    by_events_seen: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**content, "rows": [row.to_json() for row in self.rows]}

    def to_pandas(self) -> "pandas.DataFrame":
        """One line per predictor and metric: the value, its 95 % interval, and the first model's difference from it.

        The difference is that of the same targets; NaN for the first model itself.
        """
        import pandas

        nothing = Interval(value=math.nan, low=math.nan, high=math.nan)
        lines = []
        for row in self.rows:
            for metric, one in row.metrics.items():
                difference = row.model_minus_this[metric] if row.model_minus_this else nothing
                line = (row.name, row.kind, metric, *dataclasses.astuple(one), *dataclasses.astuple(difference))
                lines.append(line)
        difference_columns = ("model_minus_this", "difference_low", "difference_high")
        return pandas.DataFrame(
            lines, columns=["predictor", "kind", "metric", "value", "low", "high", *difference_columns]
        )

    def __repr__(self) -> str:
        counts = f"{len(self.rows)} predictors, {self.num_targets:,} targets, {self.num_users:,} users"
        return f"Table({self.part}: {counts})"

    def _repr_html_(self) -> str:
        """The main metrics as a table, for a notebook."""
        names = {"HR@1": "hr_at_1", "HR@3": "hr_at_3", "macro recall": "macro_recall", "tail": "tail_accuracy"}
        rows = []
        for row in self.rows:
            values = [number_or_blank(row.metrics[metric].value) for metric in names.values()]
            rows.append([html.escape(baseline_label(row.name)), values[0], row.metrics["hr_at_1"].span(), *values[1:]])
        columns, rows = without_blank_columns(("predictor", "HR@1", "95 %", *list(names)[1:]), rows)
        head = "".join(f"<th>{name}</th>" for name in columns)
        lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for cells in rows]
        title = f"{self.part}: {counted(self.num_targets, 'prediction')} for {counted(self.num_users, 'user')}"
        return f"<table><caption>{title}</caption><tr>{head}</tr>{''.join(lines)}</table>"

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


def evaluate(
    store: EventStore,
    checkpoints: Sequence[Checkpoint],
    *,
    names: Sequence[str] | None = None,
    part: str = "validation",
    adjust: Sequence[float] = (),
    variants: bool = True,
    peers: Mapping[str, Baseline] | None = None,
    num_resamples: int = 1000,
    on_row: Callable[[str], None] = lambda name: None,
) -> Table:
    """Score checkpoints and every baseline on one part of a log.

    checkpoints  trained on the same log with the same split; the first is compared with all other rows.
    names        of the checkpoints in the table; default: the names of their folders.
    part         "validation" or "test"; a reading of the test part is noted in each checkpoint.
    adjust       tau of post-hoc logit adjustment (`metrics.prior_shift`), a row per checkpoint and tau.
    variants     also rows for the network alone, no query time, and asking early.
    peers        other models that predict the same targets, by the names of their rows.
    Raises ValueError if the checkpoints do not share vocabulary and split, or two rows share a name.
    """
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
    taken = [*BASELINE_NAMES, *added_baselines(), *peers, *names]
    if len(set(taken)) < len(taken):
        twice = next(name for name in taken if taken.count(name) > 1)
        raise ValueError(f"two rows of the table are called {twice!r}; give the models other names")
    counts = first.behavior_counts
    on_time = checkpoint_targets(store, first, part)
    predictions: dict[str, tuple[str, Predictions]] = {}

    def add(name: str, kind: str, result: Predictions) -> None:
        predictions[name] = (kind, result)
        on_row(name)

    weights = tune_habits(on_time.behaviors, on_time.validation_targets)
    for name, result in predict_baselines(on_time, weights):
        add(name, "baseline", result)
    for name, peer in peers.items():
        add(name, "peer", peer(on_time.behaviors, on_time.targets))
    for name, checkpoint in zip(names, checkpoints, strict=True):
        as_trained, *adjusted = predict(checkpoint, on_time, [0.0, *adjust])
        add(name, "model", as_trained)
        for tau, result in zip(adjust, adjusted, strict=True):
            add(f"{name}, adjusted tau {tau:g}", "variant", result)
        if variants:
            for label, result in _variants(store, checkpoint, on_time, part):
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
    measured = {part: {row.name: {name: one.value for name, one in row.metrics.items()} for row in rows}}
    test_reads = [record_measurement(checkpoint.path, store, part, measured) for checkpoint in checkpoints]
    return Table(
        part=part,
        rows=rows,
        num_targets=len(on_time.targets),
        num_unknown=int((on_time.targets.behavior == 0).sum()),
        share_new=float(1 - on_time.targets.is_repeat.mean()),
        num_users=len(np.unique(on_time.targets.user)),
        test_reads=max(test_reads),
        habit_weights=dataclasses.asdict(weights),
        warnings=_warnings(store, len(np.unique(on_time.targets.user))),
        by_events_seen=_by_events_seen(on_time, rows),
    )


def _variants(
    store: EventStore, checkpoint: Checkpoint, on_time: PartTargets, part: str
) -> Iterator[tuple[str, Predictions]]:
    """The network alone, no query time, and early predictions, as far as the model allows."""
    if checkpoint.config.habits:
        yield "network alone", predict(checkpoint, on_time, experts="network")[0]
    if checkpoint.config.query_context == "none":
        return
    for label, early_s in EARLY_S.items():
        if early_s and (checkpoint.path / LOOKUP_FILE).exists():
            continue  # the lookup answers on time or without a time
        early = part_targets(on_time.log, part_of_event(store, checkpoint.config.split), part, early_s)
        yield label, predict(checkpoint, early)[0]


def _by_events_seen(asked: PartTargets, rows: Sequence[Row]) -> tuple[dict[str, Any], ...]:
    """As in `Table`; numbers of behaviors without a target are left out."""
    seen = asked.targets.row - asked.behaviors.user_start[asked.targets.user]
    which = np.searchsorted(EVENTS_SEEN, seen, side="right") - 1
    hits = {row.name: hit_rate_at_k(row.predictions, 1) for row in rows if row.kind != "variant"}
    return tuple(
        {
            "seen": number,
            "queries": int((which == index).sum()),
            "hr_at_1": {name: float(hit[which == index].mean()) for name, hit in hits.items()},
        }
        for index, number in enumerate(EVENTS_SEEN)
        if (which == index).any()
    )


def _warnings(store: EventStore, num_users: int) -> tuple[str, ...]:
    of_one = "no intervals: they are taken over users, and this part has one user" if num_users == 1 else None
    return tuple(line for line in (store.warning_about_ties, of_one) if line)
