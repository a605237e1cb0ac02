"""Dropout whose choices follow from (seed, step, row, position) alone, by a hash in place of a generator.

A training step then draws the same numbers however its rows are spread over processes and micro-batches, and a resumed
run needs no state of a generator. Outside of a keyed step, dropout is torch's own.

    key    = mix64(seed, step) + row * a + position * b, mixed      one 32-bit number for each event of a batch
    h      = mix32(key ^ mix32(site, column))                       two columns share the 32 bits of one hash
    kept   = h mod 2^16 >= round(p 2^16)
"""

# B rows, T events, M targets, D columns

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

_ROW, _POSITION = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
_FIRST, _SECOND = 0x7FEB352D, -0x7A5B9D95
"""Odd factors of the two rounds; the second as a signed 32-bit number."""


def row_keys(seed: int, step: int, first_row: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """A key for each event of the rows of a step, (B, T) int32.

    first_row  position of the first of these rows in the whole batch of the step.
    """
    rows = torch.arange(first_row, first_row + shape[0], device=device)[:, None]
    position = torch.arange(shape[1], device=device)[None]
    start = int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    mixed = rows * _ROW + position * _POSITION + start
    for factor in (0x3F58476D1CE4E5B9, 0x14D049BB133111EB):
        mixed = (mixed ^ ((mixed >> 31) & 0x1FFFFFFFF)) * factor
    return (mixed >> 32).to(torch.int32)


def kept(keys: Tensor, site: int, num_columns: int, share: float, dtype: torch.dtype = torch.bool) -> Tensor:
    """Which numbers stay when a share of them is dropped, (..., D), 1 or 0 of a type.

    keys   (...) int32; a key is of one event or target.
    site   number of the place in the network: every place draws for itself.
    dtype  numbers are not made of booleans, which takes a CPU longer than the hash.
    """
    stays = torch.empty(*keys.shape, num_columns, dtype=dtype, device=keys.device)
    threshold = round(share * 65536) - 32768
    if not keys.numel() or threshold > 32767:  # nothing is there, or nothing stays: 2^15 is no int16
        return stays.zero_()
    pairs = -(-num_columns // 2)
    column = torch.arange(pairs, dtype=torch.int32, device=keys.device)
    hashed = keys[..., None] ^ _mixed((column + site * 4099) * 0x01000193)
    return torch.ge(_mixed(hashed).view(torch.int16)[..., :num_columns], threshold, out=stays)


def _mixed(x: Tensor) -> Tensor:
    """Numbers (int32) whose 32 bits all depend on those of x. The masks make shifts of signed numbers logical."""
    x = (x ^ (x >> 16).bitwise_and_(0xFFFF)).mul_(_FIRST)
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= _SECOND
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


class RowNoise:
    """The keys of the batch that a model is trained on now; without them every draw is of torch's generator."""

    def __init__(self) -> None:
        self.event_keys: Tensor | None = None
        self.target_keys: Tensor | None = None

    @contextmanager
    def keyed(self, keys_BT: Tensor, where_M: Tensor) -> Iterator[None]:
        """Draw by these keys inside of the block; where_M are the targets' positions in the flattened (B T) rows."""
        self.event_keys, self.target_keys = keys_BT, keys_BT.flatten()[where_M]
        try:
            yield
        finally:
            self.event_keys = self.target_keys = None

    def kept_targets(self, site: int, like: Tensor, share: float) -> Tensor:
        """Which numbers of the targets stay, (M,) or (M, D) bool, in the shape of a tensor."""
        if self.target_keys is None:
            return torch.rand(like.shape, device=like.device) >= share
        return kept(self.target_keys, site, like.shape[1] if like.ndim > 1 else 1, share).view(like.shape)


class RowDropout(nn.Module):
    """Dropout of the numbers of events (B, T, D) or of targets (M, D)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.site = 0
        self.noise = RowNoise()

    def forward(self, x: Tensor) -> Tensor:
        keys = self.noise.event_keys if x.ndim == 3 else self.noise.target_keys
        if not self.training or not self.share or keys is None:
            return nn.functional.dropout(x, self.share, self.training)
        scale = 1 / (1 - round(self.share * 65536) / 65536)
        return x * kept(keys, self.site, x.shape[-1], self.share, x.dtype).mul_(scale)

    def extra_repr(self) -> str:
        return f"share={self.share}"


QUERY_SITE, EXPERT_SITE, FIRST_SITE = 0, 1, 2
"""Sites of the hidden query times, of the dropped kernels, and of the first `RowDropout` of a model."""


def share_noise(model: nn.Module) -> RowNoise:
    """Give all `RowDropout` of a model one noise, and each a site of its own."""
    noise = RowNoise()
    dropouts = [module for module in model.modules() if isinstance(module, RowDropout)]
    for i, module in enumerate(dropouts):
        module.site, module.noise = FIRST_SITE + i, noise
    return noise
