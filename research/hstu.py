"""HSTU: attention without a softmax, gated point by point (Zhai et al. 2024, arXiv 2402.17152).

    U, V, Q, K = SiLU(W LayerNorm(x))                                             Eq. 1
    A_ts = SiLU(q_t . k_s + p[t - s] + w[bucket(time_t - time_s)]) / I            Eq. 2
    x' = x + W' (LayerNorm(A V) * U)                                              Eq. 3

Who sees whom is as in `attention`: the last I events of the same user. Weights that need not sum to
1 keep how strong an interest is; the relative bias p, w tells how long ago it was, so there are
no rotary positions, and the gate U takes the place of the MLP, so a block is all of a layer.

As in the authors' code: p and w belong to a layer and are shared by its heads, buckets of time
are steps of 0.301 in ln(seconds), LayerNorm has epsilon 1e-6. Differently: the divisor is the
window, not the longest sequence, and the time of a query is that of its own event. The authors
take the time of the next event, which a state must not know; `query_context` adds it later.
"""

# B rows, T events, D width, H heads, E head width, N blocks, I window

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave_train.model.behavior_model import BLOCKS, Blocks, ModelConfig

NUM_TIME_BUCKETS = 64
"""The last one begins after 5 years."""

_BUCKET_WIDTH = 0.301
_NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class HstuPlan:
    """Numbers that are computed once for a batch and used by every layer.

    scale     (B N, 1, I, 2 I) float32, 1 / I where the query sees the key, else 0.
    distance  (I, 2 I) int64, events between query and key, in 0..I-1.
    bucket    (B N, I, 2 I) int64, bucket of the time between them.
    """

    window: int
    scale: Tensor
    distance: Tensor
    bucket: Tensor


def plan_hstu(segment_BT: Tensor, time_s_BT: Tensor, window: int) -> HstuPlan:
    """Prepare a batch.

    segment_BT  as in `plan_attention`.
    time_s_BT   (B, T) int64, seconds, of any origin.
    window      I >= 1.
    """
    visible = visible_pairs(segment_BT, window).flatten(0, 1)
    time_s = in_blocks(time_s_BT, window)
    apart_s = time_s[:, :, :, None] - with_previous(time_s)[:, :, None, :]
    return HstuPlan(
        window=window,
        scale=visible[:, None].float() / window,
        distance=block_distance(window, segment_BT.device).clamp(0, window - 1),
        bucket=time_bucket(apart_s).flatten(0, 1),
    )


def time_bucket(apart_s: Tensor) -> Tensor:
    """floor(ln(max(seconds, 1)) / 0.301), at most NUM_TIME_BUCKETS - 1; int64."""
    bucket = (apart_s.clamp_min(1).float().log() / _BUCKET_WIDTH).long()
    return bucket.clamp_max(NUM_TIME_BUCKETS - 1)


def pointwise_attention(
    query_BTHE: Tensor, key_BTHE: Tensor, value_BTHE: Tensor, bias: Tensor, plan: HstuPlan
) -> Tensor:
    """SiLU(Q K^T + bias) V / I over what is visible; (B, T, H, E), bias (B N, I, 2 I)."""
    with torch.autocast(query_BTHE.device.type, enabled=False):  # as the softmax beside it
        queries, keys, values = query_key_value_blocks(query_BTHE, key_BTHE, value_BTHE, plan.window)
        weights = F.silu(queries @ keys.transpose(-1, -2) + bias[:, None]) * plan.scale
        attended = weights @ values
    return from_blocks(attended, query_BTHE)


def in_blocks(x: Tensor, window: int, fill: int = 0) -> Tensor:
    """Cut rows into blocks of I events: (B, T, ...) to (B, N, I, ...), the last block filled up."""
    padding = -x.shape[1] % window
    x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, padding), value=fill)
    blocks: Tensor = x.unflatten(1, (-1, window))
    return blocks


def with_previous(x: Tensor, fill: int = 0) -> Tensor:
    """Each block behind the one before it: (B, N, I, ...) to (B, N, 2 I, ...), the first filled."""
    before = F.pad(x[:, :-1], (0, 0) * (x.ndim - 2) + (1, 0), value=fill)
    return torch.cat([before, x], 2)


