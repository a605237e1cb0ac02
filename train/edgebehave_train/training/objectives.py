"""Training objectives: how the losses of a batch become one number to minimize.

l is -log p(y), of the mixture and, with `network_weight`, of the network alone; w a weight per behavior; r a shift of
the prior.

    ce                mean_i l_i                                        plain cross-entropy
    dro               mean_i w[y_i] l_i,   w = 1 - m + m (q / p)        BehaveGPT, Eq. 4
    group_dro         the same, q a distribution over groups            Sagawa et al. 2020, Alg. 1
    class_balanced    mean_i w[y_i] l_i,   w ~ (1 - beta) / (1 - beta^n_b)  Cui et al. 2019, Eq. 2
    focal             mean_i (1 - p(y_i))^gamma l_i                     Lin et al. 2017, Eq. 4
    logit_adjusted    mean_i -log[p(y_i) r[y_i] / sum_b p(b) r_b],  r = pi^tau
                                                                        Menon et al. 2021, Eq. 10
    balanced_softmax  the same with r = n                               Ren et al. 2020, Eq. 4

Balanced softmax is logit adjustment with tau = 1: n and pi differ by a factor, which cancels out. The field has both
names.

q of dro is the worst-case distribution over a running mean of the class risks (see `dro.py`), detached; for a fixed q
the estimate is unbiased. Two things keep it from collapsing onto the classes that cannot be predicted: q starts after
a warm start on plain loss, and only a share m of the weight moves with q. What is trained on, (1 - m) p + m q, lies in
an uncertainty set of its own, with the capacity 1 + m (C - 1). A baseline per class (risk above that at the end of the
warm start) can be switched on. With kappa = 0 all classes share one eps: that is LCVaR, the conditional value at risk
over labels; kappa > 0 gives rare classes larger sets.

Weights are chosen by the objective's own loss on the validation part, `validation_loss`: the plain loss would choose
weights from before a strong objective takes effect. Where q moves with the risks, it is solved again from the risks
of the validation part, so that epochs can be compared.

dro may have the loss of logit_adjusted, with r = pi^shift, in the place of l: the prior then decides how far all rare
behaviors are lifted, and q which of them further.

p of the adjusted objectives may be a mixture: sum_b p(b) r_b = sum_k g_k A_k with A_k = sum_b p_k(b) r_b, one number
per target and kernel (see `kernels/habit_kernels.py`).
"""

# M targets of a batch, V behaviors, C = V + U candidates, G groups

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgebehave_train.extensions import OBJECTIVE_GROUP, extension_names, load_extension
from edgebehave_train.logs.frequencies import candidate_prior, group_of_behavior
from edgebehave_train.model.behavior_model import TargetLosses
from edgebehave_train.training.dro import (
    capacity,
    epsilon_of_capacity,
    heterogeneous_epsilon,
    require_uncertainty_set,
    worst_case_weights,
)

