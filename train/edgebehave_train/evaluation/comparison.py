"""Objectives side by side: trained with several seeds on one log, measured on the same targets.

Every objective is shown without help and after post-hoc logit adjustment of several strengths; the
reference also under the DRO priors of several capacities (`dro_priors.py`). `comparison_report.py`
says what is made of it.

Which objective becomes the default is decided on the validation part alone, by `RULE` there. A run
that was killed goes on where it was: finished checkpoints are kept, and so is what was measured of
them, so the test part is read once.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave_train.evaluation.comparison_report import ComparedRow, Comparison, above_curve, choose
from edgebehave_train.evaluation.dro_priors import dro_priors
from edgebehave_train.evaluation.evaluation import (
    Asked,
    Scorer,
    adjust_probs,
    ask,
    note_reading,
    predict_baselines,
    predict_scored,
)
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.files import require_writable, write_json, write_text
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import part_of_event
from edgebehave_train.metrics.metrics import evaluate_predictions
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import Progress, finished_run
from edgebehave_train.training.recipes import TrainConfig

Way = tuple[float, float]
"""How a checkpoint is asked: tau of the adjustment, and C of the DRO prior (1 = none)."""


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
    capacities  of DRO priors of the reference (`dro_priors.py`), each > 1.
    reference  name of the config whose curve the others are held against.
    Raises ValueError if `out` holds anything but a comparison, or one of other runs.
    """
    if reference not in configs:
        raise ValueError(f"the reference {reference!r} is not among the objectives: {', '.join(configs)}")
    if part not in ("validation", "test"):
        raise ValueError(f"part must be validation or test, got {part!r}")
    for tau in adjust:
        if not 0 <= tau < math.inf:
            raise ValueError(f"tau of the adjustment must not be negative, got {tau:g}")
    for capacity in capacities:
        if not 1 < capacity < math.inf:
            raise ValueError(f"capacities of DRO priors must exceed 1, got {capacity:g}")
    require_writable(out, "a comparison", lambda out: (out / "checkpoints").is_dir())
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
            checkpoint, _ = finished_run(store, seeded, folder, device=device, on_progress=on_progress)
            checkpoint.require_log(store)
            if checkpoint.config != seeded:
                raise ValueError(f"{folder} was trained with other settings; name another --out")
            checkpoints[name].append(checkpoint)

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
    curves = [[one for (_, capacity), one in of_seed.items() if capacity == 1] for of_seed in metrics[reference]]
    return [
        ComparedRow(
            name=name,
            is_baseline=False,
            tau=way[0],
            capacity=way[1],
            metrics=[of_seed[way] for of_seed in by_seed],
            above_reference=[above_curve(of_seed[way], curve) for of_seed, curve in zip(by_seed, curves, strict=True)],
        )
        for name, by_seed in metrics.items()
        for way in by_seed[0]
    ]


def _folder_name(name: str) -> str:
    """`dro:kappa=0` as a folder on any file system."""
    return name.replace(":", "-").replace("=", "_")


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
        priors = dro_priors(checkpoint, asked["validation"], capacities, part == "validation")
        scorers = [_adjuster(counts, tau) if capacity == 1 else priors[capacity] for tau, capacity in missing]
        results = predict_scored(checkpoint, asked[part], scorers)
        for way, result in zip(missing, results, strict=True):
            known[keys[way]] = evaluate_predictions(result, counts)
        checkpoint.write_metrics(metrics)
        on_line(f"measured on {part}: {checkpoint.path.name}")
    return {way: known[key] for way, key in keys.items()}


def _adjuster(counts_V: npt.NDArray[np.int64], tau: float) -> Scorer:
    return lambda which, probs_RC: adjust_probs(probs_RC, counts_V, tau)
