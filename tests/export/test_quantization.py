"""int8 graphs: how they round, what they leave alone, what they weigh."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
)

from edgebehave.bundles.graph_file import read_graph
from edgebehave.bundles.graph_sizes import check_sizes
from edgebehave.bundles.inference import open_graph
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.graphs.onnx_export import check_standard
from edgebehave_export.quantization import (
    LARGE,
    quantize,
    quantize_blocks,
    quantize_graphs,
    quantize_rows,
)


def test_rows_are_rounded_by_their_own_largest_entry():
    table = np.array([[1.27, -0.64, 0.0], [127.0, 1.0, 0.4]], np.float32)
    integers, scales = quantize_rows(table)
    assert integers.tolist() == [[127, -64, 0], [127, 1, 0]]
    np.testing.assert_allclose(scales.astype(float), [[0.01], [1.0]], rtol=1e-3)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 50.0])
def test_no_entry_is_off_by_more_than_a_scale(size):
    table = (np.random.default_rng(0).standard_normal((50, 16)) * size).astype(np.float32)
    table[3] = 0
    integers, scales = quantize_rows(table)
    assert integers.dtype == np.int8
    assert scales.dtype == np.float16
    assert (scales > 0).all()
    error = np.abs(integers * scales.astype(np.float64) - table)
    # Half a scale, and a little where a rounded scale makes the largest entry clip.
    assert (error <= 0.57 * scales.astype(np.float64)).all()


@pytest.mark.parametrize("num_inputs", [1, 16, 100, 128, 300])
def test_no_weight_is_off_by_more_than_half_the_scale_of_its_block(num_inputs):
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((7, num_inputs)) * 10.0 ** rng.integers(-3, 3, (7, 1))).astype("f")
    weight[3] = 0
    integers, scales = quantize_blocks(weight, 64)
    assert integers.shape == (7, -(-num_inputs // 64), 64)
    assert integers.min() >= 1
    restored = ((integers.astype(np.float64) - 128) * scales[..., None]).reshape(7, -1)
    half_scales = np.repeat(scales, 64, 1)[:, :num_inputs] / 2
    assert (np.abs(restored[:, :num_inputs] - weight) <= half_scales * (1 + 1e-5)).all()
    assert (restored[:, num_inputs:] == 0).all()


def test_products_and_lookups_in_blocks_give_what_the_floats_give():
    """Large tables and matrices, with and without a bias, against the graph in float32."""
    rng = np.random.default_rng(1)
    values = {
        "table.weight": rng.standard_normal((600, 64)),
        "plain": rng.standard_normal((64, 640)) / 8,
        "added": rng.standard_normal(640),
        "layer": rng.standard_normal((640, 65)) / 25,
        "bias": rng.standard_normal(65),
    }
    nodes = [
        make_node("Gather", ["table.weight", "ids"], ["x"], axis=0),
        make_node("MatMul", ["x", "plain"], ["product"], name="product"),
        make_node("Add", ["product", "added"], ["sum"]),
        make_node("Gemm", ["sum", "layer", "bias"], ["y"], name="y"),
    ]
    graph = make_graph(
        nodes,
        "layers",
        [make_tensor_value_info("ids", TensorProto.INT64, [2])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [2, 65])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)
    in_blocks = quantize(proto, large=1000, in_blocks=True)
    operators = [node.op_type for node in in_blocks.graph.node]
    assert operators == ["GatherBlockQuantized", "MatMulNBits", "MatMulNBits"]
    ids = {"ids": np.array([0, 599])}
    outputs = [open_graph(p.SerializeToString()).run(None, ids)[0] for p in (proto, in_blocks)]
    # Eight bits for weights and for inputs, twice: hundredths of the spread.
    assert np.abs(outputs[1] - outputs[0]).mean() < 0.03 * outputs[0].std()


def layers(nodes, outputs, **values):
    """A graph of x (2, 64) and float32 constants."""
    graph = make_graph(
        [make_node(operator, given.split(), [name], name=name) for operator, given, name in nodes],
        "layers",
        [make_tensor_value_info("x", TensorProto.FLOAT, [2, 64])],
        [make_tensor_value_info(name, TensorProto.FLOAT, [2, 64]) for name in outputs],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)


PRODUCT = ("MatMul", "x W", "p")


@pytest.mark.parametrize(
    ("nodes", "outputs", "shape", "operators"),
    [
        ([PRODUCT, ("Add", "b p", "y")], "y", (64,), "MatMulNBits"),
        ([PRODUCT, ("Add", "p b", "y")], "y", (2, 64), "MatMulNBits Add"),
        ([PRODUCT, ("Add", "p b", "y")], "y", (), "MatMulNBits Add"),
        ([PRODUCT, ("Add", "p p", "y")], "y", (64,), "MatMulNBits Add"),
        ([PRODUCT, ("Add", "p b", "y")], "p y", (64,), "MatMulNBits Add"),
        ([PRODUCT, ("Add", "p b", "s"), ("Mul", "p s", "y")], "y", (64,), "MatMulNBits Add Mul"),
        ([PRODUCT, ("MatMul", "p W", "y")], "y", (64,), "MatMul MatMul"),
        ([("Gemm", "x W b", "y")], "y", (64,), "MatMulNBits"),
        ([("Gemm", "x W b", "y")], "y", (1, 64), "Gemm"),
    ],
)
def test_only_a_sum_with_a_bias_becomes_one_node_with_its_product(nodes, outputs, shape, operators):
    rng = np.random.default_rng(2)
    weights = {"W": rng.standard_normal((64, 64)) / 8, "b": rng.standard_normal(shape)}
    proto = layers(nodes, outputs.split(), **weights)
    in_blocks = quantize(proto, large=1000, in_blocks=True)
    assert [node.op_type for node in in_blocks.graph.node] == operators.split()
    x = {"x": rng.standard_normal((2, 64)).astype(np.float32)}
    floats, integers = (open_graph(p.SerializeToString()).run(None, x) for p in (proto, in_blocks))
    np.testing.assert_allclose(integers, floats, atol=0.05 * np.std(floats))


@pytest.mark.parametrize("num_inputs", [1, 10, 24, 129, 300])
def test_products_in_blocks_of_any_number_of_inputs(num_inputs):
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((num_inputs, 7)).astype(np.float32)
    graph = make_graph(
        [make_node("MatMul", ["x", "W"], ["y"])],
        "product",
        [make_tensor_value_info("x", TensorProto.FLOAT, [2, num_inputs])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [2, 7])],
        [numpy_helper.from_array(weight, "W")],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)
    session = open_graph(quantize(proto, large=1, in_blocks=True).SerializeToString())
    x = rng.standard_normal((2, num_inputs)).astype(np.float32)
    expected = x @ weight
    (got,) = session.run(None, {"x": x})
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("width", "operators"),
    [(16, ["GatherBlockQuantized"]), (24, ["Gather", "Gather", "Cast", "Cast", "Mul"])],
)
@pytest.mark.parametrize("large", [LARGE, None])
def test_large_tables_stay_integers_whatever_their_width(width, operators, large):
    """Also where no matrix multiplies in integers; the graph names the domains that it uses."""
    table = np.random.default_rng(4).standard_normal((3000, width)).astype(np.float32)
    graph = make_graph(
        [make_node("Gather", ["table.weight", "ids"], ["y"], axis=0)],
        "table",
        [make_tensor_value_info("ids", TensorProto.INT64, [2])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [2, width])],
        [numpy_helper.from_array(table, "table.weight")],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)
    quantized = quantize(proto, large, in_blocks=True)
    assert [node.op_type for node in quantized.graph.node] == operators
    onnx.checker.check_model(quantized)
    check_sizes(read_graph(quantized.SerializeToString(), "native"), {"ids": (2,)})
    ids = np.array([0, 2999])
    (rows,) = open_graph(quantized.SerializeToString()).run(None, {"ids": ids})
    np.testing.assert_allclose(rows, table[ids], atol=np.abs(table[ids]).max() / 127)


def test_all_matrices_and_tables_are_integers_and_the_rest_is_not(int8_graphs):
    kinds = {tensor.name: tensor.data_type for proto in int8_graphs.values() for tensor in proto.graph.initializer}
    layers = ("blocks.0.qkv", "blocks.1.mlp_out", "head_out", "event", "location")
    weights = [f"model.{layer}.weight" for layer in (*layers, "query_weekday", "query_slot")]
    for name in (*weights, "state_in.weight", "gate_logs", "gate_signs", "gate_out.weight"):
        assert kinds[f"{name}_int8"] == TensorProto.INT8
        assert name not in kinds
    for name in ("model.norm.weight", "gate_bias", "model.rotary_cos"):
        assert kinds[name] == TensorProto.FLOAT


def test_only_large_matrices_multiply_in_integers(web_graphs):
    def num_integer_products(**limit):
        proto = quantize(web_graphs["observe.onnx"], **limit)
        check_standard(proto)
        return sum(node.op_type == "MatMulInteger" for node in proto.graph.node)

    # Width 32, two layers: qkv 3,072 weights, attention_out 1,024, the MLP's two 4,096 each.
    assert num_integer_products(large=None) == 0
    assert num_integer_products() == 0
    assert num_integer_products(large=4096) == 4
    assert num_integer_products(large=0) == 8


def test_int8_graphs_keep_their_signature_and_those_for_the_web_stay_standard(fp32_graphs, web_graphs):
    for graphs in (fp32_graphs, web_graphs):
        for name, proto in quantize_graphs(graphs).items():
            if graphs is web_graphs:
                check_standard(proto)
            for side in ("input", "output"):
                before, after = (getattr(p.graph, side) for p in (graphs[name], proto))
                assert [value.name for value in before] == [value.name for value in after]


def test_the_same_graph_gives_the_same_bytes(fp32_graphs, int8_graphs):
    name = "predict.onnx"
    assert graph_bytes(quantize_graphs(fp32_graphs))[name] == graph_bytes(int8_graphs)[name]


def test_quantizing_leaves_the_fp32_graph_as_it_was(fp32_graphs):
    name = "predict.onnx"
    before = graph_bytes(fp32_graphs)[name]
    quantize(fp32_graphs[name])
    assert graph_bytes(fp32_graphs)[name] == before
    assert isinstance(onnx.load_from_string(before), onnx.ModelProto)


def test_warnings_and_prints_of_the_quantizer_are_seen(monkeypatch, capsys):
    def copy(proto, path, **options):
        print("a line")
        warnings.warn("a matrix stays float", stacklevel=1)
        onnx.save(proto, path)

    monkeypatch.setattr("onnxruntime.quantization.quantize_dynamic", copy)
    x, y = (make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    proto = make_model(make_graph([make_node("Identity", ["x"], ["y"])], "g", [x], [y]))
    with pytest.warns(UserWarning, match="a matrix stays float"):
        quantize(proto)
    assert capsys.readouterr().out == "a line\n"
