"""int8 graphs from fp32 graphs.

All weights are stored as integers, each output channel with a scale of its own:

    large matrices          multiply in integers; their inputs are rounded at each call (dynamic
                            quantization). Native graphs do so in blocks of 128 inputs with scales of
                            their own (MatMulNBits, from ONNX Runtime 1.23 on): observe takes a sixth to a
                            third less time than with one scale for all inputs (DynamicQuantizeMatMul).
                            The web has kernels for the standard operators alone
    small matrices, tables  become floats again when the graph is loaded: rounding the inputs would take
                            longer than it saves, and is the larger part of the error
    large tables            a lookup gives one row of integers times its own scale, in a native graph by
                            one node (GatherBlockQuantized). With one scale for the whole table, as in ONNX
                            Runtime's quantizer, the most extreme row would set it
"""

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import make_node, make_opsetid

from edgebehave_export.graphs.graph_builder import FUSED, errors_only

LARGE = 32_768
"""Weights from which integers are faster: measured on x86, width 64 lost and 128 won."""

BLOCK = 128
"""Inputs that share a scale in a native graph."""


def quantize_graphs(graphs: Mapping[str, ModelProto]) -> dict[str, ModelProto]:
    """The int8 form of a bundle's graphs, by file name.

    observe and, in a native bundle, predict multiply in integers. The others keep float inputs: they run once
    per question, gates and logits decide between near ties, and one scale for all inputs is too coarse for that.
    """
    observe = graphs.get("observe.onnx")
    is_native = observe is not None and _is_fused(observe)
    in_integers = ["observe.onnx"] + ["predict.onnx"] * is_native
    return {
        name: quantize(proto, LARGE if name in in_integers else None, in_blocks=is_native)
        for name, proto in graphs.items()
    }


def _is_fused(proto: ModelProto) -> bool:
    return any(node.domain == FUSED for node in proto.graph.node)


