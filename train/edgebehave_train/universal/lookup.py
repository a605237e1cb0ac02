"""Lookup: how the situation of a query resembles the situations before past behaviors of the same user.

The situation before behavior j is known before j happens: the four names before it, the location of the last one, the
time of j, and the gap since the last one. A kernel weighs every past behavior j by how alike its situation and that of
the query i are, i > j:

    kernel          w(i, j)
    frequency       1
    recency         0.9 ** age                          age = behaviors since j, 0 for the last one
    slow_recency    0.97 ** age
    order_1         same last name
    order_2         same last two names
    order_3         same last three names
    order_1_recent  order_1 * slow_recency
    order_2_recent  order_2 * slow_recency
    longest         (order_1 + 8 order_2 + 64 order_3) * slow_recency
    skip            same last name but one
    bag             (exp(4 o) - 1) / 20                 o = share of the last four names that are among the other four
    bag_recent      bag * slow_recency
    location        same last location
    location_recent location * slow_recency
    hour            clock(2) if both on workdays or both on weekends
    week            clock(1) if on the same weekday
    order_1_moment  order_1 * moment
    location_moment location * moment

    clock(s) = exp(-(d / s)^2 / 2)          d = half hours between the times of day
    moment   = clock(3) * exp(-((f_i - f_j) / 0.7)^2 / 2)      f = log(1 + gap / 600 s)

Behind them stand learned kernels: exp of a small network over CUES, with weights that depend on the query.
A query whose time is not known gets nothing from the kernels that need it.
"""

# B users, T behaviors, K kernels, F cues; pairs (B, T, T) are (query, past)

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from edgebehave_train.universal.sequences import NO_NAME, Sequences

KERNELS = (
    "frequency",
    "recency",
    "slow_recency",
    "order_1",
    "order_2",
    "order_3",
    "order_1_recent",
    "order_2_recent",
    "longest",
    "skip",
    "bag",
    "bag_recent",
    "location",
    "location_recent",
    "hour",
    "week",
    "order_1_moment",
    "location_moment",
)
SLOW_RECENCY = KERNELS.index("slow_recency")
TIMED_KERNELS = tuple(KERNELS.index(name) for name in ("hour", "week", "order_1_moment", "location_moment"))
"""Kernels that need the time of the query."""

CUES = (
    "age",
    "latest",
    "elapsed",
    "order_1",
    "order_2",
    "order_3",
    "overlap",
    "location",
    "repeat",
    "alternation",
    "at_location",
    "clock_1",
    "clock_4",
    "day_type",
    "weekday",
    "gap_narrow",
    "gap_wide",
    "same_day",
)
NUM_CUES = len(CUES)
TIMED_CUES = tuple(range(CUES.index("clock_1"), NUM_CUES))
"""Cues that need the time of the query."""
LOOKBACK = 448
"""Behaviors before a query that the lookup reads."""

NUM_MOMENT_FEATURES = 8
_NO_PAST = -9


class Situations(NamedTuple):
    """What is known before each behavior; all (B, T).

    before         the four names before it, latest first; _NO_PAST where there is none.
    last_location  of the behavior before it; negative for none.
    local_s        of the behavior itself.
    gap_s          seconds since the behavior before it, 0 for the first one.
    """

    before: tuple[Tensor, Tensor, Tensor, Tensor]
    last_location: Tensor
    local_s: Tensor
    gap_s: Tensor

    @classmethod
    def of(cls, sequences: Sequences) -> "Situations":
        before = [_shifted(sequences.name, by, _NO_PAST) for by in (1, 2, 3, 4)]
        last_s = torch.cat([sequences.local_s[:, :1], sequences.local_s[:, :-1]], 1)
        return cls(
            before=(before[0], before[1], before[2], before[3]),
            last_location=_shifted(sequences.location, 1, _NO_PAST),
            local_s=sequences.local_s,
            gap_s=(sequences.local_s - last_s).clamp_min(0),
        )


def _shifted(values: Tensor, by: int, fill: int) -> Tensor:
    return F.pad(values, (by, 0), value=fill)[:, : values.shape[1]]


