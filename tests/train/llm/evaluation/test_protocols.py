"""The two protocols: what is drawn, what is measured, and the rows of other predictors."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from edgebehave_train.evaluation.habit_baseline import habits
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.evaluation.part_predictions import part_targets, predict_part
from edgebehave_train.llm.evaluation import protocols as llm_evaluation
from edgebehave_train.llm.evaluation.protocols import (
    ProtocolRow,
    ProtocolTable,
    balanced_samples,
    checkpoint_probs,
    habit_sample_probs,
    protocol_table,
    random_samples,
)
from edgebehave_train.llm.prompts.samples import LLM_SPLIT, log_samples
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import part_of_event
from edgebehave_train.metrics.bootstrap import Interval
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.training.pretraining import pretrain

SMALL = {"num_resamples": 20}


@pytest.fixture(scope="module")
def samples(tiny_store):
    return log_samples(tiny_store, "test")


@pytest.fixture(scope="module")
def checkpoint(tiny_store, recipe, tmp_path_factory):
    config = recipe(epochs=1, split=LLM_SPLIT)
    return pretrain(tiny_store, config, tmp_path_factory.mktemp("edge") / "checkpoint")


@pytest.fixture(scope="module", autouse=True)
def _tune_quickly():
    patch = pytest.MonkeyPatch()
    patch.setattr(llm_evaluation, "tune_habits", lambda log, targets: tune_habits(log, targets, 60))
    yield
    patch.undo()


def random_probs(samples, seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.random((len(samples), samples.vocabulary.num_behaviors))
    probs[np.arange(len(samples)), samples.behavior] += 0.4
    probs[:, 0] = 0
    return probs / probs.sum(1, keepdims=True)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100))
def test_a_balanced_set_has_the_same_number_of_each_behavior(samples, few, more, seed):
    few, more = sorted((few, more))
    drawn = balanced_samples(samples, few, seed)
    there = np.bincount(samples.behavior)
    np.testing.assert_array_equal(np.bincount(drawn.behavior), np.minimum(there, few))
    assert np.isin(drawn.targets.event, balanced_samples(samples, more, seed).targets.event).all()
    assert np.isin(drawn.targets.event, samples.targets.event).all()


def test_some_samples_as_they_come(samples):
    some = random_samples(samples, 50, seed=3)
    assert len(some) == len(np.unique(some.targets.event)) == 50
    np.testing.assert_array_equal(some.targets.event, random_samples(samples, 50, seed=3).targets.event)
    assert len(random_samples(samples, 10**9)) == len(samples)
    for draw in (random_samples, balanced_samples):
        with pytest.raises(ValueError, match="must be 1 or more"):
            draw(samples, 0)


def test_user_protocol_against_scikit_learn(samples):
    probs = random_probs(samples)
    table = protocol_table("users", samples, {"random": probs}, **SMALL)
    metrics = table.rows["random"].metrics
    predicted = probs.argmax(1)
    for name, score in (("precision", precision_score), ("recall", recall_score)):
        for average in ("weighted", "macro"):
            expected = score(
                samples.behavior,
                predicted,
                average=average,
                zero_division=0,
                labels=np.unique(samples.behavior),
            )
            assert metrics[f"{average}_{name}"].value == pytest.approx(expected)


def test_balanced_protocol_by_the_definition(samples):
    balanced = balanced_samples(samples, 12)
    probs = random_probs(balanced)
    table = protocol_table("balanced", balanced, {"random": probs}, **SMALL)
    hit = probs.argmax(1) == balanced.behavior
    share = balanced.train_counts / balanced.train_counts.sum()
    groups = {
        "head": share > 0.05,
        "medium": (share >= 0.01) & (share <= 0.05),
        "tail": share < 0.01,
    }
    metrics = table.rows["random"].metrics
    assert metrics["weighted_recall"].value == pytest.approx(hit.mean())
    assert sum(table.group_samples.values()) == table.num_samples == len(balanced)
    for group, member_V in groups.items():
        member = member_V[balanced.behavior]
        assert table.group_samples[group] == member.sum()
        if member.any():
            assert metrics[f"{group}_accuracy"].value == pytest.approx(hit[member].mean())
        else:
            assert np.isnan(metrics[f"{group}_accuracy"].value)
    per_behavior = [hit[balanced.behavior == b].mean() for b in np.unique(balanced.behavior)]
    assert metrics["macro_recall"].value == pytest.approx(np.mean(per_behavior))


def test_the_reference_is_compared_with_every_other_row(samples):
    good, bad = random_probs(samples), random_probs(samples)
    bad[:, 0], bad[np.arange(len(bad)), samples.behavior] = 5, 0
    table = protocol_table("users", samples, {"bad": bad, "good": good}, reference="good", **SMALL)
    difference = table.rows["bad"].reference_minus_this["weighted_recall"]
    assert difference.value == table.rows["good"].metrics["weighted_recall"].value
    assert difference.low > 0
    assert table.rows["good"].reference_minus_this is None


def test_a_table_in_full():
    measured = Interval(value=0.5, low=0.25, high=0.75)
    names = ("weighted_recall", "macro_recall", "head_accuracy", "medium_accuracy")
    metrics = dict.fromkeys(names, measured)
    nothing = Interval(value=np.nan, low=np.nan, high=np.nan)
    table = ProtocolTable(
        protocol="balanced",
        part="test",
        num_samples=7,
        num_users=2,
        num_behaviors=3,
        group_samples={"head": 4, "medium": 3, "tail": 0},
        rows={"A + B": ProtocolRow(metrics={**metrics, "tail_accuracy": nothing})},
    )
    head, _, *lines = table.to_markdown().splitlines()
    assert head == (
        "balanced, test part: 7 samples (4 head, 3 medium, 0 tail) of 2 users, 3 behaviors; 95 % intervals over users"
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "overall", "mean over behaviors", "head", "medium", "tail"]
    assert cells[2] == ["A + B", *["0.500 [0.250, 0.750]"] * 4, "-"]
    assert len({len(line) for line in lines}) == 1
    content = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert content["rows"]["A + B"]["metrics"]["head_accuracy"] == [0.5, 0.25, 0.75]
    assert content["rows"]["A + B"]["metrics"]["tail_accuracy"] == [None, None, None]


def test_a_table_measured_becomes_json(samples):
    table = protocol_table("users", samples, {"a": random_probs(samples), "b": random_probs(samples, 1)}, reference="a")
    content = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert list(content["rows"]) == ["a", "b"]
    value, low, high = content["rows"]["a"]["metrics"]["hr_at_3"]
    assert low <= value <= high


def test_the_edge_model_answers_as_in_evaluation(tiny_store, checkpoint):
    samples = log_samples(tiny_store, "validation")
    probs = checkpoint_probs(checkpoint, tiny_store, samples)
    assert probs.shape == (len(samples), samples.vocabulary.num_behaviors)
    assert (probs[:, 0] == 0).all()
    assert (probs.sum(1) <= 1 + 1e-5).all()
    # The tiny log has no behavior outside the training part: nobody has one of their own.
    expected = predict_part(tiny_store, checkpoint)
    here = np.isin(expected.targets.event, samples.targets.event)
    np.testing.assert_array_equal(probs.argmax(1), expected.predicted[here])
    some = balanced_samples(samples, 5)
    np.testing.assert_allclose(
        checkpoint_probs(checkpoint, tiny_store, some),
        probs[np.isin(samples.targets.event, some.targets.event)],
        atol=1e-6,
    )
    assert not checkpoint.read_metrics().get("test_reads")
    checkpoint_probs(checkpoint, tiny_store, log_samples(tiny_store, "test")[:3])
    assert len(checkpoint.read_metrics()["test_reads"]) == 1


def test_habits_answer_as_in_evaluation(tiny_store, samples):
    probs = habit_sample_probs(tiny_store, samples)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    asked = part_targets(map_log(tiny_store, samples.vocabulary), part_of_event(tiny_store, LLM_SPLIT), "test")
    weights = tune_habits(asked.behaviors, asked.validation_targets, 60)
    expected = habits(asked.behaviors, samples.targets, weights)
    np.testing.assert_array_equal(probs.argmax(1), expected.predicted)
    table = protocol_table("users", samples, {"habits": probs}, **SMALL)
    value = evaluate_predictions(expected, samples.train_counts)["weighted_precision"]
    assert table.rows["habits"].metrics["weighted_precision"].value == pytest.approx(value)


def test_rows_that_do_not_fit_are_refused(tiny_store, tiny_checkpoint, samples):
    probs = random_probs(samples)
    with pytest.raises(ValueError, match="row 'short' has probabilities of shape"):
        protocol_table("users", samples, {"short": probs[:-1]})
    with pytest.raises(ValueError, match="NaN"):
        protocol_table("users", samples, {"broken": np.full_like(probs, np.nan)})
    with pytest.raises(ValueError, match="protocol must be one of users, balanced"):
        protocol_table("all", samples, {"row": probs})
    with pytest.raises(ValueError, match="a table needs a row"):
        protocol_table("users", samples, {})
    with pytest.raises(ValueError, match="reference must be one of the rows"):
        protocol_table("users", samples, {"row": probs}, reference="other")
    with pytest.raises(ValueError, match="do not share vocabulary and split"):
        checkpoint_probs(tiny_checkpoint, tiny_store, samples)
    moved = replace(samples.targets, event=samples.targets.event + 1)
    with pytest.raises(ValueError, match="samples are not of the log"):
        habit_sample_probs(tiny_store, replace(samples, targets=moved))
