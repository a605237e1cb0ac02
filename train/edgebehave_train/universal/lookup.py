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

# B users, Q queries, T behaviors, K kernels, F cues

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
NUM_BEFORE = 4
"""Names that make a situation."""

LOOKBACK = 444
"""Behaviors before a query that the lookup reads. With the situations before them and with the success of 64 earlier
queries, an answer depends on the last 512 behaviors and on nothing else."""

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
        before = [_shifted(sequences.name, by, _NO_PAST) for by in range(1, NUM_BEFORE + 1)]
        last_s = torch.cat([sequences.local_s[:, :1], sequences.local_s[:, :-1]], 1)
        return cls(
            before=(before[0], before[1], before[2], before[3]),
            last_location=_shifted(sequences.location, 1, _NO_PAST),
            local_s=sequences.local_s,
            gap_s=(sequences.local_s - last_s).clamp_min(0),
        )

    def take(self, query: Tensor) -> "Situations":
        """Those before some positions (Q,)."""
        first, second, third, fourth = (names[:, query] for names in self.before)
        return Situations(
            before=(first, second, third, fourth),
            last_location=self.last_location[:, query],
            local_s=self.local_s[:, query],
            gap_s=self.gap_s[:, query],
        )

    @property
    def slot(self) -> Tensor:
        """Half hour of the day, 0 to 47."""
        return self.local_s % 86400 // 1800

    @property
    def day(self) -> Tensor:
        """Days since 1970."""
        return self.local_s // 86400

    @property
    def weekday(self) -> Tensor:
        """0 Monday to 6 Sunday."""
        return (self.day + 3) % 7

    @property
    def log_gap(self) -> Tensor:
        """log(1 + gap / 600 s)."""
        return torch.log1p(self.gap_s.float() / 600)


def _shifted(values: Tensor, by: int, fill: int) -> Tensor:
    return F.pad(values, (by, 0), value=fill)[:, : values.shape[1]]


class Pairs(NamedTuple):
    """Kernels and cues of pairs of a query and a past behavior.

    weights  (B, Q, T, K) float32, 0 where the past is not before the query, or too long ago.
    cues     (B, Q, T, F) float32.
    is_past  (B, Q, T) float32, 1 where the query may look at the past behavior.
    """

    weights: Tensor
    cues: Tensor
    is_past: Tensor

    def without_time(self, is_timed: Tensor) -> "Pairs":
        """The same with nothing that needs the time of the query, where is_timed (B, Q) is False."""
        return Pairs(
            self.weights * _time_mask(is_timed, TIMED_KERNELS, len(KERNELS)),
            self.cues * _time_mask(is_timed, TIMED_CUES, NUM_CUES),
            self.is_past,
        )


def _time_mask(is_timed: Tensor, timed: tuple[int, ...], size: int) -> Tensor:
    """(B, Q, 1, size): 0 in the columns that need the time, where it is not known."""
    needs_time = torch.tensor([float(column in timed) for column in range(size)], device=is_timed.device)
    return 1 - needs_time * (~is_timed)[..., None, None]


def pairs(sequences: Sequences, query: Tensor) -> Pairs:
    """Kernels and cues of some behaviors as queries of known time, over those before them.

    query  (Q,) positions.
    """
    past = Situations.of(sequences)
    asked, name = past.take(query), sequences.name
    position = torch.arange(name.shape[1], device=name.device)
    age_QT = (query[:, None] - position[None] - 1).float()
    in_reach = ((age_QT >= 0) & (age_QT < LOOKBACK)).float()
    is_past = in_reach * sequences.is_real[:, None, :] * sequences.is_real[:, query, None]
    age = age_QT.clamp_min(0).expand_as(is_past)

    first, second, third, _ = asked.before
    order_1 = _same(first, past.before[0])
    order_2 = order_1 * _same(second, past.before[1])
    order_3 = order_2 * _same(third, past.before[2])
    skip = _same(second, past.before[1])
    location = _same(asked.last_location, past.last_location)
    shared = [torch.stack([_same(mine, other) for other in past.before]).amax(0) for mine in asked.before]
    overlap = torch.stack(shared).mean(0)
    bag = torch.expm1(4 * overlap) / 20
    apart = (asked.slot[:, :, None] - past.slot[:, None, :]).abs()
    apart = torch.minimum(apart, 48 - apart).float()
    same_day_type = _equal(asked.weekday >= 5, past.weekday >= 5)
    same_weekday = _equal(asked.weekday, past.weekday)
    gap_apart = asked.log_gap[:, :, None] - past.log_gap[:, None, :]
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
    last_s = sequences.local_s[:, (query - 1).clamp_min(0)]
    elapsed_h = (last_s[:, :, None] - past.local_s[:, None, :]).clamp_min(0).float() / 3600
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
        _same(asked.last_location, sequences.location),
        _bell(apart, 1),
        _bell(apart, 4),
        same_day_type,
        same_weekday,
        _bell(gap_apart, 0.35),
        _bell(gap_apart, 1),
        _equal(asked.day, past.day),
    ]
    return Pairs(torch.stack(weights, -1) * is_past[..., None], torch.stack(cues, -1), is_past)


def moment_features(at: Situations) -> Tensor:
    """(B, T, NUM_MOMENT_FEATURES): the clock of a query, and how long it is since the last behavior."""
    angle = (at.local_s % 86400).float() * (2 * torch.pi / 86400)
    is_weekend = (at.weekday >= 5).float()
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
