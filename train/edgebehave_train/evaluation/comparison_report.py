"""The table of a comparison of objectives, the curve of its reference, and the choice of an objective.

Every objective has a curve of macro recall against HR@1, along post-hoc logit adjustment of several
strengths. An objective that has no more effect than a prior shift lies on the curve of plain
cross-entropy; to be worth training it has to lie above. `above_reference` measures that, seed by
seed. The reference can have a second curve: its DRO priors of several capacities (`dro_prior.py`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebehave_train.evaluation.part_predictions import baseline_label
from edgebehave_train.metrics.prediction_metrics import added_metrics
from edgebehave_train.metrics.seed_intervals import mean_interval, mean_text

SHOWN = {
    "HR@1": "hr_at_1",
    "HR@3": "hr_at_3",
    "HR@5": "hr_at_5",
    "macro recall": "macro_recall",
    "tail": "tail_accuracy",
}
"""Columns of the table and their metrics; those that other packages add follow."""
HR_TOLERANCE = 0.005
RULE = (
    f"of the objectives whose mean HR@1 on the validation part, as trained, lies within "
    f"{HR_TOLERANCE} of the best, the one with the highest mean macro recall, if the 95 % interval "
    "over seeds of its paired difference from the reference lies above 0, else the reference; no "
    "interval is asked where the reference does not lie within that"
)


def shown_metrics() -> dict[str, str]:
    """Columns of the table and their metrics."""
    return SHOWN | {name.replace("_", " "): name for name in added_metrics()}


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One objective or baseline under one prior shift.

    tau              of the post-hoc adjustment; 0 = none.
    capacity         C of the DRO prior; 1 = none.
    metrics          one dict per seed; a baseline has no seeds and one dict.
    above_reference  per seed, macro recall above the curve of the reference at the same HR@1; empty for baselines.
    """

    name: str
    is_baseline: bool
    tau: float
    metrics: list[dict[str, float]]
    above_reference: list[float]
    capacity: float = 1.0

    def interval(self, metric: str) -> tuple[float, float]:
        """Mean over seeds and half width of its 95 % interval, NaN for a single value."""
        return mean_interval([metrics[metric] for metrics in self.metrics])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of `compare` on one part.

    part       "validation" or "test".
    reference  objective whose curve the others are compared with.
    chosen     the objective that the validation part chooses, by `rule`.
    seconds    wall time of this call; a resumed one counts from its own start.
    """

    part: str
    rows: list[ComparedRow]
    reference: str
    chosen: str
    num_targets: int
    num_users: int
    num_seeds: int
    data_fingerprint: str
    seconds: float
    rule: str = RULE

    @property
    def objectives(self) -> list[str]:
        return list(dict.fromkeys(row.name for row in self.rows if not row.is_baseline))

    def curve(self, name: str) -> list[ComparedRow]:
        """Rows of one objective, from no adjustment to the strongest."""
        rows = [row for row in self.rows if row.name == name and row.capacity == 1]
        return sorted(rows, key=lambda row: row.tau)

    def dro_curve(self) -> list[ComparedRow]:
        """Rows of the reference under DRO priors, from the smallest capacity to the largest."""
        rows = [row for row in self.rows if row.capacity != 1]
        return sorted(rows, key=lambda row: row.capacity)

    def to_json(self) -> dict[str, Any]:
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**content, "rows": [dataclasses.asdict(row) for row in self.rows]}

    def columns(self) -> list[str]:
        return ["predictor", *shown_metrics(), f"above the curve of {self.reference}"]

    def cells(self) -> list[list[str]]:
        """The table as text: means and half widths over seeds."""
        table = []
        for row in self.rows:
            name = baseline_label(row.name) if row.is_baseline else row.name
            name += f", adjusted tau {row.tau:g}" if row.tau else ""
            name += f", dro prior C {row.capacity:g}" if row.capacity != 1 else ""
            numbers = [mean_text([one[metric] for one in row.metrics]) for metric in shown_metrics().values()]
            is_itself = row.is_baseline or (row.name == self.reference and row.capacity == 1)
            table.append([name, *numbers, "" if is_itself else mean_text(row.above_reference, sign="+")])
        return table

    def title(self) -> str:
        return (
            f"{self.part}: {self.num_targets:,} predictions for {self.num_users:,} users, "
            f"mean ± 95 % t interval over {self.num_seeds} seeds"
        )

    def markdown(self) -> str:
        """The table, and what validation chooses."""
        lines = [self.columns(), ["---", *["---:"] * (len(shown_metrics()) + 1)], *self.cells()]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{self.title()}\n\n{table}\n\nChosen: {self.chosen} ({self.rule}).\n"


def above_curve(point: Mapping[str, float], curve: Sequence[Mapping[str, float]]) -> float:
    """Macro recall of a point above what a curve reaches at no less HR@1.

    The points of the curve are joined by straight lines. Where HR@1 exceeds every point of the
    curve, the point of the highest HR@1 is used.
    """
    corners = sorted((one["hr_at_1"], one["macro_recall"]) for one in curve)
    hr_at_1, macro_recall = (np.array(values) for values in zip(*corners, strict=True))
    at = min(point["hr_at_1"], hr_at_1[-1])
    reached = float(np.interp(at, hr_at_1, macro_recall))
    better = macro_recall[hr_at_1 >= at]
    return point["macro_recall"] - max(reached, float(better.max()))


def choose(rows: Sequence[ComparedRow], reference: str) -> str:
    """The objective that RULE chooses from the rows of the validation part."""
    as_trained = {row.name: row for row in rows if not row.is_baseline and (row.tau, row.capacity) == (0, 1)}
    hr_at_1 = {name: row.interval("hr_at_1")[0] for name, row in as_trained.items()}
    near = [name for name in hr_at_1 if hr_at_1[name] >= max(hr_at_1.values()) - HR_TOLERANCE]
    best = max(near, key=lambda name: as_trained[name].interval("macro_recall")[0])
    if reference not in near:
        return best
    differences = [
        one["macro_recall"] - other["macro_recall"]
        for one, other in zip(as_trained[best].metrics, as_trained[reference].metrics, strict=True)
    ]
    mean, half_width = mean_interval(differences)
    return best if mean - half_width > 0 else reference  # a single seed proves nothing: NaN
