"""The benchmark measures the same prediction in many ways."""

import json

import numpy as np
import pytest

from edgebehave_export.bench import benchmark as benchmark_module
from edgebehave_export.bench.benchmark import FLOOR, TORCH, benchmark, benchmark_shape
from edgebehave_export.bundle import export_graphs
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.parity.replay import Device
from edgebehave_train.model.behavior_model import ModelConfig


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(benchmark_module, "_NUM_USERS", 3)
    monkeypatch.setattr(benchmark_module, "_SWEPT_BYTES", 8000)


@pytest.fixture(scope="module")
def contents(tiny_model):
    """Bytes of the graphs for the web."""
    return graph_bytes(export_graphs(tiny_model, "web"))


def test_every_contender_has_a_row(tiny_checkpoint, tiny_store):
    table = benchmark(tiny_checkpoint.path, tiny_store.path, num_calls=5, warm_up=2, num_predictions=50)
    names = [row.name.strip() for row in table.rows]
    assert names[0] == TORCH
    assert {"window int8", "two graphs fp32", "observe int8", "predict fp32"} <= set(names)
    assert {"Predictor int8", "Predictor int8, many users", "Predictor int8, cold"} <= set(names)
    assert names[-1] == FLOOR
    assert all(0 < row.p50_us <= row.p99_us and row.count == 5 for row in table.rows)
    assert table.top1_agreement >= 0.99
    assert table.num_compared >= 50
    content = json.loads(json.dumps(table.to_json()))
    assert content["size_ratio"] < 1
    assert content["speedup"][TORCH] == 1
    assert {"machine", "cpus", "torch", "onnxruntime"} <= set(content["environment"])
    assert "torch window" in table.to_text()


def test_a_shape_needs_neither_a_checkpoint_nor_a_log():
    config = ModelConfig(num_events=9, num_locations=5, num_behaviors=9, width=64, num_layers=1)
    table = benchmark_shape(config, num_calls=2, warm_up=0)
    assert table.shape == "width 64, 1 layers"
    assert table.top1_agreement is None
    assert "top-1" not in table.to_text()


def test_all_ways_answer_alike(tiny_model, contents):
    """But for what a window cannot know: events further back than it reaches."""
    device = Device(tiny_model.config, contents)
    history = benchmark_module._random_history(tiny_model.config)
    asked = benchmark_module._question(device, history)
    stream = device.predict(asked | {"hidden": device.stream(history)[-1][None]})
    eager = benchmark_module._torch_window(tiny_model, history, asked)().numpy()
    fused = benchmark_module._onnx_window(contents, tiny_model.config, history, asked)()
    np.testing.assert_allclose(fused, eager, atol=1e-5)
    np.testing.assert_allclose(fused, stream, atol=0.02)
    assert fused.argmax() == stream.argmax()


def test_at_least_one_call_is_needed(tiny_checkpoint):
    with pytest.raises(ValueError, match="num_calls must be at least 1, got 0"):
        benchmark(tiny_checkpoint.path, num_calls=0)
