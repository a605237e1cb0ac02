"""observe.onnx for the web, as a torch module around the layers of a trained model.

It takes what a client has, ids and times, and computes weekdays, slots and rotary positions itself. The layers
are those of `BehaviorModel`; only the attention over a cache is written here, because training has it in a
packed form.
"""

# N new events, M = number of cached events + N, D width, H heads, E head width, L layers

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave_export.graphs.clock import weekday_and_slot
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel, Block, ModelConfig


def require_exportable(config: ModelConfig) -> None:
    """Raises ValueError for a window of 1, which leaves nothing to cache, and for an attention of research."""
    if config.attention != "softmax":
        raise ValueError(
            f"a model with attention {config.attention} runs in training and evaluation alone; "
            "export one that was trained with attention softmax"
        )
    if config.window < 2:
        raise ValueError(f"a bundle needs a window of at least 2 events, got {config.window}")


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
        model, config = self.model, self.model.config
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
