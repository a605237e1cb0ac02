"""The table of an evaluation, and what it leaves behind in the checkpoints."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgebehave.habits import KERNELS
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.evaluation import table as table_module
from edgebehave_train.evaluation.baselines import BASELINES
from edgebehave_train.evaluation.part_predictions import BASELINE_NAMES, part_targets, predict, predict_part
from edgebehave_train.evaluation.table import evaluate
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import TRAIN, VALIDATION, SplitConfig, part_of_event
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain

NUM_RESAMPLES = 20
HEADLINE = ("hr_at_1", "hr_at_3", "ndcg_at_3", "macro_recall")


@pytest.fixture(scope="module")
def trained(tiny_store, recipe, tmp_path_factory):
    """Two checkpoints: with habits and a query time, and the plain model."""
    folder = tmp_path_factory.mktemp("trained")
    plain = recipe(epochs=1, habits=False, query_context="none")
    return (
        pretrain(tiny_store, recipe(epochs=1), folder / "model"),
        pretrain(tiny_store, plain, folder / "plain"),
    )


@pytest.fixture(scope="module", autouse=True)
def _tune_quickly():
    """The baseline's weights have tests of their own; a few targets do here."""
    patch = pytest.MonkeyPatch()
    tune = table_module.tune_habits
    patch.setattr(table_module, "tune_habits", lambda log, targets: tune(log, targets, 60))
    yield
    patch.undo()


@pytest.fixture
def checkpoints(trained, tmp_path):
    """Copies, so that what one test records another does not read."""
    return [
        Checkpoint.open(shutil.copytree(checkpoint.path, tmp_path / checkpoint.path.name)) for checkpoint in trained
    ]


@pytest.fixture(scope="module")
def table(tiny_store, trained, tmp_path_factory):
    copies = [shutil.copytree(c.path, tmp_path_factory.mktemp("table") / c.path.name) for c in trained]
    opened = [Checkpoint.open(path) for path in copies]
    return evaluate(tiny_store, opened, adjust=[0.5], num_resamples=NUM_RESAMPLES)


def test_a_table_has_every_baseline_every_model_and_its_variants(table):
    kinds = {row.name: row.kind for row in table.rows}
    assert kinds == {
        **dict.fromkeys(BASELINE_NAMES, "baseline"),
        "model": "model",
        "model, adjusted tau 0.5": "variant",
        "model, network alone": "variant",
        "model, no query time": "variant",
        "model, asked 10 min early": "variant",
        "model, asked 60 min early": "variant",
        "plain": "model",
        "plain, adjusted tau 0.5": "variant",
    }
    assert table.part == "validation"
    assert table.test_reads == 0
    assert len(table.habit_weights["weight"]) == len(KERNELS)


def test_all_rows_answer_for_the_same_targets(tiny_store, table):
    part = part_of_event(tiny_store, SplitConfig())
    expected = np.flatnonzero((part == VALIDATION) & (tiny_store.behavior >= 0))
    for row in table.rows:
        np.testing.assert_array_equal(row.predictions.targets.event, expected)
    assert table.num_targets == len(expected)
    late = {tiny_store.vocabulary.behavior_id(name) for name in ("late_a", "late_b")}
    assert table.num_unknown == np.isin(tiny_store.behavior[expected], list(late)).sum() > 0
    assert table.num_users == tiny_store.num_users


def test_metrics_have_intervals_and_differences_from_the_first_model(table):
    model, plain = table.row("model"), table.row("plain")
    assert model.model_minus_this is None
    for name in HEADLINE:
        interval = plain.metrics[name]
        assert 0 <= interval.value <= 1
        assert interval.low <= interval.high
        difference = plain.model_minus_this[name]
        assert difference.value == pytest.approx(model.metrics[name].value - interval.value)


def test_a_table_is_json(table):
    content = json.loads(json.dumps(table.to_json()))
    row = next(row for row in content["rows"] if row["name"] == "habits")
    value, low, high = row["metrics"]["hr_at_1"]
    assert low <= value <= high
    assert len(row["model_minus_this"]["hr_at_1"]) == 3


def test_the_model_row_is_the_ranking_of_its_scores(tiny_store, trained, table):
    checkpoint = trained[0]
    part = part_of_event(tiny_store, checkpoint.config.split)
    log = map_log(tiny_store, checkpoint.vocabulary)
    behaviors = log.behavior_log(part == TRAIN)
    targets = behaviors.targets(part == VALIDATION)
    hits, predicted = np.zeros(len(targets)), np.zeros(len(targets), int)
    for which, probs in target_probs(checkpoint.load_model(), log, behaviors, targets):
        predicted[which] = probs.argmax(1)
        hits[which] = predicted[which] == targets.behavior[which]
    model = table.row("model")
    np.testing.assert_array_equal(model.predictions.predicted, predicted)
    assert model.metrics["hr_at_1"].value == pytest.approx(hits.mean())
    single = predict_part(tiny_store, checkpoint)
    np.testing.assert_array_equal(single.predicted, predicted)


