"""The gate lets equal graphs pass and finds the ones that are not."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgebehave_export.bundle import export_graphs
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.parity.gate import MIN_AGREEMENT, check_parity
from edgebehave_export.parity.report import MAX_DIFFERENCE, Check, ParityError


@pytest.fixture(scope="module")
def gate(tiny_store, tiny_checkpoint, tiny_model):
    def check(fp32, int8=None):
        return check_parity(tiny_checkpoint, tiny_model, tiny_store, fp32, int8, num_predictions=60)

    return check


def changed(graphs, name, weight, change):
    """Graphs with one initializer replaced."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graphs[name])
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == weight)
    value = change(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), weight))
    return graph_bytes({**graphs, name: proto})


def value_of(report, name):
    return next(check.value for check in report.checks if check.name.startswith(name))


def test_the_tiny_model_passes(gate, fp32_graphs, int8_graphs):
    report = gate(graph_bytes(fp32_graphs), graph_bytes(int8_graphs))
    assert report.passed, report.to_text()
    assert value_of(report, "torch - fp32") < 1e-5
    assert value_of(report, "fp32: rebuilt") == 0
    assert value_of(report, "int8: rebuilt") == 0
    assert report.num_wrapped > 20
    assert report.num_full_cache > 40
    assert report.longest > 512
    report.raise_if_failed()


def test_the_table_names_every_check(gate, fp32_graphs):
    report = gate(graph_bytes(fp32_graphs))
    text = report.to_text()
    assert all(check.name in text for check in report.checks)
    assert not any("int8" in check.name for check in report.checks)
    restored = json.loads(json.dumps(report.to_json()))
    assert restored["passed"]
    assert restored["num_predictions"] == report.num_predictions


@pytest.mark.parametrize(
    ("name", "weight", "change"),
    [
        ("observe.onnx", "model.rotary_cos", lambda table: np.roll(table, 99, 0)),
        ("observe.onnx", "model.norm.bias", lambda bias: bias + 0.05),
        ("predict.onnx", "model.query_slot.weight", lambda table: np.roll(table, 1, 0)),
        ("predict.onnx", "gate_bias", lambda bias: bias[::-1]),
    ],
)
def test_a_wrong_graph_fails(gate, fp32_graphs, name, weight, change):
    report = gate(changed(fp32_graphs, name, weight, change))
    assert not report.passed
    assert "FAILED" in report.to_text()
    with pytest.raises(ParityError, match=r"nothing was written: .*must be <= 0\.0001") as caught:
        report.raise_if_failed()
    assert caught.value.report is report
    assert isinstance(caught.value, ValueError)


def test_int8_that_changes_its_mind_fails(gate, fp32_graphs, int8_graphs):
    broken = changed(int8_graphs, "predict.onnx", "gate_bias", lambda bias: bias[::-1].copy())
    report = gate(graph_bytes(fp32_graphs), broken)
    assert {check.name[:20] for check in report.failed} == {"fp32 - int8, same to"}


def test_limits_are_inclusive():
    check = Check(name="x", value=MAX_DIFFERENCE, count=1, limit=MAX_DIFFERENCE)
    assert check.passed
    assert not dataclasses.replace(check, value=MAX_DIFFERENCE * 1.01).passed
    agreement = Check(name="x", value=MIN_AGREEMENT, count=1, limit=MIN_AGREEMENT, at_least=True)
    assert agreement.passed
    assert not dataclasses.replace(agreement, value=0.994).passed
    assert dataclasses.replace(agreement, value=0.0, limit=None).passed


def test_graphs_for_the_web_pass(gate, tiny_model):
    report = gate(graph_bytes(export_graphs(tiny_model, "web")))
    assert report.passed, report.to_text()
    assert value_of(report, "fp32: rebuilt") == 0


def test_not_a_number_fails():
    assert not Check(name="x", value=float("nan"), count=1, limit=1.0).passed
