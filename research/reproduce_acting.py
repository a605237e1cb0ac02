"""Make the table of acting on predictions: does acting from the threshold on earn what the probabilities promise?

    python research/reproduce_acting.py runs/edge --store runs/store
    python research/reproduce_acting.py runs/edge --store runs/store --validation

Calibration is fitted on the validation part, as `edgebehave export` does it; the worth of actions is measured on the
test part, whose reading is noted in the checkpoint. With --validation, half of the validation users stand for the test
part, and nothing is noted. A needless action costs 1, a right one earns what the row says. "Promised" is the sum of
p benefit - (1 - p) cost over the actions, "earned" what came of them. Both are per 100 moments. "In hindsight" is the
most that any threshold earns on the measured part.
"""

# T targets, C candidates

import time

import numpy as np
import numpy.typing as npt

from answer_parts import AnswerParts
from edgebehave import Payoff, operating_points
from edgebehave_train.calibration.answer_tuning import PartProbs, tune_answers
from edgebehave_train.calibration.calibration import top_confidence
from edgebehave_train.metrics.bootstrap import percentile_interval, user_resamples

BENEFITS = (0.5, 1.0, 2.0, 4.0, 9.0)
NUM_RESAMPLES = 1000


def main() -> None:
    started = time.monotonic()
    parts = AnswerParts(__doc__)
    measured = parts.measured.shifted(tune_answers(parts.checkpoint, parts.tuned).shift)
    print_payoffs(measured)
    print_points(measured)
    print(
        f"\n{parts.source()}, {len(measured.behavior_T):,} moments of {len(np.unique(measured.user_T)):,} "
        f"users, {time.monotonic() - started:.0f} s"
    )


def print_payoffs(probs: PartProbs) -> None:
    """One row per benefit: the first prediction alone, then every candidate whose action pays."""
    confidence_T, hit_T = top_confidence(probs.probs_TC, probs.behavior_T)
    print(
        "| benefit / cost | threshold | acts | right | promised | earned | 95 % | in hindsight | always acting |",
        end="",
    )
    print(" every candidate that pays: actions | promised | earned |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for benefit in BENEFITS:
        payoff = Payoff(benefit=benefit, cost=1)
        acts_T = confidence_T >= payoff.threshold
        worth_T = np.where(hit_T, benefit, -1.0)
        earned_T = np.where(acts_T, worth_T, 0.0)
        promised = 100 * np.where(acts_T, payoff.expected(confidence_T), 0.0).mean()
        low, high = interval(earned_T, probs.user_T)
        hindsight = 100 * max(0.0, np.cumsum(worth_T[np.argsort(-confidence_T, kind="stable")]).max() / len(worth_T))
        right = f"{hit_T[acts_T].mean():.3f}" if acts_T.any() else "-"
        actions, all_promised, all_earned = every_candidate(probs, payoff)
        print(
            f"| {benefit:g} | {payoff.threshold:.3f} | {acts_T.mean():.1%} | {right} | {promised:.1f} | "
            f"{100 * earned_T.mean():.1f} | {low:.1f} to {high:.1f} | {hindsight:.1f} | {100 * worth_T.mean():.1f} | "
            f"{actions:.2f} | {all_promised:.1f} | {all_earned:.1f} |"
        )


def every_candidate(probs: PartProbs, payoff: Payoff) -> tuple[float, float, float]:
    """Actions per moment, and what they promise and earn per 100 moments."""
    probs_TC = probs.probs_TC[:, 1:].astype(np.float64)
    acts_TC = probs_TC >= payoff.threshold
    promised = np.where(acts_TC, payoff.expected(probs_TC), 0.0).sum(1).mean()
    rows = np.arange(len(probs_TC))
    is_right_T = acts_TC[rows, probs.behavior_T - 1] & (probs.behavior_T > 0)
    num_T = acts_TC.sum(1)
    earned = (payoff.benefit * is_right_T - payoff.cost * (num_T - is_right_T)).mean()
    return float(num_T.mean()), 100 * float(promised), 100 * float(earned)


def print_points(probs: PartProbs) -> None:
    """Precision at some coverages."""
    coverages = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    points = operating_points(*top_confidence(probs.probs_TC, probs.behavior_T), coverages)
    print("\n| acts at the surest | " + " | ".join(f"{point.coverage:.0%}" for point in points) + " |")
    print("|---|" + "---:|" * len(points))
    print("| probability at least | " + " | ".join(f"{point.threshold:.3f}" for point in points) + " |")
    print("| right | " + " | ".join(f"{point.precision:.3f}" for point in points) + " |")


def interval(earned_T: npt.NDArray[np.float64], user_T: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Ends of the 95 % interval of what 100 moments earn, by bootstrap over users."""
    _, index_T, count = np.unique(user_T, return_inverse=True, return_counts=True)
    total = np.bincount(index_T, earned_T)
    means = [
        (weights @ total) / (weights @ count) for weights in user_resamples(len(total), NUM_RESAMPLES, 0, at_a_time=100)
    ]
    ends = percentile_interval(float(earned_T.mean()), np.concatenate(means))
    return 100 * ends.low, 100 * ends.high


if __name__ == "__main__":
    main()
