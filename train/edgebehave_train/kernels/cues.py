"""Cues: features of a past behavior beside the moment to predict for.

    cue              of a past behavior j, seen from the query
    age              log(1 + behaviors since j)
    latest           1 if j is the last behavior
    elapsed          log(1 + hours from j to the last behavior)
    same_last        1 if the behavior before j is the one that was done last
    same_last_two    1 if the two behaviors before j are the two that were done last
    same_location    1 if the behavior before j was at the location of the last one
    repeat           1 if j is the behavior that was done last
    alternation      1 if j is the behavior that was done before the last
    at_location      1 if j was at the location of the last behavior
    waited           log(1 + seconds between j and the behavior before it / GAP_UNIT_S)
    clock_*          exp(-(d / s)^2 / 2), d half hours between the times of day, s = 1, 3, 7
    weekday          1 if j fell on the weekday of the query
    day_type         1 if j fell on a workday and the query does, or neither
    gap_*            exp(-((f_j - f) / s)^2 / 2), f_j the cue `waited`, f `wait`; s = 0.35, 1
    wait             log(1 + seconds from the last behavior to the query / GAP_UNIT_S), the same for
                     all j; it changes the effect of the other cues
    time_known       1 if the time of the query is known, the same for all j

The last eight are 0 while the time of the query is not known.
"""

# F cues

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edgebehave.habits import FIRST_WEEKEND_DAY, GAP_UNIT_S
from edgebehave.time_features import NUM_SLOTS

CUES = (
    "age",
    "latest",
    "elapsed",
    "same_last",
    "same_last_two",
    "same_location",
    "repeat",
    "alternation",
    "at_location",
    "waited",
    "clock_1",
    "clock_3",
    "clock_7",
    "weekday",
    "day_type",
    "gap_narrow",
    "gap_wide",
    "wait",
    "time_known",
)
TIMED_CUES = CUES[CUES.index("clock_1") :]
"""Cues that are 0 while the time of the query is not known."""
LOG2_E = math.log2(math.e)
CLOCK_WIDTHS = (1.0, 3.0, 7.0)
GAP_WIDTHS = (0.35, 1.0)


@dataclass(frozen=True, kw_only=True)
class Coincidences:
    """Inputs of the cues: tensors of shapes that broadcast to one shape (...).

    age                               behaviors since j, 0 for the last one.
    elapsed_s                         seconds from j to the last behavior.
    same_last ... at_location         float32, as in the table above.
    waited, wait                      `log_gap` of the seconds between j and the behavior before it, and between the
                                      last behavior and the query.
    slot, weekday                     of j.
    query_slot, query_weekday         of the query; any value where its time is not known.
    time_known                        float32, 1 or 0.
    """

    age: Tensor
    elapsed_s: Tensor
    same_last: Tensor
    same_last_two: Tensor
    same_location: Tensor
    repeat: Tensor
    alternation: Tensor
    at_location: Tensor
    waited: Tensor
    wait: Tensor
    slot: Tensor
    weekday: Tensor
    query_slot: Tensor
    query_weekday: Tensor
    time_known: Tensor

    @cached_property
    def apart(self) -> Tensor:
        """Half hours around the clock between the times of day of j and of the query, float32."""
        apart = (self.slot - self.query_slot).abs_()
        return torch.minimum(apart, NUM_SLOTS - apart).float()

    @cached_property
    def same_day_type(self) -> Tensor:
        """1 if both are on workdays or both on weekends, else 0; float32."""
        weekend, query_weekend = (day >= FIRST_WEEKEND_DAY for day in (self.weekday, self.query_weekday))
        return is_equal(weekend, query_weekend)

    def cues(self) -> Tensor:
        """(F, ...) float32, in the order of CUES."""
        known, apart, wait = self.time_known, self.apart, self.wait
        columns = {
            "age": torch.log1p(self.age.float()),
            "latest": self.age == 0,
            "elapsed": self.elapsed_s.clamp_min(0).float().div_(3600).log1p_(),
            **{name: getattr(self, name) for name in ("same_last", "same_last_two", "same_location")},
            **{name: getattr(self, name) for name in ("repeat", "alternation", "at_location", "waited")},
            "weekday": is_equal(self.weekday, self.query_weekday),
            "day_type": self.same_day_type,
            "wait": wait,
            "time_known": known,
        }
        waits_apart = self.waited - wait
        cues = torch.empty((len(CUES), *waits_apart.shape), device=wait.device)
        for name, column in columns.items():  # in place: the time goes into memory, not into numbers
            cues[CUES.index(name)].copy_(column)
        bells(apart, CLOCK_WIDTHS, out=cues[CUES.index("clock_1") :][: len(CLOCK_WIDTHS)])
        bells(waits_apart, GAP_WIDTHS, out=cues[CUES.index("gap_narrow") :][: len(GAP_WIDTHS)])
        cues[-len(TIMED_CUES) :].mul_(known)
        return cues


def bell(apart: Tensor, width: float, out: Tensor | None = None) -> Tensor:
    """exp(-(apart / width)^2 / 2)."""
    # As a power of two: a CPU takes a quarter of the time of exp.
    return torch.div(apart, width, out=out).square_().mul_(-0.5 * LOG2_E).exp2_()


def bells(apart: Tensor, widths: tuple[float, ...], out: Tensor) -> None:
    """`bell` of each width, into out (number of widths, ...)."""
    factors = out.new_tensor([-0.5 * LOG2_E / width**2 for width in widths])
    torch.mul(apart.square(), factors.view(-1, *[1] * apart.ndim), out=out).exp2_()


def is_equal(one: Tensor, other: Tensor) -> Tensor:
    """1 where two tensors of a type, which are broadcast, are equal, else 0; float32.

    As numbers at once: a CPU takes four times as long to make booleans and then numbers of them.
    """
    return torch.eq(one, other, out=torch.empty(0, device=one.device))


def log_gap(gap_s: Tensor) -> Tensor:
    """log(1 + seconds / GAP_UNIT_S); negative gaps count as 0."""
    return (gap_s.clamp_min(0).float() / GAP_UNIT_S).log1p()
