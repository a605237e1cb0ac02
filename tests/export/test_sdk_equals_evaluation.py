"""The SDK, fed event by event from an exported bundle, reaches the figures of `evaluate`."""

import numpy as np

from edgebehave import Predictor
from edgebehave_export.bundle import export_bundle
from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import PARTS, TRAIN, part_of_event
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.ranking import rank_in_blocks
from edgebehave_train.metrics.scoring import target_probs
from replay_on_sdk import replay


def test_figures_are_the_same(tiny_store, tiny_checkpoint, tmp_path):
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "bundle", "fp32")
    in_torch = predict_part(tiny_store, tiny_checkpoint, "test")
    on_sdk = replay(Predictor.load(tmp_path / "bundle"), tiny_store, in_torch.targets)
    counts = tiny_checkpoint.behavior_counts
    # Exactly equal; assert_equal also takes two metrics without a target, NaN, for the same.
    np.testing.assert_equal(evaluate_predictions(on_sdk, counts), evaluate_predictions(in_torch, counts))


def test_without_habits_it_is_the_network_alone(tiny_store, tiny_checkpoint, tmp_path):
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "bundle", "fp32")
    parts = part_of_event(tiny_store, tiny_checkpoint.config.split)
    log = map_log(tiny_store, tiny_checkpoint.vocabulary)
    behaviors = log.behavior_log(parts == TRAIN)
    targets = behaviors.targets(parts == PARTS["test"])
    model = tiny_checkpoint.load_model()
    network = target_probs(model, log, behaviors, targets, experts="network")
    in_torch = rank_in_blocks(targets, network)
    on_sdk = replay(Predictor.load(tmp_path / "bundle"), tiny_store, targets, habits=False)
    np.testing.assert_array_equal(on_sdk.predicted, in_torch.predicted)


def test_a_model_and_its_lookup_answer_as_in_the_evaluation(universal_start, tmp_path):
    store, checkpoint = universal_start
    report = export_bundle(checkpoint.path, store.path, tmp_path / "bundle", "fp32")
    assert sum(check.name.startswith("lookup: ") for check in report.checks) == 2
    predictor = Predictor.load(tmp_path / "bundle", max_ahead=None)
    in_torch = predict_part(store, checkpoint, "test")
    on_sdk = replay(predictor, store, in_torch.targets)
    counts = checkpoint.behavior_counts
    np.testing.assert_equal(evaluate_predictions(on_sdk, counts), evaluate_predictions(in_torch, counts))
    named = rank_in_blocks(in_torch.targets, _named_alone(store, checkpoint, in_torch.targets))
    assert (named.predicted != in_torch.predicted).any()


def test_answers_of_both_follow_from_the_retained_events_and_forgetting_leaves_nothing(universal_start, tmp_path):
    store, checkpoint = universal_start
    export_bundle(checkpoint.path, store.path, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "lookup.onnx").stat().st_size < 120_000
    asked, told = (Predictor.load(tmp_path / "bundle", max_ahead=None) for _ in range(2))
    events = [*store.named_events(0), *store.named_events(1)] * 5  # more than are retained
    at_s = 1_700_000_000
    for index, event in enumerate(events):
        for predictor in (asked, told):
            predictor.observe("ada", event.event, location=event.location, at=at_s + 977 * index, utc_offset_min=60)
        if index % 41 == 0:
            asked.predict("ada", at=at_s + 977 * index + 60)
    at = at_s + 977 * len(events)
    expected = asked.probabilities("ada", at=at)
    found = told.probabilities("ada", at=at)
    assert found[0] == expected[0]
    assert found[1].tobytes() == expected[1].tobytes()
    assert 0.99 < found[1].sum() < 1.001
    told.forget("ada")
    nobody = Predictor.load(tmp_path / "bundle", max_ahead=None)
    assert told.probabilities("ada", at=at)[1].tobytes() == nobody.probabilities("ada", at=at)[1].tobytes()


def test_a_web_bundle_answers_by_the_named_model_alone_and_says_so(universal_start, tmp_path):
    store, checkpoint = universal_start
    lines = []
    export_bundle(checkpoint.path, store.path, tmp_path / "web", "fp32", target="web", on_line=lines.append)
    assert any("no lookup" in line for line in lines)
    assert not (tmp_path / "web" / "lookup.onnx").exists()
    targets = predict_part(store, checkpoint, "test").targets
    on_sdk = replay(Predictor.load(tmp_path / "web", max_ahead=None), store, targets)
    named = rank_in_blocks(targets, _named_alone(store, checkpoint, targets))
    np.testing.assert_array_equal(on_sdk.predicted, named.predicted)


def _named_alone(store, checkpoint, targets):
    log = map_log(store, checkpoint.vocabulary)
    behaviors = log.behavior_log(part_of_event(store, checkpoint.config.split) == TRAIN)
    model = checkpoint.load_model()
    model.lookup = None
    return target_probs(model, log, behaviors, targets)
