"""The value of Eq. 4 by its dual problem, to compare the solution of the product with."""

from torch import Tensor


def dual_value(risk_V: Tensor, prior_V: Tensor, epsilon_V: Tensor) -> float:
    """The same optimum from the other side: min_l  l + sum_b (p_b / eps_b) (R_b - l)+.

    Piecewise linear and convex in l, so the minimum lies at one of the risks.
    """
    excess = (risk_V[None] - risk_V[:, None]).clamp_min(0)
    return float((risk_V + (excess * (prior_V / epsilon_V)[None]).sum(1)).min())
