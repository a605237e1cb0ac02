"""The benchmark measures the same prediction thrice."""

import json

import numpy as np
import pytest

from edgebehave_export import benchmark as benchmark_module
from edgebehave_export.benchmark import TORCH, benchmark
from edgebehave_export.bundle import graph_bytes
from edgebehave_export.replay import Device


@pytest.fixture(autouse=True)
def _exported_once(monkeypatch, fp32_graphs, int8_graphs):
    monkeypatch.setattr(benchmark_module, "export_graphs", lambda model: fp32_graphs)
    monkeypatch.setattr(benchmark_module, "quantize_graphs", lambda graphs: int8_graphs)


def test_every_contender_has_a_row(tiny_checkpoint, tiny_store):
    table = benchmark(
        tiny_checkpoint.path, tiny_store.path, num_calls=5, warm_up=2, num_predictions=50
    )
    names = [row.name.strip() for row in table.rows]
    assert names[0] == TORCH
    assert {"stream fp32", "stream int8", "observe int8", "predict fp32"} <= set(names)
    assert all(0 < row.p50_us <= row.p99_us and row.count == 5 for row in table.rows)
    assert table.top1_agreement >= 0.99
    assert table.num_compared >= 50
    content = json.loads(json.dumps(table.to_json()))
    assert content["size_ratio"] < 1
    assert {"machine", "cpus", "torch", "onnxruntime"} <= set(content["environment"])
    assert "torch window" in table.to_text()


def test_without_a_log_there_is_no_agreement(tiny_checkpoint):
    table = benchmark(tiny_checkpoint.path, num_calls=2, warm_up=0)
    assert table.top1_agreement is None
    assert "top-1" not in table.to_text()


def test_torch_and_the_stream_answer_alike(tiny_model, fp32_graphs):
    """But for what the window cannot know: events further back than it reaches."""
    history = benchmark_module._random_history(tiny_model)
    device = Device(tiny_model.config, graph_bytes(fp32_graphs))
    stream = benchmark_module._stream(device, history)["stream"]()
    asked = benchmark_module._question(device, history)
    window = benchmark_module._torch_window(tiny_model, history, asked)().numpy()
    np.testing.assert_allclose(window, stream, atol=0.02)
    assert window.argmax() == stream.argmax()


def test_at_least_one_call_is_needed(tiny_checkpoint):
    with pytest.raises(ValueError, match="num_calls must be at least 1, got 0"):
        benchmark(tiny_checkpoint.path, num_calls=0)
