"""The result of a scaling grid: its runs, the law, the prediction, and what remains uncertain.

N counts all parameters but the embedding tables: those are looked up, their size follows from the
vocabulary, and they would be most of a small model. D counts distinct training events, C = 6 N D the
operations of one epoch over them. The loss is that of the validation part, the same for all runs, in
nats.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebehave_train.metrics.bootstrap import Interval
from edgebehave_train.scaling.grid import Grid, Point
from edgebehave_train.scaling.law import FittedLaw

FORMAT_VERSION = 1
_UNSURE = 10.0
"""A number is not known if the ends of its interval are this many times apart."""


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

    def to_json(self) -> dict[str, Any]:
        content = dataclasses.asdict(self)
        return {"name": self.point.name, **content.pop("point"), **content}


@dataclass(frozen=True, kw_only=True)
class ScalingReport:
    """The result of a finished grid.

    smaller_law  fitted to all runs but the largest; `predicted` is made from it.
    predicted    mean loss of the largest runs, before they began, with a 95 % interval.
    measured     their mean loss, nats.
    copied       the lowest loss of the smaller runs, nats: a prediction without any law.
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
        """Numbers that the grid does not determine, one line each."""
        lines = []
        intervals = self.law.intervals()
        for name, axis, remedy in (("size_exponent", "size", "widths"), ("data_exponent", "data", "shares")):
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
            "runs": [run.to_json() for run in (*self.smaller, *self.held_out)],
            "held_out": {
                "runs": [run.point.name for run in self.held_out],
                "predicted": dataclasses.astuple(self.predicted),
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
            "events_per_parameter": dataclasses.astuple(ratio),
            "loss": float(self.law.law.loss(size, events)),
        }
