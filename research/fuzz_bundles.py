"""Fuzz the readers of everything that comes from a stranger, guided by coverage, and beside protobuf's own parser.

    python research/fuzz_bundles.py --executions 1000000
    python research/fuzz_bundles.py --target graph --seconds 60 --seed 7
    python research/fuzz_bundles.py --target graph --replay FILE

graph       a graph of a bundle: what is accepted is read by protobuf's C++ parser as the same graph, and its sizes
            are bounded or refused
manifest    manifest.json, as it is and with its checksum corrected, beside the other files of a bundle
vocabulary  vocabulary.json of a bundle whose hashes are right, and of a checkpoint
history     the text of `import_user`: what is accepted is written and read again as the same
universal   manifest.json and both graphs of a universal bundle

A finding is an exception that is neither BundleError nor ValueError, a reading that differs, an input that takes more
than 2 s of processor time or never ends, and a process of more than 200 MB. It is written below `--findings`, and the
command exits with 1. Inputs begin with the committed tiny bundles, with every operator of them in a graph of its own,
and with graphs of the kinds that attacks use. With the same seed, code and libraries the same inputs follow each other:
two runs with `--executions` are the same, and one that `--seconds` ends has the same beginning. Needs atheris and onnx.
"""

import argparse
import contextlib
import copy
import functools
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris
import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["edgebehave"]):
    from edgebehave.bundles import bundle as bundles
    from edgebehave.bundles import graph_file, graph_sizes, manifest, model_shape, universal_bundle
    from edgebehave.histories.memory import MemoryHistory
    from edgebehave.histories.user_export import read_user, write_user
    from edgebehave.vocabulary import Vocabulary

import mutate_graphs  # after the imports that are instrumented, as it makes them, too

TINY = Path(__file__).parents[1] / "tests/edgebehave"
NATIVE, WEB, UNIVERSAL = (TINY / name for name in ("tiny_bundle/int8", "tiny_bundle/web", "tiny_universal"))
GRAPHS = ("observe.onnx", "predict.onnx", "lookup.onnx")
MAX_S, MAX_MB, MAX_LEN = 2, 200, 8192
_HANG_S = 60
"""Seconds on the clock after which an input hangs: a busy machine may take long for little."""

_STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e30, 1e308, 2**31, 2**63, 2**64, 10**30, "", "a", "<unknown>", "\0"),
    *("\ud800", "\U0001f600", "native", "web", "universal", "2", "0" * 64, "observe.onnx", "../x", [], {}, [[]], [0]),
    *({"": 0}, [1.5], ["<unknown>"], 1_750_000_000, 631_152_000, 4_102_444_800, -(10**18)),
]


class Files(dict[str, bytes]):
    """The files of a bundle in memory: how they are read from a disk is not fuzzed, and took much of the time."""

    def read(self, file: Path, num_bytes: int, exactly: bool = False) -> bytes:
        """In the place of the function that reads a regular file of a bundle."""
        content = self.get(file.name)
        if content is None or len(content) > num_bytes or (exactly and len(content) != num_bytes):
            raise manifest.BundleError(f"{file} is damaged")
        return content


FILES = Files()


# --- what is fuzzed -------------------------------------------------------------------------------------------------


def graph(data: bytes) -> None:
    """Read as a graph of a native bundle or else of one for the web."""
    if not _graph(data, "native"):
        _graph(data, "web")


def _graph(data: bytes, target: str) -> bool:
    try:
        read = graph_file.read_graph(data, target)
    except ValueError:
        return False
    check_same(read, data)
    sizes = {name: tuple(-512 if size is None else size for size in dims) for name, (_, dims) in read.inputs.items()}
    with contextlib.suppress(ValueError):
        graph_sizes.check_sizes(read, sizes)
    return True


