"""int8 graphs from fp32 graphs, in standard operators.

All weights are stored as integers, each output channel with a scale of its own:

    large matrices     multiply in integers; their inputs are rounded at run time, per call
                       (dynamic quantization)
    small matrices     become floats again when the graph is loaded: rounding the inputs would
                       take longer than it saves, and is the larger part of the error
    small tables       likewise
    large tables       a lookup becomes one row of integers times its own scale. One scale for a
                       whole table, as ONNX Runtime's quantizer has it, would be set by its most
                       extreme place
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import make_node

FUSED = "com.microsoft"
"""Domain of the operators that ONNX Runtime has beyond the standard."""

LARGE = 32_768
"""Weights from which integers are faster: measured on x86, width 64 lost and 128 won."""


def quantize_graphs(graphs: Mapping[str, ModelProto]) -> dict[str, ModelProto]:
    """The int8 form of a bundle's graphs, by file name.

    All graphs but observe keep float inputs for all their matrices. They run once per question,
    and gates and logits decide between near ties.
    """
    return {
        name: quantize(proto, large=LARGE if name == "observe.onnx" else None)
        for name, proto in graphs.items()
    }


def quantize_rows(
    table_RD: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Integers and scales with table = integers * scales, symmetric, one scale per row.

    Returns  (R, D) int8 in -127..127; (R, 1) float16 > 0, half the bytes where rows are
             short. No entry is off by more than half a scale.
    """
    largest_R1 = np.abs(table_RD).max(axis=1, keepdims=True)
    scale_R1 = np.where(largest_R1 > 0, largest_R1 / 127, 1).astype(np.float16)
    # Where rounding to float16 leaves nothing, nothing is what the row is.
    scale_R1 = np.maximum(scale_R1, np.finfo(np.float16).smallest_normal)
    integers_RD = np.rint(table_RD / scale_R1.astype(np.float32))
    return np.clip(integers_RD, -127, 127).astype(np.int8), scale_R1


def quantize(proto: ModelProto, large: int | None = LARGE) -> ModelProto:
    """The int8 form of a graph; its inputs and outputs stay as they are.

    large  number of weights from which a matrix multiplies in integers; None: none does.
    """
    quantized = ModelProto()
    quantized.CopyFrom(proto)
    _quantize_tables(quantized)
    _quantize_matrices(quantized, large)
    if large is None:
        return quantized
    if any(node.domain == FUSED for node in proto.graph.node):
        _fuse_dynamically(quantized)
        return quantized
    return _quantize_dynamically(quantized)


def _fuse_dynamically(proto: ModelProto) -> None:
    """As `_quantize_dynamically`, in the one node that ONNX Runtime makes of it, in place."""
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in tensors:
            continue
        tensor = tensors[node.input[1]]
        integers, scales = quantize_rows(numpy_helper.to_array(tensor).T)
        stored = {"int8": integers.T, "scale": scales[:, 0].astype(np.float32)}
        for kind, values in stored.items():
            name = f"{tensor.name}_{kind}"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        graph.initializer.remove(tensor)
        del node.input[1]
        node.input.extend(f"{tensor.name}_{kind}" for kind in stored)
        node.op_type, node.domain = "DynamicQuantizeMatMul", FUSED


def _quantize_dynamically(proto: ModelProto) -> ModelProto:
    """Integer products for all matrices that are still constant floats."""
    # Imported late: it brings all of onnxruntime's tools along.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logger.setLevel(logging.ERROR)  # it recommends a preparation that the exporter has done
        try:
            quantize_dynamic(
                proto,
                path,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        finally:
            logger.setLevel(level)
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
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*restored, *nodes])


def _quantize_tables(proto: ModelProto) -> None:
    """Store the embedding tables of a graph as integers, in place.

    small  table               ->  Cast(integers) * scales, computed once, as for matrices
    large  Gather(table, ids)  ->  Cast(Gather(integers, ids)) * Gather(scales, ids)
    """
    graph = proto.graph
    tables = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.name.endswith(".weight") and tensor.data_type == TensorProto.FLOAT
    }
    looked_up = {
        node.input[0] for node in graph.node if node.op_type == "Gather" and node.input[0] in tables
    }
    nodes: list[NodeProto] = []
    for name in sorted(looked_up):
        table = numpy_helper.to_array(tables[name])
        _store(proto, tables[name], *quantize_rows(table))
        if table.size < LARGE:
            looked_up.remove(name)
            nodes += _scaled(f"{name}_int8", f"{name}_scale", name)
    for node in graph.node:
        nodes += _lookup(node) if node.input and node.input[0] in looked_up else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _lookup(gather: NodeProto) -> list[NodeProto]:
    (table, ids), found = gather.input, gather.output[0]
    row, scale = f"{found}_int8", f"{found}_scale"
    return [
        make_node("Gather", [f"{table}_int8", ids], [row], name=row, axis=0),
        make_node("Gather", [f"{table}_scale", ids], [scale], name=scale, axis=0),
        *_scaled(row, scale, found),
    ]


def _store(
    proto: ModelProto,
    tensor: TensorProto,
    integers: npt.NDArray[np.int8],
    scales: npt.NDArray[np.float16],
) -> None:
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
