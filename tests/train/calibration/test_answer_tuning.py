"""Tuning of a bundle's answers: predictions as on a device, and the three fits that they are for."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgebehave.answers.acting import operating_points
from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave_train.calibration.answer_tuning import (
    PartProbs,
    calibration_figures,
    part_probs,
    tail_points,
    tune_answers,
)
from edgebehave_train.calibration.calibration import fit_calibration, top_confidence
from edgebehave_train.calibration.conformal import coverage_thresholds
from edgebehave_train.calibration.tail_shift import TAILS, TAUS, log_prior_ratio
from edgebehave_train.evaluation.part_predictions import checkpoint_targets, predict_part


@pytest.fixture(scope="module")
def validation(tiny_store, tiny_checkpoint) -> PartProbs:
    return part_probs(tiny_store, tiny_checkpoint, "validation")


@pytest.fixture(scope="module")
def tuning(tiny_checkpoint, validation):
    return tune_answers(tiny_checkpoint, validation)


def test_predictions_are_those_of_evaluation_and_column_0_is_the_rest(tiny_store, tiny_checkpoint, validation):
    np.testing.assert_allclose(validation.probs_TC.sum(1), 1, rtol=1e-5)
    assert (validation.probs_TC[:, 0] >= 0).all()
    expected = predict_part(tiny_store, tiny_checkpoint)
    np.testing.assert_array_equal(validation.probs_TC[:, 1:].argmax(1) + 1, expected.predicted)
    np.testing.assert_array_equal(validation.user_T, expected.targets.user)
    np.testing.assert_array_equal(validation.time_s_T, tiny_store.time_s[expected.targets.event])


def test_a_new_behavior_is_a_column_from_its_second_occurrence_on(tiny_store, tiny_checkpoint):
    test = part_probs(tiny_store, tiny_checkpoint, "test")
    asked = checkpoint_targets(tiny_store, tiny_checkpoint, "test")
    targets, behaviors = asked.targets, asked.behaviors
    is_new_T = targets.behavior == 0
    own_T = behaviors.behavior[targets.row]
    assert (test.behavior_T[~is_new_T] == targets.behavior[~is_new_T]).all()
    for t in np.flatnonzero(is_new_T):
        past = behaviors.behavior[behaviors.user_start[targets.user[t]] : targets.row[t]]
        assert test.behavior_T[t] == (own_T[t] if own_T[t] in past else 0)
    assert (test.behavior_T >= behaviors.num_behaviors).any()


def test_a_limit_draws_whole_users(tiny_store, tiny_checkpoint, validation):
    num_candidates = validation.probs_TC.shape[1]
    some = part_probs(tiny_store, tiny_checkpoint, "validation", 20 * num_candidates)
    assert 20 <= len(some.user_T) < len(validation.user_T)
    for user in np.unique(some.user_T):
        assert (some.user_T == user).sum() == (validation.user_T == user).sum()
    assert len(np.unique(part_probs(tiny_store, tiny_checkpoint, "validation", 1).user_T)) == 1


def test_the_shift_is_the_calibration_of_named_targets_and_tau_times_the_ratio(tiny_checkpoint, validation, tuning):
    named = validation.take(validation.behavior_T != 0)
    fitted = fit_calibration(named.probs_TC, named.behavior_T)
    assert (tuning.shift.temperature, tuning.shift.boost) == (fitted.temperature, fitted.boost)
    assert tuning.tail["tau"] in TAUS
    assert tuning.tail["toward"] == "uniform"
    expected = tuning.tail["tau"] * log_prior_ratio(tiny_checkpoint.behavior_counts)
    np.testing.assert_allclose(tuning.shift.log_ratio_V, expected)


def test_thresholds_and_points_are_those_of_calibrated_predictions(validation, tuning):
    calibrated = validation.shifted(tuning.shift)
    thresholds = coverage_thresholds(calibrated.probs_TC, calibrated.behavior_T, calibrated.user_T)
    np.testing.assert_array_equal(tuning.thresholds.threshold, thresholds.threshold)
    assert tuning.conformal["threshold"] == thresholds.threshold.tolist()
    points = tuning.tail["points"]
    assert points == tail_points(calibrated, tuning.shift)
    assert [point["tail"] for point in points] == list(TAILS)
    assert points[0]["hr_at_1"] == pytest.approx(calibration_figures(calibrated)["hr_at_1"])
    assert points[-1]["macro_recall"] >= points[0]["macro_recall"]


def test_a_user_is_calibrated_by_a_fit_to_other_users(validation, tuning):
    _, index_T = np.unique(validation.user_T, return_inverse=True)
    parts = []
    for fold in range(5):
        inside_T = index_T % 5 == fold
        others = validation.take(~inside_T & (validation.behavior_T != 0))
        fitted = fit_calibration(others.probs_TC, others.behavior_T)
        shift = ProbabilityShift(log_ratio_V=np.zeros(1), temperature=fitted.temperature, boost=fitted.boost)
        parts.append(validation.take(inside_T).shifted(shift))
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(validation)}
    assert tuning.calibration["after"] == pytest.approx(calibration_figures(PartProbs(**columns)))
    assert tuning.calibration["before"] == calibration_figures(validation)
    points = operating_points(*top_confidence(columns["probs_TC"], columns["behavior_T"]))
    assert tuning.acting["threshold"] == [point.threshold for point in points]
    assert tuning.acting["precision"] == [point.precision for point in points]


def test_flattened_predictions_are_sharpened_again(tiny_checkpoint, validation):
    named = validation.take(validation.behavior_T != 0)
    flat = replace(named, probs_TC=np.sqrt(named.probs_TC))
    flat = replace(flat, probs_TC=flat.probs_TC / flat.probs_TC.sum(1, keepdims=True))
    tuned = tune_answers(tiny_checkpoint, flat)
    before, after = tuned.calibration["before"], tuned.calibration["after"]
    assert after["nll"] < before["nll"]
    assert after["ece"] < before["ece"]
    assert after["hr_at_1"] == before["hr_at_1"]


def test_sections_are_json_and_the_summary_names_their_figures(validation, tuning):
    sections = json.loads(json.dumps([tuning.calibration, tuning.tail, tuning.conformal]))
    assert sections[0]["num_targets"] == sections[2]["num_targets"] == len(validation.behavior_T)
    assert sections[0]["num_users"] == len(np.unique(validation.user_T))
    text = tuning.to_text()
    assert f"ECE {tuning.calibration['before']['ece']:.3f} -> {tuning.calibration['after']['ece']:.3f}" in text
    assert f"tau {tuning.tail['tau']:g}" in text
