"""DRO prior: the worst-case prior of BehaveGPT's Eq. 4 for a trained model, and predictions under it.

    max_q  min_f  sum_b q_b R_b(f)         q in the uncertainty set of `training.dro`

For a fixed q the model f of least risk under q is known without training, if p is calibrated: the
trained model under the prior q (`metrics.prior_shift`),

    p_q(b | x) ~ p(b | x) r_b              r_b = q_b / p_b

So the inner problem is solved exactly, also where weights on samples cannot solve it: the habit
kernels of a mixture do not depend on such weights. As a minimum over f of functions linear in q,
the value is concave in q, and its gradient is R(p_q): Frank-Wolfe maximizes it by steps toward the
worst case of the present risks.

Logit adjustment has r_b = p_b^-tau instead. Here, with kappa = 1, the limits p_b / eps_b of the set
are the same for all rare behaviors until 1 / eps_min caps them, and frequent behaviors keep theirs:
rare behaviors gain, and the order of the frequent ones stays.
"""

# T targets, R targets of one call, V behaviors, C = V + U candidates, H = 2 halves of the users

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.evaluation.part_predictions import PartTargets, Scorer
from edgebehave_train.metrics.prior_shift import shifted_scores
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.dro import epsilon_of_capacity, heterogeneous_epsilon, worst_case_weights

_SMALLEST_PROB = 1e-6


@dataclass(frozen=True, kw_only=True)
class DroPriorConfig:
    """The uncertainty set of the prior, and the search in it.

    capacity     C = sum_b p_b / eps_b, in [1, 1 / epsilon_min]; 1 = not at all.
    epsilon_min  smallest eps: r_b is at most 1 / epsilon_min.
    kappa        how fast eps falls with rarity; 0 = LCVaR.
    rounds       steps of Frank-Wolfe.
    shrinkage    number of targets at the mean risk that are added to each class.
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
    config: DroPriorConfig,
) -> npt.NDArray[np.float64]:
    """r of every candidate, (C,), from predictions that the model was not trained on.

    probs_TC           p(b) of every target, column 0 unknown.
    target_T           behavior of every target; unknown targets are left out.
    behavior_counts_V  (V,) occurrences in the training part.
    Candidates without a count in training get the median r of the rarest behaviors with one.
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
        p_q_T = own_T * ratio_C[target_T] / np.maximum(probs_TC @ ratio_C, 1e-12)
        loss_T = -np.log(np.maximum(p_q_T, _SMALLEST_PROB))
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


def dro_priors(
    checkpoint: Checkpoint, validation: PartTargets, capacities: Sequence[float], is_measured: bool
) -> dict[float, Scorer]:
    """A scorer p(b) r_b per capacity, with r of `worst_case_ratio` on the validation part.

    is_measured  the scorers are used on the validation part itself: its users are divided in two
                 halves, and each half gets the r that was found on the other.
    """
    if not capacities:
        return {}
    targets = validation.targets
    probs_TC = np.zeros((len(targets), validation.behaviors.num_candidates), np.float32)
    for which, probs_RC in target_probs(checkpoint.load_model(), validation.log, validation.behaviors, targets):
        probs_TC[which] = probs_RC
    half_T = np.random.default_rng(0).permutation(validation.log.num_users)[targets.user] % 2

    def ratio(capacity: float, chosen: slice | npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        config = DroPriorConfig(capacity=capacity)
        return worst_case_ratio(probs_TC[chosen], targets.behavior[chosen], checkpoint.behavior_counts, config)

    def scorer(capacity: float) -> Scorer:
        if not is_measured:
            ratio_C = ratio(capacity, slice(None))
            return lambda which, probs_RC: shifted_scores(probs_RC, ratio_C)
        ratio_HC = np.stack([ratio(capacity, half_T != half) for half in (0, 1)])
        return lambda which, probs_RC: shifted_scores(probs_RC, ratio_HC[half_T[which]])

    return {capacity: scorer(capacity) for capacity in capacities}
