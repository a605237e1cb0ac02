"""The universal model: the next behavior of any user on any log, from the user's own past alone.

Kernels k (see `lookup`) say what a past in which situations resemble the present makes likely. Every name c that the
user has used is a candidate. With m_k(c) the weight of the past behaviors of that name and E_k the weight of all:

    base(c) = (m_slow(c) + a) / (E_slow + a (C + 1))                    slow: slow_recency; a = BASE_COUNT
    l_k(c)  = log( (m_k(c) + alpha_k base(c)) / (E_k + alpha_k) ) - log base(c)
    t_k(c)  = ( base(c) exp l_k(c) / max_d base(d) exp l_k(d) )^4       nearness to the first choice of kernel k
    s(c)    = log base(c) + w(z) . f(c) + v(z) . relu(A f(c) + B z)     f(c) = [l_1 .. l_K, features of c, t_1 .. t_K]
    p       = softmax( [s(c) for all candidates c, n(z)] )              n(z): a name never used before

So the kernels multiply, each with a power that the context z sets: a mixture in the domain of logarithms, as
compressors mix predictors (Mahoney 2005, "Adaptive weighing of context models", PAQ6; Mattern 2012), where BehaveGPT's
head knows a fixed vocabulary. z is made of the clock, the evidence E_k, the best candidate of each kernel, and the past
success of every kernel with this user: means of l_k(name that came) over the last 4, 16 and 64 behaviors.
"""

# B users, T behaviors, Q queries, C candidates, K kernels (learned ones included), X features of a candidate, Z context

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave_train.universal.lookup import (
    KERNELS,
    LOOKBACK,
    NUM_CUES,
    NUM_MOMENT_FEATURES,
    SLOW_RECENCY,
    Pairs,
    Situations,
    moment_features,
    pairs,
)
from edgebehave_train.universal.sequences import Sequences

FORMAT_VERSION = 2
"""Of the weights that are kept in files."""
SUCCESS_EVENTS = 64
"""Behaviors whose prediction the gates look back on."""
SUCCESS_SPANS = (4.0, 16.0, 64.0)
BASE_COUNT = 0.3
NUM_CANDIDATE_FEATURES = 10
"""Without those of the kernels."""
NEARNESS_POWER = 4
"""Power of the ratio in t_k."""
_NUM_USER_FEATURES = 5
EVIDENCE = tuple(KERNELS.index(name) for name in ("frequency", "order_1", "order_2", "order_3", "location"))
"""Kernels whose evidence the learned kernels are told."""
_NUM_EVIDENCE = len(EVIDENCE)
NEVER = -1e9
"""Logit of a name that the user has not used yet."""


@dataclass(frozen=True, kw_only=True)
class UniversalConfig:
    """Shape of a universal model.

    learned_kernels  kernels over the past whose weights are trained, beside those of `lookup`.
    cue_width        hidden units of the learned kernels.
    context_width    Z, numbers that describe the user and the moment.
    score_width      hidden units of the score of a candidate.
    """

    learned_kernels: int = 4
    cue_width: int = 32
    context_width: int = 64
    score_width: int = 64

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def num_kernels(self) -> int:
        return len(KERNELS) + self.learned_kernels

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Answers(NamedTuple):
    """Of each query.

    logits     (B, Q, C + 1): candidates, then "a name never used before"; far below for names not used yet.
    target     (B, Q) the candidate that came; C for a new name.
    is_asked   (B, Q) bool, whether there is a query.
    """

    logits: Tensor
    target: Tensor
    is_asked: Tensor

    def nll(self) -> Tensor:
        """-log p of what came, of the queries that there are; (number of queries,) in nats."""
        nll = F.cross_entropy(self.logits.flatten(0, 1), self.target.flatten(), reduction="none")
        return nll[self.is_asked.flatten()]


