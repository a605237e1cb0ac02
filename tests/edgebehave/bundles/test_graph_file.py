"""A graph that reaches beyond its own bytes is refused before it is loaded."""

from pathlib import Path

import pytest

from edgebehave.bundles.graph_file import check_graph_file

onnx = pytest.importorskip("onnx")

TINY = Path(__file__).parents[1] / "tiny_bundle"


def model(nodes=(), tensors=(), domains=("",)):
    """A model of one output, which is never run."""
    helper = onnx.helper
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph(list(nodes), "g", [], [output], list(tensors))
    opsets = [helper.make_opsetid(domain, 1) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets)


def outside_tensor(name="w"):
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def inner_graph(nodes=(), tensors=()):
    """A node that holds a graph."""
    branch = model(nodes, tensors).graph
    return onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)


@pytest.mark.parametrize("path", sorted(TINY.glob("*/*.onnx")), ids=lambda p: str(p.parent.name))
def test_graphs_of_bundles_pass(path):
    check_graph_file(path.read_bytes())


@pytest.mark.parametrize(
    "inside",
    [
        model(tensors=[outside_tensor()]),
        model([onnx.helper.make_node("Constant", [], ["y"], value=outside_tensor())]),
        model([inner_graph(tensors=[outside_tensor()])]),
        model([inner_graph([inner_graph(tensors=[outside_tensor()])])]),
    ],
    ids=["initializer", "constant", "branch", "branch of a branch"],
)
def test_weights_in_other_files(inside):
    with pytest.raises(ValueError, match="its weights lie in another file"):
        check_graph_file(inside.SerializeToString())


@pytest.mark.parametrize("nested", [False, True])
def test_unknown_operators(nested):
    node = onnx.helper.make_node("Phone", ["x"], ["y"], domain="com.evil")
    with pytest.raises(ValueError, match=r"it calls Phone of 'com\.evil'"):
        check_graph_file(model([inner_graph([node])] if nested else [node]).SerializeToString())


def test_operators_of_onnx_runtime_pass():
    node = onnx.helper.make_node("BiasGelu", ["x", "b"], ["y"], domain="com.microsoft")
    check_graph_file(model([node]).SerializeToString())


def test_functions():
    proto = model()
    proto.functions.add(name="f", domain="")
    with pytest.raises(ValueError, match="functions of its own"):
        check_graph_file(proto.SerializeToString())


def test_bombs_of_nested_graphs():
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    for _ in range(20):
        node = inner_graph([node])
        del node.attribute[1:]
    with pytest.raises(ValueError, match="nested too deeply"):
        check_graph_file(model([node]).SerializeToString())


def test_every_truncation_is_an_error_or_a_graph():
    """A file may end where a field does; anywhere else is found."""
    content = (TINY / "fp32" / "predict.onnx").read_bytes()
    for stop in range(0, len(content), 97):
        try:
            check_graph_file(content[:stop])
        except ValueError as error:
            assert "not an ONNX file" in str(error)  # noqa: PT017 - both outcomes are fine


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x0b", b"\x38\x01", b"not a graph"])
def test_what_is_no_graph(content):
    with pytest.raises(ValueError, match="not an ONNX file"):
        check_graph_file(content)