def test_all_taus_in_one_pass_are_each_tau_in_a_pass_of_its_own(tiny_store, trained):
    checkpoint = trained[0]
    parts = part_of_event(tiny_store, checkpoint.config.split)
    asked = part_targets(map_log(tiny_store, checkpoint.vocabulary), parts, "validation")
    taus = [0.0, 0.5, 1.0]
    for tau, at_once in zip(taus, predict(checkpoint, asked, taus), strict=True):
        (alone,) = predict(checkpoint, asked, [tau])
        for name in ("predicted", "num_greater", "num_tied"):
            np.testing.assert_array_equal(getattr(at_once, name), getattr(alone, name))


def test_tau_zero_gives_the_row_of_the_model(tiny_store, checkpoints):
    table = evaluate(tiny_store, checkpoints[:1], adjust=[0.0, 1.0], variants=False, num_resamples=NUM_RESAMPLES)
    model, same = table.row("model"), table.row("model, adjusted tau 0")
    for name in ("predicted", "num_greater", "num_tied"):
        np.testing.assert_array_equal(getattr(same.predictions, name), getattr(model.predictions, name))
    assert all(same.model_minus_this[name].value == 0 for name in HEADLINE)
    other = table.row("model, adjusted tau 1")
    assert np.any(other.predictions.predicted != model.predictions.predicted)


def test_readings_of_the_test_part_are_counted_in_each_checkpoint(tiny_store, checkpoints):
    quick = {"variants": False, "num_resamples": NUM_RESAMPLES}
    assert evaluate(tiny_store, checkpoints, **quick).test_reads == 0
    assert evaluate(tiny_store, checkpoints[:1], part="test", **quick).test_reads == 1
    assert evaluate(tiny_store, checkpoints[1:], part="test", **quick).test_reads == 1
    table = evaluate(tiny_store, checkpoints, part="test", **quick)
    assert table.test_reads == 2
    assert evaluate(tiny_store, checkpoints, **quick).test_reads == 2
    for checkpoint in checkpoints:
        metrics = checkpoint.read_metrics()
        reads = metrics["test_reads"]
        assert [read["data_fingerprint"] for read in reads] == [tiny_store.fingerprint] * 2
        assert metrics.keys() == {"test_reads", "validation", "test"}
        for row in table.rows:
            assert metrics["test"][row.name]["hr_at_1"] == row.metrics["hr_at_1"].value
    rows = metrics["validation"]
    assert rows["model"] != metrics["test"]["model"]


def test_looking_without_a_record_leaves_none(tiny_store, checkpoints):
    predict_part(tiny_store, checkpoints[0])
    assert checkpoints[0].read_metrics() == {}


def test_rows_are_reported_as_they_are_made(tiny_store, checkpoints):
    seen = []
    table = evaluate(
        tiny_store,
        checkpoints[:1],
        names=["mine"],
        variants=False,
        num_resamples=NUM_RESAMPLES,
        on_row=seen.append,
    )
    assert seen == [row.name for row in table.rows] == [*BASELINE_NAMES, "mine"]


def test_checkpoints_that_do_not_compare_are_refused(tiny_store, checkpoints):
    first, second = checkpoints
    others = (
        replace(second, vocabulary=Vocabulary.identity(["run"])),
        replace(second, config=replace(second.config, split=SplitConfig(seed=1))),
    )
    for other in others:
        with pytest.raises(ValueError, match="do not share vocabulary and split; evaluate them"):
            evaluate(tiny_store, [first, other])


@pytest.mark.parametrize(
    "names", [["same", "same"], ["model", "habits"], ["follow_the_leader", "model"], [*BASELINES][:2]]
)
def test_two_rows_never_share_a_name(tiny_store, checkpoints, names):
    with pytest.raises(ValueError, match="two rows of the table are called"):
        evaluate(tiny_store, checkpoints, names=names)
    with pytest.raises(ValueError, match="two rows of the table are called 'habits'"):
        evaluate(tiny_store, checkpoints, peers={"habits": BASELINES["most_popular"]})


def test_a_peer_is_asked_for_the_same_targets(tiny_store, checkpoints):
    popular = BASELINES["most_popular"]
    table = evaluate(
        tiny_store,
        checkpoints[:1],
        peers={"peer": popular},
        variants=False,
        num_resamples=NUM_RESAMPLES,
    )
    peer, baseline = table.row("peer"), table.row("most_popular")
    assert (peer.kind, baseline.kind) == ("peer", "baseline")
    assert peer.metrics["mrr"] == baseline.metrics["mrr"]
    assert peer.model_minus_this is not None
    assert peer.model_minus_this["mrr"] == baseline.model_minus_this["mrr"]


def test_parts_are_checked(tiny_store, checkpoints, make_store):
    with pytest.raises(ValueError, match="part must be validation or test, got 'train'"):
        evaluate(tiny_store, checkpoints, part="train")
    other = make_store([[(0, "event_1", None), (60, "event_2", None)]])
    with pytest.raises(ValueError, match="was trained on another log"):
        evaluate(other, checkpoints)
