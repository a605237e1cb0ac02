"""The learned kernel: an expert whose weights over the user's past are trained.

A habit kernel (`edgebehave.habits`) weighs a past behavior by one coincidence, or by a product of some: the same
behavior before it, the same hour. Here all cues (`cues.py`) enter one score, so that several together can count for
more than each alone, and the state of the network weighs them:

    s(j)   = (a + A z) . cues(j) + v . relu(W cues(j) + w)
    p_L(b) = sum_j exp(s(j)) [b_j = b] / E_L,      E_L = sum_j exp(s(j))

z is the state, seen from the moment to predict for. A pointer over the rolling history (Vinyals et al. 2015, arXiv
1506.03134), in the form of a log-linear model over its entries. The scores are not normalized before the sum, so that
E_L is the amount of evidence, as for habits.
"""

# M queries, P pairs of a query and a past behavior, F cues, D width, H hidden units

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave_train.kernels.cues import CUES
from edgebehave_train.kernels.pairs import HistoryPairs

_HIDDEN = 16
MAX_SCORE = 20.0
"""Largest s, in nats: exp(s) of 512 behaviors stays far inside float32."""
_START = {"age": -0.3, "same_last": 1.0, "same_location": 1.0, "clock_3": 2.0, "gap_wide": 2.0}


class KernelNumbers(NamedTuple):
    """Of every query, all (M,) float32 and 0 without a past.

    probs       p_L(target).
    evidence    E_L.
    normalizer  A_L = sum_b p_L(b) r_b, for an objective that shifts the prior.
    """

    probs: Tensor
    evidence: Tensor
    normalizer: Tensor | None


class LearnedKernel(nn.Module):
    """Weights exp(s(j)) over the past behaviors of a user."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, len(CUES))
        self.cue_in = nn.Linear(len(CUES), _HIDDEN)
        self.cue_out = nn.Linear(_HIDDEN, 1, bias=False)
        with torch.no_grad():  # starts as a product of the cues of the habit kernels
            self.cue_out.weight.zero_()
            self.linear.weight.zero_()
            self.linear.bias.copy_(torch.tensor([_START.get(name, 0.0) for name in CUES]))

    def scores(self, z_MD: Tensor, cues_FP: Tensor, query_P: Tensor) -> Tensor:
        """s (P,) float32; query_P is the row of z of each pair."""
        with torch.autocast(z_MD.device.type, enabled=False):  # skinny matrices: slower in bf16
            weights_FM = self.linear(z_MD.float()).T.contiguous()
            linear_P = (weights_FM.index_select(1, query_P) * cues_FP).sum(0)
            hidden_HP = F.relu(self.cue_in.weight @ cues_FP + self.cue_in.bias[:, None])
            score_P: Tensor = linear_P + (self.cue_out.weight @ hidden_HP)[0]
            return score_P.clamp_max(MAX_SCORE)

    def weights(self, z_MD: Tensor, pairs: HistoryPairs) -> tuple[Tensor, Tensor]:
        """exp(s) of every pair, (P,), and the evidence E_L of every query, (M,)."""
        weight_P = self.scores(z_MD, pairs.cues, pairs.query).exp()
        evidence_M = weight_P.new_zeros(len(z_MD)).index_add(0, pairs.query, weight_P)
        return weight_P, evidence_M

    def target_numbers(self, z_MD: Tensor, pairs: HistoryPairs, target_M: Tensor) -> KernelNumbers:
        """Probability of the target, evidence and normalizer for every query, for the loss of the mixture."""
        weight_P, evidence_M = self.weights(z_MD, pairs)
        hit_P = pairs.behavior == target_M.index_select(0, pairs.query)

        def mean(value_P: Tensor) -> Tensor:
            total_M = torch.zeros_like(evidence_M).index_add(0, pairs.query, weight_P * value_P)
            return total_M / evidence_M.clamp_min(1e-9)

        return KernelNumbers(
            probs=mean(hit_P), evidence=evidence_M, normalizer=None if pairs.ratio is None else mean(pairs.ratio)
        )
