"""A graph file has one reading; one that reaches beyond its own bytes is refused before it is loaded."""

import struct
from pathlib import Path

import pytest

from edgebehave.bundles import graph_file
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
    return model(tensors=[onnx.TensorProto(name="w", data_type=1, dims=[1 << 30])])


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


# Bounds: the last value that passes, and the first that does not.


def attempts(content, says: str, target: str = "native") -> None:
    with pytest.raises(ValueError, match=says):
        check(content, target)


@pytest.mark.parametrize(("version", "passes"), [(7, False), (8, True), (10, True), (11, False)])
def test_versions_of_onnx(version, passes):
    proto = model()
    proto.ir_version = version
    if passes:
        check(proto)
    else:
        attempts(proto, f"it is of ONNX version {version} with operators")


@pytest.mark.parametrize(("domain", "version"), [("", 17), ("", 19), ("com.microsoft", 2)])
def test_versions_of_operators(domain, version):
    proto = model(domains=("", "com.microsoft"))
    next(opset for opset in proto.opset_import if opset.domain == domain).version = version
    attempts(proto, "this runtime reads")


def test_a_number_of_nodes_and_of_weights():
    def chain(num_nodes):
        return model([onnx.helper.make_node("Exp", ["x"], [f"z{i}"]) for i in range(num_nodes - 1)])

    def weights(count):
        return model(tensors=[onnx.helper.make_tensor(f"w{i}", 1, [1], [0.0]) for i in range(count)])

    assert len(check(chain(4096)).nodes) == 4096
    assert len(check(weights(4096)).constants) == 4096
    attempts(chain(4097), "it has 4097 nodes and 0 weights, more than 4096")
    attempts(weights(4097), "it has 1 nodes and 4097 weights, more than 4096")


@pytest.mark.parametrize("length", [127, 128, 512])
def test_a_long_name(length):
    assert list(check(model([onnx.helper.make_node("Exp", ["x"], ["n" * length])])).nodes[0].outputs) == ["n" * length]


def test_too_long_a_name():
    attempts(model([onnx.helper.make_node("Exp", ["x"], ["n" * 513])]), "a name of 513 bytes, more than 512")


def test_a_number_of_fields():
    shape = memoryview(b"\x0a\x00" * 200_000)
    assert len(graph_file._Reader(b"").message(shape, "shape")["dim"]) == 200_000
    with pytest.raises(ValueError, match="more than 200000 fields"):
        graph_file._Reader(b"").message(memoryview(bytes(shape) + b"\x0a\x00"), "shape")


def test_numbers_of_protocol_buffers():
    for number in (0, 1, 127, 128, 2**32, 2**63, 2**64 - 1):
        assert graph_file._varint(varint(number), 0) == (number, len(varint(number)))
    for content in (varint(2**64), varint(2**70 - 1), varint(5, 2), b"\x80" * 11):
        with pytest.raises(ValueError, match="not in its shortest form"):
            graph_file._varint(content, 0)


def with_type(elements: int) -> bytes:
    """The model with an input of this type of elements."""
    end = field(1, b"u") + field(2, field(1, varint(1 << 3) + varint(elements) + field(2, b"")))
    return in_graph(field(11, end))


def test_numbers_of_32_bits():
    assert check(with_type(2**31 - 1)).inputs["u"] == (2**31 - 1, ())
    attempts(with_type(2**31), "elem_type is 2147483648")


def sized(*dims, of_output=False):
    """The model with an input, or an output, of these sizes."""
    proto = model([onnx.helper.make_node("Exp", ["x"], ["z"])])
    ends = proto.graph.output if of_output else proto.graph.input
    ends.append(onnx.helper.make_tensor_value_info("z" if of_output else "u", 1, dims))
    return proto


def test_sizes_of_inputs_and_outputs():
    assert check(sized(*range(8))).inputs["u"] == (1, (*range(8),))
    assert check(sized("n", 3)).inputs["u"] == (1, (None, 3))
    assert check(sized(2, of_output=True)).outputs["z"] == (1, (2,))
    attempts(sized(*range(9)), "'u' has the sizes")
    attempts(sized(2, -1), "'u' has the sizes")
    attempts(sized(2, -1, of_output=True), "'z' has the sizes")
    neither = sized("n")
    neither.graph.input[-1].type.tensor_type.shape.dim[0].Clear()
    attempts(neither, "a size of 'u'")
    both = in_graph(
        field(11, field(1, b"u") + field(2, field(1, b"\x08\x01" + field(2, field(1, b"\x08\x02" + field(2, b"n"))))))
    )
    attempts(both, "a size of 'u'")


