"""Thresholds of prediction sets, from predictions that the model was not trained on.

The score of a target is 1 - p(y), infinite where y is no candidate. Events of one user depend on each
other, so users are exchangeable and events are not: each user has the same weight,

    threshold of coverage c = 1 - inf { s : sum_u 1 / (K + 1) share of u's scores <= s  >=  c }

with K users and a user K + 1 at infinity. Then the set of a random event of a new user holds the
target with probability at least c (Lee, Barber & Willett 2023, arXiv 2306.06342, HCP). Weighting
events equally instead would let users with long logs decide. Where the test users are those of
validation at a later time, nothing is guaranteed; `edgebehave.answers.coverage.AdaptiveCoverage`
then keeps the level.
"""

# T targets, C candidates

import numpy as np
import numpy.typing as npt

from edgebehave.answers.coverage import CoverageThresholds

GRID = (*(n / 100 for n in range(1, 100)), 0.995)
"""Coverages that a bundle has thresholds for."""


def coverage_thresholds(
    probs_TC: npt.NDArray[np.floating], target_T: npt.NDArray[np.integer], user_T: npt.NDArray[np.integer]
) -> CoverageThresholds:
    """Thresholds for every coverage of GRID; 0, which admits every candidate, where users are too few.

    probs_TC  calibrated p(b) of every target.
    target_T  column of every target.
    """
    own_T = probs_TC[np.arange(len(target_T)), target_T].astype(np.float64)
    _, index_T, num_targets = np.unique(user_T, return_inverse=True, return_counts=True)
    weight_T = 1 / (num_targets[index_T] * (len(num_targets) + 1))
    order = np.argsort(-own_T, kind="stable")
    reached = np.cumsum(weight_T[order])
    index = np.searchsorted(reached, np.array(GRID) - 1e-12)
    threshold = np.append(own_T[order], 0.0)[index]
    return CoverageThresholds(coverage=np.array(GRID), threshold=threshold)
