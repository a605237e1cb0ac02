"""Mutate the graphs of bundles, with digests recomputed, and see that each is refused or answers with probabilities.

    python research/mutate_graphs.py tests/edgebehave/tiny_bundle/int8 tests/edgebehave/tiny_bundle/web --num 10000

A mutation changes a node, an attribute, a weight, an input or an output, or bytes of the file; a seed gives the same
bundle again. The cases run in processes of their own. Findings are a crash, every exception but BundleError, and more
than `--limit-s` of processor time. Prints a line per finding and a table; exits with 1 if there is a finding.
"""

import argparse
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from edgebehave import BundleError, Predictor
from edgebehave.bundles.graph_file import OPERATORS
from edgebehave.bundles.manifest import digested_manifest

_STRANGE_OPERATORS = ["Loop", "If", "Scan", "Tile", "RandomNormal", "Constant", "OneHot", "EyeLike", "CumSum", "Resize"]
_NUMBERS = [-(2**63), -(2**31), -7, -2, -1, 0, 1, 2, 3, 5, 16, 64, 512, 4096, 2**20, 2**31 - 1, 2**33, 2**62, 2**63 - 1]
_FLOATS = [float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-45, 1e30, -1e30, 1.0]


def write_bundle(folder: Path, files: dict[str, bytes]) -> None:
    """Replace files of a bundle and list their new sizes and hashes: a consistent bundle of wrong parts."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, content in files.items():
        (folder / name).write_bytes(content)
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))


def mutated(content: bytes, draw: random.Random) -> bytes:
    """An ONNX file with one to three mutations."""
    proto = onnx.load_from_string(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        mutation = draw.choice(_MUTATIONS)
        try:
            mutation(proto, draw)
        except (IndexError, ValueError, TypeError, OverflowError):
            continue  # nothing of its kind is in this graph
    changed = proto.SerializeToString(deterministic=True)
    return _mutated_bytes(changed, draw) if draw.random() < 0.1 else changed


def _names(proto: ModelProto) -> list[str]:
    graph = proto.graph
    values = [name for node in graph.node for name in node.output if name]
    return values + [each.name for each in (*graph.initializer, *graph.input)]


def _operator(proto: ModelProto, draw: random.Random) -> None:
    node = draw.choice(proto.graph.node)
    known = sorted(OPERATORS["native"][node.domain])
    node.op_type = draw.choice([*known, draw.choice(_STRANGE_OPERATORS)])


def _rewire(proto: ModelProto, draw: random.Random) -> None:
    node = draw.choice(proto.graph.node)
    node.input[draw.randrange(len(node.input))] = draw.choice([*_names(proto), "", "nothing"])


def _rewire_before(proto: ModelProto, draw: random.Random) -> None:
    at = draw.randrange(len(proto.graph.node))
    node = proto.graph.node[at]
    before = [name for other in proto.graph.node[:at] for name in other.output if name]
    before += [each.name for each in (*proto.graph.initializer, *proto.graph.input)]
    node.input[draw.randrange(len(node.input))] = draw.choice(before)


def _inputs(proto: ModelProto, draw: random.Random) -> None:
    node = draw.choice(proto.graph.node)
    if draw.random() < 0.5:
        node.input.append(draw.choice(_names(proto)))
    else:
        del node.input[draw.randrange(len(node.input))]


def _drop_node(proto: ModelProto, draw: random.Random) -> None:
    del proto.graph.node[draw.randrange(len(proto.graph.node))]


def _skip_node(proto: ModelProto, draw: random.Random) -> None:
    """Whoever took the node's value takes one of its inputs."""
    at = draw.randrange(len(proto.graph.node))
    node = proto.graph.node[at]
    instead, gone = draw.choice(node.input), node.output[0]
    del proto.graph.node[at]
    for other in proto.graph.node:
        other.input[:] = [instead if name == gone else name for name in other.input]


def _insert_node(proto: ModelProto, draw: random.Random) -> None:
    """A node between a value and those that take it."""
    at = draw.randrange(1, len(proto.graph.node))
    before = [name for other in proto.graph.node[:at] for name in other.output if name]
    before += [each.name for each in (*proto.graph.initializer, *proto.graph.input)]
    wanted = draw.choice(before)
    operator = draw.choice([*sorted(OPERATORS["native"][""]), draw.choice(_STRANGE_OPERATORS)])
    attributes = {"axis": draw.choice([-1, 0, 1])} if operator in ("Concat", "Gather", "Softmax", "Split") else {}
    if operator == "Cast":
        attributes = {"to": draw.choice([1, 6, 7, 9, 10, 11])}
    if draw.random() < 0.7:
        given = [wanted] * draw.choice([1, 2, 2, 3])
    else:
        given = [wanted, *(draw.choice(before) for _ in range(draw.choice([1, 2])))]
    node = helper.make_node(operator, given, [f"{wanted}_changed"], **attributes)
    for other in proto.graph.node[at:]:
        other.input[:] = [f"{wanted}_changed" if name == wanted else name for name in other.input]
    proto.graph.node.insert(at, node)


