"""The two graphs of a bundle, as modules around the layers of a trained model.

    observe   events and the cache of the past -> states, and the new cache or what is new in it
    predict   state, moment and history        -> final probabilities

Both take what a client has at hand, ids and times, and compute weekdays, slots, rotary positions
and habit kernels themselves. The layers, the gates and the head are those of `BehaviorModel`;
only the attention over a cache and the kernels over a raw history are written here, because
training has them in a packed form.
"""

# N new events, C cached events, M = C + N, n behaviors of a history, D width, H heads, E head
# width, L layers, V behaviors, U spare slots, K kernels

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave.habits import (
    DECAY,
    FIRST_WEEKEND_DAY,
    GAP_UNIT_S,
    GAP_WIDTH,
    HOUR_WIDTH,
    KERNELS,
    MOMENT_WIDTH,
    TIMED_KERNELS,
)
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS, SECONDS_PER_SLOT
from edgebehave_train.history_cues import Coincidences, log_gap
from edgebehave_train.model import ROTARY_PERIOD, UNKNOWN_TIME, BehaviorModel, Block

_DAY_S = 86400
_WEEK_S = NUM_WEEKDAYS * _DAY_S
_EPOCH_AFTER_MONDAY_S = 3 * _DAY_S  # 1970-01-01 was a Thursday


def weekday_and_slot(time_s: Tensor, utc_offset_min: Tensor) -> tuple[Tensor, Tensor]:
    """Local weekday (Monday = 0) and half-hour slot, int64, as in `edgebehave.time_features`.

    time_s          int64, UTC seconds, negative allowed.
    utc_offset_min  int64, minutes to add for local time.

    The exporter divides integers in float32, which is exact below 2^24 only. Reduced to the week
    first, all numbers are far below that.
    """
    second_of_week = (time_s + 60 * utc_offset_min + _EPOCH_AFTER_MONDAY_S) % _WEEK_S
    return _divide(second_of_week, _DAY_S), _divide(second_of_week % _DAY_S, SECONDS_PER_SLOT)


def _divide(dividend: Tensor, divisor: int) -> Tensor:
    """Floor division of numbers that are not negative; one node where `//` makes a dozen."""
    return torch.div(dividend, divisor, rounding_mode="trunc")


def known_or_unknown(ids: Tensor, table_size: int) -> Tensor:
    """Ids beyond a table become 0, so that a client may use private ids for new names."""
    return torch.where(ids >= table_size, 0, ids)


def cached_attention(query_NHE: Tensor, key_MHE: Tensor, value_MHE: Tensor, window: int) -> Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V of the last N of M events; (N, H, E).

    Each event sees the `window` events up to and including itself, as in training.
    """
    num_new, num_keys = query_NHE.shape[0], key_MHE.shape[0]
    query_at = torch.arange(num_new)[:, None] + (num_keys - num_new)
    distance = query_at - torch.arange(num_keys)[None]
    hidden = (distance < 0) | (distance >= window)
    scale = query_NHE.shape[-1] ** -0.5
    scores_HNM: Tensor = (query_NHE * scale).transpose(0, 1) @ key_MHE.permute(1, 2, 0)
    scores_HNM = scores_HNM.masked_fill(hidden, -1e9)
    attended_HNE: Tensor = scores_HNM.softmax(-1) @ value_MHE.transpose(0, 1)
    return attended_HNE.transpose(0, 1)


def rotary_circle(model: BehaviorModel) -> tuple[Tensor, Tensor, Tensor]:
    """The rotary tables of a model as one circle, a sixteenth of their bytes.

    All angles are multiples of 2 pi / period, so that cos[t, e] = circle_cos[t turns_e % period].
    Returns  turns (E / 2,) int64; cos and sin of the circle, (period, 1) float32 each.
    """
    angle_E = torch.atan2(model.rotary_sin[1].double(), model.rotary_cos[1].double())
    turns_E = (angle_E * ROTARY_PERIOD / (2 * math.pi)).round().long() % ROTARY_PERIOD
    angle = torch.arange(ROTARY_PERIOD, dtype=torch.float64)[:, None] * 2 * math.pi / ROTARY_PERIOD
    return turns_E, angle.cos().float(), angle.sin().float()


class Observe(nn.Module):
    """States after new events, from a cache of rotated keys (even rows) and values (odd rows)."""

    turns_E: Tensor
    turn_cos: Tensor
    turn_sin: Tensor

    def __init__(self, model: BehaviorModel, new_rows_only: bool = False) -> None:
        super().__init__()
        attention = model.config.attention
        if attention != "softmax":
            raise ValueError(
                f"a model with attention {attention} runs in training and evaluation alone; "
                "export one that was trained with attention softmax"
            )
        self.model = model
        self.new_rows_only = new_rows_only
        turns_E, turn_cos, turn_sin = rotary_circle(model)
        self.register_buffer("turns_E", turns_E, persistent=False)
        self.register_buffer("turn_cos", turn_cos, persistent=False)
        self.register_buffer("turn_sin", turn_sin, persistent=False)

    def forward(
        self,
        event: Tensor,
        location: Tensor,
        time_s: Tensor,
        utc_offset_min: Tensor,
        position: Tensor,
        cache: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One user's next events.

        event, location, time_s, utc_offset_min  (N,) int64, N >= 1.
        position  () int64, how many events of the user came before.
        cache     (2 L, C, H, E) float32, 0 <= C <= window - 1, oldest first.
        Returns   hidden (N, D); all keys and values (2 L, C + N, H, E), of which the client keeps
                  the last window - 1 (the exported graph cuts them off itself). With
                  `new_rows_only` those of the N events alone, (2 L, N, H, E).
        """
        model = self.model
        config = model.config
        weekday, slot = weekday_and_slot(time_s, utc_offset_min)
        x_ND = model.embed(
            known_or_unknown(event, config.num_events),
            known_or_unknown(location, config.num_locations),
            weekday,
            slot,
        )
        at_N = (position + torch.arange(event.shape[0])) % ROTARY_PERIOD
        angle_N1E = (at_N[:, None, None] * self.turns_E) % ROTARY_PERIOD
        cos, sin = F.embedding(angle_N1E, self.turn_cos), F.embedding(angle_N1E, self.turn_sin)
        cos, sin = cos[..., 0], sin[..., 0]
        rows = []
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            query, new_key, new_value = block.project(x_ND, cos, sin)
            key = torch.cat([cache[2 * layer], new_key])
            value = torch.cat([cache[2 * layer + 1], new_value])
            x_ND = block.merge(x_ND, cached_attention(query, key, value, config.window))
            rows += [new_key, new_value] if self.new_rows_only else [key, value]
        return model.norm(x_ND), torch.stack(rows)


