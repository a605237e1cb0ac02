"""BehaveGPT: a transformer over behaviors, mixed with habit kernels over the user's own past.

    x_t = [ event ; location ; weekday ; slot ]                      BehaveGPT, Eq. 2
    h   = LayerNorm(blocks(x))            pre-norm, rotary, sliding window
    z   = h_t + weekday'(at) + slot'(at) (+ location'(where))        the query context
    p_0 = softmax(MLP(z))
    p   = sum_k g_k p_k                                              habits, k = 1..K
    g   = softmax(gate(z, log(1 + E), [E > 0]) + log(E / (E + c)))   c learned; k = 0: gate only

The query context and the mixture are ours; `query_context="none", habits=False` is the paper's model. The habit
kernels p_k and their evidence E_k are in `edgebehave.habits`; the last kernel is learned, see `learned_kernel`. An
expert without evidence gets no weight.
"""

# B rows, T events, M targets, D width, H heads, E head width, V behaviors, K kernels, the learned one included

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave.habits import HABIT_EVENTS, KERNELS, HabitWeights
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS
from edgebehave_train.kernels.learned_kernel import LearnedKernel
from edgebehave_train.kernels.pairs import PairBlock
from edgebehave_train.model.attention import (
    AttentionPlan,
    NarrowLayer,
    blockwise_attention,
    plan_attention,
    plan_last_events,
    sliding_window_attention,
)
from edgebehave_train.model.generation_heads import GenerationHeads
from edgebehave_train.model.row_noise import EXPERT_SITE, RowDropout, share_noise

ROTARY_PERIOD = 512
LEARNED_SHRINKAGE = 55.0
"""Start of c for the learned kernel, that of the strongest habit kernel."""
VOCABULARY_TRUST = 5.0
"""Behaviors of the vocabulary added to each user's counts; see `BehaviorModel.gates`."""
UNKNOWN_TIME = -1
"""Weekday and slot of a query whose time is not known."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape and dropout of a network: the fields that a training recipe chooses.

    width          D, divisible by 4 and by num_heads.
    num_layers     L.
    num_heads      H.
    window         I, events that one layer looks back on, itself included.
    attention      softmax: the transformer blocks of the paper; or a name that research adds to `BLOCKS`.
    query_context  what is known of the moment to predict for: none, time, time_location.
    habits         mix with the habit kernels; False is the paper's plain model.
    learned_kernel  with habits: one more kernel, whose weights over the past are trained.
    dropout        on embeddings, residual branches and the head, in [0, 1).
    expert_dropout  share of the kernels that a training target does not get, in [0, 1).
    query_dropout  share of the training targets whose time is hidden, in [0, 1): it lets one model answer with and
                   without a query time.
    generation_heads  heads for the waiting time, the event and the location, to generate events.
    """

    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    query_context: Literal["none", "time", "time_location"] = "time"
    habits: bool = True
    learned_kernel: bool = True
    dropout: float = 0.2
    expert_dropout: float = 0.1
    query_dropout: float = 0.1
    generation_heads: bool = False
    window: int = 90
    attention: str = "softmax"


