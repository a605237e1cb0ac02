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

# M queries, P pairs of a query and a past behavior, R queries and L past behaviors of a block of pairs, F cues,
# D width, H hidden units, S sums

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave_train.kernels.cues import CUES, LOG2_E, is_equal
from edgebehave_train.kernels.pairs import HistoryPairs, PairBlock

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

    def target_numbers(
        self, z_MD: Tensor, blocks: Iterable[PairBlock], target_M: Tensor, shifts_prior: bool = False
    ) -> KernelNumbers:
        """Probability of the target, evidence and normalizer for every query, for the loss of the mixture.

        blocks        of the pairs of the M queries.
        shifts_prior  the blocks hold r_b.
        """
        with torch.autocast(z_MD.device.type, enabled=False):
            weights_MF = self.linear(z_MD.float())
            layer = self.cue_in.weight, self.cue_in.bias, self.cue_out.weight
            rest = blocks, target_M, shifts_prior, torch.is_grad_enabled()
            sums_SM: Tensor = _Sums.apply(weights_MF, *layer, *rest)  # type: ignore[no-untyped-call]  # of torch
        evidence, *masses = sums_SM
        probs, *normalizer = (mass / evidence.clamp_min(1e-9) for mass in masses)
        return KernelNumbers(probs=probs, evidence=evidence, normalizer=normalizer[0] if normalizer else None)


class _Sums(torch.autograd.Function):
    """sum_j exp(s(j)) x_j of every query, (S, M): x = 1, [b_j is the target] and, with a shift of the prior, r_{b_j}.

    Block by block, forward and backward, because half of a training step on the CPU went into steps over all pairs at
    once, which do not fit the cache: 196 ns a pair, now 50.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weights_MF: Tensor,
        cue_in_HF: Tensor,
        bias_H: Tensor,
        cue_out_1H: Tensor,
        blocks: Iterable[PairBlock],
        target_M: Tensor,
        shifts_prior: bool,
        keeps: bool,
    ) -> Tensor:
        sums_SM = weights_MF.new_zeros(2 + shifts_prior, len(weights_MF))
        target_M = target_M.int()
        saved = []
        for block in blocks:
            cues_FRL = block.coincidences.cues()
            hidden_HP = torch.addmm(bias_H[:, None], cue_in_HF, cues_FRL.flatten(1)).relu_()
            score_RL = torch.bmm(weights_MF[block.query][:, None], cues_FRL.transpose(0, 1))[:, 0]
            score_RL += (cue_out_1H @ hidden_HP).view_as(score_RL)
            # As a power of two: a CPU takes a quarter of the time of exp.
            weight_RL = score_RL.clamp_max(MAX_SCORE).mul_(LOG2_E).exp2_().mul_(block.seen)
            counted = [is_equal(block.behavior, target_M[block.query][:, None])]
            if shifts_prior:
                assert block.ratio is not None
                counted.append(block.ratio)
            sums_SM[0, block.query] = weight_RL.sum(1)
            for row, x_RL in enumerate(counted, 1):
                sums_SM[row, block.query] = (weight_RL * x_RL).sum(1)
            # At the bound a score has no gradient, but its weight has.
            slope_RL = weight_RL.mul_(torch.le(score_RL, MAX_SCORE, out=score_RL))
            if keeps:
                saved.append((block.query, cues_FRL, hidden_HP, slope_RL, counted))
        ctx.saved, ctx.cue_out = saved, cue_out_1H
        ctx.sizes = len(weights_MF), cue_in_HF.shape
        return sums_SM

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_SM,) = gradients
        num_queries, (num_hidden, num_cues) = ctx.sizes
        weights_MF = gradient_SM.new_zeros(num_queries, num_cues)
        cue_in_FH = gradient_SM.new_zeros(num_cues, num_hidden)
        bias_H, cue_out_H = gradient_SM.new_zeros(num_hidden), gradient_SM.new_zeros(num_hidden)
        for query, cues_FRL, hidden_HP, slope_RL, counted in ctx.saved:
            of_weight_RL = gradient_SM[0, query][:, None]
            for row, x_RL in enumerate(counted, 1):
                of_weight_RL = of_weight_RL + gradient_SM[row, query][:, None] * x_RL
            score_RL = of_weight_RL * slope_RL
            weights_MF[query] = torch.bmm(score_RL[:, None], cues_FRL.permute(1, 2, 0))[:, 0]
            score_P = score_RL.flatten()
            cue_out_H += hidden_HP @ score_P
            # The output weights are the same for all pairs: they are multiplied in at the end.
            active_HP = torch.ops.aten.threshold_backward(score_P.expand_as(hidden_HP), hidden_HP, 0)
            cue_in_FH += cues_FRL.flatten(1) @ active_HP.T  # in this order half the time of the other
            bias_H += active_HP.sum(1)
        out_H = ctx.cue_out[0]
        return weights_MF, cue_in_FH.T * out_H[:, None], bias_H * out_H, cue_out_H[None], None, None, None, None
