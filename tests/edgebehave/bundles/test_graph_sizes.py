"""The memory of a graph is bounded before it runs."""

import numpy as np
import pytest

from edgebehave.bundles.graph_file import FUSED, STANDARD, Constant, Graph, Node, read_graph
from edgebehave.bundles.graph_sizes import MAX_BYTES, check_sizes

onnx = pytest.importorskip("onnx")

INT64, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT


def graph(*nodes, constants=None):
    """A graph of x (n,), n at most 512, m (3, 4) and a count () that a run computes."""
    helper = onnx.helper
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, ["n"]),
        helper.make_tensor_value_info("m", FLOAT, [3, 4]),
        helper.make_tensor_value_info("count", INT64, [1]),
    ]
    calls = [helper.make_node(operator, given, [out], **attributes) for operator, given, out, attributes in nodes]
    tensors = [onnx.numpy_helper.from_array(np.array(v), name) for name, v in (constants or {}).items()]
    output = helper.make_tensor_value_info(calls[-1].output[0], FLOAT, ["any"])
    made = helper.make_graph(calls, "g", inputs, [output], tensors)
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return read_graph(proto.SerializeToString(), "native")


def check(*nodes, constants=None):
    check_sizes(graph(*nodes, constants=constants), {"x": (-512,), "m": (3, 4), "count": (1,)})


def bound(*nodes, constants=None):
    """As `check`, of a graph whose output may have any sizes."""
    made = graph(*nodes, constants=constants)._replace(outputs={})
    check_sizes(made, {"x": (-512,), "m": (3, 4), "count": (1,)})


def doublings(operator, **attributes):
    """A value that is put beside itself 40 times."""
    first = ("Abs", ["m"], "v0", {})
    return [first, *((operator, [f"v{i}", f"v{i}"], f"v{i + 1}", attributes) for i in range(40))]


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (doublings("Concat", axis=0), {}),
        ([("Expand", ["m", "s"], "y", {})], {"s": [10**9, 1, 1]}),
        ([("Abs", ["m"], "a", {}), ("Expand", ["a", "s"], "y", {})], {"s": [1 << 22, 3, 4]}),
        ([("ConstantOfShape", ["s"], "y", {})], {"s": [1 << 62]}),
        ([("ConstantOfShape", ["s"], "y", {})], {"s": [1 << 16, 1 << 16]}),
        ([("Range", ["a", "b", "c"], "y", {})], {"a": 0, "b": 10**9, "c": 1}),
        ([("Pad", ["m", "p"], "y", {})], {"p": [0, 0, 1 << 30, 0]}),
        (
            [("Shape", ["x"], "n", {}), ("Mul", ["n", "k"], "s", {}), ("ConstantOfShape", ["s"], "y", {})],
            {"k": [10**6]},
        ),
        (
            [("Conv", ["m3", "w"], "y", {"pads": [10**8, 10**8]})],
            {"m3": np.zeros((1, 1, 4), "f"), "w": np.ones((1, 1, 1), "f")},
        ),
        ([("Gather", ["w", "i"], "y", {"axis": 0})], {"w": np.zeros((1, 8192), "f"), "i": np.zeros(4096, np.int64)}),
        ([("MatMul", ["a", "b"], "y", {})], {"a": np.zeros((8192, 1), "f"), "b": np.zeros((1, 8192), "f")}),
    ],
    ids=lambda each: each[-1][0] if isinstance(each, list) else "",
)
def test_bombs(nodes, constants):
    with pytest.raises(ValueError, match="more than a bundle's graph needs"):
        check(*nodes, constants=constants)


@pytest.mark.parametrize(
    "nodes",
    [
        [("Expand", ["m", "count"], "y", {})],
        [("ConstantOfShape", ["count"], "y", {})],
        [("Reshape", ["m", "count"], "y", {})],
        [("Mul", ["count", "one"], "s", {}), ("Expand", ["m", "s"], "y", {})],
        [("Range", ["one0", "count0", "one0"], "y", {})],
        [("Shape", ["x"], "n", {}), ("Mod", ["n", "one"], "s", {}), ("ConstantOfShape", ["s"], "y", {})],
        [("Shape", ["x"], "n", {}), ("Sub", ["n", "one"], "s", {}), ("ConstantOfShape", ["s"], "y", {})],
    ],
    ids=lambda nodes: nodes[-1][0],
)
def test_sizes_that_a_run_computes(nodes):
    constants = {"one": [1], "one0": 1, "axis": [0]}
    nodes = [("Squeeze", ["count", "axis"], "count0", {}), *nodes]
    with pytest.raises(ValueError, match="depends on numbers that it computes"):
        check(*nodes, constants=constants)


