"""Objectives side by side: trained with several seeds on one log, measured on the same targets.

Every objective is shown without help and after post-hoc logit adjustment of several strengths, so
that each has a curve of macro recall against HR@1. An objective that lifts rare behaviors only as
a shift of the prior would do lands on the curve of plain cross-entropy; to be worth training it
has to land above. `above_reference` measures that, seed by seed. The reference can have a second
curve: the shift of its prior that Eq. 4 itself chooses, of several capacities (`prior_shift.py`).
It is found on the validation part; where that is what is shown, on one half of its users for the
other half.

Which objective becomes the default is decided on the validation part alone, by `RULE`. A run that
was killed goes on where it was: finished checkpoints are kept, and so is what was measured of them,
so the test part is read once.
"""

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave_train.checkpoint import Checkpoint, write_json, write_text
from edgebehave_train.evaluation import (
    Asked,
    Scorer,
    adjust_probs,
    ask,
    note_reading,
    predict_baselines,
    predict_scored,
)
from edgebehave_train.event_store import EventStore
from edgebehave_train.habit_tuning import tune_habits
from edgebehave_train.mapped_log import map_log
from edgebehave_train.metrics import evaluate_predictions
from edgebehave_train.pretraining import Progress, pretrain
from edgebehave_train.prior_shift import PriorShiftConfig, worst_case_ratio
from edgebehave_train.recipes import TrainConfig
from edgebehave_train.scoring import target_probs
from edgebehave_train.seed_intervals import mean_interval, mean_text
from edgebehave_train.split import part_of_event

SHOWN = {
    "HR@1": "hr_at_1",
    "HR@3": "hr_at_3",
    "HR@5": "hr_at_5",
    "macro recall": "macro_recall",
    "tail": "tail_accuracy",
}
Way = tuple[float, float]
"""How a checkpoint is asked: tau of the adjustment, and C of the DRO prior (1 = none)."""

