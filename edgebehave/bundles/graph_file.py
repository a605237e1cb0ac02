"""A check of the bytes of an ONNX file before ONNX Runtime loads it.

A graph may name files of the device as its weights, contain functions of its own, or call operators of any
domain. A graph of a bundle does neither of the first two and calls operators of two domains; a graph that
needs more is not run. The reader follows the wire format of protocol buffers and the few messages of
onnx.proto that lead to tensors and operators; it skips the rest, weights included.
"""

from collections.abc import Iterator

DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
"""Allowed domains of operators: the ONNX standard, and the additions of ONNX Runtime."""

_MAX_DEPTH = 12

# message -> field -> the message in it; names and numbers as in onnx.proto.
_MESSAGES = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse_tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse_tensor", 23: "sparse_tensor"},
    "sparse_tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_FUNCTIONS, _TRAINING = 25, 20  # of a model
_OP_TYPE, _DOMAIN = 4, 7  # of a node
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor


def check_graph_file(content: bytes) -> None:
    """Raises ValueError if the file is not an ONNX graph or needs more than itself and ONNX Runtime."""
    try:
        _check(memoryview(content), "model", 0)
    except IndexError:
        raise ValueError("it is not an ONNX file, or not all of one") from None


def _check(message: memoryview, kind: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    inside = _MESSAGES[kind]
    op_type, domain = "", ""
    for field, value in _fields(message):
        if kind == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value):
                raise ValueError("its weights lie in another file, which a bundle does not allow")
        elif kind == "model" and field in (_FUNCTIONS, _TRAINING):
            raise ValueError("it contains functions of its own, which a bundle does not allow")
        elif kind == "node" and field in (_OP_TYPE, _DOMAIN):
            text = bytes(_message(value)).decode("utf-8", "replace")
            op_type, domain = (text, domain) if field == _OP_TYPE else (op_type, text)
        if field in inside:
            _check(_message(value), inside[field], depth + 1)
    if domain not in DOMAINS:
        raise ValueError(f"it calls {op_type:.60} of {domain!r:.60}, an unknown set of operators")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: a view for bytes, 0 for numbers of fixed width.

    Raises IndexError for a message that ends too early, ValueError for bytes that are not a message.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        value: int | memoryview = 0
        wire_type = key & 7
        if wire_type == 0:
            value, at = _varint(message, at)
        elif wire_type == 2:
            length, at = _varint(message, at)
            value = message[at : at + length]
            at += length
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise ValueError("it is not an ONNX file")
        if at > end:
            raise IndexError
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is not an ONNX file")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is not an ONNX file")
    return value
