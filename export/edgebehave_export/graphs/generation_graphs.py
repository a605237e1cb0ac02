"""The graphs that a device generates the future with, beside that of the waiting time.

    next.onnx    what happens at a moment, and how well each event stands for it
    place.onnx   where that event happens

They are the heads of `edgebehave_train.model.generation_heads` and the mixture of predict.onnx, without
its calibration, as `edgebehave_train.generation.futures` draws from them: what was generated is what the
last behavior means, and is no evidence.
"""

# n behaviors of a history, D width, V behaviors, U spare slots, E events, L locations, K kernels

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave.habits import DECAY, FIRST_WEEKEND_DAY, HOUR_WIDTH
from edgebehave.time_features import NUM_SLOTS
from edgebehave_export.graphs.graphs import Predict, known_or_unknown
from edgebehave_export.graphs.history_graph import LocalTime, Moment, Timeline
from edgebehave_export.graphs.waiting_time_graph import happened
from edgebehave_train.kernels.copy_kernels import LOCATION_KERNELS
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig


def can_generate(config: ModelConfig) -> bool:
    """A model that asks for the location of what comes next cannot say what comes next first."""
    return config.generation_heads and config.query_context != "time_location"


class NextBehavior(nn.Module):
    """p(behavior | state, moment, history), and scores of the events."""

    def __init__(self, model: BehaviorModel) -> None:
        super().__init__()
        self.model, self.predict = model, Predict(model)

    @property
    def input_names(self) -> list[str]:
        names = ["hidden", "time_s", "utc_offset_min"]
        if self.model.config.query_context == "none":
            names = names[:1]
        return names + ["history", "num_real"] * self.model.config.habits

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """probs (V + U,), as of predict.onnx without calibration; event_scores (E,), of which a
        softmax over the events that stand for a behavior is p(event | behavior); z (1, D).

        num_real  () int64, the first so many of the history happened; the others were generated.
        """
        given = dict(zip(self.input_names, inputs, strict=True))
        model, z_1D = self.model, given["hidden"]
        moment, history_4n = None, given.get("history")
        if "time_s" in given:
            is_known = torch.ones(1, dtype=torch.bool)
            moment = Moment(given["time_s"], given["utc_offset_min"], is_known)
        timeline, happened_n = None, None
        if history_4n is not None:
            timeline = Timeline.of(history_4n, moment)
            happened_n = happened(history_4n, given["num_real"])
        if moment is not None:
            z_1D = self.predict.query(z_1D, moment, timeline, None)
        probs = self.predict.mixture(z_1D, timeline, happened_n)
        heads = model.generation
        event_scores = F.linear(heads.event_out(z_1D), model.event.weight, heads.event_bias)
        return probs, event_scores[0], z_1D


class NextLocation(nn.Module):
    """p(location | event, z, history), kernels as in `copy_kernels.place_weights`."""

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
        num_real                as in `NextBehavior`.
        """
        config = self.model.config
        event_vector = self.model.event(known_or_unknown(event, config.num_events))
        weights_Kn = self._copies(event, LocalTime.of(time_s, utc_offset_min), history_4n, history_event_n, num_real)
        evidence_1K = weights_Kn.sum(1)[None]
        context = torch.cat([z_1D, event_vector], -1)
        gates = self.heads.place_gate(context, evidence_1K).exp()
        copied_n = ((gates[:, 1:] / evidence_1K.clamp_min(1e-9)) @ weights_Kn)[0]
        network = self.heads.location_log_probs(z_1D, event_vector, self.model.location).exp()
        return (gates[:, :1] * network)[0], copied_n

    def _copies(
        self,
        event: Tensor,
        now: LocalTime,
        history_4n: Tensor,
        history_event_n: Tensor,
        num_real: Tensor,
    ) -> Tensor:
        """w_k(j) (K, n), rows PLACE_KERNELS."""
        _, location, time_s, utc_offset_min = history_4n
        index = torch.arange(location.shape[0])
        age = location.shape[0] - 1 - index
        location_before = location.index_select(0, (index - 1).clamp_min(0))
        past = LocalTime.of(time_s, utc_offset_min)
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
        return torch.stack([weights[name] for name in LOCATION_KERNELS])