def test_work_is_bounded_too():
    weights = {f"w{i}": np.zeros((1024, 1024), np.float32) for i in range(2)}
    nodes = [("MatMul", ["w0", "w1"], "v0", {}), *(("MatMul", [f"v{i}", "w1"], f"v{i + 1}", {}) for i in range(8))]
    with pytest.raises(ValueError, match="multiplies"):
        check(*nodes, constants=weights)


@pytest.mark.parametrize(
    "nodes",
    [
        [("Gather", ["m"], "y", {})],
        [("Transpose", ["m"], "y", {"perm": [0, 5]})],
        [("Concat", ["m", "m"], "y", {})],
        [("Cast", ["m"], "y", {})],
        [("MatMul", ["m", "zero"], "y", {})],
        [("Squeeze", ["zero", "one"], "y", {})],
    ],
    ids=lambda nodes: nodes[-1][0],
)
def test_calls_that_do_not_fit(nodes):
    with pytest.raises(ValueError, match=r"do not fit|wrong order|single number"):
        check(*nodes, constants={"zero": 0, "one": [1]})


def test_sizes_are_followed_through_shapes():
    """n + n from two shapes, reshaped: what a graph of a bundle does."""
    check(
        ("Shape", ["x"], "n", {}),
        ("Add", ["n", "n"], "twice", {}),
        ("ConstantOfShape", ["twice"], "zeros", {}),
        ("Reshape", ["zeros", "columns"], "table", {}),
        ("Transpose", ["table"], "turned", {}),
        ("Slice", ["turned", "zero", "one"], "row", {}),
        ("Squeeze", ["row", "zero"], "y", {}),
        constants={"columns": [-1, 2], "zero": [0], "one": [1]},
    )