def quantize_rows(
    table_RD: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Integers and scales with table = integers * scales, symmetric, one scale per row.

    Returns  (R, D) int8 in -127..127; (R, 1) float16 > 0, half the bytes where rows are
             short. No entry is off by more than half a scale.
    """
    largest_R1 = np.abs(table_RD).max(axis=1, keepdims=True)
    scale_R1 = np.where(largest_R1 > 0, largest_R1 / 127, 1).astype(np.float16)
    # A row whose scale would round to 0 in float16 becomes 0.
    scale_R1 = np.maximum(scale_R1, np.finfo(np.float16).smallest_normal)
    integers_RD = np.rint(table_RD / scale_R1.astype(np.float32))
    return np.clip(integers_RD, -127, 127).astype(np.int8), scale_R1


def quantize(
    proto: ModelProto, large: int | None = LARGE, *, in_blocks: bool = False, block: int = BLOCK
) -> ModelProto:
    """The int8 form of a graph; its inputs and outputs stay as they are.

    large      number of weights from which a matrix multiplies in integers; None: none does.
    in_blocks  whether they do in blocks of inputs, in an operator beyond the standard.
    block      inputs that share a scale then, a power of two from 16.
    """
    quantized = ModelProto()
    quantized.CopyFrom(proto)
    _quantize_tables(quantized, block if in_blocks else 0)
    _quantize_matrices(quantized, large)
    if in_blocks and large is not None:
        _multiply_in_blocks(quantized, large, block)
    if _is_fused(quantized) and FUSED not in [opset.domain for opset in quantized.opset_import]:
        quantized.opset_import.append(make_opsetid(FUSED, 1))
    if large is None or in_blocks:
        return quantized
    return _quantize_dynamically(quantized)


def quantize_blocks(
    weight_NK: npt.NDArray[np.float32], block: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Integers and scales with weight = (integers - 128) * scales, a scale for each block.

    block    inputs that share a scale, a power of two.
    Returns  (N, B, block) uint8 in 1..255, the last of B blocks filled up with 128; (N, B)
             float32 > 0. No weight is off by more than half a scale.
    """
    num_outputs, num_inputs = weight_NK.shape
    num_blocks = -(-num_inputs // block)
    padded = np.zeros((num_outputs, num_blocks * block), np.float32)
    padded[:, :num_inputs] = weight_NK
    blocks_NBK = padded.reshape(num_outputs, num_blocks, block)
    largest_NB = np.abs(blocks_NBK).max(2)
    scale_NB = np.where(largest_NB > 0, largest_NB / 127, 1).astype(np.float32)
    integers = np.rint(blocks_NBK / scale_NB[..., None])
    return (np.clip(integers, -127, 127) + 128).astype(np.uint8), scale_NB


def _multiply_in_blocks(proto: ModelProto, large: int, block: int) -> None:
    """Integer products in blocks for the large constant matrices, in place.

    x W + b  ->  MatMulNBits(x, W, b), whether that was Gemm, or MatMul and Add. A matrix that
    several nodes use, and a bias of another shape than (N,), stay as they are.
    """
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[NodeProto | None]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in list(graph.node):
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in tensors:
            continue
        weight_KN = numpy_helper.to_array(tensors[node.input[1]])
        if weight_KN.ndim != 2 or weight_KN.size < large or len(users[node.input[1]]) > 1:
            continue
        biases = {name for name in tensors if list(tensors[name].dims) == [weight_KN.shape[1]]}
        if node.attribute or not biases.issuperset(node.input[2:]):
            continue
        bias = node.input[2] if len(node.input) > 2 else ""
        following = users.get(node.output[0], [])
        add = following[0] if len(following) == 1 else None
        if not bias and add is not None and add.op_type == "Add":
            (added,) = (name for name in add.input if name != node.output[0])
            if added in biases:
                bias, node.output[0] = added, add.output[0]
                graph.node.remove(add)
        _block_product(proto, node, tensors.pop(node.input[1]), bias, block)


def _block_product(proto: ModelProto, node: NodeProto, weight: TensorProto, bias: str, block: int) -> None:
    """Replace a product with a constant matrix by one in blocks, in place."""
    weight_KN = numpy_helper.to_array(weight)
    num_inputs, num_outputs = weight_KN.shape
    block = _block_of(num_inputs, block)
    integers, scales = quantize_blocks(weight_KN.T, block)
    _store(proto, weight, integers, scales.ravel())
    stored = [f"{weight.name}_int8", f"{weight.name}_scale"]
    inputs = [node.input[0], *stored, *(["", "", bias] if bias else [])]
    sizes = {"K": num_inputs, "N": num_outputs, "bits": 8, "block_size": block}
    sizes["accuracy_level"] = 4  # the inputs are rounded to integers, too
    node.CopyFrom(make_node("MatMulNBits", inputs, list(node.output), name=node.name, domain=FUSED, **sizes))


def _quantize_dynamically(proto: ModelProto) -> ModelProto:
    """Integer products for all matrices that are still constant floats."""
    # Imported late: it brings all of onnxruntime's tools along.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, errors_only():  # it recommends a preparation that is done already
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        quantized = onnx.load(path)
    quantized.producer_name, quantized.producer_version = proto.producer_name, ""
    del quantized.metadata_props[:]
    del quantized.graph.value_info[:]
    return quantized


def _quantize_matrices(proto: ModelProto, large: int | None) -> None:
    """Store the small matrices as integers, in place.

    W  ->  Cast(integers) * scales, which the runtime computes once, when it loads the graph
    """
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    restored: list[NodeProto] = []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in tensors:
            continue
        tensor = tensors[node.input[1]]
        weight = numpy_helper.to_array(tensor)
        if weight.ndim != 2 or (large is not None and weight.size >= large):
            continue
        channels_first = any(a.name == "transB" and a.i == 1 for a in node.attribute)
        integers, scales = quantize_rows(weight if channels_first else weight.T)
        if not channels_first:
            integers, scales = integers.T, scales.T
        _store(proto, tensor, integers, scales)
        name = tensor.name
        restored += _scaled(f"{name}_int8", f"{name}_scale", name)
        del tensors[name]
    _set_nodes(proto, [*restored, *graph.node])


def _quantize_tables(proto: ModelProto, block: int) -> None:
    """Store the embedding tables of a graph as integers, in place.

    block  numbers that share a scale in a large table; 0: a row of it.

    small  table               ->  Cast(integers) * scales, computed once, as for matrices
    large  Gather(table, ids)  ->  Cast(Gather(integers, ids)) * Gather(scales, ids), or
                                   GatherBlockQuantized(integers, ids, scales)
    """
    graph = proto.graph
    tables = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.name.endswith(".weight") and tensor.data_type == TensorProto.FLOAT
    }
    names = {node.input[0] for node in graph.node if node.op_type == "Gather"} & set(tables)
    restored: list[NodeProto] = []
    lookups: dict[str, Callable[[NodeProto], list[NodeProto]]] = {}
    for name in sorted(names):
        table = numpy_helper.to_array(tables[name])
        shared = _block_of(table.shape[1], block)
        if table.size >= LARGE and block and table.shape[1] % shared == 0:
            integers, scales = quantize_blocks(table, shared)
            _store(proto, tables[name], integers.reshape(table.shape), scales)
            lookups[name] = functools.partial(_block_lookup, shared)
            continue
        _store(proto, tables[name], *quantize_rows(table))
        if table.size >= LARGE:
            lookups[name] = _lookup
        else:
            restored += _scaled(f"{name}_int8", f"{name}_scale", name)
    for node in graph.node:
        looked_up = lookups.get(node.input[0]) if node.input else None
        restored += looked_up(node) if looked_up else [node]
    _set_nodes(proto, restored)


def _set_nodes(proto: ModelProto, nodes: list[NodeProto]) -> None:
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _lookup(gather: NodeProto) -> list[NodeProto]:
    (table, ids), found = gather.input, gather.output[0]
    row, scale = f"{found}_int8", f"{found}_scale"
    return [
        make_node("Gather", [f"{table}_int8", ids], [row], name=row, axis=0),
        make_node("Gather", [f"{table}_scale", ids], [scale], name=scale, axis=0),
        *_scaled(row, scale, found),
    ]


def _block_lookup(block: int, gather: NodeProto) -> list[NodeProto]:
    (table, ids), found = gather.input, gather.output[0]
    inputs = [f"{table}_int8", ids, f"{table}_scale"]
    axes: dict[str, Any] = {"gather_axis": 0, "quantize_axis": 1}
    operator = "GatherBlockQuantized"
    return [make_node(operator, inputs, [found], name=found, domain=FUSED, bits=8, block_size=block, **axes)]


def _block_of(num_inputs: int, block: int) -> int:
    """The count of numbers that share a scale: a power of two that the operators take."""
    return min(block, max(16, 1 << (num_inputs - 1).bit_length()))


def _store(proto: ModelProto, tensor: TensorProto, integers: npt.NDArray[Any], scales: npt.NDArray[Any]) -> None:
    """Replace an initializer by its integers and scales."""
    for kind, values in (("int8", integers), ("scale", scales)):
        stored = numpy_helper.from_array(np.ascontiguousarray(values), f"{tensor.name}_{kind}")
        proto.graph.initializer.append(stored)
    proto.graph.initializer.remove(tensor)


def _scaled(integers: str, scales: str, product: str) -> list[NodeProto]:
    """Nodes for product = integers * scales, in float."""
    floats = [f"{integers}_float", f"{scales}_float"]
    return [
        *(
            make_node("Cast", [given], [cast], name=cast, to=TensorProto.FLOAT)
            for given, cast in zip((integers, scales), floats, strict=True)
        ),
        make_node("Mul", floats, [product], name=f"{product}_scaled"),
    ]
