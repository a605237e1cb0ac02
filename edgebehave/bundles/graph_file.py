"""The one reading of an ONNX file: its bytes are read here, and refused if another reader could see something else.

A graph of a bundle is checked before ONNX Runtime sees it. The reader follows the wire format of protocol buffers
and accepts its canonical form alone: shortest numbers, known fields of the known wire type, single fields once, and
no bytes behind the end. Everything that exports do not write is refused: functions, graphs inside operators, weights
in other files, foreign operators, ONNX Runtime's own format. So what passes here is what ONNX Runtime reads.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgebehave.bundles.model_shape import FLOAT, INT64, Dims

STANDARD, FUSED = "", "com.microsoft"
"""Domains of operators: the ONNX standard, and the additions of ONNX Runtime."""

_COMMON = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Conv",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Gemm",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "LayerNormalization",
        "Less",
        "Log",
        "LogSoftmax",
        "MatMul",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pad",
        "Pow",
        "Range",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Round",
        "ScatterElements",
        "Shape",
        "Sign",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
OPERATORS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "native": {
        STANDARD: _COMMON,
        FUSED: frozenset(
            ["BiasGelu", "GatherBlockQuantized", "GroupQueryAttention", "MatMulNBits", "SkipLayerNormalization"]
        ),
    },
    "web": {STANDARD: _COMMON | {"DynamicQuantizeLinear", "MatMulInteger"}},
    "universal": {
        STANDARD: _COMMON | {"ReduceMax", "ReduceSumSquare", "Sin"},
    },
}
"""Target, or "universal" -> domain -> operators that a graph may call: those that exports write."""

OPSETS = {STANDARD: 18, FUSED: 1}
IR_VERSIONS = range(8, 11)
MAX_NODES = MAX_CONSTANTS = 4096
MAX_RANK = 8
MAX_NAME_BYTES = 512
MAX_SHAPE_NUMBERS = 64
"""Constants of more numbers are never a shape."""

ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2}
"""Type of elements (float, uint8, int8, int32, int64, bool, float16; numbers as in onnx.proto) -> bytes of one."""

_INTEGERS = {6: "i", 7: "q"}
_FLOATS = {FLOAT: "<f4", 10: "<f2"}
_BOOL = 9
_MAX_LISTED = 1 << 16  # numbers of a weight that stand one by one, as quantizers write zero points
_MAX_LISTED_BYTES = 1 << 19  # of all such weights together
_MAX_FIELDS = 200_000
_MAX_INPUTS = 256  # of a node
_MAX_SIZE = 1 << 31


class Constant(NamedTuple):
    """A weight of a graph. kind: type of its elements. ints: its numbers if it may be a shape, flat; None otherwise."""

    dims: tuple[int, ...]
    kind: int
    ints: tuple[int, ...] | None


class Node(NamedTuple):
    """A call of an operator."""

    operator: str
    domain: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


class Graph(NamedTuple):
    """A graph: nodes in the order of execution; every name stands for one value.

    inputs, outputs  name -> type of elements and sizes.
    """

    nodes: Sequence[Node]
    constants: Mapping[str, Constant]
    inputs: Mapping[str, tuple[int, Dims]]
    outputs: Mapping[str, tuple[int, Dims]]


# message -> number -> name, kind, is repeated; as in onnx.proto. Kinds are numbers, texts, or messages.
_MESSAGES: dict[str, dict[int, tuple[str, str, bool]]] = {
    "model": {
        1: ("ir_version", "int64", False),
        2: ("producer_name", "text", False),
        3: ("producer_version", "text", False),
        7: ("graph", "graph", False),
        8: ("opset", "opset", True),
    },
    "opset": {1: ("domain", "text", False), 2: ("version", "int64", False)},
    "graph": {
        1: ("node", "node", True),
        2: ("name", "text", False),
        5: ("initializer", "tensor", True),
        11: ("input", "value", True),
        12: ("output", "value", True),
    },
    "node": {
        1: ("input", "text", True),
        2: ("output", "text", True),
        3: ("name", "text", False),
        4: ("op_type", "text", False),
        5: ("attribute", "attribute", True),
        7: ("domain", "text", False),
    },
    "attribute": {
        1: ("name", "text", False),
        2: ("f", "float", False),
        3: ("i", "int64", False),
        4: ("s", "text", False),
        8: ("ints", "int64", True),
        20: ("type", "int32", False),
    },
    "tensor": {
        1: ("dims", "int64", True),
        2: ("data_type", "int32", False),
        4: ("float_data", "bytes", False),
        5: ("int32_data", "bytes", False),
        8: ("name", "text", False),
        9: ("raw_data", "bytes", False),
        14: ("data_location", "int32", False),
    },
    "value": {1: ("name", "text", False), 2: ("type", "type", False)},
    "type": {1: ("tensor_type", "tensor_type", False)},
    "tensor_type": {1: ("elem_type", "int32", False), 2: ("shape", "shape", False)},
    "shape": {1: ("dim", "dim", True)},
    "dim": {1: ("value", "int64", False), 2: ("param", "text", False)},
}
_WIRE_TYPES = {"int64": 0, "int32": 0, "float": 5}
# The same by key, the number and the wire type in one.
_KEYS = {
    message: {
        number << 3 | _WIRE_TYPES.get(kind, 2): (name, kind, repeated) for number, (name, kind, repeated) in of.items()
    }
    for message, of in _MESSAGES.items()
}
_WHY_NOT = {
    ("model", 20): "it contains functions of its own, which a bundle does not allow",
    ("model", 25): "it contains functions of its own, which a bundle does not allow",
    ("tensor", 13): "its weights lie in another file, which a bundle does not allow",
    ("attribute", 6): "it contains graphs inside its operators, which a bundle does not allow",
    ("attribute", 11): "it contains graphs inside its operators, which a bundle does not allow",
}
_OPTIONAL = {"Clip": (1, 2), "GroupQueryAttention": (1, 2), "MatMulNBits": (3, 4)}
"""Inputs that exports leave out. Others with an empty name crash ONNX Runtime, as the bias of LayerNormalization."""

_ATTRIBUTE_VALUES = {1: "f", 2: "i", 3: "s", 7: "ints"}

_NO_ONNX = "it is not an ONNX file, or not all of one"


def read_graph(content: bytes, target: str) -> Graph:
    """The graph of a file. Raises ValueError if it is not one of the form that exports for this target write."""
    if content[4:8] == b"ORTM":
        raise ValueError("it is a file of ONNX Runtime's own format, not an ONNX file")
    try:
        model = _Reader(content).message(memoryview(content), "model")
        return _graph(model, OPERATORS[target])
    except (IndexError, KeyError, struct.error):
        raise ValueError(_NO_ONNX) from None


class _Reader:
    """Reads messages; counts their fields, so that a file of many empty fields ends in an error and not in a wait."""

    def __init__(self, content: bytes) -> None:
        self._fields_left = _MAX_FIELDS

    def message(self, message: memoryview, kind: str) -> dict[str, Any]:
        """{name of a field: value, or list of values if the field is repeated}."""
        keys, at, end = _KEYS[kind], 0, len(message)
        found: dict[str, Any] = {}
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"it has more than {_MAX_FIELDS} fields")
            key = message[at]
            at += 1
            if key >= 0x80:
                key, at = _varint(message, at - 1)
            field = keys.get(key)
            if field is None:
                raise ValueError(_WHY_NOT.get((kind, key >> 3), f"{_NO_ONNX}: field {key >> 3} of a {kind}"))
            name, of_kind, repeated = field
            value: Any
            if of_kind == "float":
                (value,) = struct.unpack_from("<f", message, at)
                at += 4
            else:
                number = message[at]
                at += 1
                if number >= 0x80:
                    number, at = _varint(message, at - 1)
                if of_kind == "int64":
                    value = number - (1 << 64) if number >> 63 else number
                elif of_kind == "int32":
                    if number >= 1 << 31:
                        raise ValueError(f"{_NO_ONNX}: {name} is {number}")
                    value = number
                else:
                    if number > end - at:
                        raise IndexError
                    value = message[at : at + number]
                    at += number
                    if of_kind == "text":
                        if number > MAX_NAME_BYTES:
                            raise ValueError(f"it has a name of {number} bytes, more than {MAX_NAME_BYTES}")
                        value = str(value, "utf-8")  # UnicodeDecodeError is a ValueError
                    elif of_kind != "bytes":
                        value = self.message(value, of_kind)
            if repeated:
                found.setdefault(name, []).append(value)
            elif name in found:
                raise ValueError(f"{_NO_ONNX}: two {name} in a {kind}")
            else:
                found[name] = value
        return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and the position after it; the shortest form of it alone."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or value >> 64:
                break
            return value, at
    raise ValueError(f"{_NO_ONNX}: a number is not in its shortest form")


def _graph(model: Mapping[str, Any], operators: Mapping[str, frozenset[str]]) -> Graph:
    graph = model["graph"]
    opsets = {opset.get("domain", ""): opset["version"] for opset in model["opset"]}
    if len(opsets) != len(model["opset"]) or not opsets.keys() <= operators.keys():
        raise ValueError(f"it imports the sets of operators {sorted(opsets)}, an unknown set of operators among them")
    if model["ir_version"] not in IR_VERSIONS or any(OPSETS[domain] != version for domain, version in opsets.items()):
        raise ValueError(
            f"it is of ONNX version {model['ir_version']} with operators {opsets}, this runtime reads {OPSETS}"
        )
    nodes, tensors = graph["node"], graph.get("initializer", [])
    if len(nodes) > MAX_NODES or len(tensors) > MAX_CONSTANTS:
        raise ValueError(f"it has {len(nodes)} nodes and {len(tensors)} weights, more than {MAX_NODES}")
    if sum(len(tensor.get("int32_data", b"")) for tensor in tensors) > _MAX_LISTED_BYTES:
        raise ValueError(f"its weights list more than {_MAX_LISTED_BYTES} bytes of numbers one by one")
    constants = {tensor["name"]: _constant(tensor) for tensor in tensors}
    inputs = {value["name"]: _type_of(value) for value in graph["input"]}
    outputs = {value["name"]: _type_of(value) for value in graph["output"]}
    known = constants.keys() | inputs.keys()
    num_names = len(tensors) + len(graph["input"])
    if len(known) != num_names or "" in known or len(outputs) != len(graph["output"]):
        raise ValueError("two of its values have one name")
    calls = []
    for node in nodes:
        call = _node(node, operators)
        for number, name in enumerate(call.inputs):
            if not name and number not in _OPTIONAL.get(call.operator, ()):
                raise ValueError(f"{call.operator} lacks its input {number}")
            if name and name not in known:
                raise ValueError(f"{call.operator} takes {name!r:.60}, which no node before it gives")
        for name in call.outputs:
            if name in known:
                raise ValueError("two of its values have one name")
            if name:
                known.add(name)
        calls.append(call)
    if not outputs.keys() <= known - constants.keys() - inputs.keys():
        raise ValueError("its outputs are not values that its nodes give")
    return Graph(calls, constants, inputs, outputs)


def _node(node: Mapping[str, Any], operators: Mapping[str, frozenset[str]]) -> Node:
    operator, domain = node["op_type"], node.get("domain", "")
    if operator not in operators.get(domain, ()):
        raise ValueError(f"it calls {operator!r:.60} of {domain!r:.60}, which is not an operator of bundles")
    if len(node.get("input", ())) > _MAX_INPUTS:
        raise ValueError(f"{operator} has {len(node['input'])} inputs, more than {_MAX_INPUTS}")
    given = node.get("attribute", [])
    attributes = {each["name"]: each.get(_ATTRIBUTE_VALUES[each["type"]], []) for each in given}
    for each in given:
        # One value, of the stated type: another reader may look at the type or at the value.
        values = each.keys() - {"name", "type"}
        if not values <= {_ATTRIBUTE_VALUES[each["type"]]} or (not values and each["type"] != 7):
            raise ValueError(f"{_NO_ONNX}: attribute {each['name']!r:.60} is not of its type")
        if not math.isfinite(each.get("f", 0)):
            raise ValueError(f"attribute {each['name']!r:.60} is a number that is not finite")
    if len(attributes) != len(given):
        raise ValueError(f"{_NO_ONNX}: an attribute of {operator} stands twice")
    return Node(operator, domain, node.get("input", ()), node.get("output", ()), attributes)


def _constant(tensor: Mapping[str, Any]) -> Constant:
    """Checks that the bytes of a weight are as many as its sizes say."""
    dims, kind, name = tuple(tensor.get("dims", ())), tensor["data_type"], tensor["name"]
    if tensor.get("data_location", 0):
        raise ValueError(_WHY_NOT["tensor", 13])
    if kind not in ITEM_BYTES or len(dims) > MAX_RANK or not all(0 <= size < _MAX_SIZE for size in dims):
        raise ValueError(f"weight {name!r:.60} is of type {kind} and sizes {dims!s:.60}")
    count = math.prod(dims)
    held = [field for field in ("raw_data", "float_data", "int32_data") if field in tensor]
    if len(held) > 1:
        raise ValueError(f"weight {name!r:.60} stands twice")
    data = tensor[held[0]] if held else memoryview(b"")
    if held == ["int32_data"]:
        numbers: list[int] = []
        at = 0
        while at < len(data) and len(numbers) < _MAX_LISTED:
            number, at = _varint(data, at)
            numbers.append(number)
        is_whole = (
            (len(numbers), at) == (count, len(data))
            and kind not in (FLOAT, INT64, 10)
            and all(number < 1 << 31 for number in numbers)
        )
        ints = tuple(numbers) if kind == 6 and count <= MAX_SHAPE_NUMBERS else None
    else:
        is_whole = len(data) == count * ITEM_BYTES[kind] and (held != ["float_data"] or kind == FLOAT)
        ints = None
        if is_whole and kind in _INTEGERS and count <= MAX_SHAPE_NUMBERS:
            ints = struct.unpack(f"<{count}{_INTEGERS[kind]}", data)
    if not is_whole:
        raise ValueError(f"weight {name!r:.60} has {len(data)} bytes for the sizes {dims!s:.60}")
    if kind in _FLOATS and not np.isfinite(np.frombuffer(data, _FLOATS[kind])).all():
        raise ValueError(f"weight {name!r:.60} holds numbers that are not finite")
    if kind == _BOOL and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise ValueError(f"weight {name!r:.60} holds truth values other than 0 and 1")
    return Constant(dims, kind, ints)


def _type_of(value: Mapping[str, Any]) -> tuple[int, Dims]:
    tensor = value["type"]["tensor_type"]
    sizes: list[int | None] = []
    for dim in tensor["shape"].get("dim", ()):
        if len(dim) != 1:
            raise ValueError(f"{_NO_ONNX}: a size of {value['name']!r:.60}")
        sizes.append(dim.get("value"))
    if len(sizes) > MAX_RANK or any(size is not None and size < 0 for size in sizes):
        raise ValueError(f"{value['name']!r:.60} has the sizes {sizes!s:.60}")
    return tensor["elem_type"], tuple(sizes)