def test_inputs_count_as_values_do():
    """A cache that a graph never reads is allocated all the same."""
    made = graph(("Abs", ["x"], "y", {}))
    for sizes, fits in (((3, MAX_BYTES // 16), True), ((3, MAX_BYTES // 8), False)):
        inputs = {"x": (-512,), "m": sizes, "count": (1,)}
        if fits:
            check_sizes(made, inputs)
        else:
            with pytest.raises(ValueError, match="more than a bundle's graph needs"):
                check_sizes(made, inputs)


def test_numbers_of_eight_bytes_count_twice():
    def many(count, *kept):
        nodes = [("Expand", ["count", "n"], "y", {}), *kept]
        bound(*nodes, constants={"n": [count]})

    many(MAX_BYTES // 8 - 1000)
    with pytest.raises(ValueError, match="more than a bundle's graph needs"):
        many(MAX_BYTES // 8 + 1)
    many(MAX_BYTES // 16 - 1000, ("Abs", ["y"], "z", {}))
    with pytest.raises(ValueError, match="more than a bundle's graph needs"):
        many(MAX_BYTES // 16, ("Abs", ["y"], "z", {}))


@pytest.mark.parametrize(
    ("nodes", "folded"),
    [
        ([("Expand", ["one", "n"], "y", {})], 400),
        ([("Expand", ["one", "n"], "v", {}), ("Abs", ["v"], "y", {})], 800),
        ([("Shape", ["m"], "s", {}), ("ConstantOfShape", ["s"], "y", {})], 16 + 48),
        ([("Shape", ["x"], "s", {}), ("ConstantOfShape", ["s"], "y", {})], 0),
        ([("Abs", ["m"], "y", {})], 0),
    ],
)
def test_graphs_of_a_bundle_share_the_room_for_what_is_folded(nodes, folded):
    made = graph(*nodes, constants={"one": np.float32([1]), "n": [100]})._replace(outputs={})
    sizes = {"x": (-512,), "m": (3, 4), "count": (1,)}
    assert check_sizes(made, sizes, 1000) == 1000 - folded
    assert check_sizes(made, sizes, folded) == 0
    if folded:
        with pytest.raises(ValueError, match="more than a bundle's graph needs"):
            check_sizes(made, sizes, folded - 1)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_whole_numbers_are_not_multiplied_as_matrices(operator):
    bound((operator, ["m", "w"], "y", {}), constants={"w": np.zeros((4, 2), np.float32)})
    nodes = [("Cast", ["m"], "i", {"to": 7}), (operator, ["i", "w"], "y", {})]
    with pytest.raises(ValueError, match=f"{operator} multiplies whole numbers"):
        bound(*nodes, constants={"w": np.zeros((4, 2), np.int64)})


@pytest.mark.parametrize("kind", [8, 11, 0, 16])
def test_a_cast_to_what_weights_do_not_have(kind):
    bound(("Cast", ["m"], "y", {"to": 10}))
    with pytest.raises(ValueError, match="Cast makes texts, or numbers that weights do not have"):
        bound(("Cast", ["m"], "y", {"to": kind}))


def test_a_shape_has_few_numbers():
    """What is put together out of constants was a list that doubled with every node."""
    numbers = {"v0": [1] * 32, "one": np.float32([1])}
    bound(
        ("Concat", ["v0", "v0"], "v1", {"axis": 0}),
        ("Gather", ["v1", "zero"], "y", {}),
        constants={**numbers, "zero": 0},
    )
    nodes = [("Concat", ["v0", "v0", "zero"], "v1", {"axis": 0}), ("Expand", ["one", "v1"], "y", {})]
    with pytest.raises(ValueError, match="depends on numbers that it computes"):
        bound(*nodes, constants={**numbers, "zero": [0]})


def test_a_size_is_taken_out_of_a_shape():
    nodes = [("Shape", ["x"], "n", {}), ("Identity", ["n"], "same", {}), ("Gather", ["same", "first"], "count", {})]
    nodes = [(op, given, {"count": "c"}.get(out, out), attributes) for op, given, out, attributes in nodes]
    check(*nodes, ("Range", ["zero", "c", "one"], "y", {}), constants={"first": 0, "zero": 0, "one": 1})


@pytest.mark.parametrize("shape", [[3, 4], [1, 1, 12]])
def test_an_output_of_other_sizes_than_promised(shape):
    with pytest.raises(ValueError, match="it gives 'y' in the sizes"):
        check(("Reshape", ["m", "s"], "y", {}), constants={"s": shape})


@pytest.mark.parametrize("operator", ["Div", "Mod"])
@pytest.mark.parametrize("divisor", [[0], [-1], [3, 0], [1 << 63 - 1], "count"])
def test_integers_are_divided_by_constants_above_zero(operator, divisor):
    """The smallest integer divided by -1 ends the process; a graph may be folded when it is opened."""
    is_input = isinstance(divisor, str)
    node = (operator, ["count", divisor if is_input else "d"], "y", {})
    constants = {} if is_input else {"d": np.array(divisor, np.int64)}
    if divisor == [1 << 63 - 1]:
        check(node, constants=constants)
    else:
        with pytest.raises(ValueError, match="divides integers by numbers that are not constants above 0"):
            check(node, constants=constants)


@pytest.mark.parametrize(
    "makes_integers",
    [
        ("Shape", ["m"], "i", {}),
        ("Cast", ["x"], "i", {"to": 7}),
        ("Unique", ["count"], "i", {}),
        ("Where", ["b", "count", "count"], "i", {}),
    ],
)
def test_integers_are_found_behind_other_operators(makes_integers):
    nodes = [("Equal", ["count", "count"], "b", {}), makes_integers, ("Div", ["i", "i"], "y", {})]
    with pytest.raises(ValueError, match=r"divides integers|calls 'Unique'"):
        check(*nodes)


def test_floats_are_divided_by_anything():
    check(("Div", ["x", "x"], "y", {}))
    check(("Cast", ["count"], "f", {"to": 1}), ("Div", ["f", "f"], "y", {}))


def test_an_axis_stands_once():
    with pytest.raises(ValueError, match="Unsqueeze names an axis twice"):
        check(("Unsqueeze", ["m", "a"], "y", {}), constants={"a": [0, 0]})


def test_an_attention_over_keys_without_axes_is_a_value_error():
    """Found by fuzzing: the number of its products was read from an axis that the keys lack."""
    keys = "keys"
    node = Node("GroupQueryAttention", FUSED, ("m", "m", "m", keys, keys), ("y",), {})
    flat = Graph(inputs={"m": (FLOAT, (3, 4))}, outputs={}, nodes=[node], constants={keys: Constant((4,), FLOAT, None)})
    with pytest.raises(ValueError, match="GroupQueryAttention has inputs or attributes that do not fit it"):
        check_sizes(flat, {"m": (3, 4)})


def test_a_slice_of_more_axes_than_there_are_is_a_value_error():
    """Found by fuzzing: a size of the starts was the length of a list."""
    node = Node("Slice", STANDARD, ("m", "starts", "starts"), ("y",), {})
    sliced = Graph(inputs={"m": (FLOAT, (3, 4)), "starts": (INT64, (None,))}, outputs={}, nodes=[node], constants={})
    with pytest.raises(ValueError, match="Slice has inputs or attributes that do not fit it"):
        check_sizes(sliced, {"m": (3, 4), "starts": (1 << 62,)})


@pytest.mark.parametrize(
    ("nodes", "constants", "says"),
    [
        ([("Reshape", ["m", "s"], "y", {})], {"s": [-1, -1]}, "Reshape has a wrong shape"),
        ([("Reshape", ["m", "s"], "y", {})], {"s": [-2, 6]}, "Reshape has a wrong shape"),
        (
            [
                *(("Unsqueeze", ["x", "zero"], "a", {}), ("Unsqueeze", ["x", "one"], "b", {})),
                *(("Mul", ["a", "b"], "c", {}), ("Reshape", ["c", "s"], "y", {})),
            ],
            {"s": [0, -1, 1], "zero": [0], "one": [1]},
            "Reshape has a shape that is not bounded",
        ),
        ([("Squeeze", ["x"], "y", {})], {}, "Squeeze names no axes for a value whose size varies"),
        ([("Range", ["a", "b", "c"], "y", {})], {"a": 0, "b": 5, "c": 0}, "a start below 0 or a step below 1"),
        ([("Range", ["a", "b", "c"], "y", {})], {"a": -1, "b": 5, "c": 1}, "a start below 0 or a step below 1"),
        ([("Pad", ["m", "p"], "y", {})], {"p": [0, 0, 1]}, "Pad has wrong pads"),
        ([("Pad", ["m", "p"], "y", {})], {"p": [0, -1, 0, 0]}, "Pad has wrong pads"),
        ([("Pad", ["m", "p", "v", "axes"], "y", {})], {"p": [0, 0], "v": np.float32(0), "axes": [0]}, "Pad names axes"),
        ([("Split", ["m", "p"], "y", {"axis": 0})], {"p": [4]}, "parts that are not those of its value"),
        ([("Split", ["m", "p"], "y", {"axis": 0})], {"p": [4, -1]}, "parts that are not those of its value"),
        ([("Split", ["m", "p"], "y", {"axis": 0})], {"p": [2, 1]}, "parts that are not those of its value"),
        ([("Split", ["m"], "y", {"num_outputs": 2})], {}, "parts that are not those of its value"),
        ([("Split", ["m"], "y", {"num_outputs": 0})], {}, "parts that are not those of its value"),
        ([("GatherND", ["m", "i"], "y", {"batch_dims": 1})], {"i": [[0]]}, "indices of a size that varies"),
        (
            [("Conv", ["v", "w"], "y", {"auto_pad": "VALID"})],
            {"v": np.zeros((1, 1, 4), "f"), "w": np.ones((1, 1, 1), "f")},
            "Conv has other auto_pad, dilations, group, strides than exports write",
        ),
        *(
            (
                [("Conv", ["v", "w"], "y", attributes)],
                {"v": np.zeros((1, 2, 4), "f"), "w": np.ones((2, 2, 1), "f")},
                "Conv has (other|a wrong)",
            )
            for attributes in ({"strides": [0]}, {"dilations": [2]}, {"group": 2}, {"kernel_shape": [2]})
        ),
        ([("Conv", ["m", "m"], "y", {})], {}, "Conv has a wrong kernel"),
        ([("ReduceSum", ["m"], "y", {"noop_with_empty_axes": 1})], {}, "ReduceSum names no axes"),
        ([("ReduceSum", ["m", "a"], "y", {})], {"a": np.zeros(0, np.int64)}, "ReduceSum names no axes"),
        ([("ReduceSum", ["m", "a"], "y", {})], {"a": 1}, "ReduceSum names no axes"),
        ([("MatMul", ["m", "w"], "y", {})], {"w": np.zeros((3, 4), "f")}, "adds 4 and 3 numbers"),
        ([("MatMul", ["x", "w"], "y", {})], {"w": np.zeros(512, "f")}, "adds -512 and 512 numbers"),
        ([("MatMul", ["w", "v"], "y", {})], {"w": np.zeros(2, "f"), "v": np.zeros(0, "f")}, "adds 2 and 0 numbers"),
        (
            [("Slice", ["m", "z", "z"], "s", {}), ("GatherND", ["s", "i"], "y", {})],
            {"z": [0], "i": [[0, 0]]},
            "GatherND takes a value that may be empty",
        ),
        (
            [("Slice", ["x", "z", "count"], "s", {}), ("GatherND", ["s", "i"], "y", {})],
            {"z": [0], "i": [[0]]},
            "GatherND takes a value that may be empty",
        ),
        (
            [("Conv", ["v", "w"], "y", {"pads": [-1, 0]})],
            {"v": np.zeros((1, 1, 4), "f"), "w": np.ones((1, 1, 1), "f")},
            "Conv has wrong pads",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_refusals(nodes, constants, says):
    with pytest.raises(ValueError, match=says):
        check(*nodes, constants=constants)


@pytest.mark.parametrize(
    ("nodes", "constants", "sizes"),
    [
        ([("Squeeze", ["v"], "y", {})], {"v": np.zeros((1, 3, 1), "f")}, [3]),
        ([("ReduceSum", ["m"], "y", {"keepdims": 0})], {}, []),
        ([("ReduceSum", ["m", "axes"], "y", {})], {"axes": [1]}, [3, 1]),
        ([("GatherND", ["m", "i"], "y", {})], {"i": [[0], [2]]}, [2, 4]),
        (
            [("Concat", ["x", "x"], "two", {"axis": 0}), ("Abs", ["two"], "a", {}), ("GatherND", ["a", "i"], "y", {})],
            {"i": [[0], [2]]},
            [2],
        ),
        ([("Split", ["m", "p"], "y", {"axis": 1})], {"p": [4]}, [3, 4]),
        ([("Split", ["m"], "y", {"axis": 1})], {}, [3, 4]),
        ([("Pad", ["m", "p"], "y", {})], {"p": [0, 1, 2, 0]}, [5, 5]),
        ([("Range", ["a", "b", "c"], "y", {})], {"a": 1, "b": 8, "c": 3}, [3]),
        (
            [("Conv", ["v", "w"], "y", {"pads": [1, 1]})],
            {"v": np.zeros((1, 2, 4), "f"), "w": np.ones((5, 2, 3), "f")},
            [1, 5, 4],
        ),
    ],
    ids=lambda each: each[-1][0] if isinstance(each, list) and isinstance(each[0] if each else 0, tuple) else "",
)
def test_sizes_of_calls(nodes, constants, sizes):
    """As ONNX defines them: an output of these sizes passes, another does not."""
    for promised in (sizes, [*sizes, 7]):
        made = graph(*nodes, constants=constants)
        made = made._replace(outputs={"y": (FLOAT, tuple(promised))})
        if promised == sizes:
            check_sizes(made, {"x": (-512,), "m": (3, 4), "count": (1,)})
        else:
            with pytest.raises(ValueError, match="it gives 'y' in the sizes"):
                check_sizes(made, {"x": (-512,), "m": (3, 4), "count": (1,)})


def bits(rows=8, inner=32, block=32, num_bits=4, weight=(8, 1, 16), scales=8, bias=()):
    """A MatMulNBits as quantizers write it."""
    inputs = ("a", "w", "s", "", "", "b") if bias else ("a", "w", "s")
    attributes = {"N": rows, "K": inner, "block_size": block, "bits": num_bits}
    constants = {
        "w": Constant(weight, 2, None),
        "s": Constant((scales,), FLOAT, None),
        "b": Constant(bias, FLOAT, None),
    }
    node = Node("MatMulNBits", FUSED, inputs, ("y",), attributes)
    return Graph(inputs={"a": (FLOAT, (2, 32))}, outputs={}, nodes=[node], constants=constants)


def test_a_cache_may_be_empty():
    """The first event of a web bundle has one of no rows: a history has at least one behavior."""
    node = Node("GatherND", STANDARD, ("cache", "i"), ("y",), {})
    made = Graph(
        inputs={"cache": (FLOAT, (2, None))},
        outputs={},
        nodes=[node, Node("GatherND", STANDARD, ("x", "i"), ("z",), {})],
        constants={"i": Constant((1, 2), INT64, (0, 0))},
    )
    with pytest.raises(ValueError, match="GatherND takes a value that may be empty"):
        check_sizes(made, {"cache": (2, -5), "x": (2, -5)})
    check_sizes(made, {"cache": (2, 5), "x": (2, -5)})


@pytest.mark.parametrize("sizes", [((0,), (0,)), ((), ()), ((2, 4), (2,)), ((2, 4), (1, 4)), ((4,), (-4,))])
def test_a_bias_is_as_long_as_the_last_axis(sizes):
    def biased(left, right):
        node = Node("BiasGelu", FUSED, ("a", "b"), ("y",), {})
        check_sizes(Graph([node], {}, {"a": (FLOAT, left), "b": (FLOAT, right)}, {}), {"a": left, "b": right})

    biased((2, 4), (4,))
    with pytest.raises(ValueError, match="BiasGelu has inputs of sizes that do not fit"):
        biased(*sizes)


@pytest.mark.parametrize("sizes", [[(), (), ()], [(1, 1, 4), (1, 1, 3), (4,)], [(1, 1, 4), (1, 1, 4), (3,)]])
def test_a_sum_that_is_normed_has_the_sizes_of_exports(sizes):
    def normed(sizes):
        names = [f"v{i}" for i in range(len(sizes))]
        node = Node("SkipLayerNormalization", FUSED, tuple(names), ("y",), {})
        inputs = {name: (FLOAT, each) for name, each in zip(names, sizes, strict=True)}
        check_sizes(Graph(inputs=inputs, outputs={}, nodes=[node], constants={}), dict(zip(names, sizes, strict=True)))

    normed([(1, 1, 4), (1, 1, 4), (4,), (4,), (4,)])
    with pytest.raises(ValueError, match="SkipLayerNormalization has inputs of sizes that do not fit"):
        normed(sizes)


def lookup(rows=10, width=32, block=16, scales=(10, 2), kinds=(2, FLOAT), inputs=("t", "i", "s"), **attributes):
    """A lookup in a large table as quantizers write it, of up to 5 rows."""
    attributes = {"bits": 8, "gather_axis": 0, "quantize_axis": 1, "block_size": block} | attributes
    constants = {"t": Constant((rows, width), kinds[0], None), "s": Constant(scales, kinds[1], None)}
    node = Node("GatherBlockQuantized", FUSED, inputs, ("y",), attributes)
    given = {"i": (INT64, (None,)), "t2": (2, (rows, width))}
    return Graph(inputs=given, outputs={"y": (FLOAT, (None, 32))}, nodes=[node], constants=constants)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rows": 9}, {"width": 48}, {"block": 20}, {"block": 0}, {"block": 64}, {"scales": (10, 1)}, {"scales": ()}),
        *({"kinds": (3, FLOAT)}, {"kinds": (2, 10)}, {"bits": 4}, {"gather_axis": 1}, {"quantize_axis": 0}),
        *({"inputs": ("t2", "i", "s")}, {"inputs": ("t", "i", "s", "i")}, {"inputs": ("t", "i")}, {"more": 1}),
    ],
    ids=str,
)
def test_a_lookup_in_a_large_table_is_called_as_quantizers_call_it(wrong):
    sizes = {"i": (-5,), "t2": (10, 32)}
    check_sizes(lookup(), sizes)
    check_sizes(lookup(block=32, scales=(10, 1)), sizes)
    with pytest.raises(ValueError, match=r"GatherBlockQuantized (is not called as|has inputs)"):
        check_sizes(lookup(**wrong), sizes)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rows": 9}, {"inner": 64}, {"inner": 0}, {"block": 20}, {"num_bits": 3}, {"weight": (8, 2, 16)}),
        *({"weight": (8, 1, 15)}, {"scales": 7}, {"bias": (7,)}, {"num_bits": 8}, {"block": 16}),
    ],
    ids=str,
)
def test_quantized_weights_are_of_the_sizes_that_they_say(wrong):
    for right in ({}, {"bias": (8,)}, {"num_bits": 8, "weight": (8, 1, 32)}):
        check_sizes(bits(**right), {"a": (2, 32)})
    with pytest.raises(ValueError, match="MatMulNBits has weights of other sizes than it says"):
        check_sizes(bits(**wrong), {"a": (2, 32)})
