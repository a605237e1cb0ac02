"""Local time in graphs is that of `edgebehave.time_features`."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from onnx.helper import make_tensor_value_info
from torch import nn

from edgebehave import time_features
from edgebehave_export.graphs.clock import LocalTime, half_hour, weekday_and_slot, weekdays_and_slots
from edgebehave_export.graphs.graph_builder import GraphBuilder

WEEK_S = 7 * 86400


@pytest.fixture(scope="module")
def time_graph():
    """Both torch forms as ONNX Runtime runs them: weekday and slot, and weekday and slot in floats."""

    class Time(nn.Module):
        def forward(self, time_s, utc_offset_min):
            local = LocalTime.of(time_s, utc_offset_min)
            return *weekday_and_slot(time_s, utc_offset_min), local.weekday, local.slot

    n = torch.export.Dim("n")
    program = torch.onnx.export(
        Time().eval(),
        (torch.arange(3), torch.arange(3) + 1),
        dynamo=True,
        input_names=["time_s", "utc_offset_min"],
        dynamic_shapes=({0: n}, {0: n}),
        opset_version=18,
        verbose=False,
    )
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString())


@pytest.fixture(scope="module")
def node_graph():
    """The nodes: weekday and slot, looked up by the half hour of the week."""
    graph = GraphBuilder(nn.Module())
    number = half_hour(graph, "time_s", "utc_offset_min")
    tables = weekdays_and_slots(graph, with_none=False)
    names = [graph.node("Gather", table, number, axis=0) for table in tables]
    inputs = [make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in ("time_s", "utc_offset_min")]
    outputs = [make_tensor_value_info(name, TensorProto.INT32, ["n"]) for name in names]
    return onnxruntime.InferenceSession(graph.finished(inputs, outputs).SerializeToString())


@pytest.mark.parametrize("offset", [0, 60, -300, 345, -570, 765, 7])
def test_all_forms_are_right_around_every_slot_edge(time_graph, node_graph, offset):
    edges = np.arange(0, WEEK_S, time_features.SECONDS_PER_SLOT)
    weeks = np.array([-3000, -1, 0, 1, 2800, 4000]) * WEEK_S  # 1912 to 2046
    time_s = (weeks[:, None, None] + edges[:, None] + [-1, 0, 1]).ravel() - 60 * offset
    utc_offset_min = np.full_like(time_s, offset)
    expected = time_features.weekday_and_slot(time_s, utc_offset_min)
    computed = time_graph.run(None, {"time_s": time_s, "utc_offset_min": utc_offset_min})
    for right, got in zip((*expected, *expected), computed, strict=True):
        np.testing.assert_array_equal(got, right)
    computed = node_graph.run(None, {"time_s": time_s, "utc_offset_min": utc_offset_min})
    for right, got in zip(expected, computed, strict=True):
        np.testing.assert_array_equal(got, right)


def test_weekday_of_a_known_day():
    # 2024-02-29 23:59:59 UTC was a Thursday; an hour further east it is Friday, slot 1.
    weekday, slot = weekday_and_slot(torch.tensor([1709251199] * 2), torch.tensor([0, 60]))
    assert weekday.tolist() == [3, 4]
    assert slot.tolist() == [47, 1]