OBJECTIVES = ("ce", "dro", "logit_adjusted", "balanced_softmax", "focal", "class_balanced", "group_dro")
"""The objectives of this file; `extensions.py` tells how a package adds its own."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Settings of an objective.

    name         one of OBJECTIVES, or of an installed package; checked when an objective is built, so that a
                 checkpoint opens where the package of its objective is missing.
    network_weight  weight of the network's own loss beside the mixture's: without it the habit kernels, which need no
                 learning, leave the network nothing to do.
    capacity     dro: C = sum_b p_b / eps_b, in [1, 1 / epsilon_min]; eps follows from it.
                 0 = take epsilon_max as it is.
    epsilon_max  dro: eps of the most frequent behavior, before clipping to 1.
    epsilon_min  dro: smallest eps; no sample weighs more than 1 / epsilon_min.
    kappa        dro: how fast eps falls with rarity; 0 = the same for all (LCVaR).
    warm_start   dro, group_dro: share of the training that runs on plain loss first, in [0, 1).
    mixing       dro, group_dro: m, share of the weight that moves with q, in [0, 1].
    baseline     dro: measure risks from those at the end of the warm start.
    risk_decay   dro: decay of the running mean of the class risks per sample, in (0, 1).
    shift        dro: tau of a shift of the prior inside its losses; 0 = none.
    tau          logit_adjusted: strength of the shift; 0 = ce, 1 = balanced_softmax.
    gamma        focal: how fast easy targets lose weight; 0 = ce.
    beta         class_balanced: in [0, 1); 0 = ce, near 1 = the inverse frequency.
    groups       group_dro: "frequency" (head, medium, tail of `frequencies.py`) or "behavior".
    group_step   group_dro: eta, step of the exponentiated gradient.
    options      settings of an objective that a package adds, by name; JSON values.
    """

    name: str = "ce"
    network_weight: float = 1.0
    capacity: float = 0.0
    epsilon_max: float = 1.0
    epsilon_min: float = 0.1
    kappa: float = 0.25
    warm_start: float = 0.3
    mixing: float = 0.25
    baseline: bool = False
    risk_decay: float = 0.95
    shift: float = 0.0
    tau: float = 1.0
    gamma: float = 2.0
    beta: float = 0.999
    groups: Literal["frequency", "behavior"] = "frequency"
    group_step: float = 0.01
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.groups not in ("frequency", "behavior"):
            raise ValueError(f"groups must be frequency or behavior, got {self.groups!r}")
        if self.capacity and self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, or 0 to set eps by epsilon_max, got {self.capacity}")
        require_uncertainty_set(self.epsilon_max, self.epsilon_min, self.kappa, self.capacity or 1.0)
        for name, low, high in (
            ("network_weight", 0, 1000),
            ("warm_start", 0, 0.999),
            ("mixing", 0, 1),
            ("risk_decay", 0, 0.99999),
            ("shift", 0, 10),
            ("tau", 0, 10),
            ("gamma", 0, 10),
            ("beta", 0, 0.999999),
            ("group_step", 0, 10),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low}, {high}], got {getattr(self, name)}")


class Objective(nn.Module):
    """Cross-entropy, and the frame of the others: a loss per target times a weight per behavior.

    log_ratio_V  (V,) log r_b if the objective shifts the prior: the model must then be asked for log sum_b p(b) r_b.
                 None for all others.
    all_sum      the sum of a tensor over all processes of a run, in place; every process must ask for it, also one
                 whose batch is empty. An objective that learns from the targets sums what they say by it.
    """

    log_ratio_V: Tensor | None

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.all_sum: Callable[[Tensor], Tensor] = _of_one_process
        self.config = config
        self.register_buffer("log_ratio_V", None)
        self._candidate_ratio: Callable[[int], npt.NDArray[np.float64]] | None = None

    def set_prior_shift(self, behavior_counts_V: npt.NDArray[np.int64], tau: float) -> None:
        """Make l the loss under a prior shift: of p(b) r_b, normalized, with r = pi^tau."""
        self._candidate_ratio = lambda num: candidate_prior(behavior_counts_V, num) ** tau
        log_ratio_V = np.log(self._candidate_ratio(len(behavior_counts_V)))
        self.log_ratio_V = torch.from_numpy(log_ratio_V).float()

    def forward(
        self, losses: TargetLosses, target_M: Tensor, progress: float, num_targets: Tensor | int | None = None
    ) -> Tensor:
        """One number to minimize.

        losses       of a batch, by the mixture and by the network alone.
        target_M     (M,) behaviors.
        progress     share of the training that is done, in [0, 1].
        num_targets  of the whole step, of which these may be the part of one process or micro-batch; None = M. The sum
                     over all parts is then the mean over the step.
        """
        mixture_M = self.target_loss(losses.nll, losses.log_normalizer, target_M)
        network_M = self.target_loss(losses.network_nll, losses.network_log_normalizer, target_M)
        loss_M = mixture_M + self.config.network_weight * network_M
        weight_M = self.weight(mixture_M.detach().float(), target_M, progress)
        loss_M = loss_M if weight_M is None else weight_M * loss_M
        return loss_M.sum() / (len(target_M) if num_targets is None else num_targets)

    def target_loss(self, nll_M: Tensor, log_normalizer_M: Tensor, target_M: Tensor) -> Tensor:
        """Loss of each target, (M,)."""
        if self.log_ratio_V is None:
            return nll_M
        return nll_M - self.log_ratio_V[target_M] + log_normalizer_M

    def weight(self, nll_M: Tensor, target_M: Tensor, progress: float) -> Tensor | None:
        """Weight of each target, (M,), 1 on average over the training part; None = all 1.

        nll_M  (M,) `target_loss` of the mixture, detached.
        """
        return None

    @property
    def begins_at(self) -> float:
        """Share of the training that runs on plain loss first; patience begins after it."""
        return 0.0

    def validation_loss(self, loss_M: Tensor, target_M: Tensor, progress: float) -> float:
        """The loss of a whole validation part, which chooses the weights; on the CPU, in float64.

        loss_M    (M,) losses of the targets, of the mixture alone, which makes the predictions.
        target_M  (M,) behaviors.
        progress  share of the training that is done.
        Returns   nats; inf as long as the objective is not defined yet.
        """
        return float(loss_M.double().mean())

    def candidate_ratio(self, num_candidates: int) -> npt.NDArray[np.float64] | None:
        """r of every candidate, (C,), if the objective shifts the prior."""
        return None if self._candidate_ratio is None else self._candidate_ratio(num_candidates)

    def summary(self) -> str:
        """Numbers of the objective for the report of a run; may be empty."""
        return ""


