"""Run calls of single operators that the checks of a graph let through: one that ends the process is a finding.

    python research/run_operators.py --num 100000

A case is one operator of bundles with inputs, weights and attributes drawn at random: sizes of 0 to 4, all types of
elements, numbers from small ones to the largest, NaN and infinity. Most are refused by `read_graph` and `check_sizes`,
or by ONNX Runtime with an error. Cases run in processes of their own; a seed gives the same case again. Prints a line
per finding and the counts; exits with 1 if there is a finding.
"""

import argparse
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgebehave.bundles.graph_file import FUSED, OPERATORS, OPSETS, STANDARD, read_graph
from edgebehave.bundles.graph_sizes import check_sizes

Array = np.ndarray[Any, Any]

_KINDS: dict[int, Any] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
}
_OFTEN = (1, 1, 1, 1, 7, 7, 6, 9, 10, 2, 3)
_SMALL = (-2, -1, 0, 0, 1, 1, 2, 3)
_ANY = (-(2**63), -(2**31), -129, -8, -1, 0, 1, 7, 255, 2**31 - 1, 2**31, 2**62, 2**63 - 1)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 3.0, 1e30, -1e30, 1e-45)
_LARGE = (2**62, -(2**63), 2**31)
_LISTS = frozenset({"axes", "dilations", "kernel_shape", "pads", "perm", "strides"})
_TEXTS = {"mode": ("constant", "edge", "reflect", "wrap"), "reduction": ("none", "add", "mul", "max", "min")}
# Operators of ONNX Runtime, which onnx has no schema of. GroupQueryAttention is compared with its one right call.
_FUSED_ATTRIBUTES = {
    "BiasGelu": (),
    "GatherBlockQuantized": ("bits", "block_size", "gather_axis", "quantize_axis"),
    "MatMulNBits": ("N", "K", "bits", "block_size", "accuracy_level"),
    "SkipLayerNormalization": ("epsilon",),
}
_SEVERAL = frozenset({"DynamicQuantizeLinear", "LayerNormalization", "SkipLayerNormalization", "Split"})
_CALLS = sorted(
    {(domain, name) for of in OPERATORS.values() for domain, names in of.items() for name in names}
    - {(FUSED, "GroupQueryAttention")}
)


def case(seed: int) -> tuple[str, ModelProto, dict[str, Array]]:
    """What it is, a graph of one operator, and its inputs."""
    draw = random.Random(seed)
    domain, operator = draw.choice(_CALLS)
    attributes, least, most = _signature(domain, operator)
    kind = draw.choice(_OFTEN)
    sizes = _sizes(draw)
    inputs: dict[str, Array] = {}
    weights: dict[str, Array] = {}
    for number in range(draw.randint(max(1, least), max(1, least, most))):
        values = _values(draw, *_of_input(draw, number, kind, sizes))
        (weights if draw.random() < (0.6 if number else 0.3) else inputs)[f"i{number}"] = values
    given = {name: _attribute(draw, name) for name in attributes if draw.random() < 0.5}
    names = sorted({**inputs, **weights})
    outputs = [f"y{i}" for i in range(draw.choice([1, 2, 3]) if operator in _SEVERAL else 1)]
    node = helper.make_node(operator, names, outputs, domain=domain)
    for name, value in given.items():
        empty = AttributeProto(name=name, type=AttributeProto.INTS)
        node.attribute.append(empty if value == [] else helper.make_attribute(name, value))
    ends = [_end(draw, name, values) for name, values in inputs.items()]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    whole = helper.make_graph([node], "g", ends, [ValueInfoProto(name="y0")], tensors)
    domains = [STANDARD, FUSED] if domain == FUSED else [STANDARD]
    opsets = [helper.make_opsetid(each, OPSETS[each]) for each in domains]
    shown = {name: (str(values.dtype), values.shape) for name, values in (inputs | weights).items()}
    return f"{operator} {given} {shown}", helper.make_model(whole, opset_imports=opsets, ir_version=10), inputs


def _signature(domain: str, operator: str) -> tuple[Sequence[str], int, int]:
    """Names of attributes, and the least and the most inputs."""
    if domain == FUSED:
        return _FUSED_ATTRIBUTES[operator], 2, 5
    schema = onnx.defs.get_schema(operator, OPSETS[STANDARD])
    names = set(schema.attributes) - {"auto_pad", "value"}
    return sorted(names), schema.min_input, min(schema.max_input, 5)


