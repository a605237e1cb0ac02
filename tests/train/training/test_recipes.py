"""Recipes and the configuration they return."""

import pytest

from edgebehave_train.model.behavior_model import ModelConfig
from edgebehave_train.training.recipes import PRESETS, TrainConfig


def test_presets_are_the_shapes_of_the_design():
    shapes = {name: (make().width, make().num_layers) for name, make in PRESETS.items()}
    assert shapes == {
        "tiny": (64, 2),
        "edge": (128, 4),
        "base": (256, 4),
        "large": (512, 8),
        "paper": (1024, 12),
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_makes_a_model_and_takes_changes(preset):
    config = PRESETS[preset](epochs=3, width=32, num_heads=2)
    assert (config.epochs, config.width) == (3, 32)
    whole = PRESETS[preset]()
    ModelConfig(
        num_events=5,
        num_locations=5,
        num_behaviors=5,
        width=whole.width,
        num_layers=whole.num_layers,
        num_heads=whole.num_heads,
        window=whole.window,
        dropout=whole.dropout,
        expert_dropout=whole.expert_dropout,
        query_dropout=whole.query_dropout,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"row_events": 0}, "row_events must be at least 1"),
        ({"window": -1}, "window must be at least 1, got -1"),
        ({"from_universal": True, "query_context": "none"}, "from_universal reads the time"),
        ({"warmup": 1.0}, r"warmup must lie in \[0, 1\), got 1\.0"),
        ({"ema_decay": -0.5}, "ema_decay must lie in"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"seed": -1}, r"seed must lie in \[0, 2\^63\), got -1"),
        ({"precision": "int8"}, "precision must be auto, float32 or bfloat16, got 'int8'"),
    ],
)
def test_a_bad_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)