class UniversalModel(nn.Module):
    """Scores of candidates; see the top of this file."""

    def __init__(self, config: UniversalConfig) -> None:
        super().__init__()
        self.config = config
        num_kernels, num_features = config.num_kernels, 2 * config.num_kernels + NUM_CANDIDATE_FEATURES
        self.log_alpha = nn.Parameter(torch.full((num_kernels,), -1.0))
        self.cue_hidden = nn.Linear(NUM_CUES, config.cue_width)
        self.cue_score = nn.Linear(config.cue_width, config.learned_kernels)
        self.cue_weight = nn.Linear(NUM_MOMENT_FEATURES + _NUM_EVIDENCE, config.learned_kernels * NUM_CUES)
        num_context = (
            NUM_MOMENT_FEATURES + len(SUCCESS_SPANS) * (num_kernels + 1) + 2 * num_kernels + _NUM_USER_FEATURES
        )
        self.context = nn.Sequential(
            nn.Linear(num_context, 2 * config.context_width),
            nn.ReLU(),
            nn.Linear(2 * config.context_width, config.context_width),
            nn.ReLU(),
        )
        self.power = nn.Linear(config.context_width, num_features)
        self.feature_hidden = nn.Linear(num_features, config.score_width, bias=False)
        self.context_hidden = nn.Linear(config.context_width, config.score_width)
        self.hidden_score = nn.Linear(config.context_width, config.score_width)
        novelty = nn.Linear(24, 1)
        self.novelty = nn.Sequential(nn.Linear(config.context_width, 24), nn.ReLU(), novelty)
        nn.init.constant_(novelty.bias, -2.0)
        self._begin_as_a_plain_product()

    @torch.no_grad()
    def _begin_as_a_plain_product(self) -> None:
        """Start with every kernel at the same power, and a new name at odds of 1 to 7."""
        for layer in (self.cue_weight, self.power, self.hidden_score):
            layer.weight.zero_()
            layer.bias.zero_()
        self.power.bias[: self.config.num_kernels] = 1.2 / self.config.num_kernels

    def successes(self, sequences: Sequences, query: Tensor) -> Tensor:
        """How well each kernel predicted some behaviors, (B, Q, K + 1), and whether they were new: a row for each.

        l_k of the name that came, 0 if it was new; then 1 if it was new. query (Q,) positions.
        """
        found = self._with_learned(pairs(sequences, query), self._clock(sequences, query))
        return self._successes(sequences, query, found)

    def _successes(self, sequences: Sequences, query: Tensor, found: Pairs) -> Tensor:
        name = sequences.name
        is_hit = (name[:, query, None] == name[:, None, :]) * found.is_past
        evidence, mass = found.weights.sum(2), torch.einsum("bqjk,bqj->bqk", found.weights, is_hit)
        is_new = is_hit.sum(-1) == 0
        base = self._base(mass[..., SLOW_RECENCY], evidence[..., SLOW_RECENCY], _distinct(sequences, query))
        success = self._log_lift(mass, evidence, base).clamp(-4, 6) * ~is_new[..., None]
        rows = torch.cat([success, is_new[..., None].float()], -1)
        return rows * sequences.is_real[:, query, None]

    def _with_learned(self, found: Pairs, clock: Tensor) -> Pairs:
        """The same pairs with the learned kernels behind those of `lookup`. clock (B, Q, features)."""
        evidence = torch.log1p(found.weights.sum(2)[..., list(EVIDENCE)]) / 4
        query = self.cue_weight(torch.cat([clock, evidence], -1)).unflatten(-1, (-1, NUM_CUES))
        score = self.cue_score(F.relu(self.cue_hidden(found.cues))) + torch.einsum("bqjf,bqhf->bqjh", found.cues, query)
        learned = score.clamp_max(8).exp() * found.is_past[..., None]
        return found._replace(weights=torch.cat([found.weights, learned], -1))

    def _clock(self, sequences: Sequences, query: Tensor) -> Tensor:
        return moment_features(Situations.of(sequences).take(query))

    def _base(self, mass: Tensor, evidence: Tensor, distinct: Tensor) -> Tensor:
        return (mass + BASE_COUNT) / (evidence + BASE_COUNT * (distinct + 1))

    def _log_lift(self, mass: Tensor, evidence: Tensor, base: Tensor) -> Tensor:
        """l_k: (..., K) from the mass of a name, the evidence, both (..., K), and base (...)."""
        alpha = self.log_alpha.exp()
        return torch.log((mass + alpha * base[..., None]) / ((evidence + alpha) * base[..., None])).clamp_min(-12)

    def forward(self, sequences: Sequences, query: Tensor, is_timed: Tensor | None = None) -> Answers:
        """Answer for some behaviors of each user before they happen.

        query     (Q,) positions of the behaviors to predict.
        is_timed  (B, Q) bool, whether the time of the query is known; default: it is.
        """
        low = max(0, int(query.min()) - SUCCESS_EVENTS)  # successes before it are never read
        read = torch.arange(low, int(query.max()) + 1, device=query.device)
        found = pairs(sequences, read)
        clock = self._clock(sequences, read)
        with torch.no_grad():  # gates learn from the success of kernels, kernels do not learn to look successful
            success = self._successes(sequences, read, self._with_learned(found, clock))
        row = query - low
        asked, clock = Pairs(*(part[:, row] for part in found)), clock[:, row]
        if is_timed is not None and not is_timed.all():
            clock = clock * is_timed[..., None]
            asked = asked.without_time(is_timed)
        asked = self._with_learned(asked, clock)
        ids = torch.arange(int(sequences.name.max()) + 1, device=query.device)
        return self.answer(sequences, ids, query, asked, clock, _means(success, row), is_timed)

    def answer(
        self,
        sequences: Sequences,
        ids: Tensor,
        query: Tensor,
        asked: Pairs,
        clock: Tensor,
        success: Tensor,
        is_timed: Tensor | None = None,
    ) -> Answers:
        """Answer queries (Q,) whose pairs, clock features and past success are known; ids (C,) are the candidates."""
        evidence = asked.weights.sum(2)
        candidates = _Candidates.of(sequences, ids, query, asked.weights, is_timed)
        distinct = _distinct(sequences, query)
        base = self._base(candidates.mass[..., SLOW_RECENCY], evidence[..., None, SLOW_RECENCY], distinct[..., None])
        lift = self._log_lift(candidates.mass, evidence[:, :, None], base)
        log_base = base.log()
        log_share = lift + log_base[..., None]
        best = log_share.masked_fill(~candidates.is_used[..., None], -9).amax(2)
        features = torch.cat(
            [lift, candidates.features, log_base[..., None] / 4, nearness(log_share, best[:, :, None])], -1
        )
        num_past = query.clamp_max(LOOKBACK).float()
        first, second, *_ = Situations.of(sequences).take(query).before
        spread = (candidates.share.square().sum(-1)).clamp_min(1e-6).log() / 4
        user = torch.stack(
            [
                torch.log1p(num_past).expand_as(distinct) / 6,
                torch.log1p(distinct) / 4,
                distinct / (num_past + 1),
                (first == second).float(),
                spread,
            ],
            -1,
        )
        known = [clock, success, torch.log1p(evidence) / 4, best / 4, user]
        z = self.context(torch.cat(known, -1))
        hidden = F.relu(self.feature_hidden(features) + self.context_hidden(z)[:, :, None])
        score = log_base + (features * self.power(z)[:, :, None]).sum(-1)
        score = score + (hidden * self.hidden_score(z)[:, :, None]).sum(-1)
        score = score.masked_fill(~candidates.is_used, NEVER)
        name = sequences.name[:, query]
        is_new = ~candidates.is_used.gather(2, name.clamp_min(0)[..., None])[..., 0] | (name < 0)
        target = torch.where(is_new, score.shape[2], name)
        return Answers(torch.cat([score, self.novelty(z)], -1), target, sequences.is_real[:, query])


