"""The distributionally robust objective of BehaveGPT (arXiv 2505.17631, Eq. 4), solved exactly.

R_b is the mean loss of behavior b, p_b its training frequency. The worst distribution inside the uncertainty set
decides what the model trains on:

    max_q sum_b q_b R_b     s.t.  sum_b q_b = 1,  0 <= q_b <= p_b / eps_b

The paper writes the set without the simplex constraint, with which alone it is a distribution. eps_b = 1 for all b is
plain training; eps_b <= p_b lets q sit on the worst class alone.
"""

# V behaviors

import math

import torch
from torch import Tensor


def require_uncertainty_set(epsilon_max: float, epsilon_min: float, kappa: float, wanted_capacity: float = 1.0) -> None:
    """Raises ValueError, with the number that is out of range, if there is no uncertainty set."""
    if not 0 < epsilon_min <= 1:
        raise ValueError(f"epsilon_min must lie in (0, 1], got {epsilon_min}")
    if not (epsilon_max > 0 and kappa >= 0):
        raise ValueError(f"epsilon_max must be positive and kappa not negative, got {epsilon_max} and {kappa}")
    if not 1 <= wanted_capacity <= 1 / epsilon_min:
        raise ValueError(
            f"capacity must lie in [1, 1 / epsilon_min = {1 / epsilon_min:g}], got "
            f"{wanted_capacity}; a larger set needs a smaller epsilon_min"
        )


def heterogeneous_epsilon(prior_V: Tensor, epsilon_max: float, epsilon_min: float, kappa: float) -> Tensor:
    """Size of the uncertainty set per behavior: the rarer, the larger.

        eps_b = clip(eps_max (p_b / p_max)^kappa, eps_min, 1)

    prior_V  (V,) training frequencies. kappa = 0 gives the same eps to all.
    Returns  (V,) float32 in [eps_min, 1]; no sample weighs more than 1 / eps_min.
    """
    require_uncertainty_set(epsilon_max, epsilon_min, kappa)
    relative = (prior_V / prior_V.max()).clamp_min(1e-12)
    return (epsilon_max * relative**kappa).clamp(epsilon_min, 1.0)


def capacity(prior_V: Tensor, epsilon_V: Tensor) -> float:
    """C = sum_b p_b / eps_b. 1 is plain training; q may sit on 1 / C of the mass."""
    return float((prior_V / epsilon_V).sum())


def epsilon_of_capacity(prior_V: Tensor, wanted: float, epsilon_min: float, kappa: float) -> float:
    """The eps_max whose uncertainty set has the capacity wanted: sum_b p_b / eps_b = C.

    C falls as eps_max grows, from 1 / epsilon_min to 1, so bisection finds it. With kappa = 0 it is the common eps 1 /
    C.
    Raises ValueError for a capacity outside [1, 1 / epsilon_min].
    """
    require_uncertainty_set(1.0, epsilon_min, kappa, wanted)
    prior_V = prior_V.double()

    def reached(log_epsilon: float) -> float:
        epsilon_V = heterogeneous_epsilon(prior_V, math.exp(log_epsilon), epsilon_min, kappa)
        return capacity(prior_V, epsilon_V)

    # At these ends every eps is clipped: to epsilon_min, and to 1 (relative priors are >= 1e-12).
    low, high = math.log(epsilon_min) - 1, 1 + kappa * math.log(1e12)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) > wanted else (low, middle)
    return math.exp((low + high) / 2)


def worst_case_weights(risk_V: Tensor, prior_V: Tensor, epsilon_V: Tensor) -> Tensor:
    """Class weights of the worst distribution inside the uncertainty set: Eq. 4 solved exactly.

    Fills the classes in the order of falling risk, each up to p_b / eps_b, until the mass is spent.

    risk_V     (V,) float32, mean loss of each behavior, in nats.
    prior_V    (V,) float32, training frequencies, sums to 1.
    epsilon_V  (V,) float32 in (0, 1].
    Returns    q, (V,) float32, sums to 1. Raises ValueError if no such distribution exists.
    """
    limit_V = prior_V / epsilon_V
    if float(limit_V.sum()) < 1 - 1e-5:
        raise ValueError(f"no distribution fits: sum of prior / epsilon is {float(limit_V.sum()):.4f}, below 1")
    order = torch.argsort(risk_V, descending=True, stable=True)
    limit = limit_V[order]
    spent_before = limit.cumsum(0) - limit
    weights_V = torch.empty_like(prior_V)
    weights_V[order] = torch.minimum(limit, (1 - spent_before).clamp_min(0))
    return weights_V