class Focal(Objective):
    """Targets that are predicted well count less; the factor takes part in the gradient."""

    def target_loss(self, nll_M: Tensor, log_normalizer_M: Tensor, target_M: Tensor) -> Tensor:
        # expm1 keeps 1 - p exact where p is near 1; a power of 0 has no gradient, hence the clamp.
        surprise_M = (-torch.expm1(-nll_M)).clamp_min(1e-6)
        return surprise_M**self.config.gamma * nll_M


class LogitAdjusted(Objective):
    """Cross-entropy of p(b) r_b, renormalized, with r = pi^tau.

    At the optimum p itself is the posterior under the prior pi^(1 - tau): rare behaviors are lifted without any
    adjustment afterwards, as far as p can change. The habit kernels of a mixture are fixed; only gates and network can
    change.
    """

    def __init__(self, config: ObjectiveConfig, behavior_counts_V: npt.NDArray[np.int64]) -> None:
        super().__init__(config)
        self.set_prior_shift(behavior_counts_V, 1.0 if config.name == "balanced_softmax" else config.tau)


class ClassBalanced(Objective):
    """Each behavior weighs as if it had its effective number of samples only.

        E_n = (1 - beta^n) / (1 - beta),   w_b ~ 1 / E_{n_b}          Cui et al. 2019, Eq. 2

    The paper scales the weights to the number of classes; here they average to 1 over the training part, so that the
    size of a step does not depend on the tail.
    """

    weight_V: Tensor

    def __init__(self, config: ObjectiveConfig, behavior_counts_V: npt.NDArray[np.int64]) -> None:
        super().__init__(config)
        counts_V = np.maximum(behavior_counts_V, 1).astype(np.float64)
        inverse_V = (1 - config.beta) / (1 - config.beta**counts_V)
        mean = (inverse_V * behavior_counts_V).sum() / behavior_counts_V.sum()
        self.register_buffer("weight_V", torch.from_numpy(inverse_V / mean).float())

    def weight(self, nll_M: Tensor, target_M: Tensor, progress: float) -> Tensor:
        return self.weight_V[target_M]

    def validation_loss(self, loss_M: Tensor, target_M: Tensor, progress: float) -> float:
        """The weighted mean; the weights of the validation part need not average to 1."""
        weight_M = self.weight_V.cpu()[target_M].double()
        return float((weight_M * loss_M.double()).sum() / weight_M.sum())


class WorstCase(Objective):
    """The frame of dro and group_dro: after the warm start, a share m of the weight moves with a worst case q."""

    @property
    def begins_at(self) -> float:
        return self.config.warm_start

    def mixed(self, plain: Tensor | float, worst: Tensor) -> Tensor:
        """(1 - m) plain + m worst."""
        return (1 - self.config.mixing) * plain + self.config.mixing * worst


