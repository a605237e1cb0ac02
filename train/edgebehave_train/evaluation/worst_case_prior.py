"""Eq. 4 of BehaveGPT as a game over the prior of a trained model.

    max_q  min_f  sum_b q_b R_b(f)         q in the uncertainty set of `dro.py`

For a fixed q the model f that minimizes the risk under q is known without training, if p is
calibrated: the same model seen under the prior q,

    p_q(b | x) ~ p(b | x) q_b / p_b

So the inner problem is solved exactly, also where weights on samples cannot solve it: the habit
kernels of a mixture are what they are, and no weight on a sample bends them. As a minimum over f of
functions linear in q, the value is concave in q, and its gradient is R(p_q): Frank-Wolfe climbs it
by steps toward the worst case of the present risks.

The result is one factor r_b = q_b / p_b per behavior, as logit adjustment is with r_b = pi_b^-tau;
it differs in its form. With kappa = 1 the limits p_b / eps_b of the set are the same for all rare
behaviors until 1 / eps_min caps them, and frequent ones keep theirs: the rare are lifted without
disturbing the order of the frequent.
"""

# T targets, V behaviors, C = V + U candidates

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.training.dro import epsilon_of_capacity, heterogeneous_epsilon, worst_case_weights

_SMALLEST_PROB = 1e-6


@dataclass(frozen=True, kw_only=True)
class PriorShiftConfig:
    """How far the prior may move.

    capacity     C = sum_b p_b / eps_b, in [1, 1 / epsilon_min]; 1 = not at all.
    epsilon_min  smallest eps: no behavior is lifted by more than 1 / epsilon_min.
    kappa        how fast eps falls with rarity; 0 = LCVaR.
    rounds       steps of Frank-Wolfe.
    shrinkage    targets' worth of the mean risk that each class risk is mixed with.
    """

    capacity: float
    epsilon_min: float = 0.02
    kappa: float = 1.0
    rounds: int = 30
    shrinkage: float = 5.0


def worst_case_ratio(
    probs_TC: npt.NDArray[np.floating],
    target_T: npt.NDArray[np.integer],
    behavior_counts_V: npt.NDArray[np.integer],
    config: PriorShiftConfig,
) -> npt.NDArray[np.float64]:
    """r of every candidate, (C,), from predictions that the model was not trained on.

    probs_TC           p(b) of every target, column 0 unknown.
    target_T           what came; unknown targets are left out.
    behavior_counts_V  (V,) occurrences in the training part.
    What training never saw is lifted like the behaviors that it saw least.
    """
    counts_V = np.asarray(behavior_counts_V)
    known_T = target_T != UNKNOWN
    probs_TC, target_T = probs_TC[known_T], target_T[known_T]
    prior_V = torch.from_numpy(counts_V / counts_V.sum())
    bounds = config.epsilon_min, config.kappa
    epsilon_max = epsilon_of_capacity(prior_V, config.capacity, *bounds)
    epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max, *bounds)
    num_targets_V = np.bincount(target_T, minlength=len(counts_V))
    own_T = probs_TC[np.arange(len(target_T)), target_T]
    q_V = prior_V.clone()
    for step in range(config.rounds):
        ratio_C = _ratio(q_V.numpy(), counts_V, probs_TC.shape[1])
        shifted_T = own_T * ratio_C[target_T] / np.maximum(probs_TC @ ratio_C, 1e-12)
        loss_T = -np.log(np.maximum(shifted_T, _SMALLEST_PROB))
        sum_V = np.bincount(target_T, weights=loss_T, minlength=len(counts_V))
        risk_V = (sum_V + config.shrinkage * loss_T.mean()) / (num_targets_V + config.shrinkage)
        worst_V = worst_case_weights(torch.from_numpy(risk_V), prior_V, epsilon_V)
        q_V += 2 / (step + 3) * (worst_V - q_V)
    return _ratio(q_V.numpy(), counts_V, probs_TC.shape[1])


def _ratio(
    q_V: npt.NDArray[np.float64], counts_V: npt.NDArray[np.integer], num_candidates: int
) -> npt.NDArray[np.float64]:
    """q_b / p_b of the behaviors of the training part, and of the rarest of them for the others."""
    seen_V = counts_V > 0
    ratio_V = q_V[seen_V] * counts_V.sum() / counts_V[seen_V]
    rarest = counts_V[seen_V] <= max(2, counts_V[seen_V].min())
    ratio_C = np.full(num_candidates, np.median(ratio_V[rarest]))
    ratio_C[: len(counts_V)][seen_V] = ratio_V
    return ratio_C
