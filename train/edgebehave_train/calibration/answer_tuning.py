"""Calibration, prior shift of the option `tail` and prediction sets of a bundle, fitted to the validation part.

All are fitted to the same predictions, made as on a device: a behavior that is new to the
vocabulary is a candidate by its own name after its user has had it once.
"""

# T targets, C candidates, V behaviors, id 0 included

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.answers.acting import OperatingPoint, operating_points
from edgebehave.answers.coverage import CoverageThresholds
from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.calibration.calibration import (
    NUM_BINS,
    Calibration,
    calibration_error,
    fit_calibration,
    mean_nll,
    top_confidence,
)
from edgebehave_train.calibration.conformal import coverage_thresholds
from edgebehave_train.calibration.tail_shift import TAILS, choose_tau, log_prior_ratio, operating_point, worst_case_of
from edgebehave_train.evaluation.part_predictions import checkpoint_targets
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets, draw_users
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint

MAX_CELLS = 4_000_000
"""Targets times candidates that are looked at: 20,000 targets of 200 behaviors."""

_NUM_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class PartProbs:
    """Predictions of one part as a device makes them.

    probs_TC    (T, C) float32, column 0 is the unknown behavior.
    behavior_T  (T,) column of the target, a user's own behaviors included; 0 if it has no column.
    user_T      (T,) index of the user.
    time_s_T    (T,) UTC seconds of the target.
    """

    probs_TC: npt.NDArray[np.float32]
    behavior_T: npt.NDArray[np.int64]
    user_T: npt.NDArray[np.int64]
    time_s_T: npt.NDArray[np.int64]

    def take(self, which: npt.NDArray[np.bool_]) -> "PartProbs":
        return PartProbs(**{name: column[which] for name, column in vars(self).items()})

    def shifted(self, shift: ProbabilityShift, tail: float = 0.0) -> "PartProbs":
        """The same predictions after calibration and prior shift."""
        blocks = np.array_split(self.probs_TC, len(self.probs_TC) // 2048 + 1)
        probs_TC = np.concatenate([shift.apply(block, tail).astype(np.float32) for block in blocks])
        return replace(self, probs_TC=probs_TC)


def part_probs(
    store: EventStore, checkpoint: Checkpoint, part: str, max_cells: int | None = None, *, with_lookup: bool = True
) -> PartProbs:
    """Predictions of a checkpoint for the targets of a part, asked on time.

    with_lookup  False: by the named model alone.
    max_cells  whole users are drawn, by a fixed seed, until targets times candidates reach this number; None: all.
    """
    asked = checkpoint_targets(store, checkpoint, part)
    targets = asked.targets
    num_candidates = asked.behaviors.num_candidates
    if max_cells is not None:
        targets = draw_users(targets, max_cells // num_candidates)
    probs_TC = np.zeros((len(targets), num_candidates), np.float32)
    model = checkpoint.load_model()
    if not with_lookup:
        model.lookup = None
    for which, block in target_probs(model, asked.log, asked.behaviors, targets):
        probs_TC[which] = block
    probs_TC[:, UNKNOWN] = np.maximum(0, 1 - probs_TC[:, UNKNOWN + 1 :].sum(1))
    return PartProbs(
        probs_TC=probs_TC,
        behavior_T=_columns_of_targets(asked.behaviors, targets, probs_TC),
        user_T=targets.user,
        time_s_T=asked.log.time_s[targets.event].astype(np.int64),
    )


def _columns_of_targets(
    behaviors: BehaviorLog, targets: Targets, probs_TC: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """(T,) column of each target; 0 for a user's own behavior that occurs for the first time."""
    own_T = behaviors.behavior[targets.row]
    behavior_T = np.where(targets.behavior != UNKNOWN, targets.behavior, own_T)
    is_candidate = probs_TC[np.arange(len(targets)), behavior_T] > 0
    return np.where(is_candidate, behavior_T, UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class AnswerTuning:
    """The result of `tune_answers`.

    shift       calibration and prior shift: the last step of predict.onnx.
    thresholds  of prediction sets.
    calibration, tail, conformal, acting
                sections of the manifest, with figures of the validation part.
    """

    shift: ProbabilityShift
    thresholds: CoverageThresholds
    calibration: dict[str, Any]
    tail: dict[str, Any]
    conformal: dict[str, Any]
    acting: dict[str, Any]

    def to_text(self) -> str:
        """A summary in one line."""
        before, after = self.calibration["before"], self.calibration["after"]
        first, *_, last = self.tail["points"]
        return (
            f"calibration: ECE {before['ece']:.3f} -> {after['ece']:.3f} on "
            f"{self.calibration['num_targets']:,} targets; tail 0..1 (toward "
            f"{self.tail['toward']}, tau {self.tail['tau']:g}): HR@1 {first['hr_at_1']:.3f} -> "
            f"{last['hr_at_1']:.3f}, macro recall {first['macro_recall']:.3f} -> "
            f"{last['macro_recall']:.3f}"
        )


def tune_answers(checkpoint: Checkpoint, validation: PartProbs) -> AnswerTuning:
    """Fit calibration, prior shift and thresholds to predictions of the validation part."""
    named = validation.take(validation.behavior_T != UNKNOWN)
    fitted = fit_calibration(named.probs_TC, named.behavior_T)
    counts_V = checkpoint.behavior_counts
    worst_case_V = worst_case_of(checkpoint.training.worst_case, len(counts_V))
    ratio_V = log_prior_ratio(counts_V, worst_case_V)
    calibrated = validation.shifted(_shift(fitted, 0 * ratio_V))
    tau = choose_tau(calibrated.probs_TC, calibrated.behavior_T, ratio_V)
    shift = _shift(fitted, tau * ratio_V)
    thresholds = coverage_thresholds(calibrated.probs_TC, calibrated.behavior_T, calibrated.user_T)
    cross_fitted = _cross_fitted(validation)
    points = operating_points(*top_confidence(cross_fitted.probs_TC, cross_fitted.behavior_T))
    numbers = {"num_targets": len(validation.behavior_T), "num_users": len(np.unique(validation.user_T))}
    return AnswerTuning(
        shift=shift,
        thresholds=thresholds,
        calibration={
            "formula": "p ~ p^(1 / temperature) exp(boost sqrt(p))",
            "temperature": fitted.temperature,
            "boost": fitted.boost,
            "ece": f"top prediction, {NUM_BINS} bins of equally many validation targets; "
            f"after: each fifth of the users by a fit to the others",
            "before": calibration_figures(validation),
            "after": calibration_figures(cross_fitted),
            **numbers,
        },
        tail={
            "formula": "p ~ p exp(tail log_ratio), 0 <= tail <= 1",
            "toward": "uniform" if worst_case_V is None else "dro",
            "tau": tau,
            "log_ratio": shift.log_ratio_V.tolist(),
            "points": tail_points(calibrated, shift),
        },
        conformal={
            "rule": "candidates with p >= threshold at tail 0, at least the most probable",
            "score": "1 - p, every user weighs the same",
            "coverage": thresholds.coverage.tolist(),
            "threshold": thresholds.threshold.tolist(),
            **numbers,
        },
        acting={
            "rule": "act on the first prediction if p >= threshold, at tail 0; calibrated as for `calibration.after`",
            **{name: [getattr(point, name) for point in points] for name in OperatingPoint._fields},
            **numbers,
        },
    )


def calibration_figures(probs: PartProbs) -> dict[str, float]:
    """ECE by bins of equal mass and of equal width, nll, mean confidence and HR@1 of predictions."""
    confidence_T, hit_T = top_confidence(probs.probs_TC, probs.behavior_T)
    return {
        "ece": calibration_error(confidence_T, hit_T),
        "ece_equal_width": calibration_error(confidence_T, hit_T, "width"),
        "nll": mean_nll(probs.probs_TC, probs.behavior_T),
        "mean_confidence": float(np.mean(confidence_T)),
        "hr_at_1": float(np.mean(hit_T)),
    }


def tail_points(probs: PartProbs, shift: ProbabilityShift) -> list[dict[str, float]]:
    """HR@1 and macro recall at each of TAILS."""
    points = []
    for tail in TAILS:
        hr_at_1, macro_recall = operating_point(probs.probs_TC, probs.behavior_T, shift, tail)
        points.append({"tail": tail, "hr_at_1": hr_at_1, "macro_recall": macro_recall})
    return points


def _shift(fitted: Calibration, log_ratio_V: npt.NDArray[np.floating]) -> ProbabilityShift:
    return ProbabilityShift(log_ratio_V=log_ratio_V, temperature=fitted.temperature, boost=fitted.boost)


def _cross_fitted(probs: PartProbs) -> PartProbs:
    """Calibrated predictions; those of each user by a fit to other users."""
    _, index_T = np.unique(probs.user_T, return_inverse=True)
    parts = []
    for fold in range(_NUM_FOLDS):
        inside_T = index_T % _NUM_FOLDS == fold
        others = probs.take(~inside_T & (probs.behavior_T != UNKNOWN))
        fitted = fit_calibration(others.probs_TC, others.behavior_T)
        parts.append(probs.take(inside_T).shifted(_shift(fitted, np.zeros(1))))
    return PartProbs(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(probs)})