HR_TOLERANCE = 0.005
RULE = (
    f"of the objectives whose mean HR@1 on the validation part, as trained, lies within "
    f"{HR_TOLERANCE} of the best, the one with the highest mean macro recall, if the 95 % interval "
    "over seeds of its paired difference from the reference lies above 0; else the reference"
)


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One predictor at one strength of adjustment.

    name             of the objective or baseline.
    tau              of the post-hoc adjustment; 0 = none.
    capacity         C of the DRO prior; 1 = none.
    metrics          one dict per seed; a baseline has no seeds and one dict.
    above_reference  per seed, macro recall above the curve of the reference at the same HR@1;
                     empty for baselines.
    """

    name: str
    is_baseline: bool
    tau: float
    metrics: list[dict[str, float]]
    above_reference: list[float]
    capacity: float = 1.0

    @property
    def is_as_trained(self) -> bool:
        return self.tau == 0 and self.capacity == 1

    def interval(self, metric: str) -> tuple[float, float]:
        """Mean over seeds and half width of its 95 % interval, NaN for a single value."""
        return mean_interval([metrics[metric] for metrics in self.metrics])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` measured on one part.

    part         "validation" or "test".
    reference    objective whose curve the others are held against.
    chosen       the objective that validation chooses, by `rule`.
    seconds      wall time of this call; a resumed one counts from its own start.
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

    def prior_curve(self) -> list[ComparedRow]:
        """Rows of the reference under DRO priors, from the smallest set to the largest."""
        rows = [row for row in self.rows if row.capacity != 1]
        return sorted(rows, key=lambda row: row.capacity)

    def to_json(self) -> dict[str, Any]:
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**content, "rows": [dataclasses.asdict(row) for row in self.rows]}

    def columns(self) -> list[str]:
        return ["predictor", *SHOWN, f"above the curve of {self.reference}"]

    def cells(self) -> list[list[str]]:
        """The table as text: means and half widths over seeds."""
        table = []
        for row in self.rows:
            name = row.name.replace("_", " ") if row.is_baseline else row.name
            name += f", adjusted tau {row.tau:g}" if row.tau else ""
            numbers = [mean_text([one[metric] for one in row.metrics]) for metric in SHOWN.values()]
            above = row.above_reference
            name += f", dro prior C {row.capacity:g}" if row.capacity != 1 else ""
            is_itself = row.is_baseline or (row.name == self.reference and row.capacity == 1)
            table.append([name, *numbers, "" if is_itself else mean_text(above, sign="+")])
        return table

    def title(self) -> str:
        return (
            f"{self.part}: {self.num_targets:,} predictions for {self.num_users:,} users, "
            f"mean ± 95 % t interval over {self.num_seeds} seeds"
        )

    def markdown(self) -> str:
        """The table, and what validation chooses."""
        lines = [self.columns(), ["---", *["---:"] * (len(SHOWN) + 1)], *self.cells()]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{self.title()}\n\n{table}\n\nChosen: {self.chosen} ({self.rule}).\n"


def compare(
    store: EventStore,
    out: Path,
    configs: Mapping[str, TrainConfig],
    *,
    num_seeds: int = 5,
    part: str = "validation",
    adjust: Sequence[float] = (0.25, 0.5, 1.0),
    capacities: Sequence[float] = (),
    reference: str = "ce",
    device: str = "auto",
    on_line: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Comparison:
    """Train every config with seeds 0 .. num_seeds - 1 and measure all on one part.

    out        folder for checkpoints, `table.json`, `table.md` and `frontier.png`.
    configs    what is compared, by name; they differ in their objectives.
    adjust     tau of post-hoc logit adjustment, each >= 0, beside none.
    capacities  of DRO priors of the reference (`prior_shift.py`), each > 1.
    reference  name of the config whose curve the others are held against.
    Raises ValueError if `out` holds anything but a comparison, or one of other runs.
    """
    if reference not in configs:
        raise ValueError(
            f"the reference {reference!r} is not among the objectives: {', '.join(configs)}"
        )
    if part not in ("validation", "test"):
        raise ValueError(f"part must be validation or test, got {part!r}")
    for tau in adjust:
        if not 0 <= tau < math.inf:
            raise ValueError(f"tau of the adjustment must not be negative, got {tau:g}")
    for capacity in capacities:
        if not 1 < capacity < math.inf:
            raise ValueError(f"capacities of DRO priors must exceed 1, got {capacity:g}")
    is_comparison = (out / "checkpoints").is_dir()
    if out.exists() and not is_comparison and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and holds no comparison; name another folder")
    started = time.monotonic()
    ways = [(tau, 1.0) for tau in sorted({0.0, *adjust})]
    shifts = [(0.0, capacity) for capacity in sorted(set(capacities))]
    ways_of = {name: [*ways, *shifts] if name == reference else ways for name in configs}
    checkpoints: dict[str, list[Checkpoint]] = {name: [] for name in configs}
    # Seed by seed, so that a run that is cut short has compared everything with fewer seeds.
    for seed in range(num_seeds):
        for name, config in configs.items():
            folder = out / "checkpoints" / f"{_folder_name(name)}-{seed}"
            seeded = dataclasses.replace(config, seed=seed)
            on_line(f"{name}, seed {seed}")
            checkpoints[name].append(_trained(store, seeded, folder, device, on_progress))

    first = checkpoints[reference][0]
    log, parts = map_log(store, first.vocabulary), part_of_event(store, first.config.split)
    asked = {which: ask(log, parts, which) for which in dict.fromkeys(("validation", part))}
    for which, questions in asked.items():
        if not len(questions.targets):
            raise ValueError(f"the {which} part of {store.path} holds nothing to predict")
    rows: dict[str, list[ComparedRow]] = {}
    for which in asked:
        metrics = {
            name: [_measured(store, one, asked, which, ways_of[name], on_line) for one in of_seed]
            for name, of_seed in checkpoints.items()
        }
        rows[which] = _objective_rows(metrics, reference)
    comparison = Comparison(
        part=part,
        rows=[*_baseline_rows(asked[part], first), *rows[part]],
        reference=reference,
        chosen=choose(rows["validation"], reference),
        num_targets=len(asked[part].targets),
        num_users=len(np.unique(asked[part].targets.user)),
        num_seeds=num_seeds,
        data_fingerprint=store.fingerprint,
        seconds=time.monotonic() - started,
    )
    write_json(out / "table.json", comparison.to_json())
    write_text(out / "table.md", comparison.markdown())
    return comparison


def _baseline_rows(asked: Asked, checkpoint: Checkpoint) -> list[ComparedRow]:
    weights = tune_habits(asked.behaviors, asked.tuned_on)
    return [
        ComparedRow(
            name=name,
            is_baseline=True,
            tau=0.0,
            metrics=[evaluate_predictions(result, checkpoint.behavior_counts)],
            above_reference=[],
        )
        for name, result in predict_baselines(asked, weights)
    ]


def _objective_rows(
    metrics: Mapping[str, Sequence[Mapping[Way, dict[str, float]]]], reference: str
) -> list[ComparedRow]:
    """A row per objective and way, from the metrics of every seed."""
    curves = [
        [one for (_, capacity), one in of_seed.items() if capacity == 1]
        for of_seed in metrics[reference]
    ]
    return [
        ComparedRow(
            name=name,
            is_baseline=False,
            tau=way[0],
            capacity=way[1],
            metrics=[of_seed[way] for of_seed in by_seed],
            above_reference=[
                above_curve(of_seed[way], curve)
                for of_seed, curve in zip(by_seed, curves, strict=True)
            ],
        )
        for name, by_seed in metrics.items()
        for way in by_seed[0]
    ]


def above_curve(point: Mapping[str, float], curve: Sequence[Mapping[str, float]]) -> float:
    """Macro recall of a point above what a curve reaches at no less HR@1.

    The curve is joined by straight lines: between two strengths of adjustment lies a third. Where
    HR@1 exceeds all of the curve's, its point of the highest HR@1 is the measure.
    """
    corners = sorted((one["hr_at_1"], one["macro_recall"]) for one in curve)
    hr_at_1, macro_recall = (np.array(values) for values in zip(*corners, strict=True))
    at = min(point["hr_at_1"], hr_at_1[-1])
    reached = float(np.interp(at, hr_at_1, macro_recall))
    better = macro_recall[hr_at_1 >= at]
    return point["macro_recall"] - max(reached, float(better.max()))


def choose(rows: Sequence[ComparedRow], reference: str) -> str:
    """The objective that RULE chooses from the rows of the validation part."""
    as_trained = {row.name: row for row in rows if not row.is_baseline and row.is_as_trained}
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


def _folder_name(name: str) -> str:
    """`dro:kappa=0` as a folder on any file system."""
    return name.replace(":", "-").replace("=", "_")


def _trained(
    store: EventStore,
    config: TrainConfig,
    folder: Path,
    device: str,
    on_progress: Callable[[Progress], None],
) -> Checkpoint:
    """The checkpoint in a folder: as it is, finished, or trained."""
    resume = (folder / "config.json").is_file()
    if resume:
        checkpoint = Checkpoint.open(folder)
        if checkpoint.training["finished"]:
            checkpoint.require_log(store)
            if checkpoint.config != config:
                raise ValueError(f"{folder} was trained with other settings; name another --out")
            return checkpoint
    elif folder.exists():  # killed while it wrote its description
        shutil.rmtree(folder)
    return pretrain(store, config, folder, resume=resume, device=device, on_progress=on_progress)


def _measured(
    store: EventStore,
    checkpoint: Checkpoint,
    asked: Mapping[str, Asked],
    part: str,
    ways: Sequence[Way],
    on_line: Callable[[str], None],
) -> dict[Way, dict[str, float]]:
    """Metrics of a checkpoint on a part, by way; what metrics.json holds is not read anew.

    asked  by part; DRO priors are found on the validation part.
    """
    metrics = checkpoint.read_metrics()
    known = metrics.setdefault("adjusted", {}).setdefault(part, {})
    keys = {way: f"tau {way[0]:g}" if way[1] == 1 else f"C {way[1]:g}" for way in ways}
    missing = [way for way in ways if keys[way] not in known]
    if missing:
        note_reading(metrics, part, store)
        counts = checkpoint.behavior_counts
        capacities = [capacity for _, capacity in missing if capacity != 1]
        priors = _dro_priors(checkpoint, asked["validation"], capacities, part == "validation")
        scorers = [
            _adjuster(counts, tau) if capacity == 1 else priors[capacity]
            for tau, capacity in missing
        ]
        results = predict_scored(checkpoint, asked[part], scorers)
        for way, result in zip(missing, results, strict=True):
            known[keys[way]] = evaluate_predictions(result, counts)
        checkpoint.write_metrics(metrics)
        on_line(f"measured on {part}: {checkpoint.path.name}")
    return {way: known[key] for way, key in keys.items()}


def _adjuster(counts_V: npt.NDArray[np.int64], tau: float) -> Scorer:
    return lambda which, probs_RC: adjust_probs(probs_RC, counts_V, tau)


def _dro_priors(
    checkpoint: Checkpoint,
    validation: Asked,
    capacities: Sequence[float],
    is_shown: bool,
) -> dict[float, Scorer]:
    """A scorer per capacity, p(b) r_b with r of `worst_case_ratio` on the validation part.

    is_shown  the validation part is what is scored: each half of its users gets the r of the other.
    """
    if not capacities:
        return {}
    targets = validation.targets
    probs_TC = np.zeros((len(targets), validation.behaviors.num_candidates), np.float32)
    for which, probs_RC in target_probs(
        checkpoint.load_model(), validation.log, validation.behaviors, targets
    ):
        probs_TC[which] = probs_RC
    half_T = np.random.default_rng(0).permutation(validation.log.num_users)[targets.user] % 2

    def scorer(capacity: float) -> Scorer:
        config = PriorShiftConfig(capacity=capacity)
        fold_T = half_T if is_shown else np.zeros(0, np.int64)
        ratios_FC = np.stack(
            [
                worst_case_ratio(
                    probs_TC[chosen], targets.behavior[chosen], checkpoint.behavior_counts, config
                )
                for chosen in ((half_T == 1, half_T == 0) if is_shown else (half_T >= 0,))
            ]
        )

        def score(
            which: npt.NDArray[np.int64], probs_RC: npt.NDArray[np.float32]
        ) -> npt.NDArray[np.float32]:
            ratio_RC = ratios_FC[fold_T[which]] if is_shown else ratios_FC
            return (probs_RC * ratio_RC).astype(np.float32)

        return score

    return {capacity: scorer(capacity) for capacity in capacities}
