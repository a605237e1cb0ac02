"""All kernels over a raw history in one pass, in as few nodes as it takes.

The habit kernels are those of `edgebehave.habits`, the cues of the learned kernel those of
`edgebehave_train.history_cues`. Both are made of the same coincidences, which are computed once
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
from edgebehave_train.history_cues import CLOCK_WIDTHS, CUES, GAP_WIDTHS
from edgebehave_train.learned_kernel import MAX_SCORE, LearnedKernel

HISTORY_ROWS = ("behavior", "location", "time_s", "utc_offset_min")
"""Rows of the input `history` (4, n) int64, oldest behavior first."""

_DAY_S = 86400
_WEEK_S = NUM_WEEKDAYS * _DAY_S
_EPOCH_AFTER_MONDAY_S = 3 * _DAY_S  # 1970-01-01 was a Thursday
_NEVER = -1e4

_AGE_ROWS = ("latest", "age", "recency", "one")
_FLAG_ROWS = ("same_last", "same_place", "same_last_two", "day_type", "weekday", "alternation")
_NOW_ROWS = ("repeat", "at_place")
_LOG_ROWS = ("waited", "elapsed")
_MOMENT_ROWS = ("wait", "time_known")
_SIMILARITIES = {  # clock width in half hours, width of the waiting time in its logarithm
    "moment": (MOMENT_WIDTH, GAP_WIDTH),
    "hour": (HOUR_WIDTH, None),
    **{f"clock_{width:.0f}": (width, None) for width in CLOCK_WIDTHS},
    **{
        name: (None, width)
        for name, width in zip(("gap_narrow", "gap_wide"), GAP_WIDTHS, strict=True)
    },
}
ROWS = (
    *(_AGE_ROWS + _FLAG_ROWS + _NOW_ROWS + _LOG_ROWS),
    *(*_SIMILARITIES, *_MOMENT_ROWS),
)
"""What the learned kernel looks at: all cues, and rows that are none."""
KERNEL_ROWS = (
    *("recency", "frequency", "transition", "place", "second_order"),
    *("transition_moment", "place_moment", "hour"),
)
"""The habit kernels as rows of the graph."""
assert set(CUES) <= set(ROWS)
assert set(KERNEL_ROWS) == set(KERNELS)


class Moment(NamedTuple):
    """The moment to predict for: (1,) int64 UTC seconds, (1,) int64 minutes, (1,) bool."""

    time_s: Tensor
    utc_offset_min: Tensor
    time_known: Tensor


class LocalTime(NamedTuple):
    """Second of the week, from Monday 0:00, and what follows from it; float32, whole numbers."""

    second_of_week: Tensor
    weekday: Tensor
    half_hour: Tensor

    @classmethod
    def of(cls, time_s: Tensor, utc_offset_min: Tensor) -> "LocalTime":
        """From UTC seconds and minutes of offset, int64, as in `edgebehave.time_features`.

        The exporter divides integers in float32, which is exact below 2^24 only: the week comes
        first, in integers.
        """
        second = ((time_s + (60 * utc_offset_min + _EPOCH_AFTER_MONDAY_S)) % _WEEK_S).float()
        return cls(second, (second / _DAY_S).floor(), (second / SECONDS_PER_SLOT).floor())

    @property
    def slot(self) -> Tensor:
        """Half hour of the day."""
        return self.half_hour - NUM_SLOTS * self.weekday


class HistoryWeights(nn.Module):
    """Weights w_k(j) of every kernel over a history, that of the learned kernel last."""

    ages_An: Tensor
    similarity_G2: Tensor
    log_units_21: Tensor

    def __init__(self, learned_kernel: LearnedKernel | None) -> None:
        super().__init__()
        age_n = torch.arange(HABIT_EVENTS - 1, -1, -1).double()
        ages = (age_n == 0, age_n.log1p(), DECAY**age_n, torch.ones_like(age_n))
        self._constant("ages_An", torch.stack([row.double() for row in ages]))
        factors = [
            [0.0 if width is None else -0.5 / width**2 for width in widths]
            for widths in _SIMILARITIES.values()
        ]
        self._constant("similarity_G2", torch.tensor(factors))
        self._constant("log_units_21", torch.tensor([[GAP_UNIT_S], [3600.0]]))
        self.has_learned = learned_kernel is not None
        if learned_kernel is not None:
            # Rows that are no cues get weights of 0; the biases go to the row of ones.
            column_F = [ROWS.index(name) for name in CUES]
            one = ROWS.index("one")
            linear, cue_in = learned_kernel.linear, learned_kernel.cue_in
            linear_DR = torch.zeros(linear.in_features, len(ROWS))
            linear_DR[:, column_F] = linear.weight.detach().T
            bias_R = torch.zeros(len(ROWS))
            bias_R[column_F] = linear.bias.detach()
            cue_SR = torch.zeros(cue_in.out_features, len(ROWS))
            cue_SR[:, column_F] = cue_in.weight.detach()
            cue_SR[:, one] += cue_in.bias.detach()
            self._constant("linear_DR", linear_DR)
            self._constant("bias_R", bias_R)
            self._constant("cue_SR", cue_SR)
            self._constant("out_1S", learned_kernel.cue_out.weight)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.detach().float().clone(), persistent=False)

    def forward(self, z_1D: Tensor, history_4n: Tensor, moment: Moment, now: LocalTime) -> Tensor:
        """w_k(j) (K, n), in the order of KERNEL_ROWS, the learned kernel last.

        z_1D        the state, seen from the moment to predict for.
        history_4n  rows as in HISTORY_ROWS, 1 <= n <= HABIT_EVENTS.
        moment      what to predict for; where its time is not known, any value.
        now         the local time of the moment, (1,) each.
        """
        weights_Kn, rows_Rn = self.coincidences(history_4n, moment, now)
        if not self.has_learned:
            return weights_Kn
        hidden_Sn = (self.cue_SR @ rows_Rn).relu()
        linear_1R = torch.addmm(self.bias_R, z_1D, self.linear_DR)
        scores_1n = torch.addmm(linear_1R @ rows_Rn, self.out_1S, hidden_Sn)
        return torch.cat([weights_Kn, scores_1n.clamp_max(MAX_SCORE).exp()])

    def coincidences(
        self, history_4n: Tensor, moment: Moment, now: LocalTime
    ) -> tuple[Tensor, Tensor]:
        """Weights of the habit kernels (K, n), rows KERNEL_ROWS; and (R, n), rows ROWS."""
        ids_2n, time_1n, offset_1n = history_4n.split([2, 1, 1])
        n = history_4n.shape[1]
        ages_An = self.ages_An[:, -n:]
        past = LocalTime.of(time_1n, offset_1n)
        known_1 = moment.time_known.float()

        # Before the first behavior stands -1, which no id equals.
        nothing_21 = torch.full((2, 1), -1)
        last_21 = ids_2n[:, -1:]
        before_2n = torch.cat([nothing_21, ids_2n[:, :-1]], 1)
        behavior_1n, behavior_before_1n = ids_2n[:1], before_2n[:1]
        last_but_one_11 = behavior_before_1n[:, -1:]
        before_2_1n = torch.cat([nothing_21[:1], behavior_before_1n[:, :-1]], 1)
        same_before_2n = before_2n == last_21
        same_two_1n = (before_2_1n == last_but_one_11) & same_before_2n[:1]
        is_weekend_1n, is_weekend = (time.weekday >= FIRST_WEEKEND_DAY for time in (past, now))
        flags_Fn = torch.cat(
            [
                same_before_2n,
                same_two_1n,
                (is_weekend_1n == is_weekend) & moment.time_known,
                (past.weekday == now.weekday) & moment.time_known,
                behavior_1n == last_but_one_11,
                ids_2n == last_21,
            ]
        ).float()

        gap_1n = time_1n - torch.cat([time_1n[:, :1], time_1n[:, :-1]], 1)
        last_time_11 = time_1n[:, -1:]
        spans_2n = torch.cat([gap_1n, last_time_11 - time_1n]).float().relu()
        logs_2n = (spans_2n / self.log_units_21).log1p()
        wait_11 = ((moment.time_s - last_time_11).float().relu() / GAP_UNIT_S).log1p()

        half_hours_1n = (past.slot - now.slot).abs()
        apart_1n = torch.minimum(half_hours_1n, NUM_SLOTS - half_hours_1n)
        distance_2n = torch.cat([apart_1n, logs_2n[:1] - wait_11])
        unknown_1 = (1 - known_1) * _NEVER
        exponent_Gn = self.similarity_G2 @ (distance_2n * distance_2n)
        similar_Gn = (exponent_Gn + unknown_1).exp()

        moment_1n, hour_1n, _ = similar_Gn.split([1, 1, len(_SIMILARITIES) - 2])
        transitions_2n, second_order_1n, day_type_1n, _ = flags_Fn.split([2, 1, 1, 4])
        weights = [
            *(ages_An[2:], transitions_2n, second_order_1n),
            *(transitions_2n * moment_1n, day_type_1n * hour_1n),
        ]
        moment_21 = torch.cat([wait_11, torch.ones(1, 1)]) * known_1
        rows = [ages_An, flags_Fn, logs_2n, similar_Gn, moment_21 * ages_An[3:]]
        return torch.cat(weights), torch.cat(rows)
