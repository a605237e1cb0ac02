"""Prior shift: the predictions of a trained model under another prior of the behaviors.

    p_q(b | x) ~ p(b | x) r_b         r_b = q_b / p_b, the ratio of the new prior to the training prior

This holds exactly if p is calibrated and only the prior changes (Saerens et al. 2002). A common
factor of all r_b cancels. Every shift in edgebehave has this form; they differ in r:

    logit adjustment  r_b = p_b^-tau                 --adjust; Menon et al. 2021, Eq. 9
    DRO prior         r_b = q_b / p_b, q the worst case of BehaveGPT's Eq. 4; `evaluation.dro_prior`
    tail              r_b = (q_b / p_b)^(tau tail)   the option of the SDK; `calibration.tail_shift`
    objectives        r_b = p_b^tau in the loss      `training.objectives`
"""

# R targets in a block, V behaviors, C candidates

import numpy as np
import numpy.typing as npt

from edgebehave_train.logs.frequencies import candidate_prior


def shifted_scores(probs_RC: npt.NDArray[np.float32], ratio_C: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """p(b) r_b of every candidate, (R, C) float32, not normalized; ratio_C may also be (R, C)."""
    return (probs_RC * ratio_C).astype(np.float32)


def adjustment_divisor(
    behavior_counts_V: npt.NDArray[np.integer], num_candidates: int, tau: float
) -> npt.NDArray[np.float64]:
    """1 / r of logit adjustment, (C,): p_b^tau; all 1 for tau = 0. Ids without a count have the prior of one event."""
    return candidate_prior(behavior_counts_V, num_candidates) ** tau


def adjusted_scores(probs_RC: npt.NDArray[np.float32], divisor_C: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """p(b) / p_b^tau of every candidate, (R, C) float32, not normalized.

    It divides: a product with p_b^-tau is rounded otherwise, which can change which candidates tie.
    """
    return (probs_RC / divisor_C).astype(np.float32)