def raw(kind: int, num_bytes: int, *dims) -> object:
    return onnx.TensorProto(name="w", data_type=kind, dims=dims, raw_data=b"\0" * num_bytes)


@pytest.mark.parametrize(("kind", "num_bytes"), [(1, 4), (2, 1), (3, 1), (6, 4), (7, 8), (9, 1), (10, 2)])
def test_bytes_of_weights(kind, num_bytes):
    assert check(model(tensors=[raw(kind, 3 * num_bytes, 3)])).constants["w"][:2] == ((3,), kind)
    for wrong in (3 * num_bytes - 1, 3 * num_bytes + 1):
        attempts(model(tensors=[raw(kind, wrong, 3)]), f"weight 'w' has {wrong} bytes for the sizes")


def test_sizes_and_types_of_weights():
    assert check(model(tensors=[raw(1, 4, *[1] * 8)])).constants["w"].dims == (1,) * 8
    attempts(model(tensors=[raw(1, 4, *[1] * 9)]), "is of type 1 and sizes")
    attempts(model(tensors=[raw(1, 0, -1, 0)]), "is of type 1 and sizes")
    assert check(model(tensors=[raw(1, 0, 0)])).constants["w"].dims == (0,)
    for kind in (0, 4, 5, 8, 11):
        attempts(model(tensors=[raw(kind, 8, 1)]), f"is of type {kind} and sizes")


@pytest.mark.parametrize(("kind", "letter"), [(6, "i"), (7, "q")])
def test_weights_that_may_be_shapes(kind, letter):
    def ints(count):
        data = struct.pack(f"<{count}{letter}", *range(-1, count - 1))
        tensor = onnx.TensorProto(name="w", data_type=kind, dims=[count], raw_data=data)
        return check(model(tensors=[tensor])).constants["w"].ints

    assert ints(2) == (-1, 0)
    assert ints(64) == (*range(-1, 63),)
    assert ints(65) is None


def listed(kind: int, numbers, count: int | None = None, extra: bytes = b""):
    """A weight with its numbers one by one."""
    data = b"".join(map(varint, numbers)) + extra
    content = varint(1 << 3) + varint(len(numbers) if count is None else count) + b"\x10" + varint(kind)
    return in_graph(field(5, content + field(5, data) + field(8, b"w")))


def test_weights_whose_numbers_are_listed():
    assert check(listed(6, [3, 0, 300])).constants["w"].ints == (3, 0, 300)
    assert check(listed(6, [7] * 64)).constants["w"].ints == (7,) * 64
    assert check(listed(6, [7] * 65)).constants["w"].ints is None
    assert check(listed(3, [3, 0, 30])).constants["w"].ints is None
    assert check(listed(6, [2**31 - 1])).constants["w"].ints == (2**31 - 1,)
    assert check(listed(2, [0] * 2**16)).constants["w"].dims == (2**16,)
    for content in (
        *(listed(kind, [1]) for kind in (1, 7, 10)),
        *(listed(6, [1, 2], count) for count in (1, 3)),
        listed(6, [2**31]),
        listed(2, [0] * (2**16 + 1)),
        listed(2, [0] * 2**16, extra=b"\0"),
    ):
        attempts(content, "weight 'w' has .* bytes for the sizes")


def test_weights_of_floats():
    plain = onnx.TensorProto(name="w", data_type=1, dims=[1], float_data=[1.0])
    assert check(model(tensors=[plain])).constants["w"] == ((1,), 1, None)
    attempts(model(tensors=[onnx.TensorProto(name="w", data_type=6, dims=[1], float_data=[1.0])]), "bytes for the size")
    for kind, inf in ((1, struct.pack("<f", float("inf"))), (10, struct.pack("<e", float("-inf")))):
        tensor = onnx.TensorProto(name="w", data_type=kind, dims=[1], raw_data=inf)
        attempts(model(tensors=[tensor]), "holds numbers that are not finite")


def test_fields_that_exports_may_write():
    proto = model([onnx.helper.make_node("Exp", ["x"], ["z"], name="a node")], tensors=[raw(1, 4, 1)])
    proto.producer_name, proto.producer_version = "pytorch", "2.10"
    proto.graph.initializer[0].data_location = onnx.TensorProto.DEFAULT
    check(proto)


