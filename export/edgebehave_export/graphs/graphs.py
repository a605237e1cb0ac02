"""The graphs of a bundle, as modules around the layers of a trained model.

    observe   events and the cache of the past -> states, and what is new in the cache
    predict   state, moment and history        -> final probabilities
    window    events, moment and history       -> final probabilities, without a cache

Observe becomes observe.onnx of the web, the window window.onnx of a server. Predict is their half
of it and of next.onnx, and what predict.onnx, written by `predict_graph`, is compared with.

All take what a client has at hand, ids and times, and compute weekdays, slots, rotary positions
and habit kernels themselves. The layers, the gates and the head are those of `BehaviorModel`;
only the attention over a cache and the kernels over a raw history are written here, because
training has them in a packed form.
"""

# N new events, M = number of cached events + N, n behaviors of a history, D width, H heads, E head
# width, L layers, V behaviors, U spare slots, C = V + U candidates, K kernels

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave.habits import KERNELS
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS, SECONDS_PER_SLOT
from edgebehave_export.graphs.history_graph import KERNEL_ROWS, HistoryWeights, Moment, Timeline, calendar
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, VOCABULARY_TRUST, BehaviorModel, Block

_FREQUENCY = KERNEL_ROWS.index("frequency")
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


def gelu(x: Tensor) -> Tensor:
    """x Phi(x), written so that ONNX Runtime finds its fused form in it."""
    return (0.5 * x) * (1.0 + torch.erf(x / math.sqrt(2.0)))


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

    def __init__(self, model: BehaviorModel) -> None:
        super().__init__()
        attention = model.config.attention
        if attention != "softmax":
            raise ValueError(
                f"a model with attention {attention} runs in training and evaluation alone; "
                "export one that was trained with attention softmax"
            )
        self.model = model
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
        Returns   hidden (N, D); keys and values of the new events (2 L, N, H, E), to be appended
                  to the cache, of which the client keeps the last window - 1.
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
            rows += [new_key, new_value]
        return model.norm(x_ND), torch.stack(rows)


