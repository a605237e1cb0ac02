"""wait.onnx and place.onnx, as torch modules: when the next event happens, and where.

They are the heads of `edgebehave_train.model.generation_heads`, as `edgebehave_train.generation.futures` draws
from them. The third graph of generation, next.onnx, is in `predict_graph`.
"""

# n behaviors of a history, D width, L locations, K kernels, B bins, Q quantiles in a bin,
# G = B Q + n waiting times, P paces

import numpy as np
import torch
from torch import Tensor, nn

from edgebehave.habits import DECAY, FIRST_WEEKEND_DAY, GAP_UNIT_S, GAP_WIDTH, HOUR_WIDTH
from edgebehave.time_features import NUM_SLOTS
from edgebehave_export.graphs.clock import LocalTime
from edgebehave_export.graphs.web_observe import known_or_unknown
from edgebehave_train.kernels.copy_kernels import GAP_KERNELS, LOCATION_KERNELS
from edgebehave_train.kernels.time_gaps import NUM_BINS, NUM_PACES, bin_of_gap, gap_at, pace_of_bin
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig

_BINS_OF_PACE = NUM_BINS // NUM_PACES


def can_generate(config: ModelConfig) -> bool:
    """True if a bundle can generate events: the model must not take the location of the next event."""
    return config.generation_heads and config.query_context != "time_location"


def pace_edges() -> Tensor:
    """(P,) int64: the shortest waiting time, in whole seconds, of each pace."""
    edges = np.ceil(gap_at(_BINS_OF_PACE * np.arange(NUM_PACES)) - 1e-6).astype(np.int64)
    assert (pace_of_bin(bin_of_gap(edges)) == np.arange(NUM_PACES)).all()
    assert (pace_of_bin(bin_of_gap(edges[1:] - 1)) == np.arange(NUM_PACES - 1)).all()
    return torch.from_numpy(edges)


def happened(history_4n: Tensor, num_real: Tensor) -> Tensor:
    """(n,) float32: 1 for the first `num_real` behaviors of a history, 0 for generated ones."""
    return (torch.arange(history_4n.shape[1]) < num_real).float()


class WaitingTimes(nn.Module):
    """p(time until the next behavior | state, history), counted from the last behavior."""

    edges_P1: Tensor
    values_BQ: Tensor

    def __init__(self, model: BehaviorModel) -> None:
        """Raises ValueError for a model without generation heads."""
        super().__init__()
        if not model.config.generation_heads:
            raise ValueError("a model without generation heads has no waiting times")
        self.heads = model.generation
        self.register_buffer("edges_P1", pace_edges()[:, None], persistent=False)
        self.register_buffer("values_BQ", self.heads.gap_values_BQ.clone(), persistent=False)

    def forward(self, hidden_1D: Tensor, history_4n: Tensor, num_real: Tensor) -> tuple[Tensor, Tensor]:
        """gap_s (G,) float32 seconds, not sorted and not distinct, and probs (G,), which sum to 1.

        hidden    (1, D) float32, of the last event.
        history   (4, n) int64 as for predict.onnx, n >= 1.
        num_real  () int64, the first num_real behaviors of the history happened. The others were generated:
                  the wait is for what follows them, but nothing is copied from them.
        """
        gap_n, weights_Kn = self._copies(history_4n)
        weights_Kn = weights_Kn * happened(history_4n, num_real)
        evidence_1K = weights_Kn.sum(1)[None]
        gates = self.heads.gap_gate(hidden_1D, evidence_1K).exp()
        own_n = ((gates[:, 1:] / evidence_1K.clamp_min(1e-9)) @ weights_Kn)[0]
        frequency = weights_Kn[GAP_KERNELS.index("frequency")]
        at_least_P = ((gap_n >= self.edges_P1) * frequency).sum(1)
        pace_1P = (at_least_P - torch.cat([at_least_P[1:], at_least_P[:1] * 0]))[None]
        bins_1B = gates[:, :1] * self.heads.gap_log_probs(hidden_1D, pace_1P).exp()
        num_quantiles = self.values_BQ.shape[1]
        in_bins = (bins_1B.T / num_quantiles).expand(-1, num_quantiles).reshape(-1)
        gap_s = torch.cat([self.values_BQ.reshape(-1), gap_n.float()])
        return gap_s, torch.cat([in_bins, own_n])

    def _copies(self, history_4n: Tensor) -> tuple[Tensor, Tensor]:
        """Own waiting times (n,) int64 seconds, and w_k(j) of `copy_kernels` (K, n)."""
        behavior, location, time_s, utc_offset_min = history_4n
        index = torch.arange(behavior.shape[0])
        before = (index - 1).clamp_min(0)
        local = LocalTime.of(time_s, utc_offset_min)
        is_weekend = (local.weekday >= FIRST_WEEKEND_DAY).float()
        gap_n = time_s - time_s.index_select(0, before)
        log_gap = (gap_n.float() / GAP_UNIT_S).log1p()

        def alike(values: Tensor) -> Tensor:
            return (values.index_select(0, before) == values[-1:]).float()

        apart = (local.slot.index_select(0, before) - local.slot[-1:]).abs()
        around = torch.minimum(apart, NUM_SLOTS - apart)
        seen, seen_two = (index >= 1).float(), (index >= 2).float()
        hour = seen * alike(is_weekend) * (-0.5 * (around / HOUR_WIDTH) ** 2).exp()
        transition = seen * alike(behavior)
        pace_apart = (log_gap.index_select(0, before) - log_gap[-1:]) / GAP_WIDTH
        weights = {
            "frequency": seen,
            "recency": seen * torch.pow(DECAY, (behavior.shape[0] - 1 - index).float()),
            "transition": transition,
            "hour": hour,
            "transition_hour": transition * hour,
            "location_hour": hour * alike(location),
            "pace": seen_two * (-0.5 * pace_apart**2).exp(),
        }
        return gap_n, torch.stack([weights[name] for name in GAP_KERNELS])


