"""Heads that make a model of behaviors a generator of events: the waiting time, event and location.

    p(gap, b, e, l | past) = p(gap | h) p(b | h, t) p(e | b, z) p(l | e, z),   t = last + gap

h is the state after the last event, z the same state seen from the moment t. Gap and location are mixtures like the
one of the behaviors: a network, and kernels that copy from the user's own past (`copy_kernels`). The event is a
softmax over the events that stand for the behavior. Names are scored by their input embeddings, so that a vocabulary
of thousands of locations costs few weights.

A gap is the time since the last behavior until the next one. Events without a behavior are input only: the heads do
not predict them, and a generated future holds none.
"""

# M targets, D width, E events, L locations, B gap bins, K kernels

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave.time_features import NUM_SLOTS
from edgebehave_train.kernels.copy_kernels import GAP_KERNELS, LOCATION_KERNELS
from edgebehave_train.kernels.time_gaps import NUM_BINS, NUM_PACES, NUM_QUANTILES, bin_of_gap, gaps_in_bins, pace_of_bin

_GATE_WIDTH = 32
_START_SHRINKAGE = 5.0
_LOCATION_TARGETS = 256
_PACE_SHRINKAGE = 5.0


@dataclass(frozen=True, kw_only=True)
class GenerationTargets:
    """The true values that the heads learn at M targets; see `copy_kernels.CopyNumbers`.

    behavior, event, location  (M,) int64 ids of the vocabulary; 0 = not in it, or no location.
    gap_bin                    (M,) int64; -1 = no behavior stands before the target.
    gap_probs, gap_evidence, location_probs, location_evidence  (M, K) float32.
    pace_counts                (M, P) float32.
    """

    behavior: Tensor
    event: Tensor
    location: Tensor
    gap_bin: Tensor
    gap_probs: Tensor
    gap_evidence: Tensor
    pace_counts: Tensor
    location_probs: Tensor
    location_evidence: Tensor


@dataclass(frozen=True, kw_only=True)
class HeadLosses:
    """Mean -log p of each head in nats, and the sum to minimize.

    gap, event, location  of the mixtures; 0-dimensional.
    total              to minimize: with the losses of the networks alone beside the mixtures'.
    """

    gap: Tensor
    event: Tensor
    location: Tensor
    total: Tensor


class CopyGate(nn.Module):
    """g = softmax(gate(context, log(1 + E), [E > 0]) + log(E / (E + c))), network first."""

    def __init__(self, context_width: int, num_kernels: int) -> None:
        super().__init__()
        self.gate_in = nn.Linear(context_width + 2 * num_kernels, _GATE_WIDTH)
        self.gate_out = nn.Linear(_GATE_WIDTH, 1 + num_kernels)
        self.log_shrinkage = nn.Parameter(torch.full((num_kernels,), _START_SHRINKAGE).log())
        nn.init.zeros_(self.gate_out.weight)
        nn.init.zeros_(self.gate_out.bias)

    def forward(self, context: Tensor, evidence: Tensor) -> Tensor:
        """log g (..., 1 + K) from context (..., D) and evidence (..., K); float32."""
        known = evidence > 0
        features = torch.cat([context, torch.log1p(evidence), known.to(context.dtype)], -1)
        scores = self.gate_out(F.gelu(self.gate_in(features))).float()
        shrunk = evidence.clamp_min(1e-9).log() - (evidence + self.log_shrinkage.exp()).log()
        scores = scores + F.pad(shrunk, (1, 0))
        allowed = F.pad(known, (1, 0), value=True)
        return scores.masked_fill(~allowed, -1e4).log_softmax(-1)


def mixture_nll(log_gates: Tensor, network_nll: Tensor, target_probs: Tensor) -> Tensor:
    """-log(g_0 p_0 + sum_k g_k p_k) (M,) of log gates (M, 1 + K), -log p_0 (M,), p_k (M, K)."""
    log_probs = torch.cat([-network_nll[:, None], target_probs.clamp_min(1e-9).log()], 1)
    return -torch.logsumexp(log_gates + log_probs, 1)


