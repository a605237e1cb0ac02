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