def nearness(log_share: Tensor, best: Tensor) -> Tensor:
    """t_k from log( base exp l_k ) of a name and of the first choice of the kernel."""
    return (NEARNESS_POWER * (log_share - best)).clamp_max(0).exp()


def _means(success: Tensor, query: Tensor) -> Tensor:
    """Means of success (B, T, K + 1) over the behaviors before each query (Q,): (B, Q, spans x (K + 1))."""
    position = torch.arange(success.shape[1], device=success.device)
    age = (query[:, None] - position[None] - 1).float()
    in_reach = (age >= 0) & (age < SUCCESS_EVENTS)
    means = []
    for span in SUCCESS_SPANS:
        weight = torch.exp(-age.clamp_min(0) / span) * in_reach
        means.append(torch.einsum("qj,bjk->bqk", weight, success) / (weight.sum(1)[:, None] + 1))
    return torch.cat(means, -1)


def _distinct(sequences: Sequences, query: Tensor) -> Tensor:
    """Different names within reach before each query, (B, Q) float32."""
    name = sequences.name
    position = torch.arange(name.shape[1], device=name.device)
    last = _previous(name)
    # A name counts at its first occurrence in reach: the one before it, if any, is out of reach.
    start = (query - LOOKBACK).clamp_min(0)[:, None]
    is_first = (position >= start) & (position < query[:, None]) & (last[:, None] < start)
    return (is_first & sequences.is_real[:, None]).sum(-1).float()