def test_reasons_of_refusals():
    attempts(b"\x18\x00\x00\x00ORTM" + b"\x00" * 40, "a file of ONNX Runtime's own format")
    trained = model()
    trained.training_info.add()
    attempts(trained, "functions of its own")
    inner = model().graph
    for name, value in (("body", inner), ("bodies", [inner])):
        attempts(model([onnx.helper.make_node("Exp", ["x"], ["z"], **{name: value})]), "graphs inside its operators")


def test_attributes():
    def softmax(**attributes):
        return model([onnx.helper.make_node("Softmax", ["x"], ["z"], **attributes)])

    assert check(softmax(axis=-2)).nodes[0].attributes == {"axis": -2}
    given = {"f": -0.5, "i": -(2**63), "s": "text", "many": [3, -1]}
    assert check(softmax(**given)).nodes[0].attributes == given
    none = softmax(axes=[1])
    none.graph.node[0].attribute[0].ClearField("ints")
    assert check(none).nodes[0].attributes == {"axes": []}
    empty = softmax(axis=1)
    empty.graph.node[0].attribute[0].ClearField("i")
    attempts(empty, "attribute 'axis' is not of its type")
    twice = softmax(axis=1)
    twice.graph.node[0].attribute.append(twice.graph.node[0].attribute[0])
    attempts(twice, "an attribute of Softmax stands twice")


@pytest.mark.parametrize(
    ("operator", "domain", "optional"),
    [("Clip", "", (1, 2)), ("GroupQueryAttention", "com.microsoft", (1, 2)), ("MatMulNBits", "com.microsoft", (3, 4))],
)
def test_inputs_that_exports_leave_out(operator, domain, optional):
    for number in range(6):
        inputs = ["" if i == number else "x" for i in range(6)]
        proto = model([onnx.helper.make_node(operator, inputs, ["z"], domain=domain)], domains=("", "com.microsoft"))
        if number in optional:
            assert check(proto).nodes[0].inputs[number] == ""
        else:
            attempts(proto, f"{operator} lacks its input {number}")


def test_names_of_values():
    nameless = model(tensors=[onnx.TensorProto(name="", data_type=1, dims=[1], raw_data=b"1234")])
    attempts(nameless, "two of its values have one name")
    twice = model()
    twice.graph.output.append(twice.graph.output[0])
    attempts(twice, "two of its values have one name")
    for name in ("x", "w", "elsewhere"):
        outside = model(tensors=[raw(1, 4, 1)])
        outside.graph.output[0].name = name
        attempts(outside, "its outputs are not values that its nodes give")
    dropped = model([onnx.helper.make_node("Split", ["x"], ["", ""]), onnx.helper.make_node("Split", ["x"], ["", "z"])])
    assert [list(node.outputs) for node in check(dropped).nodes[:2]] == [["", ""], ["", "z"]]


def test_numbers_that_are_listed_are_few_in_all():
    """They are read one by one: a file of nothing else took eleven seconds."""
    tensors = [onnx.TensorProto(name=f"w{i}", data_type=2, dims=[2**16], int32_data=[1] * 2**16) for i in range(9)]
    assert len(check(model(tensors=tensors[:8])).constants) == 8
    attempts(model(tensors=tensors), "list more than 524288 bytes of numbers one by one")


def test_a_node_has_few_inputs():
    assert len(check(model([onnx.helper.make_node("Max", ["x"] * 256, ["z"])])).nodes[0].inputs) == 256
    attempts(model([onnx.helper.make_node("Max", ["x"] * 257, ["z"])]), "Max has 257 inputs, more than 256")


def test_a_size_of_a_weight():
    def empty(size):
        return model(tensors=[onnx.TensorProto(name="w", data_type=1, dims=[0, size])])

    assert check(empty(2**31 - 1)).constants["w"].dims == (0, 2**31 - 1)
    attempts(empty(2**31), "weight 'w' is of type 1 and sizes")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_as_an_attribute(number):
    attempts(model([onnx.helper.make_node("Exp", ["x"], ["z"], alpha=number)]), "attribute 'alpha' is a number that is")


def test_truth_values_are_0_and_1():
    def truths(**data):
        return model(tensors=[onnx.TensorProto(name="w", data_type=9, dims=[2], **data)])

    assert check(truths(raw_data=b"\0\1")).constants["w"] == check(truths(int32_data=[0, 1])).constants["w"]
    for content in (truths(raw_data=b"\0\2"), truths(raw_data=b"\xff\0"), truths(int32_data=[2, 0])):
        attempts(content, "holds truth values other than 0 and 1")