@dataclass(frozen=True, kw_only=True)
class ModelConfig(NetworkConfig):
    """Shape of a model: that of its network, and the sizes of its vocabulary.

    num_events, num_locations, num_behaviors  sizes of the vocabulary, id 0 included.
    num_spare  U, behaviors of a user's own that the vocabulary does not hold; with as many as the kernels look back
               on, none is ever without a slot.
    """

    num_events: int
    num_locations: int
    num_behaviors: int
    num_spare: int = HABIT_EVENTS

    def __post_init__(self) -> None:
        if self.learned_kernel and not self.habits:
            raise ValueError("learned_kernel is one of the habit kernels: it needs habits; set learned_kernel=False")
        if self.width % 4 or self.width % self.num_heads:
            raise ValueError(
                f"width must be divisible by 4 and by num_heads, got width {self.width} and num_heads {self.num_heads}"
            )
        if self.head_width % 2:
            raise ValueError(f"rotary positions need an even head width, got {self.head_width}")
        if self.window > ROTARY_PERIOD:
            raise ValueError(f"window must not exceed {ROTARY_PERIOD}, the period of the positions, got {self.window}")
        if self.attention not in BLOCKS:
            raise ValueError(f"attention must be {' or '.join(BLOCKS)}, got {self.attention!r}")
        if self.query_context not in ("none", "time", "time_location"):
            raise ValueError(f"query_context must be none, time or time_location, got {self.query_context!r}")
        for name in ("num_events", "num_locations", "num_behaviors", "num_layers", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "expert_dropout", "query_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.generation_heads and self.query_context == "time_location":
            raise ValueError(
                "generation_heads draw the location last, but query_context time_location asks for "
                "it first; use query_context time"
            )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ModelConfig":
        # The key `llama` of older configs held the sizes of Llama blocks, which are now an add-on in research/.
        return cls(**{name: value for name, value in content.items() if name != "llama"})

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def receptive_field(self) -> int:
        """Events that rebuild the state exactly: each layer looks back window - 1 more."""
        return self.num_layers * (self.window - 1) + 1

    @property
    def history_events(self) -> int:
        """Events that a device keeps per user.

        A state is rebuilt from the last multiple of window - 1 that lies a receptive field back.
        """
        return max(self.receptive_field + self.window - 2, HABIT_EVENTS)


def rotary_table(head_width: int) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotary angles, both (ROTARY_PERIOD, head_width / 2) float32.

    The frequencies 1000^(-i / half) are rounded to multiples of 2 pi / period, so that position counters can wrap at
    the period for ever.
    """
    half = head_width // 2
    frequency = 1000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turns = torch.clamp(torch.round(frequency * ROTARY_PERIOD / (2 * math.pi)), min=1)
    position = torch.arange(ROTARY_PERIOD, dtype=torch.float64)[:, None]
    angle = position * (2 * math.pi * turns / ROTARY_PERIOD)[None]
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021), halves form; cos, sin broadcast to x's half."""
    # Products of whole heads take half the time of products of halves.
    return x * torch.cat([cos, cos], -1) + x.roll(x.shape[-1] // 2, -1) * torch.cat([-sin, sin], -1)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a GELU MLP of width 4 D."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads, self.head_width = config.num_heads, config.head_width
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.attention_dropout, self.mlp_dropout = RowDropout(config.dropout), RowDropout(config.dropout)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys and values, (..., T, H, E) each, from (..., T, D)."""
        qkv = self.qkv(self.attention_norm(x))
        turned, kept = qkv.unflatten(-1, (3, self.num_heads, self.head_width)).split((2, 1), -3)
        query, key = rotate(turned, *(angle.to(qkv.dtype).unsqueeze(-2) for angle in (cos, sin))).unbind(-3)
        return query, key, kept.squeeze(-3)

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual update of x (..., T, D) by the attention (..., T, H, E) and the MLP."""
        x = x + self.attention_dropout(self.attention_out(attended.flatten(-2)))
        hidden = F.gelu(self.mlp_in(self.mlp_norm(x)))
        return x + self.mlp_dropout(self.mlp_out(hidden))

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, plan: AttentionPlan | NarrowLayer) -> Tensor:
        """(B, T, D), or of the last events of each row; these outside of training, whose dropout is for whole rows."""
        query, key, value = self.project(x_BTD, cos, sin)
        if isinstance(plan, NarrowLayer):
            last = slice(x_BTD.shape[1] - plan.num_queries, None)
            return self.merge(x_BTD[:, last], blockwise_attention(query[:, last], key, value, plan.blocks))
        return self.merge(x_BTD, sliding_window_attention(query, key, value, plan))


class Blocks(nn.ModuleList):
    """All blocks of a network, in order."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(Block(config) for _ in range(config.num_layers))
        self.window = config.window

    def final_norm(self, width: int) -> nn.Module:
        """The norm behind the last block."""
        return nn.LayerNorm(width)

    def plan(self, segment_BT: Tensor, time_s_BT: Tensor, backend: str, num_last: int | None = None) -> Any:
        """Numbers of a batch that all blocks share; arguments as in `plan_attention`, times in seconds.

        num_last  events at the end of each row whose states alone will be read, outside of training; None = all.
        """
        if num_last is None or backend != "blockwise":
            return plan_attention(segment_BT, self.window, backend)
        return plan_last_events(segment_BT, self.window, num_last, len(self))

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, plan: Any) -> Tensor:
        """x (B, T, D) through all blocks; cos, sin of `rotary_table`.

        Returns  (B, T, D), or of the last events of each row if the plan is of these alone.
        """
        position = torch.arange(x_BTD.shape[1], device=x_BTD.device) % len(cos)
        cos, sin = cos[position, None], sin[position, None]
        for block, layer in zip(self, plan.narrow or [plan] * len(self), strict=True):
            x_BTD = block(x_BTD, cos, sin, layer)
            cos, sin = cos[-x_BTD.shape[1] :], sin[-x_BTD.shape[1] :]
        return x_BTD


BLOCKS: dict[str, Callable[[ModelConfig], Blocks]] = {"softmax": Blocks}
"""Blocks by the `attention` of a config. Scripts of research/ add kinds of their own."""


class TargetLosses(NamedTuple):
    """Losses of the targets of a batch, all float32 and (M,) except the logits.

    nll                     -log p(target) of the mixture, in nats; what an objective is made of.
    network_nll             the same of the network alone.
    log_normalizer          log sum_b p(b) r_b of the mixture, for an objective that shifts the prior.
    network_log_normalizer  the same of the network alone.
    network_logits          (M, V) scores of the network alone; for id 0, never a candidate, far below.
    """

    nll: Tensor
    network_nll: Tensor
    log_normalizer: Tensor
    network_log_normalizer: Tensor
    network_logits: Tensor


class BehaviorModel(nn.Module):
    """The network, the learned kernel and the gates; habit kernels come in as numbers."""

    rotary_cos: Tensor
    rotary_sin: Tensor
    lookup: Any = None
    """An `edgebehave_train.universal.own_names.Lookup` with which the model answers together; no part of its state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, quarter = config.width, config.width // 4
        self.event = nn.Embedding(config.num_events, quarter)
        self.location = nn.Embedding(config.num_locations, quarter)
        self.weekday = nn.Embedding(NUM_WEEKDAYS, quarter)
        self.slot = nn.Embedding(NUM_SLOTS, quarter)
        self.blocks = BLOCKS[config.attention](config)
        self.norm = self.blocks.final_norm(width)
        cos, sin = rotary_table(config.head_width)
        # The last row stands for a query whose time is not known.
        self.query_weekday = nn.Embedding(NUM_WEEKDAYS + 1, width)
        self.query_slot = nn.Embedding(NUM_SLOTS + 1, width)
        self.query_location = nn.Embedding(config.num_locations, width)
        self.head_in = nn.Linear(width, 2 * width)
        self.head_out = nn.Linear(2 * width, config.num_behaviors)
        if config.habits:
            num_kernels = len(KERNELS) + config.learned_kernel
            self.gate_in = nn.Linear(width + 2 * num_kernels, 64)
            self.gate_out = nn.Linear(64, 1 + num_kernels)
            self.log_shrinkage = nn.Parameter(torch.zeros(num_kernels))
            if config.learned_kernel:
                self.learned_kernel = LearnedKernel(width)
            self._start_from_fixed_habits(HabitWeights())
        if config.query_context != "time_location":
            del self.query_location
        if config.query_context == "none":
            del self.query_weekday, self.query_slot
        self.event_dropout, self.head_dropout, self.gate_dropout = (RowDropout(config.dropout) for _ in range(3))
        self.noise = share_noise(self)
        self.register_buffer("rotary_cos", cos, persistent=False)
        self.register_buffer("rotary_sin", sin, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)
        if config.generation_heads:  # last, so that a model without them draws the same random weights
            self.generation = GenerationHeads(width, config.num_events, config.num_locations, config.dropout)

    @torch.no_grad()
    def _start_from_fixed_habits(self, weights: HabitWeights) -> None:
        """Set the gates to the fixed mixture: weight 1 for the learned kernel, 0.1 for the network."""
        weight, shrinkage = list(weights.weight), list(weights.shrinkage)
        if self.config.learned_kernel:
            weight, shrinkage = [*weight, 1.0], [*shrinkage, LEARNED_SHRINKAGE]
        self.gate_out.weight.zero_()
        self.gate_out.bias.copy_(torch.tensor([0.1, *weight]).log())
        self.log_shrinkage.copy_(torch.tensor(shrinkage).log())

    def embed(self, event: Tensor, location: Tensor, weekday: Tensor, slot: Tensor) -> Tensor:
        """x_t = [event ; location ; weekday ; slot] (..., D) from ids (...)   BehaveGPT, Eq. 2."""
        parts = [self.event(event), self.location(location), self.weekday(weekday), self.slot(slot)]
        return self.event_dropout(torch.cat(parts, -1))

    def hidden(self, event_BT: Tensor, location_BT: Tensor, weekday_BT: Tensor, slot_BT: Tensor, plan: Any) -> Tensor:
        """State after each event, (B, T, D), or after the last events of each row if the plan is of these alone.

        plan  of `blocks.plan`.
        """
        x = self.embed(event_BT, location_BT, weekday_BT, slot_BT)
        hidden: Tensor = self.norm(self.blocks(x, self.rotary_cos, self.rotary_sin, plan))
        return hidden

    def query(self, hidden: Tensor, weekday: Tensor, slot: Tensor, location: Tensor | None = None) -> Tensor:
        """z (..., D): the state, seen from the moment (and location) to predict for.

        hidden         (..., D).
        weekday, slot  (...) ids; UNKNOWN_TIME where the time is not known.
        location       (...) ids, used by query_context="time_location" alone.
        """
        config = self.config
        if config.query_context == "none":
            return hidden
        last_weekday, last_slot = NUM_WEEKDAYS, NUM_SLOTS
        weekday = torch.where(weekday < 0, last_weekday, weekday)
        slot = torch.where(slot < 0, last_slot, slot)
        z = hidden + self.query_weekday(weekday) + self.query_slot(slot)
        if config.query_context == "time_location":
            if location is None:
                raise ValueError("query_context is time_location: the query needs a location")
            z = z + self.query_location(location)
        return z

    def logits(self, z: Tensor) -> Tensor:
        """(..., V) scores of the network alone; id 0 (unknown) is never a candidate."""
        scores: Tensor = self.head_out(self.head_dropout(F.gelu(self.head_in(z))))
        return scores + self.never_V().to(scores.dtype)

    def never_V(self) -> Tensor:
        """Mask that keeps id 0 from being a candidate: -1e4 there, 0 elsewhere, (V,) float32."""
        return F.pad(torch.full((1,), -1e4, device=self.head_out.bias.device), (0, self.config.num_behaviors - 1))

    def log_gates(self, z: Tensor, evidence: Tensor, keep: Tensor | None = None) -> Tensor:
        """log g_k, (..., 1 + K): the network first, then the kernels; log-softmax.

        z         (..., D).
        evidence  (..., K) E_k >= 0, that of the learned kernel last.
        keep      (..., K) bool, kernels that take part; default all with evidence.
        """
        known = evidence > 0
        features = torch.cat([self.gate_dropout(z), torch.log1p(evidence), known.to(z.dtype)], -1)
        scores = self.gate_out(F.gelu(self.gate_in(features))).float()
        # A kernel gains weight with its evidence, as in the fixed mixture: log E / (E + c).
        shrunk = evidence.clamp_min(1e-9).log() - (evidence + self.log_shrinkage.exp()).log()
        scores = scores + F.pad(shrunk, (1, 0))
        allowed = known if keep is None else known & keep
        network = torch.ones_like(allowed[..., :1])
        return scores.masked_fill(~torch.cat([network, allowed], -1), -1e4).log_softmax(-1)

    def gates(self, z: Tensor, evidence: Tensor, num_known: Tensor) -> Tensor:
        """g_k of a prediction, (..., 1 + K): `log_gates`, with less weight for the network of a user with unknown
        behaviors,

            g_0 ~ g_0 (n_known + VOCABULARY_TRUST) / (n + VOCABULARY_TRUST)

        of n past behaviors (the evidence of the first kernel). A user's unknown behaviors are no candidates of the
        network, which would predict behaviors that the user never does. In training every behavior is known and the
        factor is 1.

        z, evidence  as for `log_gates`.
        num_known    (...) past behaviors that the vocabulary holds.
        """
        factor = (num_known + VOCABULARY_TRUST) / (evidence[..., 0] + VOCABULARY_TRUST)
        log_factor = F.pad(factor.log()[..., None], (0, evidence.shape[-1]))
        return (self.log_gates(z, evidence) + log_factor).softmax(-1)

    def nll(
        self,
        z: Tensor,
        target: Tensor,
        target_probs: Tensor,
        evidence: Tensor,
        pairs: Sequence[PairBlock] | None = None,
        log_ratio_V: Tensor | None = None,
        normalizers: Tensor | None = None,
    ) -> TargetLosses:
        """-log p(target) of the mixture and of the network alone, in nats.

        Drops experts while training, so that the gates do not depend on one of them.

        z             (M, D).
        target        (M,) behavior ids >= 1.
        target_probs  (M, K) p_k(target) of the habit kernels.
        evidence      (M, K) E_k of the habit kernels.
        pairs         of the M targets in blocks, for the learned kernel; None without one.
        log_ratio_V   (V,) log r_b, for an objective that shifts the prior; None: r = 1, with log-normalizers
                      log sum_b p(b) r_b of 0.
        normalizers   (M, K) A_k = sum_b p_k(b) r_b of the habit kernels, beside log_ratio_V.
        """
        logits_MV = self.logits(z).float()
        network_nll = F.cross_entropy(logits_MV, target, reduction="none")
        network_log_normalizer = torch.zeros_like(network_nll)
        if log_ratio_V is not None:
            log_shifted = torch.logsumexp(logits_MV + log_ratio_V, 1)
            network_log_normalizer = log_shifted - torch.logsumexp(logits_MV, 1)
        if not self.config.habits:
            return TargetLosses(network_nll, network_nll, network_log_normalizer, network_log_normalizer, logits_MV)
        keep = None
        if self.config.learned_kernel:
            assert pairs is not None
            learned = self.learned_kernel.target_numbers(z, pairs, target, log_ratio_V is not None)
            target_probs = torch.cat([target_probs, learned.probs[:, None]], 1)
            evidence = torch.cat([evidence, learned.evidence[:, None]], 1)
            if normalizers is not None:
                assert learned.normalizer is not None
                normalizers = torch.cat([normalizers, learned.normalizer[:, None]], 1)
        if self.training and self.config.expert_dropout:
            keep = self.noise.kept_targets(EXPERT_SITE, evidence, self.config.expert_dropout)
        log_gates = self.log_gates(z, evidence, keep)
        # A kernel without the target gives it probability 0; log(1e-9) keeps the sum finite.
        log_probs = [-network_nll[:, None], target_probs.clamp_min(1e-9).log()]
        nll = -torch.logsumexp(log_gates + torch.cat(log_probs, 1), 1)
        if log_ratio_V is None:
            return TargetLosses(nll, network_nll, network_log_normalizer, network_log_normalizer, logits_MV)
        assert normalizers is not None, "a shift of the prior needs the normalizers of the kernels"
        log_normalizers = [network_log_normalizer[:, None], normalizers.clamp_min(1e-30).log()]
        log_normalizer = torch.logsumexp(log_gates + torch.cat(log_normalizers, 1), 1)
        return TargetLosses(nll, network_nll, log_normalizer, network_log_normalizer, logits_MV)
