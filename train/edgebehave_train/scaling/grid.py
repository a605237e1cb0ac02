"""The plan of a scaling study: sizes, amounts of data, and the recipe that all runs share.

Every run is a `pretrain` with the same recipe except for:

    layers         max(2, sqrt(width) / 4), rounded
    heads          of width 32 where they divide, at least one
    learning rate  0.128 / width: the 2e-3 of width 64 and the 1e-3 of width 128, as in the
                   presets, and elsewhere in proportion (Yang et al. 2022, muP: Adam's rate for
                   hidden matrices falls as 1 / width)
    epochs         those of the whole log / share^(1/4): less data is seen more often, but in
                   fewer steps; the epoch with the lowest validation loss counts

The largest model on the most data is held out: the law of the other runs predicts it.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.training.recipes import TrainConfig

_RATE_TIMES_WIDTH = 0.128


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

    widths         at least 3 different ones, multiples of 4 from 8 on.
    shares         of the training part, at least 3 different ones in (0, 1].
    seeds          runs of each size and share; a seed also draws the share.
    epochs         passes over the whole training part; a share is passed over more often.
    dropout        in [0, 1).
    habits         mix with the habit kernels, which do not depend on size and data.
    query_context  as in `TrainConfig`.
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
        """All runs but the largest, the cheapest first: the law that predicts the largest is fitted to them."""
        points = [
            Point(width=width, share=share, seed=seed)
            for share in self.shares
            for width in self.widths
            for seed in range(self.seeds)
        ]
        return tuple(point for point in points if point not in self.held_out)

    @property
    def held_out(self) -> tuple[Point, ...]:
        """The largest model on the most data, one run per seed."""
        width, share = self.widths[-1], self.shares[-1]
        return tuple(Point(width=width, share=share, seed=seed) for seed in range(self.seeds))

    def config(self, point: Point) -> TrainConfig:
        """The recipe of a run, by the rules at the top of this module."""
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

    def difference_from(self, content: Mapping[str, Any]) -> str:
        """The first field in which the `to_json` of another grid differs, as text; "" if none does."""
        for name, now in self.to_json().items():
            if content.get(name) != now:
                return f"{name} = {_listed(content.get(name))} instead of {_listed(now)}"
        return ""


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


def _listed(values: Any) -> str:
    return ", ".join(f"{v:g}" for v in values) if isinstance(values, list | tuple) else str(values)