class Predict(nn.Module):
    """Probabilities of the mixture for one query, `edgebehave_train.metrics.scoring` for one target.

    Which inputs `forward` takes, and in which order, follows from the configuration of the model;
    `input_names` tells. The layers are those of the model, with the kernels in the order of
    `history_graph`.
    """

    shrinkage_K: Tensor
    head_bias_V: Tensor
    gate_in: Tensor
    gate_out: Tensor
    gate_out_bias: Tensor

    def __init__(self, model: BehaviorModel) -> None:
        super().__init__()
        self.model = model
        config = model.config
        self._constant("head_bias_V", model.head_out.bias + model.never_V())
        if config.query_context != "none":
            tables = (model.query_weekday.weight, model.query_slot.weight)
            self.query_time = nn.Embedding.from_pretrained(torch.cat(tables).detach())
        if not config.habits:
            return
        self.history_weights = HistoryWeights(model.learned_kernel if config.learned_kernel else None)
        order_K = [KERNELS.index(name) for name in KERNEL_ROWS]
        order_K += [len(KERNELS)] * config.learned_kernel
        columns = torch.tensor(
            [
                *range(config.width),
                *(config.width + k for k in order_K),
                *(config.width + len(order_K) + k for k in order_K),
            ]
        )
        gates = torch.tensor([0, *(1 + k for k in order_K)])
        self._constant("gate_in", model.gate_in.weight[:, columns])
        self._constant("gate_out", model.gate_out.weight[gates])
        self._constant("gate_out_bias", model.gate_out.bias[gates])
        self._constant("shrinkage_K", model.log_shrinkage.exp()[order_K])

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.detach().clone(), persistent=False)

    @property
    def input_names(self) -> list[str]:
        config = self.model.config
        names = ["hidden"]
        if config.query_context != "none":
            names += ["time_s", "utc_offset_min", "time_known"]
        if config.query_context == "time_location":
            names += ["location"]
        if config.habits:
            names += ["history"]
        return names

    def forward(self, *inputs: Tensor) -> Tensor:
        """probs (V + U,) float32, sums to 1; column 0 is what has no id of its own.

        hidden                              (1, D) float32, of the last event.
        time_s, utc_offset_min, time_known  (1,) int64, the last 0 or 1: the moment to predict for.
        location                            (1,) int64, the location to predict for.
        history                             (4, n) int64, 1 <= n <= HABIT_EVENTS, oldest first;
                                            rows as in HISTORY_ROWS.
        """
        given = dict(zip(self.input_names, inputs, strict=True))
        config = self.model.config
        z_1D, moment = given["hidden"], None
        if config.query_context != "none":
            # 0 or 1, not a bool: ONNX Runtime's interface for Swift and Objective-C has none.
            moment = Moment(given["time_s"], given["utc_offset_min"], given["time_known"].bool())
        timeline = Timeline.of(given["history"], moment) if config.habits else None
        if moment is not None:
            z_1D = self.query(z_1D, moment, timeline, given.get("location"))
        return self.mixture(z_1D, timeline)

    def mixture(self, z_1D: Tensor, timeline: Timeline | None, happened_n: Tensor | None = None) -> Tensor:
        """probs (V + U,) from z; happened_n 1 where the kernels may copy, 0 where not."""
        config = self.model.config
        network_1V = self._network(z_1D)
        if timeline is None:
            return F.pad(network_1V, (0, config.num_spare)).flatten()
        weights_Kn = self.history_weights(z_1D, timeline)
        behavior_1n = timeline.history_4n[:1]
        is_known_1n = (behavior_1n < config.num_behaviors).float()
        if happened_n is not None:
            weights_Kn, is_known_1n = weights_Kn * happened_n, is_known_1n * happened_n
        num_known = is_known_1n.sum()
        evidence_1K = weights_Kn.sum(1, keepdim=True).T
        network_11, shares_1K = self._gates(z_1D, evidence_1K, num_known)
        mixture_1C = F.pad(network_11 * network_1V, (0, config.num_spare))
        mixture_1C = mixture_1C.scatter_add(1, behavior_1n, shares_1K @ weights_Kn)
        return (mixture_1C / mixture_1C.sum(1, keepdim=True)).flatten()

    def query(self, hidden_1D: Tensor, moment: Moment, timeline: Timeline | None, location: Tensor | None) -> Tensor:
        """z (1, D), as `BehaviorModel.query`."""
        model = self.model
        if timeline is not None:
            now_31 = timeline.calendar_3N[:, -1:]
        else:
            now_31 = calendar(moment.time_s[None], moment.utc_offset_min[None])
        # Rows of the table: weekdays, one for none; then the half hours of a day, one for none.
        first_slot = NUM_WEEKDAYS + 1
        rows_21 = torch.addmm(
            torch.tensor([[0.0], [first_slot]]),
            torch.tensor([[0.0, 1.0, 0.0], [1.0, -float(NUM_SLOTS), 0.0]]),
            now_31,
        )
        none_21 = torch.tensor([[float(NUM_WEEKDAYS)], [float(first_slot + NUM_SLOTS)]])
        rows_21 = torch.where(moment.time_known, rows_21, none_21).long()
        z_1D = hidden_1D + self.query_time(rows_21).sum(0)
        if location is not None:
            known_location = known_or_unknown(location, model.config.num_locations)
            z_1D = z_1D + model.query_location(known_location)
        return z_1D

    def _network(self, z_1D: Tensor) -> Tensor:
        """p_0 (1, V), as the softmax of `BehaviorModel.logits`."""
        model = self.model
        hidden = gelu(model.head_in(z_1D))
        return F.linear(hidden, model.head_out.weight, self.head_bias_V).softmax(-1)

    def _gates(self, z_1D: Tensor, evidence_1K: Tensor, num_known: Tensor) -> tuple[Tensor, Tensor]:
        """`BehaviorModel.gates`, as shares that still have to be divided by their total Z.

            g_0 = r s_0 / Z,   g_k / E_k = s_k / (E_k + c_k) / Z,   s = softmax(gate(...))

        r is the share of the past that the vocabulary can name, () num_known behaviors of it.
        Returns  r s_0 (1, 1) and s_k / (E_k + c_k) (1, K).
        """
        features = torch.cat([z_1D, evidence_1K.log1p(), evidence_1K.sign()], 1)
        hidden = gelu(F.linear(features, self.gate_in, self.model.gate_in.bias))
        voices = F.linear(hidden, self.gate_out, self.gate_out_bias).softmax(-1)
        network_11, kernels_1K = voices.split([1, self.shrinkage_K.shape[0]], 1)
        shares_1K = kernels_1K / (evidence_1K + self.shrinkage_K)
        past_11 = evidence_1K[:, _FREQUENCY : _FREQUENCY + 1] + VOCABULARY_TRUST
        return network_11 * ((num_known + VOCABULARY_TRUST) / past_11), shares_1K