def check_same(read: graph_file.Graph, data: bytes) -> None:
    """Raises AssertionError unless protobuf's parser sees the same graph, and nothing besides."""
    model = onnx.ModelProto.FromString(data)
    known = onnx.ModelProto()
    known.CopyFrom(model)
    known.DiscardUnknownFields()
    assert known.ByteSize() == len(data), "fields that protobuf does not know, or writes in another way"
    same = model.graph
    assert [*model.functions, *model.metadata_props, *same.sparse_initializer] == []
    assert len(read.nodes) == len(same.node)
    for node, other in zip(read.nodes, same.node, strict=True):
        assert (node.operator, node.domain) == (other.op_type, other.domain)
        assert (list(node.inputs), list(node.outputs)) == (list(other.input), list(other.output))
        assert len(node.attributes) == len(other.attribute)
        for attribute in other.attribute:
            expected = helper.get_attribute_value(attribute)
            given = node.attributes[attribute.name]
            if isinstance(expected, float):
                assert np.float32(given).tobytes() == np.float32(expected).tobytes()
            else:
                assert given == (expected.decode() if isinstance(expected, bytes) else expected)
            assert attribute.type in (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING, 7)
    assert read.constants.keys() == {tensor.name for tensor in same.initializer}
    assert len(read.constants) == len(same.initializer)
    for tensor in same.initializer:
        constant = read.constants[tensor.name]
        assert constant.dims == tuple(tensor.dims)
        assert (list(tensor.external_data), tensor.data_location) == ([], TensorProto.DEFAULT)
        values = numpy_helper.to_array(tensor)
        if constant.ints is not None:
            assert list(constant.ints) == values.ravel().tolist()
    for ends, others in ((read.inputs, same.input), (read.outputs, same.output)):
        assert list(ends) == [value.name for value in others]
        for value in others:
            tensor_type = value.type.tensor_type
            dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor_type.shape.dim)
            assert ends[value.name] == (tensor_type.elem_type, dims)


def manifest_json(folder: Path, data: bytes) -> None:
    """As it is, and then with the checksum that fits."""
    for content in (data, with_checksum(data)):
        if content:
            FILES["manifest.json"] = content
            try:
                parts = bundles.BundleParts.read(folder)
            except manifest.BundleError:
                continue
            assert abs(float(parts.class_priors.sum()) - 1) < 1e-2
            assert len(parts.class_priors) == len(parts.log_ratio) == parts.vocabulary.num_behaviors
            assert parts.shape.history_events >= parts.shape.receptive_field + parts.shape.window - 2
            assert (parts.combination is not None) == (model_shape.LOOKUP_GRAPH in parts.graphs)
            if parts.combination is not None:
                assert parts.shape.history_events >= parts.combination.shape.history_events


def with_checksum(data: bytes) -> bytes:
    digest = manifest.manifest_digest(data)
    return manifest._DIGEST.sub(digest.encode(), data) if digest else b""


def vocabulary(folder: Path, data: bytes) -> None:
    """Of a bundle, and of a checkpoint."""
    FILES["vocabulary.json"] = data
    FILES["manifest.json"] = small_manifest(data)
    try:
        read = bundles.BundleParts.read(folder).vocabulary
    except manifest.BundleError:
        read = None
    (folder / "vocabulary.json").write_bytes(data)
    try:
        loaded = Vocabulary.load(folder / "vocabulary.json")
    except ValueError:
        loaded = None
    if read is not None:
        assert read == loaded
        for number, name in enumerate(read.events):
            assert read.event_id(name) == number
            assert -1 <= read.event_to_behavior[number] < read.num_behaviors


def history(data: bytes) -> None:
    """As bytes and as text."""
    _history(data)
    try:
        text = data.decode("utf-8", "surrogatepass")
    except ValueError:
        return
    _history(text)


def _history(data: bytes | str) -> None:
    try:
        num_events, events = read_user(data)
        memory = MemoryHistory()
        memory.put("ada", num_events, events)
    except ValueError:
        return
    again = read_user(write_user(num_events, events))
    assert (again[0], list(again[1].rows())) == (num_events, list(events.rows()))
    kept = memory.latest("ada", 2**31)
    assert kept is not None
    assert kept[0].num_events == num_events


