"""A graph file has one reading; one that reaches beyond its own bytes is refused before it is loaded."""

from pathlib import Path

import pytest

from edgebehave.bundles.graph_file import read_graph

onnx = pytest.importorskip("onnx")

TINY = Path(__file__).parents[1] / "tiny_bundle"


def model(nodes=(), tensors=(), domains=("",)):
    """A model of one node more, which is never run."""
    helper = onnx.helper
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    last = helper.make_node("Exp", ["x"], ["y"])
    graph = helper.make_graph([*nodes, last], "g", [given], [output], list(tensors))
    opsets = [helper.make_opsetid(domain, 18 if domain == "" else 1) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check(proto, target="native"):
    return read_graph(proto if isinstance(proto, bytes) else proto.SerializeToString(), target)


def outside_tensor(name="w"):
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def inner_graph(nodes=(), tensors=()):
    """A node that holds a graph."""
    branch = model(nodes, tensors).graph
    return onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)


def varint(number: int, num_bytes: int = 0) -> bytes:
    """A number of protocol buffers, in its shortest form or in this many bytes."""
    groups = []
    while number or not groups:
        groups.append(number & 0x7F)
        number >>= 7
    groups += [0] * (num_bytes - len(groups))
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, content: bytes, num_bytes: int = 0) -> bytes:
    return varint(number << 3 | 2, num_bytes) + varint(len(content)) + content


@pytest.mark.parametrize("path", sorted(TINY.glob("*/*.onnx")), ids=lambda p: f"{p.parent.name} {p.name}")
def test_graphs_of_bundles_pass_and_are_read_as_onnx_reads_them(path):
    graph = read_graph(path.read_bytes(), "web" if path.parent.name == "web" else "native")
    same = onnx.load(path).graph
    assert [node.operator for node in graph.nodes] == [node.op_type for node in same.node]
    assert [list(node.inputs) for node in graph.nodes] == [list(node.input) for node in same.node]
    for node, other in zip(graph.nodes, same.node, strict=True):
        expected = {each.name: onnx.helper.get_attribute_value(each) for each in other.attribute}
        assert node.attributes == {
            name: value.decode() if isinstance(value, bytes) else value for name, value in expected.items()
        }
    assert {name: constant.dims for name, constant in graph.constants.items()} == {
        tensor.name: tuple(tensor.dims) for tensor in same.initializer
    }
    for tensor in same.initializer:
        ints = graph.constants[tensor.name].ints
        if ints is not None:
            assert list(ints) == onnx.numpy_helper.to_array(tensor).ravel().tolist()
    assert list(graph.inputs) == [value.name for value in same.input]


@pytest.mark.parametrize(
    "inside",
    [
        model(tensors=[outside_tensor()]),
        model(tensors=[onnx.TensorProto(name="w", data_type=1, dims=[0], data_location=1)]),
    ],
    ids=["files", "location alone"],
)
def test_weights_in_other_files(inside):
    with pytest.raises(ValueError, match="its weights lie in another file"):
        check(inside)


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan"])
def test_graphs_inside_operators(operator):
    node = inner_graph()
    node.op_type = operator
    with pytest.raises(ValueError, match=r"graphs inside its operators|not an operator of bundles"):
        check(model([node]))


@pytest.mark.parametrize(
    "node",
    [
        onnx.helper.make_node("Phone", ["x"], ["z"], domain="com.evil"),
        onnx.helper.make_node("Constant", [], ["z"], value_float=1.0),
        onnx.helper.make_node("Tile", ["x", "x"], ["z"]),
        onnx.helper.make_node("RandomNormal", [], ["z"], shape=[1 << 30]),
        onnx.helper.make_node("Exp", ["x"], ["z"], domain="ai.onnx"),
        onnx.helper.make_node("Loop", ["x"], ["z"]),
        onnx.helper.make_node("CDist", ["x", "x"], ["z"], domain="com.microsoft"),
    ],
    ids=lambda node: node.op_type,
)
def test_operators_that_exports_do_not_write(node):
    with pytest.raises(ValueError, match="not an operator of bundles"):
        check(model([node], domains=("", "com.microsoft")))


def test_fused_operators_are_for_native_graphs_alone():
    node = onnx.helper.make_node("BiasGelu", ["x", "x"], ["z"], domain="com.microsoft")
    proto = model([node], domains=("", "com.microsoft"))
    check(proto)
    with pytest.raises(ValueError, match="unknown set of operators"):
        check(proto, "web")
    with pytest.raises(ValueError, match="unknown set of operators"):
        check(model(domains=("", "com.evil")))


def test_functions():
    proto = model()
    proto.functions.add(name="f", domain="")
    with pytest.raises(ValueError, match="functions of its own"):
        check(proto)


def two_opsets():
    proto = model()
    proto.opset_import.add(domain="", version=17)
    return proto


def names_of_one_value():
    return model([onnx.helper.make_node("Exp", ["x"], ["x"])])


def a_node_from_behind():
    return model([onnx.helper.make_node("Exp", ["y"], ["z"])])


def a_weight_that_is_an_input():
    return model(tensors=[onnx.helper.make_tensor("x", 1, [1], [0.0])])