class GenerationHeads(nn.Module):
    """The three heads; embeddings are those of the model and are passed in.

    gap_values_BQ   (B, Q) seconds, the waiting times that each bin stands for.
    pace_prior_P    (P,) share of the waiting times in each group of bins.
    clock_rate_DS   (2, 48) share of the behaviors in each half hour of workdays and weekends.
    Counted from the training part before the first step.
    """

    gap_values_BQ: Tensor
    pace_prior_P: Tensor
    clock_rate_DS: Tensor

    def __init__(self, width: int, num_events: int, num_locations: int, dropout: float) -> None:
        super().__init__()
        quarter = width // 4
        self.gap_in = nn.Linear(width + NUM_PACES, 2 * width)
        self.gap_out = nn.Linear(2 * width, NUM_BINS)
        self.register_buffer("gap_values_BQ", torch.zeros(NUM_BINS, NUM_QUANTILES))
        self.register_buffer("pace_prior_P", torch.full((NUM_PACES,), 1 / NUM_PACES))
        self.register_buffer("clock_rate_DS", torch.full((2, NUM_SLOTS), 1 / NUM_SLOTS))
        self.gap_gate = CopyGate(width, len(GAP_KERNELS))
        self.event_out = nn.Linear(width, quarter)
        self.event_bias = nn.Parameter(torch.zeros(num_events))
        # `place_` stays: it is in the names of the weights of saved checkpoints.
        self.place_in = nn.Linear(width + quarter, width)
        self.place_out = nn.Linear(width, quarter)
        self.place_bias = nn.Parameter(torch.zeros(num_locations))
        self.place_gate = CopyGate(width + quarter, len(LOCATION_KERNELS))
        self.dropout = nn.Dropout(dropout)

    def count(
        self, gap_s: npt.NDArray[np.integer], slot: npt.NDArray[np.integer], is_weekend: npt.NDArray[np.bool_]
    ) -> None:
        """Count the training part: its waiting times in seconds, and when its behaviors fall."""
        self.gap_values_BQ.copy_(torch.from_numpy(gaps_in_bins(gap_s)))
        paces = np.bincount(pace_of_bin(bin_of_gap(gap_s)), minlength=NUM_PACES) + 0.5
        self.pace_prior_P.copy_(torch.from_numpy(paces / paces.sum()))
        clock = np.bincount(NUM_SLOTS * is_weekend + slot, minlength=2 * NUM_SLOTS) + 0.5
        clock = clock.reshape(2, NUM_SLOTS)
        self.clock_rate_DS.copy_(torch.from_numpy(clock / clock.sum(1, keepdims=True)))

    def gap_log_probs(self, hidden: Tensor, pace_counts: Tensor) -> Tensor:
        """log p_0(bin) (..., B) of the network from the state (..., D) and the user's pace:

        log((n_p + c prior_p) / ((n + c) prior_p)),  n_p (..., P) own waiting times, n their sum
        """
        total = pace_counts.sum(-1, keepdim=True)
        own = pace_counts + _PACE_SHRINKAGE * self.pace_prior_P
        pace = (own / (total + _PACE_SHRINKAGE) / self.pace_prior_P).log()
        context = torch.cat([self.dropout(hidden), pace.to(hidden.dtype)], -1)
        scores = self.gap_out(F.gelu(self.gap_in(context)))
        return scores.float().log_softmax(-1)

    def event_log_probs(self, z: Tensor, behavior: Tensor, event: nn.Embedding, event_to_behavior: Tensor) -> Tensor:
        """log p(e | b, z) (..., E): a softmax over the events that stand for the behavior.

        z                  (..., D).
        behavior           (...) ids; no event gets any mass if none stands for it.
        event              embedding of the events.
        event_to_behavior  (E,) ids.
        """
        scores = F.linear(self.event_out(self.dropout(z)), event.weight, self.event_bias).float()
        stands_for = event_to_behavior == behavior[..., None]
        stands_for[..., 0] = False  # event 0 is no event
        return scores.masked_fill(~stands_for, -1e9).log_softmax(-1)

    def location_log_probs(self, z: Tensor, event_vector: Tensor, location: nn.Embedding) -> Tensor:
        """log p_0(l | e, z) (..., L); location 0 stands for no location and for new ones.

        z, event_vector  (..., D) and (..., D / 4), the embedding of the event.
        location         embedding of the locations.
        """
        context = torch.cat([self.dropout(z), event_vector], -1)
        wanted = self.place_out(F.gelu(self.place_in(context)))
        return F.linear(wanted, location.weight, self.place_bias).float().log_softmax(-1)

    def losses(
        self,
        hidden: Tensor,
        z: Tensor,
        targets: GenerationTargets,
        event: nn.Embedding,
        location: nn.Embedding,
        event_to_behavior: Tensor,
    ) -> HeadLosses:
        """Losses of M targets from hidden and z (M, D); embeddings as above.

        While training, the location learns from an even choice of at most _LOCATION_TARGETS targets: a softmax over
        ten thousand locations for every target would take most of the step.
        """
        has_gap = targets.gap_bin >= 0
        network = self.gap_log_probs(hidden, targets.pace_counts)
        gap_bin = targets.gap_bin.clamp_min(0)[:, None]
        gap_network = -network.gather(1, gap_bin)[:, 0]
        gates = self.gap_gate(hidden, targets.gap_evidence)
        gap = mixture_nll(gates, gap_network, targets.gap_probs)

        known_event = targets.event > 0
        log_probs = self.event_log_probs(z, targets.behavior, event, event_to_behavior)
        event_nll = -log_probs.gather(1, targets.event[:, None])[:, 0]

        stride = -(-len(z) // _LOCATION_TARGETS) if self.training else 1
        some = slice(None, None, max(1, stride))
        event_vector = event(targets.event[some])
        log_probs = self.location_log_probs(z[some], event_vector, location)
        location_network = -log_probs.gather(1, targets.location[some, None])[:, 0]
        context = torch.cat([z[some], event_vector], -1)
        gates = self.place_gate(context, targets.location_evidence[some])
        location_nll = mixture_nll(gates, location_network, targets.location_probs[some])

        gap_loss, event_loss = _masked_mean(gap, has_gap), _masked_mean(event_nll, known_event)
        total = gap_loss + _masked_mean(gap_network, has_gap) + event_loss
        total = total + location_nll.mean() + location_network.mean()
        return HeadLosses(gap=gap_loss, event=event_loss, location=location_nll.mean(), total=total)


def _masked_mean(nll: Tensor, mask: Tensor) -> Tensor:
    return (nll * mask).sum() / mask.sum().clamp_min(1)
