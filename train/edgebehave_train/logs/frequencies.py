"""Training frequencies of behaviors: a prior over all candidates of a model, and head, medium and tail."""

# V behaviors, C = V + U candidates

import numpy as np
import numpy.typing as npt

HEAD_ABOVE, TAIL_BELOW = 0.05, 0.01
GROUPS = ("head", "medium", "tail")


def candidate_prior(behavior_counts_V: npt.NDArray[np.integer], num_candidates: int) -> npt.NDArray[np.float64]:
    """pi_b of every candidate, (C,) float64; a behavior without a training event counts as seen once.

    The spare ids of a user's own behaviors and id 0 are such behaviors. The sum exceeds 1 by their shares; in a shift
    of the prior this common factor cancels out.

    behavior_counts_V  (V,) occurrences in the training part.
    num_candidates     C >= V.
    """
    counts_C = np.ones(num_candidates)
    counts_C[: len(behavior_counts_V)] = np.maximum(behavior_counts_V, 1)
    return counts_C / behavior_counts_V.sum()


def group_of_behavior(train_counts_V: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """(V,) 0 head, 1 medium, 2 tail, by training frequency; tail without a training event, as id 0."""
    share_V = train_counts_V / max(int(train_counts_V.sum()), 1)
    return np.where(share_V > HEAD_ABOVE, 0, np.where(share_V >= TAIL_BELOW, 1, 2))
