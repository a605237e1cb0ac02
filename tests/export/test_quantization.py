"""int8 graphs: how they round, what they leave alone, what they weigh."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgebehave_export.bundle import graph_bytes
from edgebehave_export.onnx_export import check_standard
from edgebehave_export.quantization import quantize, quantize_graphs, quantize_rows


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


def test_all_matrices_and_tables_are_integers_and_the_rest_is_not(int8_graphs):
    kinds = {
        tensor.name: tensor.data_type
        for proto in int8_graphs.values()
        for tensor in proto.graph.initializer
    }
    layers = ("blocks.0.qkv", "blocks.1.mlp_out", "head_in", "head_out")
    weights = [f"model.{layer}.weight" for layer in (*layers, "event", "location")]
    for name in (*weights, "query_time.weight", "gate_in", "gate_out"):
        assert kinds[f"{name}_int8"] == TensorProto.INT8
        assert name not in kinds
    for name in ("model.norm.weight", "gate_out_bias", "model.rotary_cos"):
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


def test_int8_graphs_keep_their_signature_and_those_for_the_web_stay_standard(
    fp32_graphs, web_graphs
):
    for graphs in (fp32_graphs, web_graphs):
        for name, proto in quantize_graphs(graphs).items():
            if graphs is web_graphs:
                check_standard(proto)
            for side in ("input", "output"):
                before, after = (getattr(p.graph, side) for p in (graphs[name], proto))
                assert [value.name for value in before] == [value.name for value in after]


def test_the_same_graph_gives_the_same_bytes(fp32_graphs, int8_graphs):
    name = "predict.onnx"
    again = quantize_graphs({name: fp32_graphs[name]})
    assert graph_bytes(again)[name] == graph_bytes(int8_graphs)[name]


def test_quantizing_leaves_the_fp32_graph_as_it_was(fp32_graphs):
    name = "predict.onnx"
    before = graph_bytes(fp32_graphs)[name]
    quantize(fp32_graphs[name])
    assert graph_bytes(fp32_graphs)[name] == before
    assert isinstance(onnx.load_from_string(before), onnx.ModelProto)