class NextLocation(nn.Module):
    """p(location | event, z, history), kernels as in `copy_kernels.location_weights`."""

    def __init__(self, model: BehaviorModel) -> None:
        super().__init__()
        self.model, self.heads = model, model.generation

    def forward(
        self,
        z_1D: Tensor,
        event: Tensor,
        time_s: Tensor,
        utc_offset_min: Tensor,
        history_4n: Tensor,
        history_event_n: Tensor,
        num_real: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """probs (L,) of the locations of the vocabulary and copied (n,) of those of the history,
        which sum to 1 together.

        z                       (1, D) of next.onnx.
        event                   (1,) int64, an id, or one from num_events up for an event of the
                                user's own.
        time_s, utc_offset_min  (1,) int64, when it happens.
        history_event           (n,) int64, the events of the history, ids likewise.
        num_real                as in `WaitingTimes`.
        """
        config = self.model.config
        event_vector = self.model.event(known_or_unknown(event, config.num_events))
        now = LocalTime.of(time_s, utc_offset_min)
        _, location, past_s, past_offset_min = history_4n
        index = torch.arange(location.shape[0])
        age = location.shape[0] - 1 - index
        location_before = location.index_select(0, (index - 1).clamp_min(0))
        past = LocalTime.of(past_s, past_offset_min)
        is_same_day = (past.weekday >= FIRST_WEEKEND_DAY) == (now.weekday >= FIRST_WEEKEND_DAY)
        apart = (past.slot - now.slot).abs()
        around = torch.minimum(apart, NUM_SLOTS - apart)
        real = happened(history_4n, num_real)
        hour = is_same_day.float() * (-0.5 * (around / HOUR_WIDTH) ** 2).exp()
        same_event = real * (history_event_n == event).float()
        is_after = (index >= 1).float() * (location_before == location[-1:]).float()
        weights = {
            "last": (age == 0).float(),
            "hour": real * hour,
            "event": same_event,
            "event_recent": same_event * torch.pow(DECAY, age.float()),
            "event_after": same_event * is_after,
            "event_hour": same_event * hour,
        }
        weights_Kn = torch.stack([weights[name] for name in LOCATION_KERNELS])
        evidence_1K = weights_Kn.sum(1)[None]
        context = torch.cat([z_1D, event_vector], -1)
        gates = self.heads.place_gate(context, evidence_1K).exp()
        copied_n = ((gates[:, 1:] / evidence_1K.clamp_min(1e-9)) @ weights_Kn)[0]
        network = self.heads.location_log_probs(z_1D, event_vector, self.model.location).exp()
        return (gates[:, :1] * network)[0], copied_n
