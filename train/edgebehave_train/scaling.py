"""A grid of training runs over sizes and data amounts, and the law that their losses follow.

The largest model on the most data is held out: the law is fitted to all smaller runs, the
prediction is written to disk, and only then is the largest run trained. Every run is an ordinary
`pretrain` of the same recipe, differing in nothing but:

    layers         max(2, sqrt(width) / 4), rounded
    heads          of width 32 where they divide, at least one
    learning rate  0.128 / width: the 2e-3 of width 64 and the 1e-3 of width 128, as in the
                   presets, and elsewhere in proportion (Yang et al. 2022, muP: Adam's rate for
                   hidden matrices falls as 1 / width)
    epochs         those of the whole log / share^(1/4): less data is seen more often, but in
                   fewer steps; the epoch with the lowest validation loss counts

N counts what is multiplied for each event: all parameters but the embedding tables, which are
looked up, whose size follows from the vocabulary, and which would be most of a small model. D
counts distinct training events, C = 6 N D the operations of one epoch over them. The loss is that
of the validation part, which is the same for all runs, in nats.

    grid.json        what is to be run, on which log
    runs/NAME        one checkpoint per run
    prediction.json  what the largest run would show, written before it began
    scaling.json     everything measured and fitted
"""

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from edgebehave_train.bootstrap import Interval
from edgebehave_train.checkpoint import Checkpoint, read_json, write_json
from edgebehave_train.event_store import EventStore
from edgebehave_train.hardware import choose_device
from edgebehave_train.log_parts import LogParts
from edgebehave_train.mapped_log import training_vocabulary
from edgebehave_train.model import BehaviorModel
from edgebehave_train.packing import share_of_ranges
from edgebehave_train.pretraining import Progress, pretrain
from edgebehave_train.recipes import TrainConfig
from edgebehave_train.scaling_law import NUM_RESAMPLES, FittedLaw, Runs, fit_law
from edgebehave_train.split import TRAIN, SplitConfig, part_bounds, part_of_event

