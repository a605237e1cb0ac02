"""Training objectives: how the losses of a batch become one number to minimize.

    ce    mean_i l_i                                   plain cross-entropy
    dro   mean_i w[y_i] l_i,  w = 1 - m + m (q / p)    BehaveGPT, Eq. 4, in the form that trains

q is the worst-case distribution over a running mean of the class risks (see `dro.py`), detached;
for a fixed q the estimate is unbiased. Two things keep it from collapsing onto the classes that
nothing can predict: q starts after a warm start on plain loss, and only a share m of the weight
moves with q. What is trained on, (1 - m) p + m q, lies in an uncertainty set of its own, with the
capacity 1 + m (C - 1). A baseline per class (risk above that at the end of the warm start) can be
switched on.
"""

# M targets of a batch, V behaviors

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgebehave_train.dro import capacity, heterogeneous_epsilon, worst_case_weights


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is minimized.

    name         "ce" or "dro".
    network_weight  weight of the network's own loss beside the mixture's: without it the habit
                 kernels, which need no learning, leave the network nothing to do.
    epsilon_max  dro: eps of the most frequent behavior, before clipping to 1.
    epsilon_min  dro: smallest eps; no sample weighs more than 1 / epsilon_min.
    kappa        dro: how fast eps falls with rarity; 0 = the same for all.
    warm_start   dro: share of the training that runs on plain loss first, in [0, 1).
    mixing       dro: m, share of the weight that moves with q, in [0, 1].
    baseline     dro: measure risks from those at the end of the warm start.
    risk_decay   dro: decay of the running mean of the class risks per sample, in (0, 1).
    """

    name: Literal["ce", "dro"] = "ce"
    network_weight: float = 1.0
    epsilon_max: float = 1.0
    epsilon_min: float = 0.1
    kappa: float = 0.25
    warm_start: float = 0.3
    mixing: float = 0.25
    baseline: bool = False
    risk_decay: float = 0.95

    def __post_init__(self) -> None:
        if self.name not in ("ce", "dro"):
            raise ValueError(f"objective must be ce or dro, got {self.name!r}")
        for field, low, high in (
            ("warm_start", 0, 0.999),
            ("mixing", 0, 1),
            ("risk_decay", 0, 0.99999),
        ):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field} must lie in [{low}, {high}], got {getattr(self, field)}")


class CrossEntropy(nn.Module):
    """The mean loss."""

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, nll_M: Tensor, network_nll_M: Tensor, target_M: Tensor, progress: float
    ) -> Tensor:
        return (nll_M + self.config.network_weight * network_nll_M).mean()


class DistributionallyRobust(nn.Module):
    """Eq. 4 over a running mean of the class risks; the running mean is part of a checkpoint."""

    prior_V: Tensor
    epsilon_V: Tensor
    risk_V: Tensor
    baseline_V: Tensor
    num_seen_V: Tensor

    def __init__(self, config: ObjectiveConfig, prior_V: Tensor) -> None:
        super().__init__()
        self.config = config
        epsilon_V = heterogeneous_epsilon(
            prior_V, config.epsilon_max, config.epsilon_min, config.kappa
        )
        self.capacity = capacity(prior_V, epsilon_V)
        self.register_buffer("prior_V", prior_V.clone())
        self.register_buffer("epsilon_V", epsilon_V)
        self.register_buffer("risk_V", torch.zeros_like(prior_V))
        self.register_buffer("baseline_V", torch.zeros_like(prior_V))
        self.register_buffer("num_seen_V", torch.zeros_like(prior_V))

    def worst_case(self) -> Tensor:
        """q of the present risks, (V,); a class that was never seen has the mean risk."""
        seen = self.num_seen_V > 0
        risk_V = self.risk_V - self.baseline_V
        seen_prior_V = self.prior_V * seen
        mean = (risk_V * seen_prior_V).sum() / seen_prior_V.sum().clamp_min(1e-12)
        return worst_case_weights(torch.where(seen, risk_V, mean), self.prior_V, self.epsilon_V)

    def forward(
        self, nll_M: Tensor, network_nll_M: Tensor, target_M: Tensor, progress: float
    ) -> Tensor:
        """Weighted mean of the losses.

        nll_M          (M,) losses of the model in nats: what the risks are made of.
        network_nll_M  (M,) losses of its network alone.
        target_M       (M,) behaviors.
        progress       share of the training that is done, in [0, 1].
        """
        self._update(nll_M.detach().float(), target_M)
        loss_M = nll_M + self.config.network_weight * network_nll_M
        if progress < self.config.warm_start:
            if self.config.baseline:
                self.baseline_V.copy_(self.risk_V)
            return loss_M.mean()
        ratio_V = self.worst_case() / self.prior_V.clamp_min(1e-12)
        weight_M = 1 - self.config.mixing + self.config.mixing * ratio_V[target_M]
        return (weight_M * loss_M).mean()

    @torch.no_grad()
    def _update(self, nll_M: Tensor, target_M: Tensor) -> None:
        """Running mean of the class risks, each sample counting once.

        A class with n samples in the batch moves by 1 - decay^n toward their mean, but never less
        than to its plain mean so far: a mean that started at 0 would starve unseen classes.
        """
        zeros = torch.zeros_like(self.risk_V)
        count_V = zeros.index_add(0, target_M, torch.ones_like(nll_M))
        mean_V = zeros.index_add(0, target_M, nll_M) / count_V.clamp_min(1)
        self.num_seen_V += count_V
        step_V = torch.maximum(
            1 - self.config.risk_decay**count_V, count_V / self.num_seen_V.clamp_min(1)
        )
        step_V = torch.where(count_V > 0, step_V, zeros)
        self.risk_V += step_V * (mean_V - self.risk_V)


Objective = CrossEntropy | DistributionallyRobust


def build_objective(config: ObjectiveConfig, prior_V: Tensor) -> Objective:
    """The objective of a config; prior_V (V,) training frequencies, sums to 1."""
    if config.name == "ce":
        return CrossEntropy(config)
    return DistributionallyRobust(config, prior_V)
