"""Make the tables of calibration, prediction sets and the prior shift: one command per checkpoint.

    python research/reproduce_calibration.py runs/edge --store runs/store
    python research/reproduce_calibration.py runs/edge --store runs/store --validation

Everything is fitted on the validation part, as `edgebehave export` does it, and measured on the
test part, whose reading is noted in the checkpoint. With --validation, half of the validation users
stand for the test part, and nothing is noted. Probabilities are torch's, before int8.

Adaptive sets come two ways: one level per user, as on a device, and one for all users in the
order of time, as on a server. Where users were split, each user's events run in the order of time.
"""

import time

import numpy as np
import numpy.typing as npt

from answer_parts import AnswerParts
from edgebehave.answers.coverage import AdaptiveCoverage, CoverageThresholds
from edgebehave_train.calibration.answer_tuning import (
    AnswerTuning,
    PartProbs,
    calibration_figures,
    tail_points,
    tune_answers,
)
from edgebehave_train.calibration.calibration import fit_calibration

COVERAGES = (0.5, 0.8, 0.9, 0.95)
TARGET = 0.9
STEP_OF_USER, STEP_OF_ALL = 0.05, 0.005


def main() -> None:
    started = time.monotonic()
    parts = AnswerParts(__doc__)
    tuning = tune_answers(parts.checkpoint, parts.tuned)
    print_calibration(tuning, parts.tuned, parts.measured)
    calibrated = parts.measured.shifted(tuning.shift)
    print_tail(tuning, calibrated)
    print_sets(tuning.thresholds, calibrated)
    print_over_time(tuning.thresholds, calibrated)
    print(
        f"\n{parts.source()}, {len(parts.tuned.behavior_T):,} targets fitted, "
        f"{len(parts.measured.behavior_T):,} measured, {time.monotonic() - started:.0f} s"
    )


def print_calibration(tuning: AnswerTuning, validation: PartProbs, test: PartProbs) -> None:
    """ECE and nll, as the model has them, by temperature alone, and by the bundle."""
    named = validation.take(validation.behavior_T != 0)
    alone = fit_calibration(named.probs_TC, named.behavior_T, temperature_only=True)
    shift = type(tuning.shift)(log_ratio_V=tuning.shift.log_ratio_V, temperature=alone.temperature)
    rows = {
        "as trained": test,
        f"temperature {alone.temperature:.3f}": test.shifted(shift),
        f"temperature {tuning.shift.temperature:.3f}, boost {tuning.shift.boost:.3f}": test.shifted(tuning.shift),
    }
    print("| calibration | ECE | ECE, equal width | nll | mean confidence | HR@1 |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, probs in rows.items():
        figures = calibration_figures(probs)
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in figures.values()) + " |")


def print_tail(tuning: AnswerTuning, calibrated: PartProbs) -> None:
    """Operating points of the option tail."""
    print(f"\n| tail (toward {tuning.tail['toward']}, tau {tuning.tail['tau']:g}) ", end="")
    points = tail_points(calibrated, tuning.shift)
    print("| " + " | ".join(f"{point['tail']:g}" for point in points) + " |")
    print("|---|" + "---:|" * len(points))
    for name, key in (("HR@1", "hr_at_1"), ("macro recall", "macro_recall")):
        print(f"| {name} | " + " | ".join(f"{point[key]:.3f}" for point in points) + " |")


def print_sets(thresholds: CoverageThresholds, probs: PartProbs) -> None:
    """Coverage by events and by users, and set sizes, for some coverages."""
    print("\n| coverage asked | of events | mean of users | set size, mean | median | 90th |")
    print("|---:|---:|---:|---:|---:|---:|")
    for coverage in COVERAGES:
        covered_T, size_T = static_sets(thresholds, probs, coverage)
        _, index_T = np.unique(probs.user_T, return_inverse=True)
        of_users = (np.bincount(index_T, covered_T) / np.bincount(index_T)).mean()
        print(
            f"| {coverage:g} | {covered_T.mean():.3f} | {of_users:.3f} | {size_T.mean():.1f} | "
            f"{np.median(size_T):.0f} | {np.percentile(size_T, 90):.0f} |"
        )


def print_over_time(thresholds: CoverageThresholds, probs: PartProbs) -> None:
    """Coverage by tenths of the period, fixed and adaptive."""
    order = np.argsort(probs.time_s_T, kind="stable")
    tenth_T = np.empty(len(order), np.int64)
    tenth_T[order] = np.arange(len(order)) * 10 // len(order)
    one_level = np.zeros_like(probs.user_T)
    ways = {
        "fixed": static_sets(thresholds, probs, TARGET),
        f"per user, step {STEP_OF_USER:g}": adaptive_sets(thresholds, probs, probs.user_T, STEP_OF_USER),
        f"all, step {STEP_OF_ALL:g}": adaptive_sets(thresholds, probs, one_level, STEP_OF_ALL),
    }
    print(f"\n| {TARGET:.0%} sets, by tenth of the events in time | ", end="")
    print(" | ".join(str(n) for n in range(1, 11)) + " | all | set size, mean | median |")
    print("|---|" + "---:|" * 13)
    for name, (covered_T, size_T) in ways.items():
        tenths = np.bincount(tenth_T, covered_T) / np.bincount(tenth_T)
        cells = [f"{value:.3f}" for value in (*tenths, covered_T.mean())]
        cells += [f"{size_T.mean():.1f}", f"{np.median(size_T):.0f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


Sets = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]
"""(T,) whether each set held what came, and (T,) how many behaviors it held."""


def static_sets(thresholds: CoverageThresholds, probs: PartProbs, coverage: float) -> Sets:
    members_TC = thresholds.members(probs.probs_TC[:, 1:], coverage)
    known_T = probs.behavior_T != 0
    inside_T = members_TC[np.arange(len(known_T)), np.maximum(probs.behavior_T - 1, 0)]
    return inside_T & known_T, members_TC.sum(1)


def adaptive_sets(
    thresholds: CoverageThresholds, probs: PartProbs, level_T: npt.NDArray[np.int64], step: float
) -> Sets:
    """In the order of time; events of one value of level_T share a level."""
    levels: dict[int, AdaptiveCoverage] = {}
    covered_T, size_T = np.zeros(len(level_T), bool), np.zeros(len(level_T), np.int64)
    for t in np.argsort(probs.time_s_T, kind="stable").tolist():
        wanted = levels.setdefault(int(level_T[t]), AdaptiveCoverage(target=TARGET, step=step))
        members_C = thresholds.members(probs.probs_TC[t, 1:], wanted.coverage)
        behavior = int(probs.behavior_T[t])
        covered_T[t] = behavior != 0 and members_C[behavior - 1]
        size_T[t] = members_C.sum()
        wanted.update(bool(covered_T[t]))
    return covered_T, size_T


if __name__ == "__main__":
    main()