def _swap_nodes(proto: ModelProto, draw: random.Random) -> None:
    nodes = list(proto.graph.node)
    left, right = draw.sample(range(len(nodes)), 2)
    nodes[left], nodes[right] = nodes[right], nodes[left]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)


def _attribute(proto: ModelProto, draw: random.Random) -> None:
    node = draw.choice([node for node in proto.graph.node if node.attribute])
    attribute = draw.choice(node.attribute)
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = draw.choice([*_NUMBERS, attribute.i + 1, attribute.i - 1])
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = draw.choice(_FLOATS)
    elif attribute.type == onnx.AttributeProto.INTS:
        attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(_NUMBERS)
    else:
        attribute.s = draw.choice([b"", b"constant", b"edge", b"add", b"wrap", b"\xff"])


def _drop_attribute(proto: ModelProto, draw: random.Random) -> None:
    node = draw.choice([node for node in proto.graph.node if node.attribute])
    del node.attribute[draw.randrange(len(node.attribute))]


def _add_attribute(proto: ModelProto, draw: random.Random) -> None:
    node = draw.choice(proto.graph.node)
    name = draw.choice(["axis", "axes", "to", "group", "strides", "dilations", "local_window_size", "softcap", "perm"])
    value = draw.choice([draw.choice(_NUMBERS), [draw.choice(_NUMBERS)], draw.choice(_FLOATS), "text"])
    node.attribute.append(helper.make_attribute(name, value))


def _weight_sizes(proto: ModelProto, draw: random.Random) -> None:
    tensor = draw.choice(proto.graph.initializer)
    if draw.random() < 0.5 and len(tensor.dims) > 1:
        tensor.dims[:] = draw.sample(list(tensor.dims), len(tensor.dims))
    else:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(_NUMBERS)


def _weight_values(proto: ModelProto, draw: random.Random) -> None:
    """Numbers of a weight, some or all, become extreme ones."""
    tensor = draw.choice(proto.graph.initializer)
    values = onnx.numpy_helper.to_array(tensor).copy()
    flat = values.reshape(-1)
    with np.errstate(all="ignore"):
        if values.dtype.kind == "f":
            extreme: Any = np.array(draw.choice(_FLOATS), values.dtype)
        else:
            extreme = np.array(draw.choice(_NUMBERS), np.int64).astype(values.dtype)
    if draw.random() < 0.5:
        flat[:] = extreme
    else:
        flat[draw.randrange(len(flat))] = extreme
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _small_weight(proto: ModelProto, draw: random.Random) -> None:
    """A number of a shape, an axis, or a limit."""
    small = [each for each in proto.graph.initializer if each.data_type in (6, 7) and np.prod(each.dims) <= 8]
    tensor = draw.choice(small)
    values = onnx.numpy_helper.to_array(tensor).copy()
    flat = values.reshape(-1)
    wanted = draw.choice([*_NUMBERS, int(flat[0]) + 1, int(flat[0]) - 1])
    flat[draw.randrange(len(flat))] = max(-(2**31), min(wanted, 2**31 - 1)) if tensor.data_type == 6 else wanted
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _weight_type(proto: ModelProto, draw: random.Random) -> None:
    draw.choice(proto.graph.initializer).data_type = draw.randrange(0, 24)


def _ends(proto: ModelProto, draw: random.Random) -> None:
    """Type, sizes or name of an input or an output."""
    value = draw.choice([*proto.graph.input, *proto.graph.output])
    tensor = value.type.tensor_type
    what = draw.randrange(4)
    if what == 0:
        tensor.elem_type = draw.randrange(0, 20)
    elif what == 1:
        dim = draw.choice(tensor.shape.dim)
        dim.dim_value = draw.choice(_NUMBERS)
    elif what == 2:
        draw.choice(tensor.shape.dim).dim_param = "free"
    else:
        value.name = draw.choice([*_names(proto), "renamed"])


def _extra(proto: ModelProto, draw: random.Random) -> None:
    """What exports never write."""
    what = draw.randrange(6)
    if what == 0:
        proto.functions.add(name="f", domain="")
    elif what == 1:
        proto.metadata_props.add(key="ort_config", value="{}")
    elif what == 2:
        tensor = draw.choice(proto.graph.initializer)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="vocabulary.json")
    elif what == 3:
        proto.graph.sparse_initializer.add()
    elif what == 4:
        proto.opset_import[0].version = draw.choice([1, 7, 13, 17, 19, 21, 30])
    else:
        proto.graph.value_info.append(helper.make_tensor_value_info(draw.choice(_names(proto)), 1, [3]))


_MUTATIONS: list[Callable[[ModelProto, random.Random], None]] = [
    *(_operator, _rewire, _rewire_before, _rewire_before, _inputs, _drop_node, _skip_node, _insert_node, _insert_node),
    *(_swap_nodes, _attribute, _attribute, _drop_attribute, _add_attribute, _weight_sizes, _weight_values),
    *(_weight_values, _small_weight, _small_weight, _weight_type, _ends, _extra),
]


