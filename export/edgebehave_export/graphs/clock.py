"""Local time in a graph, by the rule of `edgebehave.time_features`: weekday (Monday = 0) and half-hour slot.

Torch modules take weekday and slot from the second of the week. Nodes take the number of the half hour in the
week, from which tables look up both. Both reduce UTC seconds to one week in integers first: the exporter
divides in float32, which is exact below 2^24 only.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS, SECONDS_PER_SLOT
from edgebehave_export.graphs.graph_builder import GraphBuilder

_DAY_S = NUM_SLOTS * SECONDS_PER_SLOT
_WEEK_S = NUM_WEEKDAYS * _DAY_S
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
_EPOCH_AFTER_MONDAY_S = _EPOCH_WEEKDAY * _DAY_S
HALF_HOURS = NUM_WEEKDAYS * NUM_SLOTS
"""Number of half hours of a week."""


def weekday_and_slot(time_s: Tensor, utc_offset_min: Tensor) -> tuple[Tensor, Tensor]:
    """Local weekday and slot, int64.

    time_s          int64, UTC seconds, negative allowed.
    utc_offset_min  int64, minutes to add for local time.
    """
    second_of_week = (time_s + 60 * utc_offset_min + _EPOCH_AFTER_MONDAY_S) % _WEEK_S
    return _divide(second_of_week, _DAY_S), _divide(second_of_week % _DAY_S, SECONDS_PER_SLOT)


def _divide(dividend: Tensor, divisor: int) -> Tensor:
    """Floor division of numbers that are not negative; one node where `//` makes a dozen."""
    return torch.div(dividend, divisor, rounding_mode="trunc")


class LocalTime(NamedTuple):
    """Weekday and half hour of the week, from Monday 0:00; float32, whole numbers.

    The same as `weekday_and_slot` for graphs that go on computing in floats.
    """

    weekday: Tensor
    half_hour: Tensor

    @classmethod
    def of(cls, time_s: Tensor, utc_offset_min: Tensor) -> "LocalTime":
        second = ((time_s + (60 * utc_offset_min + _EPOCH_AFTER_MONDAY_S)) % _WEEK_S).float()
        return cls((second / _DAY_S).floor(), (second / SECONDS_PER_SLOT).floor())

    @property
    def slot(self) -> Tensor:
        """Half hour of the day."""
        return self.half_hour - NUM_SLOTS * self.weekday


def half_hour(graph: GraphBuilder, time_s: str, utc_offset_min: str) -> str:
    """Nodes for the half hour of the week, 0..335 from Thursday 0:00 as 1970 began, int64, of any shape.

    From Thursday on it takes a node less than from Monday on.
    """
    offset_s = graph.Mul(utc_offset_min, [60])
    local_s = graph.Add(time_s, offset_s)
    second = graph.Mod(local_s, [_WEEK_S])
    return graph.Div(second, [SECONDS_PER_SLOT])


def weekdays_and_slots(graph: GraphBuilder, with_none: bool = True) -> tuple[str, str]:
    """Constants: weekday and slot of each `half_hour`, (336,) int32 each.

    with_none  (337,), the first for no moment: weekday 7 and slot 48.
    """
    numbers = np.arange(HALF_HOURS)
    columns = {
        "weekdays": ((numbers // NUM_SLOTS + _EPOCH_WEEKDAY) % NUM_WEEKDAYS, NUM_WEEKDAYS),
        "slots": (numbers % NUM_SLOTS, NUM_SLOTS),
    }
    weekdays, slots = (
        graph.constant(np.append([none] * with_none, values).astype(np.int32), f"{name}_{with_none}")
        for name, (values, none) in columns.items()
    )
    return weekdays, slots