def visible_pairs(segment_BT: Tensor, window: int) -> Tensor:
    """(B, N, I, 2 I) bool: whether each query sees a key of its block or of the block before it."""
    segment = in_blocks(segment_BT, window, fill=-1)
    keys = with_previous(segment, fill=-2)
    distance = block_distance(window, segment_BT.device)
    near = (distance >= 0) & (distance < window)
    return near & (segment[:, :, :, None] == keys[:, :, None, :])


def block_distance(window: int, device: torch.device) -> Tensor:
    """(I, 2 I) int64: number of events from each key of two blocks to a query of the second."""
    query_position = torch.arange(window, 2 * window, device=device)
    return query_position[:, None] - torch.arange(2 * window, device=device)[None]


def query_key_value_blocks(
    query_BTHE: Tensor, key_BTHE: Tensor, value_BTHE: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 queries (B N, H, I, E) of each block, keys and values (B N, H, 2 I, E) they see."""
    query, key, value = (in_blocks(x.float(), window) for x in (query_BTHE, key_BTHE, value_BTHE))
    parts = (query, with_previous(key), with_previous(value))
    queries, keys, values = (x.flatten(0, 1).transpose(1, 2) for x in parts)
    return queries, keys, values


def from_blocks(attended: Tensor, like_BTHE: Tensor) -> Tensor:
    """Blocks (B N, H, I, E) as rows (B, T, H, E) again, of the shape and type of another tensor."""
    num_rows, num_events, num_heads, head_width = like_BTHE.shape
    rows = attended.transpose(1, 2).reshape(num_rows, -1, num_heads, head_width)
    return rows[:, :num_events].to(like_BTHE.dtype)


class HstuBlock(nn.Module):
    """One layer of HSTU, in place of a transformer block."""

    def __init__(self, width: int, num_heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.input_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.uvqk = nn.Linear(width, 4 * width)
        self.distance_bias = nn.Parameter(torch.empty(window).normal_(std=0.02))
        self.time_bias = nn.Parameter(torch.empty(NUM_TIME_BUCKETS).normal_(std=0.02))
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def relative_bias(self, plan: HstuPlan) -> Tensor:
        """p[t - s] + w[bucket(time_t - time_s)], (B N, I, 2 I) float32."""
        # Its gradient takes 0.3 ms on a CPU where that of `F.embedding` takes 26.
        of_time = self.time_bias.index_select(0, plan.bucket.flatten())
        return self.distance_bias[plan.distance] + of_time.view_as(plan.bucket)

    def forward(self, x_BTD: Tensor, plan: HstuPlan) -> Tensor:
        gate, value, query, key = F.silu(self.uvqk(self.input_norm(x_BTD))).chunk(4, -1)
        query, key, value = (x.unflatten(-1, (self.num_heads, -1)) for x in (query, key, value))
        bias = self.relative_bias(plan)
        attended = pointwise_attention(query, key, value, bias, plan).flatten(-2)
        out: Tensor = x_BTD + self.out(self.dropout(self.attention_norm(attended) * gate))
        return out


class HstuBlocks(Blocks):
    """The blocks of `attention: hstu`, which importing this module adds to `BLOCKS`."""

    def __init__(self, config: ModelConfig) -> None:
        shape = (config.width, config.num_heads, config.window, config.dropout)
        nn.ModuleList.__init__(self, (HstuBlock(*shape) for _ in range(config.num_layers)))
        self.window = config.window

    def plan(self, segment_BT: Tensor, time_s_BT: Tensor, backend: str, num_last: int | None = None) -> HstuPlan:
        """One backend only, blocks of all events on every device."""
        return plan_hstu(segment_BT, time_s_BT, self.window)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, plan: HstuPlan) -> Tensor:
        """No rotary positions: cos and sin are not used."""
        for block in self:
            x_BTD = block(x_BTD, plan)
        return x_BTD


BLOCKS["hstu"] = HstuBlocks
