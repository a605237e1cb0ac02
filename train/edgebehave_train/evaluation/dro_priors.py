"""DRO priors of a trained checkpoint: Eq. 4's shift of the prior, applied to its predictions.

    p(b) r_b     r of `prior_shift.worst_case_ratio`, from predictions of the validation part

Where the validation part is itself what is scored, its users are parted in two halves, and each is
scored by the r that was found on the other.
"""

# T targets, R targets of one call, C candidates, F halves

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgebehave_train.evaluation.evaluation import Asked, Scorer
from edgebehave_train.evaluation.worst_case_prior import PriorShiftConfig, worst_case_ratio
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint


def dro_priors(
    checkpoint: Checkpoint,
    validation: Asked,
    capacities: Sequence[float],
    is_shown: bool,
) -> dict[float, Scorer]:
    """A scorer per capacity, p(b) r_b with r of `worst_case_ratio` on the validation part.

    is_shown  the validation part is what is scored: each half of its users gets the r of the other.
    """
    if not capacities:
        return {}
    targets = validation.targets
    probs_TC = np.zeros((len(targets), validation.behaviors.num_candidates), np.float32)
    for which, probs_RC in target_probs(checkpoint.load_model(), validation.log, validation.behaviors, targets):
        probs_TC[which] = probs_RC
    half_T = np.random.default_rng(0).permutation(validation.log.num_users)[targets.user] % 2

    def scorer(capacity: float) -> Scorer:
        config = PriorShiftConfig(capacity=capacity)
        ratios_FC = np.stack(
            [
                worst_case_ratio(probs_TC[chosen], targets.behavior[chosen], checkpoint.behavior_counts, config)
                for chosen in ((half_T == 1, half_T == 0) if is_shown else (half_T >= 0,))
            ]
        )

        def score(which: npt.NDArray[np.int64], probs_RC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            ratio_RC = ratios_FC[half_T[which]] if is_shown else ratios_FC
            return (probs_RC * ratio_RC).astype(np.float32)

        return score

    return {capacity: scorer(capacity) for capacity in capacities}