FORMAT_VERSION = 1
_RATE_TIMES_WIDTH = 0.128
_OVERHEAD_PARAMETERS = 50_000
"""What an event costs beside its products, as parameters: for the time left alone."""
_VALIDATION_COST = 0.3
"""A validated event beside a trained one: the forward pass alone."""
_UNSURE = 10.0
"""Ends of an interval this many times apart say that the number in it is not known."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of the grid."""

    width: int
    share: float
    seed: int

    @property
    def name(self) -> str:
        return f"width{self.width}-share{self.share:g}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sizes and data amounts to train, and the recipe that they share.

    widths         at least 3 different ones, multiples of 4.
    shares         of the training part, at least 3 different ones in (0, 1].
    seeds          runs of each size and share; a seed also draws the share.
    epochs         passes over the whole training part; a share is passed over more often.
    dropout        in [0, 1).
    habits         mix with the habit kernels: they need no learning and hide the network.
    query_context  what is known of the moment to predict for.
    split          parts of the log.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64)
    shares: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0)
    seeds: int = 1
    epochs: int = 10
    dropout: float = 0.05
    habits: bool = False
    query_context: Literal["none", "time", "time_location"] = "time"
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)

    def __post_init__(self) -> None:
        for name in ("widths", "shares"):
            values = getattr(self, name)
            if len(set(values)) < 3 or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} must be at least 3 different ones: the law has five unknowns, and its "
                    f"largest run is held out; got {_listed(values)}"
                )
            object.__setattr__(self, name, tuple(sorted(values)))
        for share in self.shares:
            if not 0 < share <= 1:
                raise ValueError(f"shares must lie in (0, 1], got {share:g}")
        for width in self.widths:
            if width < 8 or width % 4:
                raise ValueError(f"widths must be multiples of 4 from 8 on, got {width}")
        for name in ("seeds", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        self.config(self.held_out[0])  # the other fields are checked where they are used

    @property
    def smaller(self) -> tuple[Point, ...]:
        """What the law is fitted to before the largest runs begin, the cheapest first."""
        return tuple(point for point in self._points() if point not in self.held_out)

    @property
    def held_out(self) -> tuple[Point, ...]:
        """The largest model on the most data, one run per seed."""
        width, share = self.widths[-1], self.shares[-1]
        return tuple(Point(width=width, share=share, seed=seed) for seed in range(self.seeds))

    def config(self, point: Point) -> TrainConfig:
        """The recipe of a run; see the head of this module for the rules."""
        return TrainConfig(
            width=point.width,
            num_layers=num_layers(point.width),
            num_heads=num_heads(point.width),
            learning_rate=_RATE_TIMES_WIDTH / point.width,
            epochs=round(self.epochs * point.share**-0.25),
            data_share=point.share,
            dropout=self.dropout,
            query_dropout=0.0,  # the law is of one task: the time is always known, or never
            habits=self.habits,
            query_context=self.query_context,
            split=self.split,
            seed=point.seed,
        )

    def to_json(self) -> dict[str, Any]:
        content = dataclasses.asdict(self)
        return {**content, "widths": list(self.widths), "shares": list(self.shares)}

    def _points(self) -> Iterator[Point]:
        for share in self.shares:
            for width in self.widths:
                for seed in range(self.seeds):
                    yield Point(width=width, share=share, seed=seed)


def cpu(**changes: Any) -> Grid:
    """4 sizes x 4 data amounts: about ten minutes on two cores with the simulator's log."""
    return Grid(**changes)


def gpu(**changes: Any) -> Grid:
    """4 sizes up to that of the preset `large` x 5 data amounts: for a large log on a GPU."""
    widths, shares = (64, 128, 256, 512), (0.02, 0.05, 0.15, 0.4, 1.0)
    return Grid(**{"widths": widths, "shares": shares, **changes})


GRIDS = {"cpu": cpu, "gpu": gpu}


def num_layers(width: int) -> int:
    """Depth of a width: 2 up to 64, 3 at 128, 4 at 256, 6 at 512, 8 at 1024."""
    return max(2, round(math.sqrt(width) / 4))


def num_heads(width: int) -> int:
    """As many heads as divide the width evenly and are not narrower than 32."""
    return max(heads for heads in range(1, max(1, width // 32) + 1) if width % (2 * heads) == 0)


def count_parameters(model: nn.Module) -> int:
    """N: parameters that are multiplied for each event; embedding tables are looked up."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in tables)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A finished run.

    size            N.
    num_parameters  embedding tables included.
    events          D.
    loss            lowest validation loss, nats.
    best_epoch      the epoch that reached it, from 1.
    """

    point: Point
    size: int
    num_parameters: int
    events: int
    loss: float
    best_epoch: int


@dataclass(frozen=True, kw_only=True)
class ScalingReport:
    """What a finished grid shows.

    smaller_law  fitted to all runs but the largest; made `predicted`.
    predicted    mean loss of the largest runs, before they began, with a 95 % interval.
    measured     their mean loss, nats.
    copied       the lowest loss of the smaller runs: a prediction without any law, nats.
    law          fitted to all runs.
    """

    grid: Grid
    data_fingerprint: str
    smaller: tuple[Measurement, ...]
    held_out: tuple[Measurement, ...]
    smaller_law: FittedLaw
    predicted: Interval
    law: FittedLaw

    @property
    def measured(self) -> float:
        return float(np.mean([run.loss for run in self.held_out]))

    @property
    def copied(self) -> float:
        by_point: dict[tuple[int, float], list[float]] = {}
        for run in self.smaller:
            by_point.setdefault((run.point.width, run.point.share), []).append(run.loss)
        return min(float(np.mean(losses)) for losses in by_point.values())

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted.value / self.measured - 1

    @property
    def compute(self) -> float:
        """6 N D of the largest run."""
        return 6.0 * self.held_out[0].size * self.held_out[0].events

    def doubts(self) -> list[str]:
        """What the grid does not tell, one line each."""
        lines = []
        intervals = self.law.intervals()
        for name, axis, remedy in (
            ("size_exponent", "size", "widths"),
            ("data_exponent", "data", "shares"),
        ):
            exponent = intervals[name]
            if exponent.high > _UNSURE * exponent.low:
                lines.append(
                    f"the exponent of {axis} may lie anywhere from {exponent.low:.2g} to "
                    f"{exponent.high:.2g}: predict no run far beyond this grid; "
                    f"more seeds or wider {remedy} narrow it"
                )
        ratio = self.law.events_per_parameter(self.compute)
        if ratio.high > _UNSURE**2 * ratio.low:
            lines.append("the compute-optimal ratio is not determined by this grid")
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "data_fingerprint": self.data_fingerprint,
            "grid": self.grid.to_json(),
            "runs": [_run_json(run) for run in (*self.smaller, *self.held_out)],
            "held_out": {
                "runs": [run.point.name for run in self.held_out],
                "predicted": _interval_json(self.predicted),
                "measured": self.measured,
                "error": self.error,
                "copied": self.copied,
                "error_of_copied": self.copied / self.measured - 1,
                "law": self.smaller_law.to_json(),
            },
            "law": self.law.to_json(),
            "doubts": self.doubts(),
            "compute_optimum": [self._optimum_json(scale) for scale in (0.1, 1, 10)],
        }

    def _optimum_json(self, scale: float) -> dict[str, Any]:
        size, events = self.law.law.compute_optimum(scale * self.compute)
        ratio = self.law.events_per_parameter(scale * self.compute)
        return {
            "compute": scale * self.compute,
            "parameters": size,
            "events": events,
            "events_per_parameter": _interval_json(ratio),
            "loss": float(self.law.law.loss(size, events)),
        }


@dataclass(frozen=True, kw_only=True)
class GridProgress:
    """What a grid tells about itself.

    kind         "start", "step" (of a run), "run" (finished, or kept from before), "prediction",
                 "end".
    run          position of the run in the grid, from 1; num_runs planned.
    point        the run; None at "start" and "end".
    share_done   of the grid's cost, in [0, 1].
    share_kept   of the grid's cost, what an earlier command had finished.
    loss         nats: of the last training steps at "step", the result at "run".
    message      one line for people.
    """

    kind: Literal["start", "step", "run", "prediction", "end"]
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

    The same grid in the same folder goes on where it was: finished runs are kept, a killed one is
    resumed. Raises ValueError if `out` holds another grid or anything else, or the log is too
    short for the shares to differ or to train on.
    """
    return _GridRun(store, grid, out, device, on_progress).finish(num_resamples)


class _GridRun:
    """A grid at work in its folder."""

    def __init__(
        self,
        store: EventStore,
        grid: Grid,
        out: Path,
        device: str,
        on_progress: Callable[[GridProgress], None],
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
        # What no run could begin with is refused before the folder is taken.
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
        held_out = tuple(
            self._measure(len(smaller) + i + 1, p) for i, p in enumerate(self.grid.held_out)
        )
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
            if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
                raise ValueError(f"{self.out} is not empty and holds no grid; name another folder")
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
        for name, now in plan["grid"].items():
            if before["grid"].get(name) != now:
                raise ValueError(
                    f"{self.out} holds another grid, with {name} = "
                    f"{_listed(before['grid'].get(name))} instead of {_listed(now)}; "
                    "name another folder"
                )

    def _measure(self, index: int, point: Point) -> Measurement:
        """Train a run, or go on with it, or take it as it is."""
        folder = self.out / "runs" / point.name
        is_there = (folder / "config.json").exists()
        kept = is_there and Checkpoint.open(folder).training["finished"]
        if kept:
            checkpoint = Checkpoint.open(folder)
            self.kept_cost += self.cost[point]
        else:
            if folder.exists() and not is_there:  # killed while it wrote its description
                shutil.rmtree(folder)

            def step(progress: Progress) -> None:
                share = progress.step / progress.num_steps
                self._report("step", index, point, share, loss=progress.loss)

            checkpoint = pretrain(
                self.store,
                self.grid.config(point),
                folder,
                resume=is_there,
                device=self.device,
                on_progress=step,
            )
        if checkpoint.config != self.grid.config(point):
            raise ValueError(f"{folder} was trained by another recipe; remove it to train it again")
        validation = checkpoint.training["validation_nll"]
        measurement = Measurement(
            point=point,
            size=self.size[point],
            num_parameters=checkpoint.training["num_parameters"],
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
        """The loss of the largest run: as written before it began, if it has begun."""
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
        self,
        kind: Literal["start", "step", "run", "prediction", "end"],
        run: int,
        point: Point | None = None,
        share_of_run: float = 0.0,
        **fields: Any,
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
        """N of a run that need not be trained yet."""
        with torch.device("meta"):  # shapes alone
            model = BehaviorModel(self.grid.config(point).model_config(self.vocabulary))
        return count_parameters(model)

    def _require_growing_events(self) -> None:
        for seed in range(self.grid.seeds):
            amounts = [
                self.events[Point(width=self.grid.widths[-1], share=share, seed=seed)]
                for share in self.grid.shares
            ]
            for i in range(1, len(amounts)):
                if amounts[i] <= amounts[i - 1]:
                    raise ValueError(
                        f"shares {self.grid.shares[i - 1]:g} and {self.grid.shares[i]:g} of this "
                        f"log are the same {amounts[i]:,} events; give shares farther apart, or a "
                        "longer log"
                    )

    def _size_of_largest(self) -> str:
        point = self.grid.held_out[0]
        return f"N {self.size[point]:,} on D {self.events[point]:,}"


def _as_runs(measurements: tuple[Measurement, ...]) -> Runs:
    return Runs(
        size=np.array([run.size for run in measurements], np.float64),
        events=np.array([run.events for run in measurements], np.float64),
        loss=np.array([run.loss for run in measurements], np.float64),
    )


def _run_json(run: Measurement) -> dict[str, Any]:
    content = dataclasses.asdict(run)
    return {"name": run.point.name, **content.pop("point"), **content}


def _interval_json(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def _listed(values: Any) -> str:
    return ", ".join(f"{v:g}" for v in values) if isinstance(values, list | tuple) else str(values)