class DistributionallyRobust(WorstCase):
    """Eq. 4 over a running mean of the class risks; the running mean is part of a checkpoint."""

    prior_V: Tensor
    epsilon_V: Tensor
    risk_V: Tensor
    baseline_V: Tensor
    num_seen_V: Tensor

    def __init__(self, config: ObjectiveConfig, prior_V: Tensor) -> None:
        super().__init__(config)
        bounds = config.epsilon_min, config.kappa
        epsilon_max = config.epsilon_max
        if config.capacity:
            epsilon_max = epsilon_of_capacity(prior_V, config.capacity, *bounds)
        epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max, *bounds)
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

    def weight(self, nll_M: Tensor, target_M: Tensor, progress: float) -> Tensor | None:
        self._update(nll_M, target_M)
        if progress < self.config.warm_start:
            if self.config.baseline:
                self.baseline_V.copy_(self.risk_V)
            return None
        ratio_V = self.worst_case() / self.prior_V.clamp_min(1e-12)
        return self.mixed(1.0, ratio_V[target_M])

    def validation_loss(self, loss_M: Tensor, target_M: Tensor, progress: float) -> float:
        """Eq. 4 of the validation part: the largest risk that weights in its set can give it.

            (1 - m) mean_i l_i + m max_q sum_b q_b (R_b - H_b),   0 <= q_b <= p_b / eps_b

        with R and p of the validation part and the eps of training. A target there weighs at most 1 / eps, as one does
        in training, and eps = 1 is the mean. H is 0 without a baseline; with one it is known, and the loss finite,
        from the end of the warm start.
        """
        if self.config.baseline and progress < self.config.warm_start:
            return math.inf
        loss_M = loss_M.double()
        share_V, risk_V = class_risks(loss_M, target_M, len(self.prior_V))
        risk_V = risk_V - self.baseline_V.cpu() if self.config.baseline else risk_V
        worst_V = worst_case_weights(risk_V, share_V, self.epsilon_V.cpu())
        worst = (worst_V * risk_V).sum()
        return float(self.mixed(loss_M.mean(), worst))

    def capacity_at(self, progress: float) -> float:
        """Capacity of the set in which the weights move, mixing included: 1 before the end of the warm start."""
        return 1 + self.config.mixing * (self.capacity - 1) if progress >= self.config.warm_start else 1.0

    def summary(self) -> str:
        return f"dro capacity C = {self.capacity:.2f}, {1 + self.config.mixing * (self.capacity - 1):.2f} mixed"

    @torch.no_grad()
    def _update(self, nll_M: Tensor, target_M: Tensor) -> None:
        """Running mean of the class risks over all processes, each sample counting once.

        A class with n samples in the batch moves by 1 - decay^n toward their mean, but never less than to its plain
        mean so far: a mean that started at 0 would starve unseen classes.
        """
        zeros = torch.zeros_like(self.risk_V)
        of_batch_2V = torch.stack([nll_M, torch.ones_like(nll_M)])
        sum_V, count_V = self.all_sum(torch.stack([zeros, zeros]).index_add(1, target_M, of_batch_2V))
        mean_V = sum_V / count_V.clamp_min(1)
        self.num_seen_V += count_V
        step_V = torch.maximum(1 - self.config.risk_decay**count_V, count_V / self.num_seen_V.clamp_min(1))
        step_V = torch.where(count_V > 0, step_V, zeros)
        self.risk_V += step_V * (mean_V - self.risk_V)