def _sizes(draw: random.Random) -> tuple[int, ...]:
    return tuple(draw.choice([0, 1, 1, 2, 3, 3, 4]) for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 4])))


def _of_input(draw: random.Random, number: int, kind: int, sizes: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Type and sizes of an input: those of the first one, or of indices and shapes, or any."""
    if number and draw.random() < 0.5:
        kind = draw.choice([kind, 7, 7])
    elif draw.random() < 0.2:
        kind = draw.choice(_OFTEN)
    if kind == 7 and number and draw.random() < 0.6:
        return kind, (draw.choice([0, 1, 2, len(sizes), 2 * len(sizes)]),)
    return kind, sizes if draw.random() < 0.6 else _sizes(draw)


def _values(draw: random.Random, kind: int, sizes: tuple[int, ...]) -> Array:
    choice: Sequence[float] = _SMALL if draw.random() < 0.7 else _ANY
    if kind in (1, 10):
        choice = _FLOATS if draw.random() < 0.7 else (*_FLOATS, float("nan"), float("inf"))
    drawn = [draw.choice(choice) for _ in range(int(np.prod(sizes)))]
    with np.errstate(all="ignore"):
        values = np.array(drawn, np.float64 if kind in (1, 10) else np.int64).reshape(sizes)
        converted: Array = values.astype(_KINDS[kind])
    return converted


def _attribute(draw: random.Random, name: str) -> Any:
    if name in _LISTS:
        return [draw.choice([*_SMALL, *(_LARGE if draw.random() < 0.1 else ())]) for _ in range(draw.choice(range(5)))]
    if name in _TEXTS:
        return draw.choice(_TEXTS[name])
    if name in ("alpha", "beta", "epsilon"):
        return draw.choice([0.0, 1.0, -1.0, 1e30, 1e-12])
    if name == "to":
        return draw.choice(list(_KINDS))
    return draw.choice([0, 0, 1, 1, -1, 2, 3, *(_LARGE if draw.random() < 0.15 else ())])


def _end(draw: random.Random, name: str, values: Array) -> ValueInfoProto:
    """An input of the sizes of its values, or of sizes without a number."""
    kind = next(kind for kind, of in _KINDS.items() if values.dtype == of)
    sizes = values.shape if draw.random() < 0.5 else [f"{name}_{i}" for i in range(values.ndim)]
    return helper.make_tensor_value_info(name, kind, sizes)


def is_accepted(model: ModelProto, inputs: dict[str, Array]) -> bool:
    """Whether the checks of a graph let it through; what a bundle's output looks like is not asked."""
    checked = ModelProto()
    checked.CopyFrom(model)
    checked.graph.output[0].CopyFrom(helper.make_tensor_value_info("y0", TensorProto.FLOAT, []))
    for target in OPERATORS:
        try:
            graph = read_graph(checked.SerializeToString(), target)._replace(outputs={})
            check_sizes(graph, {name: values.shape for name, values in inputs.items()})
        except ValueError:
            continue
        return True
    return False


def _work(first: int, stop: int) -> None:
    """Cases first..stop - 1, a line before and after each."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    for seed in range(first, stop):
        what, model, inputs = case(seed)
        print(f"begin {seed} {what}", flush=True)
        outcome = "refused"
        if is_accepted(model, inputs):
            outcome = "ran"
            try:
                content = model.SerializeToString()
                onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, inputs)
            except Exception:
                outcome = "failed with an error"
        print(f"end {seed} {outcome}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=10_000, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _work(given.first, given.first + given.num)
        return 0
    outcomes: Counter[str] = Counter()
    seed, stop = given.first, given.first + given.num
    while seed < stop:
        count = min(2000, stop - seed)
        command = [sys.executable, __file__, "--worker", "--first", str(seed), "--num", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended = [line.split(" ", 2)[2] for line in done.stdout.splitlines() if line.startswith("end ")]
        outcomes.update(ended)
        seed += len(ended)
        if len(ended) < count:
            outcomes["ended the process"] += 1
            last = (done.stdout.splitlines() or [""])[-1]
            print(f"exit {done.returncode}: {last[:600]}\n{done.stderr[-600:]}", flush=True)
            seed += 1
    for outcome, number in outcomes.most_common():
        print(f"{number:>8,}  {outcome}")
    return int("ended the process" in outcomes)


if __name__ == "__main__":
    sys.exit(main())
