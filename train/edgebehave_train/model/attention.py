"""Sliding-window causal attention over packed users, behind one function.

Several users share a row. Event t of a user looks back on the last I events of the same user, itself included
(BehaveGPT, Eq. 1, with a sliding window: key s is seen by query t if segment_s = segment_t and t - I < s <= t).

Backends, which agree to rounding:
    flash_attn   flash-attn's varlen kernel: CUDA, half precision, when the package is installed
    varlen       torch.nn.attention.varlen: CUDA, half precision, from torch 2.11 on
    blockwise    explicit softmax over blocks of I events, each with its own and the previous
                 block as keys: linear in T; everywhere else
    dense        SDPA with a full (T, T) mask: the obvious definition, for tests
"""

# B rows, T events, H heads, E head width, N blocks, I window

import importlib.util
import inspect
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS = ("flash_attn", "varlen", "blockwise", "dense")


def choose_backend(device: torch.device, dtype: torch.dtype) -> str:
    """Fastest backend that works for tensors of this device and type; warns on slow CUDA.

    Raises ValueError if half precision on CUDA has no backend.
    """
    if device.type == "cuda":
        if dtype in (torch.bfloat16, torch.float16):
            if importlib.util.find_spec("flash_attn") is not None:
                return "flash_attn"
            require_varlen_window()
            return "varlen"
        warnings.warn(f"attention in {dtype} on CUDA runs blockwise; bfloat16 would use a fused kernel", stacklevel=2)
    return "blockwise"


def require_varlen_window() -> None:
    """Raises ValueError if torch's varlen attention has no sliding window: that of 2.10 has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn

        has_window = "window_size" in inspect.signature(varlen_attn).parameters
    except ImportError:
        has_window = False
    if not has_window:
        raise ValueError(
            f"torch {torch.__version__} has no varlen_attn with window_size; pip install 'torch>=2.11' or flash-attn, "
            "or train with --set precision=float32"
        )


@dataclass(frozen=True)
class AttentionPlan:
    """Numbers that a backend computes once for a batch and that every layer uses.

    mask                blockwise: (B N, 1, I, 2 I) float32, 0 or -1e9; dense: (B, 1, T, T) bool.
    cumulative_lengths  varlen kernels: (S + 1,) int32, borders of the S segments; else None.
    max_length          longest segment, in events.
    """

    backend: str
    window: int
    mask: Tensor | None = None
    cumulative_lengths: Tensor | None = None
    max_length: int = 0


def plan_attention(segment_BT: Tensor, window: int, backend: str) -> AttentionPlan:
    """Prepare a batch.

    segment_BT  (B, T) int64, equal for the events of one user; the events of a segment are adjacent in a row. Padding
                is a segment of its own.
    window      I >= 1.
    """
    if backend not in BACKENDS:
        raise ValueError(f"attention backend must be one of {BACKENDS}, got {backend!r}")
    num_rows, num_events = segment_BT.shape
    if backend in ("flash_attn", "varlen"):
        row_border = torch.arange(num_rows, device=segment_BT.device)[:, None].expand_as(segment_BT)
        flat, row = segment_BT.reshape(-1), row_border.reshape(-1)
        starts = (flat[1:] != flat[:-1]) | (row[1:] != row[:-1])
        borders = torch.cat([starts.new_ones(1), starts, starts.new_ones(1)]).nonzero()[:, 0]
        return AttentionPlan(
            backend, window, cumulative_lengths=borders.to(torch.int32), max_length=int(borders.diff().max())
        )
    if backend == "dense":
        position = torch.arange(num_events, device=segment_BT.device)
        distance = position[:, None] - position[None]
        near = (distance >= 0) & (distance < window)
        same = segment_BT[:, :, None] == segment_BT[:, None, :]
        return AttentionPlan(backend, window, mask=(near & same)[:, None])
    visible = visible_pairs(segment_BT, window)
    mask = torch.zeros(visible.shape, device=segment_BT.device).masked_fill(~visible, -1e9)
    return AttentionPlan(backend, window, mask=mask.flatten(0, 1)[:, None])


def in_blocks(x: Tensor, window: int, fill: int = 0) -> Tensor:
    """Cut rows into blocks of I events: (B, T, ...) to (B, N, I, ...), the last block filled up."""
    padding = -x.shape[1] % window
    x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, padding), value=fill)
    return x.unflatten(1, (-1, window))


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


def sliding_window_attention(query_BTHE: Tensor, key_BTHE: Tensor, value_BTHE: Tensor, plan: AttentionPlan) -> Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V with the mask of the plan; (B, T, H, E) in and out."""
    if plan.backend in ("flash_attn", "varlen"):
        return _varlen(query_BTHE, key_BTHE, value_BTHE, plan)
    if plan.backend == "dense":
        attended = F.scaled_dot_product_attention(
            query_BTHE.transpose(1, 2), key_BTHE.transpose(1, 2), value_BTHE.transpose(1, 2), attn_mask=plan.mask
        )
        return attended.transpose(1, 2)
    return _blockwise(query_BTHE, key_BTHE, value_BTHE, plan)


def _blockwise(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    # Explicit and in float32: on a CPU, SDPA's backward pass with a mask takes four times as long, and products of so
    # small matrices gain nothing from bfloat16.
    assert plan.mask is not None
    with torch.autocast(query.device.type, enabled=False):
        queries, keys, values = query_key_value_blocks(query, key, value, plan.window)
        scores = (queries * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2) + plan.mask
        attended = scores.softmax(-1) @ values
    return from_blocks(attended, query)


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


def _varlen(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    shape = query.shape
    query, key, value = (x.flatten(0, 1) for x in (query, key, value))
    borders, longest = plan.cumulative_lengths, plan.max_length
    assert borders is not None
    window = (plan.window - 1, 0)
    if plan.backend == "flash_attn":
        from flash_attn import flash_attn_varlen_func

        attended = flash_attn_varlen_func(
            query, key, value, borders, borders, longest, longest, causal=True, window_size=window
        )
    else:
        from torch.nn.attention.varlen import varlen_attn

        attended = varlen_attn(query, key, value, borders, borders, longest, longest, window_size=window)
    return attended.view(shape)