class GroupDistributionallyRobust(WorstCase):
    """Group DRO: the weights of the groups rise with their risks; part of a checkpoint.

        log q_g <- log q_g + eta R_g,  renormalized                Sagawa et al. 2020, Alg. 1

    The paper draws the groups evenly. Here a batch holds them as the log does, so the risk is its unbiased estimate,
    the sum of the group's losses / (M p_g): a group that a batch lacks adds 0, and the batches that hold it make up
    for it. q starts as p. Warm start and mixing are those of dro; warm_start 0 and mixing 1 are the paper's.
    """

    group_V: Tensor
    prior_G: Tensor
    log_q_G: Tensor

    def __init__(self, config: ObjectiveConfig, behavior_counts_V: npt.NDArray[np.int64]) -> None:
        super().__init__(config)
        group_V = (
            group_of_behavior(behavior_counts_V) if config.groups == "frequency" else np.arange(len(behavior_counts_V))
        )
        prior_G = np.bincount(group_V, weights=behavior_counts_V / behavior_counts_V.sum())
        self.register_buffer("group_V", torch.from_numpy(group_V))
        self.register_buffer("prior_G", torch.from_numpy(prior_G).float())
        # log 0 of an empty group stays -inf: it never gets any weight.
        self.register_buffer("log_q_G", self.prior_G.log())

    def worst_case(self) -> Tensor:
        """q of the groups, (G,)."""
        return self.log_q_G.softmax(0)

    def weight(self, nll_M: Tensor, target_M: Tensor, progress: float) -> Tensor | None:
        if progress < self.config.warm_start:
            return None
        group_M = self.group_V[target_M]
        zeros_G, of_batch_2G = torch.zeros_like(self.prior_G), torch.stack([nll_M, torch.ones_like(nll_M)])
        sum_G, count_G = self.all_sum(torch.stack([zeros_G, zeros_G]).index_add(1, group_M, of_batch_2G))
        risk_G = sum_G / (count_G.sum() * self.prior_G).clamp_min(1e-12)
        self.log_q_G += self.config.group_step * risk_G
        self.log_q_G -= self.log_q_G.logsumexp(0)
        ratio_G = self.worst_case() / self.prior_G.clamp_min(1e-12)
        return self.mixed(1.0, ratio_G[group_M])

    def validation_loss(self, loss_M: Tensor, target_M: Tensor, progress: float) -> float:
        """(1 - m) mean_i l_i + m max_g R_g, over the groups that the validation part holds."""
        loss_M = loss_M.double()
        share_G, risk_G = class_risks(loss_M, self.group_V.cpu()[target_M], len(self.prior_G))
        worst = risk_G[share_G > 0].max()
        return float(self.mixed(loss_M.mean(), worst))


def _of_one_process(part: Tensor) -> Tensor:
    return part


def class_risks(loss_M: Tensor, class_M: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Share of each class and its mean loss, both (num_classes,) float64; 0 where there is none."""
    zeros = loss_M.new_zeros(num_classes, dtype=torch.float64)
    count = zeros.index_add(0, class_M, torch.ones_like(loss_M, dtype=torch.float64))
    risk = zeros.index_add(0, class_M, loss_M.double()) / count.clamp_min(1)
    return count / count.sum(), risk


def require_objective(config: ObjectiveConfig) -> None:
    """Raises ValueError if no objective has the config's name, or if it has options that nothing reads."""
    added = extension_names(OBJECTIVE_GROUP, OBJECTIVES)
    if config.name not in (*OBJECTIVES, *added):
        raise ValueError(f"objective must be one of {', '.join((*OBJECTIVES, *added))}, got {config.name!r}")
    if config.options and config.name in OBJECTIVES:
        raise ValueError(f"objective.options are for objectives of other packages; {config.name} has none")


def build_objective(config: ObjectiveConfig, behavior_counts_V: npt.NDArray[np.integer]) -> Objective:
    """The objective of a config; behavior_counts_V (V,) occurrences in the training part.

    Raises ValueError for a name that neither OBJECTIVES nor an installed package has.
    """
    require_objective(config)
    counts_V = np.asarray(behavior_counts_V, np.int64)
    if config.name not in OBJECTIVES:
        added = load_extension(OBJECTIVE_GROUP, config.name)(config, counts_V)
        if not isinstance(added, Objective):
            raise ValueError(f"the objective {config.name!r} must be an Objective, got {type(added).__name__}")
        return added
    if config.name in ("logit_adjusted", "balanced_softmax"):
        return LogitAdjusted(config, counts_V)
    if config.name == "dro":
        prior_V = torch.from_numpy(counts_V / counts_V.sum()).float()
        robust = DistributionallyRobust(config, prior_V)
        if config.shift:
            robust.set_prior_shift(counts_V, config.shift)
        return robust
    if config.name == "group_dro":
        return GroupDistributionallyRobust(config, counts_V)
    if config.name == "class_balanced":
        return ClassBalanced(config, counts_V)
    return Focal(config) if config.name == "focal" else Objective(config)
