"""Sliding-window causal attention over packed users, behind one function.

Several users share a row. Event t of a user looks back on the last I events of the same user, itself included
(BehaveGPT, Eq. 1, with a sliding window: key s is seen by query t if segment_s = segment_t and t - I < s <= t).

Backends, which agree to rounding:
    flash_attn   flash-attn's varlen kernel: CUDA, half precision, when the package is installed
    varlen       torch.nn.attention.varlen: CUDA, half precision, from torch 2.11 on
    blockwise    explicit softmax over blocks of 2/3 I queries, each with the keys that some of them
                 can see: linear in T; everywhere else
    dense        SDPA with a full (T, T) mask: the obvious definition, for tests
"""

# B rows, T events, H heads, E head width, N blocks, I window, S queries of a block, K keys that they can see

import importlib.util
import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

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


class QueryBlock(NamedTuple):
    """Adjacent queries of every row, and the keys that some of them can see.

    queries, keys  positions in a row; of queries among those of the layer.
    mask           (B, 1, S, K) float32, 0 where a query sees a key, else -1e9 or less.
    """

    queries: slice
    keys: slice
    mask: Tensor


class NarrowLayer(NamedTuple):
    """A layer that computes the states of the last events of each row alone, from those that they see.

    num_queries  events of a row whose states are computed; a layer reads as many as the one before it computes.
    blocks       of these queries.
    """

    num_queries: int
    blocks: Sequence[QueryBlock]


@dataclass(frozen=True)
class AttentionPlan:
    """Numbers that a backend computes once for a batch and that every layer uses.

    blocks              blockwise: of all queries.
    narrow              blockwise, instead of blocks: all layers in order, where the states of the last events of each
                        row alone are read.
    mask                dense: (B, 1, T, T) bool.
    cumulative_lengths  varlen kernels: (S + 1,) int32, borders of the S segments; else None.
    max_length          longest segment, in events.
    """

    backend: str
    window: int
    blocks: Sequence[QueryBlock] = ()
    narrow: Sequence[NarrowLayer] = ()
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
    segment_BT = segment_BT.int()
    if backend == "dense":
        position = torch.arange(num_events, device=segment_BT.device)
        distance = position[:, None] - position[None]
        near = (distance >= 0) & (distance < window)
        same = segment_BT[:, :, None] == segment_BT[:, None, :]
        return AttentionPlan(backend, window, mask=(near & same)[:, None])
    return AttentionPlan(backend, window, blocks=_query_blocks(segment_BT, window))


def plan_last_events(segment_BT: Tensor, window: int, num_last: int, num_layers: int) -> AttentionPlan:
    """Prepare a batch of which the states of the last events of each row alone are read, blockwise.

    The layer before the last one computes those that num_last queries see, and so on to the first.
    """
    num_events, layers = segment_BT.shape[1], []
    segment_BT = segment_BT.int()
    for layers_behind in reversed(range(num_layers)):
        num_queries = min(num_events, num_last + layers_behind * (window - 1))
        layers.append(NarrowLayer(num_queries, _query_blocks(segment_BT, window, num_queries)))
        segment_BT = segment_BT[:, -num_queries:]
    return AttentionPlan("blockwise", window, narrow=layers)


def _query_blocks(segment_BT: Tensor, window: int, num_queries: int | None = None) -> list[QueryBlock]:
    """Blocks of all events of the rows, or of the last ones."""
    device, num_events = segment_BT.device, segment_BT.shape[1]
    first = 0 if num_queries is None else num_events - num_queries
    length = -(-2 * window // 3)  # shorter blocks are more steps, longer ones have more keys that a query cannot see
    # Of a block that has all its keys: column 0 is the oldest one that its first query sees.
    distance = (
        torch.arange(length, device=device)[:, None] + window - 1 - torch.arange(length + window - 1, device=device)
    )
    far = torch.zeros(distance.shape, device=device).masked_fill_((distance < 0) | (distance >= window), -1e9)
    blocks = []
    for start in range(first, num_events, length):
        stop = min(start + length, num_events)
        queries, keys = slice(start, stop), slice(max(0, start - window + 1), stop)
        other_user = torch.ne(
            segment_BT[:, queries, None], segment_BT[:, None, keys], out=torch.empty(0, device=device)
        )
        mask = other_user.mul_(-1e9).add_(far[: stop - start, max(0, window - 1 - start) : stop - start + window - 1])
        blocks.append(QueryBlock(slice(start - first, stop - first), keys, mask[:, None]))
    return blocks


def sliding_window_attention(query_BTHE: Tensor, key_BTHE: Tensor, value_BTHE: Tensor, plan: AttentionPlan) -> Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V with the mask of the plan; (B, T, H, E) in and out."""
    if plan.backend in ("flash_attn", "varlen"):
        return _varlen(query_BTHE, key_BTHE, value_BTHE, plan)
    if plan.backend == "dense":
        attended = F.scaled_dot_product_attention(
            query_BTHE.transpose(1, 2), key_BTHE.transpose(1, 2), value_BTHE.transpose(1, 2), attn_mask=plan.mask
        )
        return attended.transpose(1, 2)
    return blockwise_attention(query_BTHE, key_BTHE, value_BTHE, plan.blocks)


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[QueryBlock]) -> Tensor:
    """The same by some blocks; the queries may be the last ones of each row alone."""
    # Explicit and in float32: on a CPU, SDPA's backward pass with a mask takes four times as long, and products of so
    # small matrices gain nothing from bfloat16.
    with torch.autocast(query.device.type, enabled=False):
        heads = (x.float().transpose(1, 2).flatten(0, 1) for x in (query, key, value))
        attended: Tensor = _Blockwise.apply(*heads, blocks)  # type: ignore[no-untyped-call]  # of torch
    return attended.unflatten(0, (len(query), -1)).transpose(1, 2).to(query.dtype)


class _Blockwise(torch.autograd.Function):
    """Attention of queries, keys and values (B H, T, E), block by block, forward and backward; queries may be fewer.

    Half the time of autograd's own steps, which pass over blocks of I queries and 2 I keys, most of which are hidden.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[QueryBlock]) -> Tensor:
        scaled = query * query.shape[-1] ** -0.5
        parts, probs = [], []
        for queries, keys, mask in blocks:
            scores = torch.bmm(scaled[:, queries], key[:, keys].transpose(1, 2))
            scores.unflatten(0, (len(mask), -1)).add_(mask)
            probs.append(scores.softmax(-1))
            parts.append(torch.bmm(probs[-1], value[:, keys]))
        attended = torch.cat(parts, 1)
        ctx.save_for_backward(scaled, key, value, attended, *probs)
        ctx.blocks = blocks
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled, key, value, attended, *probs = ctx.saved_tensors
        mean = (gradient * attended).sum(-1, keepdim=True)  # of the gradients of a query's scores, as it weighs them
        of_queries, of_key, of_value = [], torch.zeros_like(key), torch.zeros_like(value)
        for (queries, keys, _), probs_of_block in zip(ctx.blocks, probs, strict=True):
            of_attended = gradient[:, queries]
            of_scores = torch.bmm(of_attended, value[:, keys].transpose(1, 2))
            of_scores.sub_(mean[:, queries]).mul_(probs_of_block)
            of_queries.append(torch.bmm(of_scores, key[:, keys]))
            of_key[:, keys] += torch.bmm(of_scores.transpose(1, 2), scaled[:, queries])
            of_value[:, keys] += torch.bmm(probs_of_block.transpose(1, 2), of_attended)
        return torch.cat(of_queries, 1) * scaled.shape[-1] ** -0.5, of_key, of_value, None


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
