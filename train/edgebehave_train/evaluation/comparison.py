"""Objectives side by side: trained with several seeds on one log, measured on the same targets.

Every objective is measured as trained and after post-hoc logit adjustment of several strengths; the
reference also under the DRO priors of several capacities (`dro_prior.py`). `comparison_report.py`
holds the table.

The validation part alone chooses an objective, by `RULE` there. A run that was killed continues
where it stopped: finished checkpoints are kept, and so are their metrics, so the test part is read
once.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgebehave_train.evaluation.comparison_report import ComparedRow, Comparison, above_curve, choose
from edgebehave_train.evaluation.dro_prior import dro_priors
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.evaluation.part_predictions import (
    PartTargets,
    adjusted,
    checkpoint_targets,
    predict_baselines,
    predict_scored,
)
from edgebehave_train.files import names_in, require_writable, write_json, write_text
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.metrics.prediction_metrics import added_metrics, evaluate_predictions
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.objectives import require_objective
from edgebehave_train.training.pretraining import Progress, finished_run
from edgebehave_train.training.recipes import TrainConfig

Shift = tuple[float, float]
"""A prior shift: tau of the logit adjustment, and C of the DRO prior (1 = none)."""


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

    out         folder for checkpoints, `table.json`, `table.md` and `frontier.png`.
    configs     by name; they differ in their objectives.
    adjust      tau of post-hoc logit adjustment, each >= 0, beside none.
    capacities  of DRO priors of the reference (`dro_prior.py`), each > 1.
    reference   name of the config whose curve the others are compared with.
    Raises ValueError if `out` holds anything but a comparison, or one of other runs.
    """
    _check_request(configs, part, adjust, capacities, reference)
    require_writable(out, "a comparison", lambda out: set() if (out / "checkpoints").is_dir() else names_in(out))
    started = time.monotonic()
    adjustments = [(tau, 1.0) for tau in sorted({0.0, *adjust})]
    dro_shifts = [(0.0, capacity) for capacity in sorted(set(capacities))]
    shifts_of = {name: [*adjustments, *dro_shifts] if name == reference else adjustments for name in configs}
    checkpoints: dict[str, list[Checkpoint]] = {name: [] for name in configs}
    # Seed by seed, so that a run that is cut short has compared everything with fewer seeds.
    for seed in range(num_seeds):
        for name, config in configs.items():
            file_name = name.replace(":", "-").replace("=", "_")  # of dro:kappa=0, on any file system
            folder = out / "checkpoints" / f"{file_name}-{seed}"
            seeded = dataclasses.replace(config, seed=seed)
            on_line(f"{name}, seed {seed}")
            checkpoint, _ = finished_run(store, seeded, folder, device=device, on_progress=on_progress)
            checkpoint.require_log(store)
            if checkpoint.config != seeded:
                raise ValueError(f"{folder} was trained with other settings; name another --out")
            checkpoints[name].append(checkpoint)

    first = checkpoints[reference][0]
    asked = {which: checkpoint_targets(store, first, which) for which in dict.fromkeys(("validation", part))}
    rows: dict[str, list[ComparedRow]] = {}
    for which in asked:
        metrics = {
            name: [_measured(store, one, asked, which, shifts_of[name], on_line) for one in of_seed]
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


def _check_request(
    configs: Mapping[str, TrainConfig], part: str, adjust: Sequence[float], capacities: Sequence[float], reference: str
) -> None:
    """Raises ValueError for arguments of `compare` that do not fit."""
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
    for config in configs.values():
        require_objective(config.objective)


def _baseline_rows(asked: PartTargets, checkpoint: Checkpoint) -> list[ComparedRow]:
    weights = tune_habits(asked.behaviors, asked.validation_targets)
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
    metrics: Mapping[str, Sequence[Mapping[Shift, dict[str, float]]]], reference: str
) -> list[ComparedRow]:
    """A row per objective and prior shift, from the metrics of every seed."""
    curves = [[one for (_, capacity), one in of_seed.items() if capacity == 1] for of_seed in metrics[reference]]
    return [
        ComparedRow(
            name=name,
            is_baseline=False,
            tau=shift[0],
            capacity=shift[1],
            metrics=[of_seed[shift] for of_seed in by_seed],
            above_reference=[
                above_curve(of_seed[shift], curve) for of_seed, curve in zip(by_seed, curves, strict=True)
            ],
        )
        for name, by_seed in metrics.items()
        for shift in by_seed[0]
    ]


def _measured(
    store: EventStore,
    checkpoint: Checkpoint,
    asked: Mapping[str, PartTargets],
    part: str,
    shifts: Sequence[Shift],
    on_line: Callable[[str], None],
) -> dict[Shift, dict[str, float]]:
    """Metrics of a checkpoint on a part, by prior shift; those in metrics.json are not measured again.

    asked  by part; DRO priors are found on the validation part.
    """
    all_known = checkpoint.read_metrics().get("adjusted", {})
    known = all_known.setdefault(part, {})
    keys = {shift: f"tau {shift[0]:g}" if shift[1] == 1 else f"C {shift[1]:g}" for shift in shifts}
    measured = {key for key, metrics in known.items() if {*added_metrics()} <= metrics.keys()}
    missing = [shift for shift in shifts if keys[shift] not in measured]
    if missing:
        capacities = [capacity for _, capacity in missing if capacity != 1]
        priors = dro_priors(checkpoint, asked["validation"], capacities, part == "validation")
        scorers = [
            adjusted(checkpoint, asked[part], tau) if capacity == 1 else priors[capacity] for tau, capacity in missing
        ]
        results = predict_scored(checkpoint, asked[part], scorers)
        for shift, result in zip(missing, results, strict=True):
            known[keys[shift]] = evaluate_predictions(result, checkpoint.behavior_counts)
        record_measurement(checkpoint.path, store, part, {"adjusted": all_known})
        on_line(f"measured on {part}: {checkpoint.path.name}")
    return {shift: known[key] for shift, key in keys.items()}