class Pairs(NamedTuple):
    """Kernels and cues of all pairs of a query and a past behavior.

    weights  (B, T, T, K) float32, 0 where the past is not before the query, or too long ago.
    cues     (B, T, T, F) float32.
    is_past  (B, T, T) float32, 1 where the query may look at the past behavior.
    """

    weights: Tensor
    cues: Tensor
    is_past: Tensor


def pairs(sequences: Sequences) -> Pairs:
    """Kernels and cues of every behavior as a query of known time, over those before it."""
    at, name = Situations.of(sequences), sequences.name
    length = name.shape[1]
    position = torch.arange(length, device=name.device)
    age_TT = (position[:, None] - position[None] - 1).float()
    in_reach = ((age_TT >= 0) & (age_TT < LOOKBACK)).float()
    is_past = in_reach * sequences.is_real[:, None, :] * sequences.is_real[:, :, None]
    age = age_TT.clamp_min(0).expand_as(is_past)

    first, second, third, _ = at.before
    order_1 = _same(first, first)
    order_2 = order_1 * _same(second, second)
    order_3 = order_2 * _same(third, third)
    skip = _same(second, second)
    location = _same(at.last_location, at.last_location)
    overlap = sum(
        torch.stack([_same(mine, other) for other in at.before]).amax(0) for mine in at.before
    ) / len(at.before)  # fmt: skip
    bag = torch.expm1(4 * overlap) / 20
    slot, day = at.local_s % 86400 // 1800, at.local_s // 86400
    weekday = (day + 3) % 7
    apart = (slot[:, :, None] - slot[:, None, :]).abs()
    apart = torch.minimum(apart, 48 - apart).float()
    same_day_type = _equal(weekday >= 5, weekday >= 5)
    same_weekday = _equal(weekday, weekday)
    log_gap = torch.log1p(at.gap_s.float() / 600)
    gap_apart = log_gap[:, :, None] - log_gap[:, None, :]
    moment = _bell(apart, 3) * _bell(gap_apart, 0.7)
    recency, slow = 0.9**age, 0.97**age
    weights = [
        torch.ones_like(age),
        recency,
        slow,
        order_1,
        order_2,
        order_3,
        order_1 * slow,
        order_2 * slow,
        (order_1 + 8 * order_2 + 64 * order_3) * slow,
        skip,
        bag,
        bag * slow,
        location,
        location * slow,
        _bell(apart, 2) * same_day_type,
        _bell(apart, 1) * same_weekday,
        order_1 * moment,
        location * moment,
    ]
    last_s = at.local_s - at.gap_s
    elapsed_h = (last_s[:, :, None] - at.local_s[:, None, :]).clamp_min(0).float() / 3600
    cues = [
        torch.log1p(age) / 4,
        (age == 0).float(),
        torch.log1p(elapsed_h) / 4,
        order_1,
        order_2,
        order_3,
        overlap,
        location,
        _same(first, name),
        _same(second, name),
        _same(at.last_location, sequences.location),
        _bell(apart, 1),
        _bell(apart, 4),
        same_day_type,
        same_weekday,
        _bell(gap_apart, 0.35),
        _bell(gap_apart, 1),
        _equal(day, day),
    ]
    return Pairs(torch.stack(weights, -1) * is_past[..., None], torch.stack(cues, -1), is_past)


def moment_features(at: Situations) -> Tensor:
    """(B, T, NUM_MOMENT_FEATURES): the clock of a query, and how long it is since the last behavior."""
    angle = (at.local_s % 86400).float() * (2 * torch.pi / 86400)
    is_weekend = ((at.local_s // 86400 + 3) % 7 >= 5).float()
    gap = torch.log1p(at.gap_s.float() / 60) / 6
    parts = [angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos(), is_weekend, gap, (gap < 0.1).float()]
    return torch.stack([*parts, torch.ones_like(gap)], -1)


def _equal(query: Tensor, past: Tensor) -> Tensor:
    return (query[:, :, None] == past[:, None, :]).float()


def _same(query: Tensor, past: Tensor) -> Tensor:
    """1 where both are the same and there is something."""
    return (query[:, :, None] == past[:, None, :]).float() * (query >= 0)[:, :, None]


def _bell(apart: Tensor, width: float) -> Tensor:
    return torch.exp(-0.5 * (apart / width) ** 2)


assert NO_NAME < 0  # `_same` counts on it