class Moment(NamedTuple):
    """The moment to predict for: () int64 UTC seconds, () int64 minutes, () bool."""

    time_s: Tensor
    utc_offset_min: Tensor
    time_known: Tensor


def clock_similarity(slot: Tensor, other_slot: Tensor, width: float) -> Tensor:
    """exp(-(d / width)^2 / 2), d the half hours around the clock; as in `edgebehave.habits`."""
    apart = (slot - other_slot).abs()
    distance = torch.minimum(apart, NUM_SLOTS - apart).float()
    return (-0.5 * (distance / width) ** 2).exp()


def gap_similarity(gap_s: Tensor, other_gap_s: Tensor) -> Tensor:
    """How alike two waiting times are, negative ones count as 0; as in `edgebehave.habits`."""
    log_gap, other = (
        (gap.clamp_min(0).float() / GAP_UNIT_S).log1p() for gap in (gap_s, other_gap_s)
    )
    return (-0.5 * ((log_gap - other) / GAP_WIDTH) ** 2).exp()


def kernel_weights(
    behavior: Tensor,
    location: Tensor,
    time_s: Tensor,
    utc_offset_min: Tensor,
    moment: Moment | None,
) -> Tensor:
    """w_k(j) of `edgebehave.habits.kernel_weights`, (K, n) float32, kernels in their order there.

    behavior, location, time_s, utc_offset_min  (n,) int64, n >= 1, oldest first.
    moment  None if the model has no query time.
    """
    index = torch.arange(behavior.shape[0])
    # Before the first behavior nothing is known: index 0 has no predecessor, index 1 only one.
    before, before_2 = (index - 1).clamp_min(0), (index - 2).clamp_min(0)
    last_but_one = behavior.index_select(0, before[-1:])
    same_last = (behavior.index_select(0, before) == behavior[-1:]) & (index >= 1)
    same_last_2 = (behavior.index_select(0, before_2) == last_but_one) & (index >= 2)
    same_place = (location.index_select(0, before) == location[-1:]) & (index >= 1)
    age = (behavior.shape[0] - 1 - index).float()
    weights = {
        "frequency": torch.ones_like(age),
        "recency": torch.pow(DECAY, age),
        "transition": same_last.float(),
        "second_order": (same_last & same_last_2).float(),
        "place": same_place.float(),
    }
    if moment is None:
        weights |= dict.fromkeys(TIMED_KERNELS, torch.zeros_like(age))
    else:
        known = moment.time_known.float()
        weekday, slot = weekday_and_slot(time_s, utc_offset_min)
        query_weekday, query_slot = weekday_and_slot(moment.time_s, moment.utc_offset_min)
        same_day_type = (weekday >= FIRST_WEEKEND_DAY) == (query_weekday >= FIRST_WEEKEND_DAY)
        gap_s, query_gap_s = time_s - time_s.index_select(0, before), moment.time_s - time_s[-1:]
        similar_moment = clock_similarity(slot, query_slot, MOMENT_WIDTH)
        similar_moment = known * similar_moment * gap_similarity(gap_s, query_gap_s)
        similar_hour = known * clock_similarity(slot, query_slot, HOUR_WIDTH)
        weights |= {
            "hour": same_day_type * similar_hour,
            "transition_moment": weights["transition"] * similar_moment,
            "place_moment": weights["place"] * similar_moment,
        }
    return torch.stack([weights[name] for name in KERNELS])