def a_weight_without_bytes():
    return model(tensors=[onnx.TensorProto(name="w", data_type=1, dims=[1 << 40])])


def a_weight_of_two_kinds():
    return model(tensors=[onnx.TensorProto(name="w", data_type=1, dims=[1], raw_data=b"1234", float_data=[1.0])])


def a_weight_of_texts():
    return model(tensors=[onnx.TensorProto(name="w", data_type=8, dims=[1], string_data=[b"1"])])


def a_weight_of_negative_sizes():
    return model(tensors=[onnx.TensorProto(name="w", data_type=1, dims=[-1, -1], raw_data=b"1234")])


def an_attribute_of_two_values():
    proto = model()
    node = onnx.helper.make_node("Softmax", ["x"], ["z"], axis=0)
    node.attribute[0].ints.append(1)
    proto.graph.node.insert(0, node)
    return proto


def properties():
    proto = model()
    proto.metadata_props.add(key="ort_config", value="{}")
    return proto


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (two_opsets, "unknown set"),
        (names_of_one_value, "one name"),
        (a_node_from_behind, "no node before it gives"),
        (a_weight_that_is_an_input, "one name"),
        (a_weight_without_bytes, "bytes for the sizes"),
        (a_weight_of_two_kinds, "stands twice"),
        (a_weight_of_texts, "field 6 of a tensor"),
        (a_weight_of_negative_sizes, "and sizes"),
        (an_attribute_of_two_values, "not of its type"),
        (properties, "field 14 of a model"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_two_readers_could_read_in_two_ways(make, says):
    with pytest.raises(ValueError, match=says):
        check(make())


def in_graph(extra: bytes) -> bytes:
    """The model with a field more in its graph."""
    content = model().SerializeToString()
    at = content.index(model().graph.SerializeToString())
    graph = content[at:][: len(model().graph.SerializeToString())] + extra
    return model_without_graph() + field(7, graph)


def model_without_graph() -> bytes:
    proto = model()
    proto.ClearField("graph")
    return proto.SerializeToString()


TENSOR = onnx.TensorProto(name="w", data_type=1, dims=[1], raw_data=b"1234").SerializeToString()
EXTERNAL = onnx.StringStringEntryProto(key="location", value="/etc/passwd").SerializeToString()


@pytest.mark.parametrize(
    "content",
    [
        in_graph(field(5, TENSOR + field(13, EXTERNAL, num_bytes=5))),
        in_graph(field(5, TENSOR + varint((1 << 32) | 13 << 3 | 2) + varint(len(EXTERNAL)) + EXTERNAL)),
        in_graph(field(5, TENSOR + varint((1 << 35) | 13 << 3 | 2) + varint(len(EXTERNAL)) + EXTERNAL)),
        in_graph(field(5, TENSOR + field(13 + (1 << 29), EXTERNAL))),
        in_graph(field(5, TENSOR + varint(14 << 3) + varint((1 << 32) + 1))),
        in_graph(field(5, TENSOR + varint(14 << 3) + varint(1, num_bytes=3))),
        in_graph(field(0, b"")),
        in_graph(varint(5 << 3 | 3) + varint(5 << 3 | 4)),
        in_graph(varint(5 << 3 | 0) + b"\x01"),
        in_graph(varint(5 << 3 | 6)),
        in_graph(field(2, b"another name")),
        in_graph(field(5, TENSOR) + b"\x2a"),
        model().SerializeToString() + b"\x00",
        model().SerializeToString() + model().SerializeToString(),
        model().SerializeToString() + field(7, b""),
        model().SerializeToString() + field(25, b"\x0a\x01f", num_bytes=5),
        varint(1 << 3, num_bytes=2) + model().SerializeToString()[1:],
        b"\x08" + varint(10, num_bytes=2) + model().SerializeToString()[2:],
        b"\x08" + b"\xff" * 9 + b"\x7f" + model().SerializeToString()[2:],
        b"\x18\x00\x00\x00ORTM" + b"\x00" * 40,
        b"\x08\x0a\x12\x04ORTM" + model().SerializeToString()[2:],
        b"\xff" * 40,
        b"\x0b",
        b"\x38\x01",
        b"not a graph",
        b"",
    ],
)
def test_bytes_that_are_no_canonical_message(content):
    with pytest.raises(ValueError, match=r"not an ONNX file|functions of its own|weights lie in another"):
        check(content)


def test_every_truncation_is_an_error():
    content = (TINY / "fp32" / "predict.onnx").read_bytes()
    for stop in range(0, len(content), 97):
        with pytest.raises(ValueError, match=r"."):
            check(content[:stop])


def test_many_empty_fields_end_in_an_error():
    with pytest.raises(ValueError, match="more than 200000 fields"):
        check(in_graph(field(1, b"") * 300_000))


@pytest.mark.parametrize("operator", ["LayerNormalization", "Gemm", "Add", "Slice"])
def test_an_input_that_exports_never_leave_out(operator):
    """A LayerNormalization with an empty bias reads a null pointer when it runs."""
    node = onnx.helper.make_node(operator, ["x", "x", ""], ["z"])
    with pytest.raises(ValueError, match=f"{operator} lacks its input 2"):
        check(model([node]))