def universal(folder: Path, data: bytes) -> None:
    """The first byte says which file it is."""
    which, content = data[:1], data[1:]
    if which == b"m":
        for changed in (content, with_checksum(content)):
            if changed:
                FILES["manifest.json"] = changed
                try:
                    universal_bundle.read_universal(folder)
                except manifest.BundleError:
                    continue
    else:
        _graph(content, "universal")


# --- seeds ----------------------------------------------------------------------------------------------------------


def parts_of(path: Path) -> list[bytes]:
    """Every kind of call of a graph in a graph of its own: the call, its small weights, and inputs for the rest."""
    proto = onnx.load(path)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.ByteSize() < 2000}
    large = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name not in weights}
    makers = {name: node for node in proto.graph.node for name in node.output}
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    types = {value.name: value.type.tensor_type for value in (*inferred.value_info, *inferred.output)}

    def end(name: str, varies: bool) -> onnx.ValueInfoProto:
        """An input or output of the value's type and sizes, as far as they are known."""
        if name in large:
            return helper.make_tensor_value_info(name, large[name].data_type, list(large[name].dims))
        sizes: list[Any]
        kind, sizes = TensorProto.FLOAT, [4, "n"]
        if name in types:
            kind = types[name].elem_type
            sizes = ["n" if varies else dim.dim_value or "n" for dim in types[name].shape.dim]
        return helper.make_tensor_value_info(name, kind, sizes)

    found: dict[tuple[Any, ...], bytes] = {}
    for node in proto.graph.node:
        num_weights = sum(name in weights for name in node.input)
        key = (node.op_type, len(node.input), num_weights, *(each.name for each in node.attribute))
        if key in found:
            continue
        calls = [node]
        if node.op_type == "GroupQueryAttention":  # it must get its positions in one way
            for _ in range(3):
                before = [makers[name] for call in calls for name in call.input[-5:] if name in makers]
                calls = [*(each for each in before if each not in calls), *calls]
        calls = [call for call in proto.graph.node if call in calls]
        made = {name for call in calls for name in call.output}
        taken = dict.fromkeys(name for call in calls for name in call.input if name and name not in made)
        small = [weights[name] for name in taken if name in weights]
        ends = {value.name: value for value in proto.graph.input}
        inputs = [ends.get(name) or end(name, varies=False) for name in taken if name not in weights]
        outputs = [end(name, varies=True) for name in node.output if name]
        whole = helper.make_graph(calls, "g", inputs, outputs, small)
        model = helper.make_model(whole, opset_imports=proto.opset_import, ir_version=proto.ir_version)
        found[key] = model.SerializeToString()
    return [content for content in found.values() if len(content) < MAX_LEN]


def small_manifest(vocabulary_text: bytes, stubs: tuple[str, ...] = GRAPHS[:2]) -> bytes:
    """manifest.json of a native bundle with three behaviors and this vocabulary.json; its graphs are stubs."""
    begin, middle, end, last = _small_parts(stubs)
    listed = begin + hashlib.sha256(vocabulary_text).hexdigest() + middle + str(len(vocabulary_text)) + end
    digest = hashlib.sha256(f"{listed}{64 * '0'}{last}".encode()).hexdigest()
    return f"{listed}{digest}{last}".encode()


@functools.cache
def _small_parts(stubs: tuple[str, ...]) -> list[str]:
    """The text of such a manifest.json around the hash and the size of the vocabulary, and the checksum."""
    files: dict[str, Any] = {name: {"sha256": hashlib.sha256(_STUB).hexdigest(), "bytes": len(_STUB)} for name in stubs}
    files["vocabulary.json"] = {"sha256": "\u241e", "bytes": "\u241f"}
    text = json.dumps(_SMALL | {"files": files, "digest": "\u2420"}, ensure_ascii=False)
    return re.split('\u241e|"\u241f"|\u2420', text)