def history_cues(
    behavior: Tensor,
    location: Tensor,
    time_s: Tensor,
    utc_offset_min: Tensor,
    moment: Moment | None,
) -> Tensor:
    """Cues of `edgebehave_train.history_cues`, (F, n); inputs as for `kernel_weights`."""
    index = torch.arange(behavior.shape[0])
    before, before_2 = (index - 1).clamp_min(0), (index - 2).clamp_min(0)
    last_but_one = behavior.index_select(0, before[-1:])
    same_last = (behavior.index_select(0, before) == behavior[-1:]) & (index >= 1)
    same_last_2 = (behavior.index_select(0, before_2) == last_but_one) & (index >= 2)
    weekday, slot = weekday_and_slot(time_s, utc_offset_min)
    if moment is None:
        time_known = torch.zeros(1, dtype=torch.bool)
        query_weekday, query_slot, wait = weekday[-1:], slot[-1:], torch.zeros(1)
    else:
        time_known = moment.time_known[None]
        query_weekday, query_slot = weekday_and_slot(moment.time_s, moment.utc_offset_min)
        wait = log_gap(moment.time_s - time_s[-1:])
    return Coincidences(
        age=behavior.shape[0] - 1 - index,
        elapsed_s=time_s[-1:] - time_s,
        same_last=same_last,
        same_last_two=same_last & same_last_2,
        same_place=(location.index_select(0, before) == location[-1:]) & (index >= 1),
        repeat=behavior == behavior[-1:],
        # With one behavior, the last but one would be itself.
        alternation=(behavior == last_but_one) & (index[-1:] >= 1),
        at_place=location == location[-1:],
        waited=log_gap(time_s - time_s.index_select(0, before)),
        wait=wait,
        slot=slot,
        weekday=weekday,
        query_slot=query_slot,
        query_weekday=query_weekday,
        time_known=time_known,
    ).cues()


class Predict(nn.Module):
    """Probabilities of the mixture for one query, `edgebehave_train.scoring` for one target.

    Which inputs `forward` takes, and in which order, follows from the configuration of the model;
    `input_names` tells.
    """

    def __init__(self, model: BehaviorModel) -> None:
        super().__init__()
        self.model = model

    @property
    def input_names(self) -> list[str]:
        config = self.model.config
        names = ["hidden"]
        if config.query_context != "none":
            names += ["time_s", "utc_offset_min", "time_known"]
        if config.query_context == "time_location":
            names += ["location"]
        if config.habits:
            names += [
                "history_behavior",
                "history_location",
                "history_time_s",
                "history_utc_offset_min",
            ]
        return names

    def forward(self, *inputs: Tensor) -> Tensor:
        """probs (V + U,) float32; column 0 is 0.

        hidden                                 (D,) float32, of the last event.
        time_s, utc_offset_min, time_known     () int64, the last 0 or 1: the moment to predict for.
        location                               () int64, the place to predict for.
        history_{behavior,location,time_s,utc_offset_min}
                                               (n,) int64, n >= 1, oldest first.
        """
        given = dict(zip(self.input_names, inputs, strict=True))
        model = self.model
        config = model.config
        hidden_1D = given["hidden"][None]
        moment: Moment | None = None
        if config.query_context == "none":
            z_1D = hidden_1D
        else:
            # 0 or 1, not a bool: ONNX Runtime's interface for Swift and Objective-C has none.
            time_known = given["time_known"] != 0
            moment = Moment(given["time_s"], given["utc_offset_min"], time_known)
            weekday, slot = weekday_and_slot(moment.time_s, moment.utc_offset_min)
            place = None
            if config.query_context == "time_location":
                place = known_or_unknown(given["location"], config.num_locations)[None]
            z_1D = model.query(
                hidden_1D,
                torch.where(moment.time_known, weekday, UNKNOWN_TIME)[None],
                torch.where(moment.time_known, slot, UNKNOWN_TIME)[None],
                place,
            )
        network_V = model.logits(z_1D).softmax(-1)[0]
        if not config.habits:
            return F.pad(network_V, (0, config.num_spare))
        behavior = given["history_behavior"]
        history = (
            behavior,
            given["history_location"],
            given["history_time_s"],
            given["history_utc_offset_min"],
            moment,
        )
        weights_Kn = kernel_weights(*history)
        if config.learned_kernel:
            cues_Fn = history_cues(*history)
            learned_n = model.learned_kernel.scores(z_1D, cues_Fn, torch.zeros_like(behavior)).exp()
            weights_Kn = torch.cat([weights_Kn, learned_n[None]])
        evidence_K = weights_Kn.sum(1)
        gates = model.log_gates(z_1D, evidence_K[None]).exp()[0]
        share_K = gates[1:] / evidence_K.clamp_min(1e-9)
        weight_n = (share_K[None] @ weights_Kn)[0]
        # A behavior without an id of its own keeps its part of the evidence, but is no candidate.
        weight_n = weight_n * (behavior > 0)
        return F.pad(gates[0] * network_V, (0, config.num_spare)).scatter_add(0, behavior, weight_n)
