"""All kernels over a raw history in one pass, in as few nodes as it takes.

The habit kernels are those of `edgebehave.habits`, the cues of the learned kernel those of
`edgebehave_train.kernels.cues`. Both are made of the same coincidences, which are computed once
here, as rows of a few matrices. So cues and kernels come in an order of their own; the weights that
meet them are put into that order when the graph is made.
"""

# n behaviors of a history, F cues, G Gaussian similarities, K kernels, D width, S hidden units

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgebehave.habits import (
    DECAY,
    FIRST_WEEKEND_DAY,
    GAP_UNIT_S,
    GAP_WIDTH,
    HABIT_EVENTS,
    HOUR_WIDTH,
    KERNELS,
    MOMENT_WIDTH,
)
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS, SECONDS_PER_SLOT
from edgebehave_train.kernels.cues import CLOCK_WIDTHS, CUES, GAP_WIDTHS
from edgebehave_train.kernels.learned_kernel import MAX_SCORE, LearnedKernel

HISTORY_ROWS = ("behavior", "location", "time_s", "utc_offset_min")
"""Rows of the input `history` (4, n) int64, oldest behavior first."""

_DAY_S = 86400
_WEEK_S = NUM_WEEKDAYS * _DAY_S
_EPOCH_AFTER_MONDAY_S = 3 * _DAY_S  # 1970-01-01 was a Thursday
_NEVER = -1e4
"""An exponent, the exponential of which is 0."""
_FOR_EVER_S = 2**40

_AGE_ROWS = ("latest", "age", "recency", "one")
_BEFORE_ROWS = ("same_last", "same_location")
_NOW_ROWS = ("repeat", "at_location", "alternation")
_LOG_ROWS = ("waited", "elapsed")
_APART_ROWS = ("gap_apart", "elapsed_apart", "time_unknown")  # the second comes with the first
_DISTANCES = ("half_hours", "weekdays", "day_types", *_APART_ROWS)
_SIMILARITIES = {  # factors of squared distances, 0 where nothing is said
    "moment": {"half_hours": -0.5 / MOMENT_WIDTH**2, "gap_apart": -0.5 / GAP_WIDTH**2},
    "hour": {"half_hours": -0.5 / HOUR_WIDTH**2},
    "day_type": {"day_types": _NEVER},
    "weekday": {"weekdays": _NEVER},
    **{f"clock_{width:.0f}": {"half_hours": -0.5 / width**2} for width in CLOCK_WIDTHS},
    **{
        name: {"gap_apart": -0.5 / width**2} for name, width in zip(("gap_narrow", "gap_wide"), GAP_WIDTHS, strict=True)
    },
}
ROWS = (
    *(_AGE_ROWS + _BEFORE_ROWS + _NOW_ROWS + ("same_last_two",)),
    *(_LOG_ROWS + _APART_ROWS),
    *_SIMILARITIES,
)
"""What the learned kernel looks at: the cues are sums of these."""
_KERNELS = {  # each the product of two rows
    "recency": ("recency", "one"),
    "frequency": ("one", "one"),
    "transition": ("same_last", "one"),
    "location": ("same_location", "one"),
    "second_order": ("same_last_two", "one"),
    "transition_moment": ("same_last", "moment"),
    "location_moment": ("same_location", "moment"),
    "hour": ("day_type", "hour"),
}
KERNEL_ROWS = tuple(_KERNELS)
"""The habit kernels as rows of the graph."""
assert set(KERNEL_ROWS) == set(KERNELS)


def rows_of_cues() -> Tensor:
    """How the cues are made of rows, (F, R): cues = this @ rows."""
    sums = {
        "wait": {"waited": 1.0, "gap_apart": -1.0},
        "time_known": {"one": 1.0, "time_unknown": -1.0},
    }
    cues_FR = torch.zeros(len(CUES), len(ROWS))
    for f, cue in enumerate(CUES):
        for row, factor in sums.get(cue, {cue: 1.0}).items():
            cues_FR[f, ROWS.index(row)] = factor
    return cues_FR


class Moment(NamedTuple):
    """The moment to predict for: (1,) int64 UTC seconds, (1,) int64 minutes, (1,) bool."""

    time_s: Tensor
    utc_offset_min: Tensor
    time_known: Tensor


