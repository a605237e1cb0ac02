"""Bounds on the memory and the work of a graph, from its operators alone, before anything runs.

A size is followed from the inputs through every node. Sizes may depend on constants and on sizes of other values, never
on numbers that a run computes: a graph whose memory depends on an event's number is refused. In this module a size
n >= 0 is n exactly, and -n is at most n; numbers of a shape are exact, or at most -n in the same way.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edgebehave.bundles.graph_file import FUSED, ITEM_BYTES, MAX_SHAPE_NUMBERS, Graph, Node
from edgebehave.bundles.model_shape import FLOAT, INT64

MAX_BYTES = 1 << 26
"""Inputs and all computed values together: ONNX Runtime keeps their memory until the end of a run."""

MAX_PRODUCTS = 1 << 28
"""Multiplications of all products of matrices together: less than a tenth of a second."""

_MAX_SHAPE_NUMBER = 1 << 31

Sizes = tuple[int, ...]


class _Value(NamedTuple):
    """Sizes of a value, and its numbers where it can be a shape."""

    sizes: Sizes
    ints: Sizes | None = None

    @property
    def total(self) -> int:
        return math.prod(map(abs, self.sizes))


def check_sizes(graph: Graph, inputs: Mapping[str, Sizes], room: int = MAX_BYTES) -> int:
    """Raises ValueError if the graph may take more memory or time than a bundle's graph needs.

    inputs   sizes of each input, as above.
    room     bytes for the values that the graph computes from constants alone: ONNX Runtime computes them when it opens
             the graph, and keeps them, so the graphs of a bundle share it.
    Returns  what is left of the room.
    """
    values = {name: _Value(constant.dims, constant.ints) for name, constant in graph.constants.items()}
    values |= {name: _Value(sizes) for name, sizes in inputs.items()}
    values[""] = _NOTHING
    kinds = {name: constant.kind for name, constant in graph.constants.items()}
    kinds |= {name: kind for name, (kind, _) in graph.inputs.items()}
    makers = {name: node for node in graph.nodes for name in node.outputs}
    fixed = {"", *graph.constants}
    # Values with at least one number whatever the history: clients ask about one behavior at least.
    full = {"", *(name for name, constant in graph.constants.items() if 0 not in constant.dims)}
    full |= {name for name, sizes in inputs.items() if 0 not in sizes and (name != "cache" or min(sizes) > 0)}
    total = sum(values[name].total * ITEM_BYTES.get(kind, 8) for name, (kind, _) in graph.inputs.items())
    folded = products = 0
    for node in graph.nodes:
        given = [values[name] for name in node.inputs]
        try:
            results = _RULES[node.operator](node, given)
            kinds |= zip(node.outputs, _kinds(node, kinds), strict=False)
            if node.operator == "Mod" or (node.operator == "Div" and kinds.get(node.inputs[0]) not in _FLOATS):
                _check_divisor(graph, node)
            work = 0
            if node.operator in _PRODUCTS:
                work = results[0].total * _PRODUCTS[node.operator](node, given)
                if node.operator in ("MatMul", "Gemm") and kinds.get(node.inputs[0]) not in _FLOATS:
                    raise ValueError(f"{node.operator} multiplies whole numbers")  # a hundred times as slow
            if (node.operator, len(node.inputs)) in _NOT_OF_NOTHING and node.inputs[0] not in full:
                raise ValueError(f"{node.operator} takes a value that may be empty")
            if node.domain == FUSED:
                _check_fused(graph, makers, node, given)
        except (IndexError, KeyError, TypeError, ZeroDivisionError):
            raise ValueError(f"{node.operator} has inputs or attributes that do not fit it") from None
        if len(results) < len(node.outputs):
            raise ValueError(f"{node.operator} gives {len(node.outputs)} values")
        # ONNX Runtime folds a shape of fixed sizes, too.
        is_fixed = fixed.issuperset(node.inputs) or (node.operator == "Shape" and min(given[0].sizes, default=0) >= 0)
        keeps = any(name in full for name in node.inputs) if node.operator == "Concat" else full.issuperset(node.inputs)
        for name, value in zip(node.outputs, results, strict=False):
            num_bytes = value.total * ITEM_BYTES.get(kinds.get(name, 0), 8)
            total, folded = total + num_bytes, folded + num_bytes * is_fixed
            if total > MAX_BYTES or folded > room or len(value.sizes) > 8:
                raise ValueError(f"{node.operator} makes values of {total} bytes, more than a bundle's graph needs")
            if name:
                values[name] = value
                fixed |= {name} if is_fixed else set()
                if min(value.sizes, default=1) > 0 or (keeps and node.operator not in _MAY_EMPTY):
                    full.add(name)
        products += work
        if products > MAX_PRODUCTS:
            raise ValueError(f"{node.operator} multiplies {products} times, more than a bundle's graph needs")
    for name, (_, dims) in graph.outputs.items():
        # ONNX Runtime only warns of an output of other sizes than the file says.
        sizes = values[name].sizes
        fit = [dim is None or dim == size or (dim == 1 and size < 0) for dim, size in zip(dims, sizes, strict=False)]
        if len(sizes) != len(dims) or not all(fit):
            raise ValueError(f"it gives {name!r:.60} in the sizes {sizes}, not {dims}")
    return room - folded


_NOTHING = _Value((0,))

_MAY_EMPTY = frozenset({"ConstantOfShape", "Conv", "Expand", "Range", "Slice", "Split"})
"""Operators that may give nothing for something."""

_NOT_OF_NOTHING = frozenset({("GatherND", 2), ("ReduceSumSquare", 1)})
"""Operators and their numbers of inputs: ONNX Runtime 1.24 reads beyond an empty value, or ends the process."""


def _exact(sizes: Sequence[int] | None) -> list[int]:
    """Numbers of a shape that are known exactly. Raises ValueError if they are not."""
    if sizes is None:
        raise ValueError("the size of one of its values depends on numbers that it computes")
    return list(sizes)


def _product(sizes: Sequence[int]) -> int:
    count = math.prod(map(abs, sizes))
    return count if all(size >= 0 for size in sizes) else -count


def _sum(sizes: Sequence[int]) -> int:
    count = sum(map(abs, sizes))
    return count if all(size >= 0 for size in sizes) else -count


def _broadcast(shapes: Sequence[Sizes]) -> Sizes:
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(sizes)) + sizes for sizes in shapes]
    return tuple(
        max(map(abs, column)) if all(size >= 0 for size in column) else -max(map(abs, column))
        for column in zip(*padded, strict=True)
    )


def _same(node: Node, given: list[_Value]) -> list[_Value]:
    """Elementwise: all inputs are stretched to one shape."""
    present = [value.sizes for value in given if value is not _NOTHING]
    return [_Value(_broadcast(present))]


def _first(node: Node, given: list[_Value]) -> list[_Value]:
    return [_Value(given[0].sizes)]


def _cast(node: Node, given: list[_Value]) -> list[_Value]:
    if node.attributes["to"] not in ITEM_BYTES:
        raise ValueError("Cast makes texts, or numbers that weights do not have")
    return [_Value(given[0].sizes, given[0].ints if node.attributes["to"] in (6, 7) else None)]


def _arithmetic(node: Node, given: list[_Value]) -> list[_Value]:
    """Add and Mul of shapes, too: of one number, or of as many as there are."""
    (result,) = _same(node, given)
    left, right = given[0].ints, given[1].ints
    if left is None or right is None or len(result.sizes) > 1 or result.total != max(len(left), len(right)):
        return [result]
    combine = _sum if node.operator == "Add" else _product
    width = max(len(left), len(right))
    pairs = zip(left * (width // len(left)), right * (width // len(right)), strict=True)
    numbers = tuple(combine(pair) for pair in pairs)
    constants = [number for value in given if not isinstance(value.ints, _Bounds) for number in value.ints or ()]
    if min(constants, default=0) < 0 or any(abs(number) >= _MAX_SHAPE_NUMBER for number in numbers):
        return [result]
    return [_Value(result.sizes, _Bounds(numbers))]


class _Bounds(tuple[int, ...]):
    """Numbers that come from sizes: a negative one is a bound. In a constant it is a negative number."""


def _shape(node: Node, given: list[_Value]) -> list[_Value]:
    sizes = given[0].sizes[node.attributes.get("start", 0) : node.attributes.get("end", None)]
    return [_Value((len(sizes),), _Bounds(sizes))]


def _reshape(node: Node, given: list[_Value]) -> list[_Value]:
    value, wanted = given[0], _exact(given[1].ints)
    if isinstance(given[1].ints, _Bounds) and min(wanted, default=0) < 0:
        wanted = _exact(None)
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise ValueError("Reshape has a wrong shape")
    copied = {i for i, size in enumerate(wanted) if size == 0 and not node.attributes.get("allowzero", 0)}
    sizes = [value.sizes[i] if i in copied else size for i, size in enumerate(wanted)]
    if -1 in wanted:
        at = wanted.index(-1)
        varies = {i for i, size in enumerate(value.sizes) if size < 0}
        # A size that varies cancels against its copy.
        if copied & varies and not varies <= copied:
            raise ValueError("Reshape has a shape that is not bounded")
        rest = value.total // max(1, math.prod(abs(size) for i, size in enumerate(sizes) if i != at))
        sizes[at] = rest if varies <= copied else -rest
    return [_Value(tuple(sizes), value.ints if len(sizes) <= 1 else None)]


def _squeeze(node: Node, given: list[_Value]) -> list[_Value]:
    sizes = given[0].sizes
    if len(given) > 1:
        dropped = {axis % len(sizes) for axis in _exact(given[1].ints)}
    else:
        dropped = {i for i, size in enumerate(sizes) if size == 1}
        if min(sizes, default=0) < 0:
            raise ValueError("Squeeze names no axes for a value whose size varies")
    return [_Value(tuple(size for i, size in enumerate(sizes) if i not in dropped), given[0].ints)]


def _unsqueeze(node: Node, given: list[_Value]) -> list[_Value]:
    axes = _exact(given[1].ints)
    rank = len(given[0].sizes) + len(axes)
    added, rest = {axis % rank for axis in axes}, iter(given[0].sizes)
    if len(added) < len(axes):
        raise ValueError("Unsqueeze names an axis twice")
    return [_Value(tuple(1 if i in added else next(rest) for i in range(rank)), given[0].ints)]


def _concat(node: Node, given: list[_Value]) -> list[_Value]:
    axis = node.attributes["axis"] % len(given[0].sizes)
    sizes = list(_broadcast([value.sizes for value in given]))
    sizes[axis] = _sum([value.sizes[axis] for value in given])
    parts = [value.ints for value in given]
    bounds = all(isinstance(part, _Bounds) or min(part or (0,)) >= 0 for part in parts)
    is_short = len(sizes) == 1 and abs(sizes[0]) <= MAX_SHAPE_NUMBERS
    known = is_short and bounds and all(part is not None for part in parts)
    return [_Value(tuple(sizes), _Bounds(n for part in parts for n in part or ()) if known else None)]


def _constant_of_shape(node: Node, given: list[_Value]) -> list[_Value]:
    return [_Value(tuple(_exact(given[0].ints)))]


def _expand(node: Node, given: list[_Value]) -> list[_Value]:
    return [_Value(_broadcast([given[0].sizes, tuple(_exact(given[1].ints))]))]


def _range(node: Node, given: list[_Value]) -> list[_Value]:
    (start,), (limit,), (step,) = (_exact(value.ints) for value in given)
    if step < 1 or (start < 0 and not isinstance(given[0].ints, _Bounds)):
        raise ValueError("Range has a start below 0 or a step below 1")
    count = abs(limit) if start < 0 else max(0, abs(limit) - start)
    return [_Value((-(-count // step) if limit >= 0 and start >= 0 else -count,))]


def _pad(node: Node, given: list[_Value]) -> list[_Value]:
    if len(given) > 3:
        raise ValueError("Pad names axes")
    sizes, pads = given[0].sizes, _exact(given[1].ints)
    if len(pads) != 2 * len(sizes) or min(pads, default=0) < 0:
        raise ValueError("Pad has wrong pads")
    return [_Value(tuple(_sum((size, pads[i] + pads[i + len(sizes)])) for i, size in enumerate(sizes)))]


def _slice(node: Node, given: list[_Value]) -> list[_Value]:
    """Exact for a whole step of one between constants, at most what it was otherwise."""
    sizes = list(given[0].sizes)
    named = len(given) > 3 and given[3] is not _NOTHING
    # One more than there are is one too many: a stranger's number makes no list.
    axes = _exact(given[3].ints) if named else list(range(min(abs(given[1].sizes[0]), len(sizes) + 1)))
    steps = _exact(given[4].ints) if len(given) > 4 else [1] * len(axes)
    starts, ends = given[1].ints, given[2].ints
    for i, axis in enumerate(axes):
        size = sizes[axis]
        known = starts is not None and ends is not None and steps[i] == 1 and size >= 0
        if known and not isinstance(starts, _Bounds) and not isinstance(ends, _Bounds) and starts and ends:
            sizes[axis] = len(range(size)[starts[i] : ends[i]])
        else:
            sizes[axis] = -abs(size)
    return [_Value(tuple(sizes))]


def _split(node: Node, given: list[_Value]) -> list[_Value]:
    sizes, axis = list(given[0].sizes), node.attributes.get("axis", 0)
    # A number that contradicts the outputs ends the process inside ONNX Runtime.
    if node.attributes.get("num_outputs", len(node.outputs)) != len(node.outputs):
        raise ValueError("Split has parts that are not those of its value")
    if len(given) > 1:
        parts = _exact(given[1].ints)
        is_wrong = isinstance(given[1].ints, _Bounds) or min(parts, default=0) < 0 or sum(parts) > abs(sizes[axis])
        if is_wrong or len(parts) != len(node.outputs):
            raise ValueError("Split has parts that are not those of its value")
    else:
        parts = [-abs(sizes[axis])] * len(node.outputs)
        if sizes[axis] >= 0 and sizes[axis] % len(node.outputs) == 0:
            parts = [sizes[axis] // len(node.outputs)] * len(node.outputs)
    results = []
    for part in parts:
        sizes[axis] = part
        results.append(_Value(tuple(sizes)))
    return results


def _gather(node: Node, given: list[_Value]) -> list[_Value]:
    sizes = given[0].sizes
    axis = node.attributes.get("axis", 0) % len(sizes)
    gathered = sizes[:axis] + given[1].sizes + sizes[axis + 1 :]
    numbers, picks = given[0].ints, given[1].ints
    if numbers is None or picks is None or isinstance(picks, _Bounds) or len(sizes) != 1:
        return [_Value(gathered)]
    # A size out of a shape.
    return [_Value(gathered, type(numbers)(numbers[pick] for pick in picks))]


def _gather_nd(node: Node, given: list[_Value]) -> list[_Value]:
    *rows, width = given[1].sizes
    if width < 0 or node.attributes.get("batch_dims", 0):
        raise ValueError("GatherND has indices of a size that varies")
    return [_Value((*rows, *given[0].sizes[width:]))]


def _second(node: Node, given: list[_Value]) -> list[_Value]:
    return [_Value(given[1].sizes)]


def _reduce(node: Node, given: list[_Value]) -> list[_Value]:
    sizes = given[0].sizes
    axes = {axis % len(sizes) for axis in (_exact(given[1].ints) if len(given) > 1 else range(len(sizes)))}
    if node.attributes.get("noop_with_empty_axes", 0) or (len(given) > 1 and not (axes and given[1].sizes)):
        raise ValueError(f"{node.operator} names no axes")
    if node.attributes.get("keepdims", 1):
        return [_Value(tuple(1 if i in axes else size for i, size in enumerate(sizes)))]
    return [_Value(tuple(size for i, size in enumerate(sizes) if i not in axes))]


def _transpose(node: Node, given: list[_Value]) -> list[_Value]:
    sizes = given[0].sizes
    order = node.attributes.get("perm", range(len(sizes))[::-1])
    if sorted(order) != list(range(len(sizes))):
        raise ValueError("Transpose has a wrong order")
    return [_Value(tuple(sizes[i] for i in order))]


def _matmul(node: Node, given: list[_Value]) -> list[_Value]:
    left, right = given[0].sizes, given[1].sizes
    if not left or not right:
        raise ValueError("a product of matrices has a single number")
    inner = (left[-1], right[-min(2, len(right))])
    if inner[0] != inner[1] and (min(inner) >= 0 or min(len(left), len(right)) < 2):
        raise ValueError(f"a product of matrices adds {inner[0]} and {inner[1]} numbers")
    rows = left[:-1] if len(left) > 1 else ()
    columns = right[-1:] if len(right) > 1 else ()
    return [_Value(_broadcast([left[:-2], right[:-2]]) + rows[-1:] + columns)]


def _gemm(node: Node, given: list[_Value]) -> list[_Value]:
    (m, k), (p, n) = given[0].sizes, given[1].sizes
    return [_Value((k if node.attributes.get("transA", 0) else m, p if node.attributes.get("transB", 0) else n))]


def _conv(node: Node, given: list[_Value]) -> list[_Value]:
    """A value for each place of the padded input where the kernel fits."""
    batch, _, *places = given[0].sizes
    pads = node.attributes.get("pads", [0] * 2 * len(places))
    ones = [1] * len(places)
    plain = {"auto_pad": "NOTSET", "dilations": ones, "group": 1, "strides": ones}
    if len(pads) != 2 * len(places) or min(pads, default=0) < 0:
        raise ValueError("Conv has wrong pads")
    if any(node.attributes.get(name, value) != value for name, value in plain.items()):
        raise ValueError(f"Conv has other {', '.join(plain)} than exports write")
    kernel = given[1].sizes[2:]
    if not places or len(kernel) != len(places) or node.attributes.get("kernel_shape", [*kernel]) != [*kernel]:
        raise ValueError("Conv has a wrong kernel")
    padded = [_sum((size, pads[i] + pads[i + len(places)])) for i, size in enumerate(places)]
    left = [size - kernel[i] + 1 if size >= kernel[i] else -abs(size) for i, size in enumerate(padded)]
    return [_Value((batch, given[1].sizes[0], *left))]


def _quantize(node: Node, given: list[_Value]) -> list[_Value]:
    return [_Value(given[0].sizes), _Value(()), _Value(())]


def _biased(node: Node, given: list[_Value]) -> list[_Value]:
    if given[1].sizes != given[0].sizes[-1:] or 0 in given[1].sizes or not given[0].sizes:
        raise ValueError("BiasGelu has inputs of sizes that do not fit")
    return [_Value(given[0].sizes)]


def _residual_norm(node: Node, given: list[_Value]) -> list[_Value]:
    rows, *others = (value.sizes for value in given)
    if len(rows) != 3 or others[0] != rows or any(sizes != rows[-1:] for sizes in others[1:]):
        raise ValueError("SkipLayerNormalization has inputs of sizes that do not fit")
    return [_Value(given[0].sizes), _Value(()), _Value(()), _Value(given[0].sizes)]


def _matmul_bits(node: Node, given: list[_Value]) -> list[_Value]:
    return [_Value((*given[0].sizes[:-1], node.attributes["N"]))]


def _gather_bits(node: Node, given: list[_Value]) -> list[_Value]:
    """Rows of a table of bytes, as numbers."""
    _, width = given[0].sizes
    return [_Value((*given[1].sizes, width))]


def _attention(node: Node, given: list[_Value]) -> list[_Value]:
    *rows, width = given[0].sizes
    return [_Value((*rows, width // 3)), _Value(given[3].sizes), _Value(given[4].sizes)]


_ELEMENTWISE = frozenset(
    [
        "Abs",
        "Clip",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "Log",
        "Max",
        "Min",
        "Mod",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Relu",
        "Round",
        "Sign",
        "Sin",
        "Sqrt",
        "Sub",
        "Where",
    ]
)
_RULES: dict[str, Callable[[Node, list[_Value]], list[_Value]]] = {
    **dict.fromkeys(_ELEMENTWISE, _same),
    **dict.fromkeys(["LogSoftmax", "Softmax", "LayerNormalization", "ScatterElements"], _first),
    "BiasGelu": _biased,
    **dict.fromkeys(["Add", "Mul"], _arithmetic),
    **dict.fromkeys(["MatMul", "MatMulInteger"], _matmul),
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "DynamicQuantizeLinear": _quantize,
    "Expand": _expand,
    "Gather": _gather,
    "GatherBlockQuantized": _gather_bits,
    "GatherElements": _second,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "GroupQueryAttention": _attention,
    "Identity": lambda node, given: given[:1],
    "MatMulNBits": _matmul_bits,
    "Pad": _pad,
    "Range": _range,
    **dict.fromkeys(["ReduceMax", "ReduceSum", "ReduceSumSquare"], _reduce),
    "Reshape": _reshape,
    "Shape": _shape,
    "SkipLayerNormalization": _residual_norm,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

# Multiplications for each number of the result.
_PRODUCTS: dict[str, Callable[[Node, list[_Value]], int]] = {
    **dict.fromkeys(["MatMul", "MatMulInteger"], lambda node, given: abs(given[0].sizes[-1])),
    "Gemm": lambda node, given: max(map(abs, given[0].sizes)),
    "MatMulNBits": lambda node, given: abs(given[0].sizes[-1]),
    "Conv": lambda node, given: math.prod(map(abs, given[1].sizes[1:])),
    "GroupQueryAttention": lambda node, given: 2 * abs(given[3].sizes[2]),
}


_FLOATS = (FLOAT, 10)
_BOOL, _INT32, _UINT8 = 9, 6, 2
_SAYS_KIND = {"Where": 1, "GatherBlockQuantized": 2}
"""The input whose type the result has, where it is not the first."""

_KINDS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(["ArgMax", "Shape", "Size"], (INT64,)),
    **dict.fromkeys(["Equal", "Greater", "GreaterOrEqual", "Less", "Not", "Or"], (_BOOL,)),
    "ConstantOfShape": (FLOAT,),
    "DynamicQuantizeLinear": (_UINT8, FLOAT, _UINT8),
    "MatMulInteger": (_INT32,),
}


def _kinds(node: Node, kinds: Mapping[str, int]) -> Sequence[int]:
    """Types of the elements of the results. ONNX Runtime refuses a graph whose types do not fit each other."""
    if node.operator == "Cast":
        return (node.attributes["to"],)
    of_first = kinds.get(node.inputs[_SAYS_KIND.get(node.operator, 0)], 0)
    known = _KINDS.get(node.operator, (of_first,) * len(node.outputs))
    return (of_first, INT64, INT64, INT64) if node.operator == "Unique" else known


def _check_divisor(graph: Graph, node: Node) -> None:
    """Integers are divided by constants above 0: by 0, and the smallest number by -1, is a crash of the process."""
    divisor = graph.constants.get(node.inputs[1])
    if divisor is None or divisor.ints is None or min(divisor.ints, default=0) < 1:
        raise ValueError(f"{node.operator} divides integers by numbers that are not constants above 0")


def _check_fused(graph: Graph, makers: Mapping[str, Node], node: Node, given: list[_Value]) -> None:
    """The operators that read memory by numbers of the graph: they must be called as exports call them."""
    attributes: Mapping[str, Any] = node.attributes
    if node.operator == "MatMulNBits":
        rows, inner, block, bits = (attributes[name] for name in ("N", "K", "block_size", "bits"))
        blocks = -(-inner // block) if block in (16, 32, 64, 128, 256) and bits in (4, 8) and inner > 0 else 0
        fits = given[0].sizes[-1] == inner and given[1].sizes == (rows, blocks, block * bits // 8)
        without_bias = [value is _NOTHING for value in given[3:5]] == [True] * len(given[3:5])
        fits_bias = without_bias and [value.sizes for value in given[5:]] in ([], [(rows,)])
        if not fits or given[2].total != rows * blocks or not fits_bias:
            raise ValueError("MatMulNBits has weights of other sizes than it says")
    elif node.operator == "GatherBlockQuantized":
        (rows, width), block = given[0].sizes, attributes["block_size"]
        blocks = width // block if block in (16, 32, 64, 128, 256) and width % block == 0 else 0
        table, scale = (graph.constants.get(node.inputs[number]) for number in (0, 2))
        fits = table is not None and scale is not None and (table.kind, scale.kind) == (_UINT8, FLOAT)
        fits &= len(given) == 3 and blocks > 0 and given[2].sizes == (rows, blocks)
        if not fits or attributes != {"bits": 8, "gather_axis": 0, "quantize_axis": 1, "block_size": block}:
            raise ValueError("GatherBlockQuantized is not called as exports call it")
    elif node.operator == "GroupQueryAttention":
        _check_attention(graph, makers, node, given)


def _check_attention(graph: Graph, makers: Mapping[str, Node], node: Node, given: list[_Value]) -> None:
    """Slot, slots in use and position come from num_cached and position alone, the cache from the client."""

    def made_by(name: str, operator: str) -> list[str]:
        maker = makers[name]
        if maker.operator != operator:
            raise KeyError(operator)
        return list(maker.inputs)

    def ints(name: str) -> tuple[int, ...] | None:
        return graph.constants[name].ints

    try:
        _, no_key, no_value, key, value, slot, in_use, cos, sin, position = node.inputs
        cast, one_number = made_by(slot, "Reshape")
        cast_again, one = made_by(in_use, "Add")
        turned, two_sizes = made_by(position, "Reshape")
        number, period = made_by(turned, "Mod")
        *_, num_heads, _, head_width = graph.inputs[key][1]
        periods, half = graph.constants[cos].dims
        fits = (
            (no_key, no_value, number, made_by(cast, "Cast")) == ("", "", "position", ["num_cached"])
            and (cast_again, ints(one_number), ints(one), ints(two_sizes)) == (cast, (1,), (1,), (1, 1))
            and (key.partition("_")[0], value) == ("key", "value_" + key.partition("_")[2])
            and graph.constants[sin].dims == (periods, half)
            and ints(period) in [(number,) for number in range(1, periods + 1)]
            and 2 * half == head_width
            and given[0].sizes == (1, 1, 3 * (num_heads or 0) * (head_width or 0))
            and node.attributes["num_heads"] == node.attributes["kv_num_heads"] == num_heads
            and node.attributes.keys() <= _ATTENTION
            and (node.attributes["do_rotary"], node.attributes["rotary_interleaved"]) == (1, 0)
        )
    except (KeyError, ValueError):
        fits = False
    if not fits:
        raise ValueError("GroupQueryAttention is not called as exports call it")


_ATTENTION = frozenset({"num_heads", "kv_num_heads", "do_rotary", "rotary_interleaved", "scale"})
