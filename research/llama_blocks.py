"""Blocks of the Llama family, instead of ours, for a network that starts as a language model.

    x' = x + W_o attention(W_q n, W_k n, W_v n),  n = RMSNorm(x)             Touvron et al. 2023
    y  = x' + W_down (SiLU(W_gate m) * W_up m),   m = RMSNorm(x')

Heads of queries share heads of keys and values (Ainslie et al. 2023), positions are rotary. Qwen2
is the same with biases on the projections of queries, keys and values. Who sees whom is as in
`attention`: the last I events of the same user.
"""

# B rows, T events, D width, H heads, E head width

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave_train.model.attention import AttentionPlan, plan_attention, sliding_window_attention
from edgebehave_train.model.behavior_model import Blocks, ModelConfig

NUM_POSITIONS = 8192
"""Rows of the table of angles: more than the longest packed row, so that positions never wrap."""


@dataclass(frozen=True, kw_only=True)
class LlamaShape:
    """Shape of a Llama-like network beside width, layers and heads.

    num_kv_heads  heads of keys and values, a divisor of the heads.
    head_width    E, even; it need not be width / heads.
    mlp_width     of the gated MLP.
    rotary_base   theta of the rotary angles.
    norm_epsilon  of RMSNorm.
    qkv_bias      Qwen2 has biases on queries, keys and values, Llama has none.
    """

    num_kv_heads: int
    head_width: int
    mlp_width: int
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        for name in ("num_kv_heads", "head_width", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"llama: {name} must be at least 1, got {getattr(self, name)}")
        if self.head_width % 2:
            raise ValueError(f"llama: head_width must be even, got {self.head_width}")

    def rotary_table(self) -> tuple[Tensor, Tensor]:
        """cos and sin of position * base^(-2 i / E), both (NUM_POSITIONS, E / 2) float32."""
        step = torch.arange(0, self.head_width, 2, dtype=torch.float64) / self.head_width
        position = torch.arange(NUM_POSITIONS, dtype=torch.float64)
        angle = position[:, None] * self.rotary_base**-step
        return angle.cos().float(), angle.sin().float()


class LlamaBlock(nn.Module):
    """One decoder layer; parameters are named as those of `transformers`' Llama and Qwen2."""

    def __init__(self, width: int, num_heads: int, shape: LlamaShape) -> None:
        super().__init__()
        if num_heads % shape.num_kv_heads:
            raise ValueError(f"llama: num_kv_heads must divide num_heads, got {shape.num_kv_heads} and {num_heads}")
        self.repeats, self.head_width = num_heads // shape.num_kv_heads, shape.head_width
        self.input_layernorm = nn.RMSNorm(width, eps=shape.norm_epsilon)
        self.self_attn: Any = nn.Module()  # its layers are added one by one
        kv_width = shape.num_kv_heads * shape.head_width
        all_width = num_heads * shape.head_width
        self.self_attn.q_proj = nn.Linear(width, all_width, bias=shape.qkv_bias)
        self.self_attn.k_proj = nn.Linear(width, kv_width, bias=shape.qkv_bias)
        self.self_attn.v_proj = nn.Linear(width, kv_width, bias=shape.qkv_bias)
        self.self_attn.o_proj = nn.Linear(all_width, width, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=shape.norm_epsilon)
        self.mlp: Any = nn.Module()
        self.mlp.gate_proj = nn.Linear(width, shape.mlp_width, bias=False)
        self.mlp.up_proj = nn.Linear(width, shape.mlp_width, bias=False)
        self.mlp.down_proj = nn.Linear(shape.mlp_width, width, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):  # as the family begins: small, no bias
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, plan: AttentionPlan) -> Tensor:
        """x (B, T, D); cos, sin (T, 1, E / 2) of the positions."""
        attention = self.self_attn
        normed = self.input_layernorm(x_BTD)
        heads = [
            project(normed).unflatten(-1, (-1, self.head_width))
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        ]
        query, key = (_rotate(x, cos.to(x.dtype), sin.to(x.dtype)) for x in heads[:2])
        key, value = (x.repeat_interleave(self.repeats, -2) for x in (key, heads[2]))
        attended = sliding_window_attention(query, key, value, plan)
        x_BTD = x_BTD + attention.o_proj(attended.flatten(-2))
        normed = self.post_attention_layernorm(x_BTD)
        gated = F.silu(self.mlp.gate_proj(normed)) * self.mlp.up_proj(normed)
        out: Tensor = x_BTD + self.mlp.down_proj(gated)
        return out


class LlamaBlocks(Blocks):
    """Blocks for `BehaviorModel`; `functools.partial(LlamaBlocks, shape=...)` goes into `BLOCKS`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, shape: LlamaShape) -> None:
        blocks = (LlamaBlock(config.width, config.num_heads, shape) for _ in range(config.num_layers))
        nn.ModuleList.__init__(self, blocks)
        self.window, self.norm_epsilon = config.window, shape.norm_epsilon
        for name, table in zip(("cos", "sin"), shape.rotary_table(), strict=True):
            self.register_buffer(name, table, persistent=False)

    def final_norm(self, width: int) -> nn.Module:
        return nn.RMSNorm(width, eps=self.norm_epsilon)

    def plan(self, segment_BT: Tensor, time_s_BT: Tensor, backend: str, num_last: int | None = None) -> AttentionPlan:
        """Of all events."""
        return plan_attention(segment_BT, self.window, backend)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, plan: AttentionPlan) -> Tensor:
        """With rotary tables of its own in place of cos and sin."""
        num_events = x_BTD.shape[1]
        for block in self:
            x_BTD = block(x_BTD, self.cos[:num_events, None], self.sin[:num_events, None], plan)
        return x_BTD


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
