"""The SDK, fed event by event from an exported bundle, reaches the figures of `evaluate`."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgebehave import Predictor
from edgebehave_export.bundle import export_bundle
from edgebehave_train.evaluation import predict_part
from edgebehave_train.metrics import evaluate_predictions

EXAMPLE = Path(__file__).parents[2] / "examples" / "replay_on_sdk.py"


@pytest.fixture(scope="module")
def replay():
    spec = importlib.util.spec_from_file_location("replay_on_sdk", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.replay


def test_figures_are_the_same(tiny_store, tiny_checkpoint, tmp_path, replay):
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "bundle", "fp32")
    in_torch = predict_part(tiny_store, tiny_checkpoint, "test")
    on_sdk = replay(Predictor.load(tmp_path / "bundle"), tiny_store, in_torch.targets)
    counts = tiny_checkpoint.behavior_counts
    # Exactly equal; assert_equal also takes two metrics without a target, NaN, for the same.
    np.testing.assert_equal(
        evaluate_predictions(on_sdk, counts), evaluate_predictions(in_torch, counts)
    )