def _second_of_week(time_s: Tensor, utc_offset_min: Tensor) -> Tensor:
    """Seconds of local time since Monday 0:00, float32.

    The exporter divides integers in float32, which is exact below 2^24 only: the week comes first,
    in integers.
    """
    return ((time_s + (60 * utc_offset_min + _EPOCH_AFTER_MONDAY_S)) % _WEEK_S).float()


class LocalTime(NamedTuple):
    """Second of the week, from Monday 0:00, and what follows from it; float32, whole numbers."""

    second_of_week: Tensor
    weekday: Tensor
    half_hour: Tensor

    @classmethod
    def of(cls, time_s: Tensor, utc_offset_min: Tensor) -> "LocalTime":
        """From UTC seconds and minutes of offset, int64, as in `edgebehave.time_features`."""
        second = _second_of_week(time_s, utc_offset_min)
        return cls(second, (second / _DAY_S).floor(), (second / SECONDS_PER_SLOT).floor())

    @property
    def slot(self) -> Tensor:
        """Half hour of the day."""
        return self.half_hour - NUM_SLOTS * self.weekday


def calendar(time_1N: Tensor, offset_1N: Tensor) -> Tensor:
    """Half hour of the week, weekday, and 1 on a weekend; (3, N) float32, whole numbers."""
    units = [[SECONDS_PER_SLOT], [_DAY_S], [FIRST_WEEKEND_DAY * _DAY_S]]
    return (_second_of_week(time_1N, offset_1N) / torch.tensor(units)).floor()


class Timeline(NamedTuple):
    """Two columns of nothing, a history, and the moment to predict for: N = n + 3 columns.

    One pass over them does for the history and the moment alike; what came before an event is the
    same row one column earlier, and nothing comes before the first.

    history_4n   int64, rows as in HISTORY_ROWS, 1 <= n <= HABIT_EVENTS.
    ids_2N       int64, behaviors and locations.
    time_1N      int64, UTC seconds. A moment that is not known is long ago: nothing has been
                 waited for then.
    calendar_3N  as of `calendar`.
    time_known   (1,) bool.
    """

    history_4n: Tensor
    ids_2N: Tensor
    time_1N: Tensor
    calendar_3N: Tensor
    time_known: Tensor

    @classmethod
    def of(cls, history_4n: Tensor, moment: Moment | None) -> "Timeline":
        """Put the columns side by side; moment None is never known."""
        nothing_42 = torch.tensor([-1, -1, _FOR_EVER_S, 0])[:, None].expand(4, 2)
        if moment is None:
            time_known = torch.zeros(1, dtype=torch.bool)
            now_41 = torch.tensor([-1, -1, -_FOR_EVER_S, 0])[:, None]
        else:
            time_known = moment.time_known
            time_s = torch.where(time_known, moment.time_s, -_FOR_EVER_S)
            now_41 = torch.cat([torch.full((2,), -1), time_s, moment.utc_offset_min])[:, None]
        columns_4N = torch.cat([nothing_42, history_4n, now_41], 1)
        ids_2N, time_1N, offset_1N = columns_4N.split([2, 1, 1])
        return cls(history_4n, ids_2N, time_1N, calendar(time_1N, offset_1N), time_known)


