"""Sessions of ONNX Runtime with inputs and outputs bound to arrays."""

import numpy as np
import pytest

from edgebehave.bundles.inference import BoundGraph, open_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def doubling():
    """A graph: y = x + x, for any number of rows."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", kind, ["n"])],
        [helper.make_tensor_value_info("y", kind, ["n"])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return open_graph(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def test_a_run_reads_and_writes_the_bound_arrays(doubling):
    x, y = np.array([1, 2], np.float32), np.zeros(2, np.float32)
    graph = BoundGraph(doubling, {"x": x}, {"y": y})
    graph.run()
    assert y.tolist() == [2, 4]
    x[:] = 5, 6
    graph.run()
    assert y.tolist() == [10, 12]
    graph.bind("x", np.array([7, 8], np.float32))
    graph.run()
    assert y.tolist() == [14, 16]


def test_arrays_that_are_not_contiguous_are_refused(doubling):
    with pytest.raises(AssertionError, match="x"):
        BoundGraph(doubling, {"x": np.zeros((2, 2), np.float32)[:, 0]}, {})


def test_the_default_provider_is_the_cpu(doubling):
    assert doubling.get_providers() == ["CPUExecutionProvider"]