def _small_manifest() -> dict[str, Any]:
    given = json.loads((NATIVE / "manifest.json").read_text(encoding="utf-8"))
    given["model"] |= {"num_events": _NAMES.num_events, "num_locations": _NAMES.num_locations}
    given["model"] |= {"num_behaviors": _NAMES.num_behaviors}
    given["class_priors"], given["tail"]["log_ratio"] = [0, 0.25, 0.75], [0, -0.5, 0.5]
    given["conformal"] = {"coverage": [0.5, 0.9], "threshold": [0.25, 0.875]}
    universal_model = json.loads((UNIVERSAL / "manifest.json").read_text(encoding="utf-8"))["model"]
    given["lookup"] = {"model": universal_model, "powers": {"universal": 0.5, "named": 0.25, "unused": -1}}
    return dict(given)


_STUB = b"a graph"
_NAMES = Vocabulary.identity(("mail", "météo"), ("home",))
_SMALL = _small_manifest()


def varint(number: int, num_bytes: int = 0) -> bytes:
    """A number of protocol buffers, in its shortest form or in this many bytes."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    groups += [0] * (num_bytes - len(groups))
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, content: bytes, num_bytes: int = 0) -> bytes:
    return varint(number << 3 | 2, num_bytes) + varint(len(content)) + content


def small_model() -> onnx.ModelProto:
    """x + w, in the sizes of x."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    whole = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def crafted_graphs() -> list[bytes]:
    """Small graphs of the kinds that attacks use."""
    plain = small_model()
    content = plain.SerializeToString()
    inner = plain.graph.SerializeToString()
    crafted = [content]

    def changed(change: Callable[[onnx.ModelProto], Any]) -> None:
        proto = small_model()
        change(proto)
        crafted.append(proto.SerializeToString())

    def add(operator: str, inputs: list[str], *weights: Any, **attributes: Any) -> None:
        def change(proto: onnx.ModelProto) -> None:
            for number, values in enumerate(weights):
                proto.graph.initializer.append(numpy_helper.from_array(np.array(values), f"c{number}"))
            proto.graph.node.insert(0, helper.make_node(operator, inputs, ["z"], **attributes))

        changed(change)

    def outside(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/hostname")

    # Sizes of a run, of folding, and of numbers that a run computes.
    add("Expand", ["x", "c0"], [10**9])
    add("ConstantOfShape", ["c0"], [2**31, 2**31])
    add("Range", ["c0", "c1", "c2"], 0, 2**40, 1)
    add("Pad", ["x", "c0"], [2**40, 0])
    add("Reshape", ["x", "c0"], [-1, 0, 2**62])
    add("Concat", ["x", "x"], axis=0)
    add("Split", ["x", "c0"], [2**62, -(2**62)], axis=0)
    add("Slice", ["x", "c0", "c1"], [-(2**63)], [2**63 - 1])
    add("Gather", ["x", "c0"], [0] * 64)
    add("MatMul", ["x", "w"])
    add("GatherElements", ["x", "c0"], [2**62])
    for operator in ("Loop", "If", "Scan"):
        add(operator, ["x"], body=plain.graph)
    changed(outside)
    changed(lambda proto: proto.functions.add(name="f", domain=""))
    changed(lambda proto: proto.metadata_props.add(key="k", value="v"))
    changed(lambda proto: proto.opset_import.add(domain="com.microsoft", version=1))
    changed(lambda proto: proto.graph.sparse_initializer.add())
    changed(lambda proto: proto.graph.initializer[0].ClearField("raw_data"))
    changed(lambda proto: proto.graph.node[0].attribute.append(helper.make_attribute("axis", 2**63 - 1)))
    # Encodings of which two readers see different things.
    crafted += [content + field(7, inner, num_bytes) for num_bytes in (0, 2, 5, 10)]
    crafted += [content + varint((2**32 + 7) << 3 | 2, 10) + varint(len(inner)) + inner]
    crafted += [content + field(number, b"x") for number in (0, 20, 25, 2**29, 2**29 - 1)]
    crafted += [content[:-1], content + b"\0", content[:4] + b"ORTM" + content, b"", content + content]
    crafted += [content + varint(1 << 3) + varint(10, 4), b"\x0b\x0c" + content]
    return crafted


def seeds_of(target: str) -> list[bytes]:
    """Inputs to begin with."""
    if target in ("graph", "universal"):
        folders = [UNIVERSAL] if target == "universal" else [NATIVE, WEB, TINY / "tiny_bundle/fp32"]
        paths = [path for folder in folders for path in sorted(folder.glob("*.onnx"))]
        graphs = [*crafted_graphs(), *(each for path in paths for each in parts_of(path))]
        manifest_text = (UNIVERSAL / "manifest.json").read_bytes()
        return graphs if target == "graph" else [b"m" + manifest_text, *(b"g" + each for each in graphs)]
    names = {name: list(getattr(_NAMES, name)) for name in ("events", "locations", "behaviors", "event_to_behavior")}
    text = json.dumps(names, ensure_ascii=False).encode()
    if target == "manifest":
        return [small_manifest(text), small_manifest(text, GRAPHS), (UNIVERSAL / "manifest.json").read_bytes()]
    if target == "vocabulary":
        return [text, (NATIVE / "vocabulary.json").read_bytes(), b"[" * 2000]
    found = {"format": "edgebehave user history", "version": 1, "num_events": 3, "events": []}
    rows = [{"event": "mail", "location": None, "time_s": 1_750_000_000 + i, "utc_offset_min": 60} for i in range(3)]
    texts = [json.dumps({**found, "events": rows[:count]}) for count in (1, 3)]
    return [*(text.encode() for text in texts), texts[0].encode("utf-16"), b"[" * 2000, b"1" * 5000]


# --- mutations ------------------------------------------------------------------------------------------------------


def mutated_graph(data: bytes, max_size: int, seed: int) -> bytes:
    """A change of the bytes, or of the nodes and weights if it is a graph."""
    draw = random.Random(seed)
    if draw.random() < 0.5:
        try:
            changed = mutate_graphs.mutated(data, draw)
        except Exception:  # no parser of protobuf takes it
            changed = b""
        if 0 < len(changed) <= max_size:
            return changed
    return bytes(atheris.Mutate(data, max_size))


def mutated_json(data: bytes, max_size: int, seed: int) -> bytes:
    """A change of the bytes, or of the values and names if it is JSON."""
    draw = random.Random(seed)
    if draw.random() < 0.6:
        try:
            value = json.loads(data)
            for _ in range(draw.choice([1, 1, 2, 3])):
                value = _changed(value, draw)
            changed = json.dumps(value, ensure_ascii=draw.random() < 0.5)
            content = changed.encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            content = b""
        if 0 < len(content) <= max_size:
            return content
    return bytes(atheris.Mutate(data, max_size))


def _changed(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict | list) and value and draw.random() < 0.85:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw.choice(keys)
        what = draw.random()
        if what < 0.1:
            value.pop(key)
        elif what < 0.15:
            other = draw.choice(keys)
            value[key], value[other] = value[other], value[key]
        elif what < 0.2 and isinstance(value, list):
            value.insert(draw.randrange(len(value) + 1), copy.deepcopy(value[key]))
        elif what < 0.25 and isinstance(value, dict):
            value[str(draw.choice(_STRANGE))] = copy.deepcopy(value[key])
        else:
            value[key] = _changed(value[key], draw)
        return value
    if isinstance(value, int | float) and draw.random() < 0.4:
        return draw.choice([value + 1, value - 1, -value, value * 2, value // 2])
    if isinstance(value, str) and draw.random() < 0.3:
        return value + draw.choice(["x", "\0", "\ud800", "0", "/"])
    return copy.deepcopy(draw.choice(_STRANGE))


def mutated_universal(data: bytes, max_size: int, seed: int) -> bytes:
    change = mutated_json if data[:1] == b"m" else mutated_graph
    return data[:1] + change(data[1:], max_size - 1, seed) if data else bytes(atheris.Mutate(data, max_size))


TARGETS: dict[str, Callable[..., bytes]] = {
    "graph": mutated_graph,
    "manifest": mutated_json,
    "vocabulary": mutated_json,
    "history": mutated_json,
    "universal": mutated_universal,
}


# --- running --------------------------------------------------------------------------------------------------------


def _work(target: str, folder: Path, arguments: list[str]) -> None:
    """Fuzz in this process, until libFuzzer ends it."""
    bundle = folder / "bundle"
    shutil.copytree(UNIVERSAL, bundle)
    if target == "universal":
        FILES.update({path.name: path.read_bytes() for path in bundle.iterdir()})
    else:
        FILES.update(dict.fromkeys(GRAPHS, _STUB) | {"vocabulary.json": seeds_of("vocabulary")[0]})
    manifest._read_regular = FILES.read  # type: ignore[assignment]
    read: Callable[[bytes], None]
    if target in ("graph", "history"):
        read = {"graph": graph, "history": history}[target]
    else:
        read = functools.partial({"manifest": manifest_json, "vocabulary": vocabulary}.get(target, universal), bundle)

    def run(data: bytes) -> None:
        began = time.process_time()
        read(data)
        took_s = time.process_time() - began
        assert took_s < MAX_S, f"{took_s:.1f} s of processor time"

    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=TARGETS[target])
    atheris.Fuzz()


def fuzz(target: str, executions: int | None, seconds: float | None, seed: int, findings: Path) -> dict[str, Any]:
    """Fuzz one target in a process of its own: its numbers, and what libFuzzer says of a finding."""
    findings.mkdir(parents=True, exist_ok=True)
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent) as temporary:
        folder = Path(temporary)
        (folder / "corpus").mkdir()
        for number, content in enumerate(seeds_of(target)):
            (folder / "corpus" / f"{number:03d}").write_bytes(content)
        command = [sys.executable, __file__, "--worker", target, str(folder), f"-seed={seed + 1}"]
        command += [f"-timeout={_HANG_S}", f"-rss_limit_mb={MAX_MB}", f"-max_len={MAX_LEN}", "-len_control=0"]
        command += ["-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={findings}/{target}-"]
        command += [f"-runs={executions}"] if executions else []
        command += [f"-max_total_time={max(1, round(seconds))}"] if seconds else []
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [*command, str(folder / "corpus")], capture_output=True, text=True, errors="replace", env=environment
        )
        wall_s = time.perf_counter() - started
    numbers = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", done.stderr)}
    coverage = re.findall(r" cov: (\d+) ", done.stderr)
    return {
        "target": target,
        "executions": numbers.get("number_of_executed_units", 0),
        "wall_s": wall_s,
        "peak_mb": numbers.get("peak_rss_mb", 0),
        "slowest_s": numbers.get("slowest_unit_time_sec", 0),
        "covered": int(coverage[-1]) if coverage else 0,
        "finding": "" if done.returncode == 0 else (done.stdout + done.stderr)[-6000:],
    }


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        _work(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, action="append", help="default all, one after the other")
    parser.add_argument("--executions", type=int, help="inputs per target")
    parser.add_argument("--seconds", type=float, help="time per target; ends it if it comes before --executions")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs: the same for the same seed")
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), help="folder for inputs that are findings")
    parser.add_argument("--replay", type=Path, help="run the input of this file alone; needs one --target")
    given = parser.parse_args()
    targets = given.target or list(TARGETS)
    if given.replay:
        with tempfile.TemporaryDirectory() as folder:
            _work(targets[0], Path(folder), [str(given.replay)])
    if not given.executions and not given.seconds:
        given.seconds = 60.0
    print("| target | executions | per second | slowest | peak | branches | finding |")
    print("|---|---|---|---|---|---|---|")
    found = []
    for target in targets:
        row = fuzz(target, given.executions, given.seconds, given.seed, given.findings)
        print(
            f"| {target} | {row['executions']:,} | {row['executions'] / row['wall_s']:,.0f} | {row['slowest_s']} s "
            f"| {row['peak_mb']} MB | {row['covered']:,} | {'yes' if row['finding'] else 'no'} |",
            flush=True,
        )
        found += [row] if row["finding"] else []
    for row in found:
        print(f"\n{row['target']}: the input lies in {given.findings}\n{row['finding']}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
