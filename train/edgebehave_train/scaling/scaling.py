"""Training of a grid of runs, and prediction of its largest run by the law of the smaller ones.

The largest model on the most data is held out: the law is fitted to all smaller runs, the
prediction is written to disk, and only then is the largest run trained.

    grid.json        the grid, and the fingerprint of the log
    runs/NAME        one checkpoint per run
    prediction.json  predicted loss of the largest run, written before its training
    scaling.json     all measurements and laws
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from edgebehave_train.files import read_json, require_writable, write_json
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import training_vocabulary
from edgebehave_train.logs.packing import share_of_ranges
from edgebehave_train.logs.split import TRAIN, part_bounds, part_of_event
from edgebehave_train.metrics.bootstrap import Interval
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.scaling.grid import Grid, Point
from edgebehave_train.scaling.law import NUM_RESAMPLES, FittedLaw, Runs, fit_law
from edgebehave_train.scaling.report import FORMAT_VERSION, Measurement, ScalingReport
from edgebehave_train.training.hardware import choose_device
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.pretraining import finished_run
from edgebehave_train.training.progress import Progress

_OVERHEAD_PARAMETERS = 50_000
"""Cost of an event besides its multiplications, in parameters; used for the time left."""
_VALIDATION_COST = 0.3
"""Cost of a validated event, in trained events: the forward pass alone."""


ProgressKind = Literal["start", "step", "run", "prediction", "end"]


@dataclass(frozen=True, kw_only=True)
class GridProgress:
    """Progress of a grid.

    kind        "step" of a run; "run": one is finished, or kept from before.
    run         position of the run in the grid, from 1; num_runs planned.
    point       the run; None at "start" and "end".
    share_done  share of the grid's cost that is done, in [0, 1].
    share_kept  share of the grid's cost that an earlier command had done.
    loss        nats: of the last training steps at "step", the result at "run".
    message     one line to print.
    """

    kind: ProgressKind
    run: int
    num_runs: int
    share_done: float
    share_kept: float
    point: Point | None = None
    loss: float = math.nan
    message: str = ""


def scale(
    store: EventStore,
    grid: Grid,
    out: Path,
    *,
    device: str = "auto",
    num_resamples: int = NUM_RESAMPLES,
    on_progress: Callable[[GridProgress], None] = lambda progress: None,
) -> ScalingReport:
    """Train a grid, predict its largest run before training it, and fit the law to all.

    The same grid in the same folder continues where it stopped: finished runs are kept, a killed one
    is resumed. Raises ValueError if `out` holds anything but this grid, or the log is too short for
    the shares to differ or to train on.
    """
    return _GridRun(store, grid, out, device, on_progress).finish(num_resamples)


class _GridRun:
    """The training of a grid in its folder."""

    def __init__(
        self, store: EventStore, grid: Grid, out: Path, device: str, on_progress: Callable[[GridProgress], None]
    ) -> None:
        self.store, self.grid, self.out, self.device = store, grid, out, device
        self.on_progress = on_progress
        self.points = (*grid.smaller, *grid.held_out)
        bounds = part_bounds(store, grid.split)
        self.vocabulary = training_vocabulary(store, part_of_event(store, grid.split) == TRAIN)
        self.train_ranges = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
        self.events = {point: self._count_events(point) for point in self.points}
        self.size = {point: self._count_size(point) for point in self.points}
        self._require_growing_events()
        # Errors that every run would meet are raised before anything is written.
        choose_device(device)
        LogParts.of(store, grid.config(self.points[0]))
        has_validation = bounds[:, 2] > bounds[:, 1]
        num_validated = float((bounds[:, 2] - bounds[:, 0])[has_validation].sum())
        self.cost = {
            point: grid.config(point).epochs
            * (self.events[point] + _VALIDATION_COST * num_validated)
            * (self.size[point] + _OVERHEAD_PARAMETERS)
            for point in self.points
        }
        self.done_cost = 0.0
        self.kept_cost = 0.0

    def finish(self, num_resamples: int) -> ScalingReport:
        self._open_folder()
        total = len(self.points)
        self._report("start", 0, message=f"{total} runs, the largest of {self._size_of_largest()}")
        smaller = tuple(self._measure(i + 1, p) for i, p in enumerate(self.grid.smaller))
        smaller_law = fit_law(_as_runs(smaller), num_resamples)
        predicted = self._predict(smaller_law, len(smaller))
        held_out = tuple(self._measure(len(smaller) + i + 1, p) for i, p in enumerate(self.grid.held_out))
        report = ScalingReport(
            grid=self.grid,
            data_fingerprint=self.store.fingerprint,
            smaller=smaller,
            held_out=held_out,
            smaller_law=smaller_law,
            predicted=predicted,
            law=fit_law(_as_runs((*smaller, *held_out)), num_resamples),
        )
        write_json(self.out / "scaling.json", report.to_json())
        self._report("end", total, message=f"results -> {self.out / 'scaling.json'}")
        return report

    def _open_folder(self) -> None:
        plan: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "data_fingerprint": self.store.fingerprint,
            "grid": self.grid.to_json(),
        }
        file = self.out / "grid.json"
        if not file.exists():
            require_writable(self.out, "a grid")
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(file, plan)
            return
        before = read_json(file)
        if before.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{self.out} holds a grid of version {before.get('format_version')}, this is "
                f"version {FORMAT_VERSION}; name another folder"
            )
        if before["data_fingerprint"] != self.store.fingerprint:
            raise ValueError(f"{self.out} holds a grid on another log; name another folder")
        difference = self.grid.difference_from(before["grid"])
        if difference:
            raise ValueError(f"{self.out} holds another grid, with {difference}; name another folder")

    def _measure(self, index: int, point: Point) -> Measurement:
        """Train or resume a run, or take the finished one."""
        folder = self.out / "runs" / point.name

        def step(progress: Progress) -> None:
            share = progress.step / progress.num_steps
            self._report("step", index, point, share, loss=progress.loss)

        checkpoint, kept = finished_run(
            self.store, self.grid.config(point), folder, device=self.device, on_progress=step
        )
        if kept:
            self.kept_cost += self.cost[point]
        if checkpoint.config != self.grid.config(point):
            raise ValueError(f"{folder} was trained by another recipe; remove it to train it again")
        validation = checkpoint.training.validation_nll
        measurement = Measurement(
            point=point,
            size=self.size[point],
            num_parameters=checkpoint.training.num_parameters,
            events=self.events[point],
            loss=min(validation),
            best_epoch=1 + int(np.argmin(validation)),
        )
        self.done_cost += self.cost[point]
        line = (
            f"run {index}/{len(self.points)}  N {measurement.size:,}  D {measurement.events:,}  "
            f"loss {measurement.loss:.4f}  epoch {measurement.best_epoch} of {len(validation)}"
            f"{'  (from before)' if kept else ''}"
        )
        self._report("run", index, point, loss=measurement.loss, message=line)
        return measurement

    def _predict(self, law: FittedLaw, index: int) -> Interval:
        """The predicted loss of the largest run; the one that was written before its training, if there is one."""
        file = self.out / "prediction.json"
        point = self.grid.held_out[0]
        if file.exists():
            predicted = Interval(**read_json(file)["loss"])
        else:
            predicted = law.predict(self.size[point], self.events[point], self.grid.seeds)
            content = {
                "size": self.size[point],
                "events": self.events[point],
                "num_runs": self.grid.seeds,
                "loss": dataclasses.asdict(predicted),
                "law": law.to_json(),
            }
            write_json(file, content)
        line = (
            f"prediction for {self._size_of_largest()}, before it is trained: "
            f"{predicted.value:.4f} [{predicted.low:.4f}, {predicted.high:.4f}] nats -> {file}"
        )
        self._report("prediction", index, point, loss=predicted.value, message=line)
        return predicted

    def _report(
        self, kind: ProgressKind, run: int, point: Point | None = None, share_of_run: float = 0.0, **fields: Any
    ) -> None:
        total = sum(self.cost.values())
        running = share_of_run * self.cost[point] if point else 0.0
        self.on_progress(
            GridProgress(
                kind=kind,
                run=run,
                num_runs=len(self.points),
                share_done=(self.done_cost + running) / total,
                share_kept=self.kept_cost / total,
                point=point,
                **fields,
            )
        )

    def _count_events(self, point: Point) -> int:
        ranges = share_of_ranges(self.train_ranges, point.share, point.seed)
        return int(np.maximum(ranges[:, 1] - ranges[:, 0], 0).sum())

    def _count_size(self, point: Point) -> int:
        """N of a run, from its shape alone."""
        with torch.device("meta"):  # no memory
            model = BehaviorModel(self.grid.config(point).model_config(self.vocabulary))
        return count_parameters(model)

    def _require_growing_events(self) -> None:
        for seed in range(self.grid.seeds):
            amounts = [
                self.events[Point(width=self.grid.widths[-1], share=share, seed=seed)] for share in self.grid.shares
            ]
            for (less, share), (more, larger) in pairwise(zip(amounts, self.grid.shares, strict=True)):
                if more <= less:
                    raise ValueError(
                        f"shares {share:g} and {larger:g} of this log are the same {more:,} events; give shares "
                        "farther apart, or a longer log"
                    )

    def _size_of_largest(self) -> str:
        point = self.grid.held_out[0]
        return f"N {self.size[point]:,} on D {self.events[point]:,}"


def count_parameters(model: nn.Module) -> int:
    """N: parameters that are multiplied for each event; embedding tables are looked up."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in tables)


def _as_runs(measurements: tuple[Measurement, ...]) -> Runs:
    return Runs(
        size=np.array([run.size for run in measurements], np.float64),
        events=np.array([run.events for run in measurements], np.float64),
        loss=np.array([run.loss for run in measurements], np.float64),
    )