class HistoryWeights(nn.Module):
    """Weights w_k(j) of every kernel over a history, that of the learned kernel last."""

    ages_An: Tensor
    similarity_GX: Tensor
    log_units_21: Tensor
    left_K: Tensor
    right_K: Tensor
    linear_DR: Tensor
    bias_R: Tensor
    cue_SR: Tensor
    out_1S: Tensor

    def __init__(self, learned_kernel: LearnedKernel | None) -> None:
        super().__init__()
        age_n = torch.arange(HABIT_EVENTS - 1, -1, -1).double()
        ages = (age_n == 0, age_n.log1p(), DECAY**age_n, torch.ones_like(age_n))
        self._constant("ages_An", torch.stack([row.double() for row in ages]))
        factors = [
            [{"time_unknown": _NEVER, **factor_of}.get(name, 0.0) for name in _DISTANCES]
            for factor_of in _SIMILARITIES.values()
        ]
        self._constant("similarity_GX", torch.tensor(factors))
        self._constant("log_units_21", torch.tensor([[GAP_UNIT_S], [3600.0]]))
        for side, of in (("left_K", 0), ("right_K", 1)):
            rows = [ROWS.index(factors[of]) for factors in _KERNELS.values()]
            self.register_buffer(side, torch.tensor(rows), persistent=False)
        self.has_learned = learned_kernel is not None
        if learned_kernel is not None:
            # The biases go to the row of ones.
            cues_FR, one = rows_of_cues(), ROWS.index("one")
            linear, cue_in = learned_kernel.linear, learned_kernel.cue_in
            cue_SR = cue_in.weight.detach() @ cues_FR
            cue_SR[:, one] += cue_in.bias.detach()
            self._constant("linear_DR", linear.weight.T @ cues_FR)
            self._constant("bias_R", linear.bias @ cues_FR)
            self._constant("cue_SR", cue_SR)
            self._constant("out_1S", learned_kernel.cue_out.weight)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.detach().float().clone(), persistent=False)

    def forward(self, z_1D: Tensor, timeline: Timeline) -> Tensor:
        """w_k(j) (K, n), in the order of KERNEL_ROWS, the learned kernel last.

        z_1D  the state, seen from the moment to predict for.
        """
        weights_Kn, rows_Rn = self.coincidences(timeline)
        if not self.has_learned:
            return weights_Kn
        hidden_Sn = (self.cue_SR @ rows_Rn).relu()
        linear_1R = torch.addmm(self.bias_R, z_1D, self.linear_DR)
        scores_1n = torch.addmm(linear_1R @ rows_Rn, self.out_1S, hidden_Sn)
        return torch.cat([weights_Kn, scores_1n.clamp_max(MAX_SCORE).exp()])

    def coincidences(self, timeline: Timeline) -> tuple[Tensor, Tensor]:
        """Weights of the habit kernels (K, n), rows KERNEL_ROWS; and (R, n), rows ROWS."""
        time_1N, calendar_3N = timeline.time_1N, timeline.calendar_3N
        n = timeline.history_4n.shape[1]
        ages_An = self.ages_An[:, -n:]

        # Behavior and location against those of the last, and behavior against the last but one.
        ids_3N = timeline.ids_2N.index_select(0, torch.tensor([0, 1, 0]))
        is_last = torch.tensor([[True], [True], [False]])
        same_3N = (ids_3N == torch.where(is_last, ids_3N[:, -2:-1], ids_3N[:, -3:-2])).float()
        as_last_2N, as_last_but_one_1N = same_3N.split([2, 1])
        before_2n, now_3n = as_last_2N[:, 1:-2], same_3N[:, 2:-1]
        same_two_1n = before_2n[:1] * as_last_but_one_1N[:, :-3]

        # The wait for the moment is the gap of its column.
        from_first = time_1N[:, 2:]
        spans_2m = torch.cat([from_first - time_1N[:, 1:-1], time_1N[:, -2:-1] - from_first])
        logs_2m = (spans_2m.float().relu() / self.log_units_21).log1p()
        logs_2n = logs_2m[:, :-1]
        unknown_1n = torch.where(timeline.time_known, torch.zeros(1, 1), ages_An[3:])
        logs_apart_2n = logs_2n - logs_2m[:, -1:]

        # Around the clock; whole days are less than half a round apart and stay what they are.
        apart_in_week = calendar_3N[:, 2:-1] - calendar_3N[:, -1:]
        around_3n = apart_in_week - NUM_SLOTS * (apart_in_week / NUM_SLOTS).round()
        distance_Xn = torch.cat([around_3n, logs_apart_2n, unknown_1n])
        similar_Gn = (self.similarity_GX @ (distance_Xn * distance_Xn)).exp()

        rows = [ages_An, before_2n, now_3n, same_two_1n, logs_2n, logs_apart_2n, unknown_1n]
        rows_Rn = torch.cat([*rows, similar_Gn])
        left_Kn, right_Kn = (rows_Rn.index_select(0, side) for side in (self.left_K, self.right_K))
        return left_Kn * right_Kn, rows_Rn