def _previous(name: Tensor) -> Tensor:
    """(B, T) position of the occurrence before each behavior of the same name, -1 if there is none."""
    length = name.shape[1]
    position = torch.arange(length, device=name.device)
    is_before = (name[:, :, None] == name[:, None, :]) & (position[:, None] > position)
    return torch.where(is_before, position, -1).amax(-1)


class _Candidates(NamedTuple):
    """Names that a user may do next.

    is_used   (B, Q, C) bool, used before the query.
    mass      (B, Q, C, K) m_k.
    share     (B, Q, C) share of the behaviors before the query.
    features  (B, Q, C, 9), without those of the kernels and log base.
    """

    is_used: Tensor
    mass: Tensor
    share: Tensor
    features: Tensor

    @classmethod
    def of(
        cls, sequences: Sequences, ids: Tensor, query: Tensor, weights: Tensor, is_timed: Tensor | None
    ) -> "_Candidates":
        name, local_s = sequences.name, sequences.local_s
        length = name.shape[1]
        one_hot = (name[..., None] == ids).float()
        position = torch.arange(length, device=name.device)
        is_reached = ((position < query[:, None]) & (position >= query[:, None] - LOOKBACK)).float()
        count = torch.einsum("qj,bjc->bqc", is_reached, one_hot)
        # 1 + the last position of each name.
        last = ((position + 1.0)[:, None] * one_hot)[:, None].mul(is_reached[None, :, :, None]).amax(2)
        age = (query[:, None] - last).clamp_min(0)
        last_s = local_s[:, None].expand(-1, len(query), -1).gather(2, (last - 1).clamp_min(0).long())
        asked_s = local_s[:, query, None]
        before = [F.pad(name, (by, 0), value=-1)[:, query] for by in (1, 2)]
        known = 1.0 if is_timed is None else is_timed[..., None].float()
        features = torch.stack(
            [
                torch.log1p(count) / 4,
                torch.log1p(age) / 4,
                (ids == before[0][..., None]).float(),
                (ids == before[1][..., None]).float(),
                known * torch.log1p((asked_s - last_s).clamp_min(0).float() / 600) / 5,
                (count == 1).float(),
                torch.exp(-age / 10),
                1 / (1 + count),
                known * (last_s // 86400 == asked_s // 86400).float(),
            ],
            -1,
        )
        share = count / count.sum(-1, keepdim=True).clamp_min(1)
        return cls(count > 0, torch.einsum("bqjk,bjc->bqck", weights, one_hot), share, features)