def _mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    what = draw.randrange(4)
    if what == 0:
        return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
    if what == 1:
        return content[:at]
    if what == 2:
        return content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at:]
    return content + draw.choice([b"\x00", b"\x08\x0a", b"\xfa\x01\x00", b"\x82\x80\x80\x80\x10\x00", b"\x38\x01"])


def case(bundle: Path, seed: int, folder: Path) -> str:
    """Make the bundle of a seed and use it: "refused" when it is opened, "answered", or a finding."""
    draw = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle, folder)
    name = draw.choice(sorted(path.name for path in folder.glob("*.onnx") if path.name != "window.onnx"))
    write_bundle(folder, {name: mutated((folder / name).read_bytes(), draw)})
    try:
        predictor = Predictor.load(folder)
    except BundleError:
        return "refused"
    try:
        return _use(predictor, random.Random(seed + 1))
    except BundleError as error:
        return f"FINDING: opened, and refused later: {str(error).rpartition('/')[2][:160]}"


def _use(predictor: Predictor, draw: random.Random) -> str:
    bundle = predictor._bundle
    assert bundle is not None
    events, locations = bundle.vocabulary.events[1:], bundle.vocabulary.locations[1:]
    at = 1_750_000_000
    for number in range(30):
        at += draw.choice([0, 1, 40, 900, 86_400, 900_000])
        event = draw.choice([*events, "a name of one's own", "another"])
        predictor.observe("ada", event, at=at, location=draw.choice([None, *locations, "a cave"]), utc_offset_min=-90)
        if number in (0, 7, 29):
            for tail in (0.0, 1.0):
                _, probs = predictor.probabilities("ada", at=draw.choice([None, at + 60, at + 10**7]), tail=tail)
                if not (np.isfinite(probs).all() and probs.min() >= 0 and probs.sum() <= 1.001):
                    return "FINDING: no probabilities"
    behaviors = [
        event for event, behavior in zip(events, bundle.vocabulary.event_to_behavior[1:], strict=True) if behavior > 0
    ]
    predictor.observe("ada", behaviors[0], at=at + 1)
    if bundle.wait is not None:
        answer = predictor.predict("ada", within=timedelta(hours=1), at=at + 60)
        if not all(0 <= each.probability <= 1.001 for each in answer):
            return "FINDING: no probabilities within a time"
    if bundle.generation is not None:
        predictor.generate("ada", 5, seed=1, at=at + 60)
    return "answered"


_WAIT_S = 3600
"""Seconds without an end of 200 cases after which they hang without using the processor."""


def _work(bundles: list[Path], first: int, stop: int, limit_s: float) -> None:
    """Cases first..stop - 1, a line before and after each; the system ends one that computes for too long."""
    with tempfile.TemporaryDirectory() as parent:
        for seed in range(first, stop):
            print(f"begin {seed}", flush=True)
            started = time.process_time()
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (int(started + limit_s) + 1, hard))
            try:
                outcome = case(bundles[seed % len(bundles)], seed, Path(parent) / "bundle")
            except Exception as error:
                outcome = f"FINDING: {type(error).__name__}: {str(error)[:200]!r}"
            print(f"end {seed} {time.process_time() - started:.3f} {outcome}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--num", type=int, default=10_000, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--limit-s", type=float, default=10, help="seconds of processor time after which a case counts as hanging"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        _work(given.bundles, given.worker, given.first + given.num, given.limit_s)
        return 0
    outcomes: Counter[str] = Counter()
    slowest, seed, stop = 0.0, given.first, given.first + given.num
    started = time.perf_counter()
    while seed < stop:
        chunk = min(200, stop - seed)
        command = [sys.executable, __file__, *map(str, given.bundles), "--worker", str(seed)]
        command += ["--first", str(seed), "--num", str(chunk), "--limit-s", str(given.limit_s)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_WAIT_S, check=False)
            printed, ended = done.stdout, f"FINDING: exit {done.returncode}"
        except subprocess.TimeoutExpired as error:
            printed, ended = error.stdout or b"", "FINDING: hangs"
        last = seed
        for line in printed.decode().splitlines():
            kind, number, *rest = line.split(" ", 3)
            if kind == "end":
                slowest, last = max(slowest, float(rest[0])), int(number) + 1
                outcomes[rest[1][:120]] += 1
                if rest[1].startswith("FINDING") or float(rest[0]) > given.limit_s:
                    print(f"seed {number}: {rest[1]}, {rest[0]} s", flush=True)
        if last < seed + chunk:
            outcomes[ended] += 1
            print(f"seed {last}: {ended}", flush=True)
            last += 1
        seed = last
    for outcome, count in outcomes.most_common():
        print(f"{count:>8,}  {outcome}")
    print(f"slowest case {slowest:.2f} s, in all {time.perf_counter() - started:.0f} s")
    return int(any(outcome.startswith("FINDING") for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
