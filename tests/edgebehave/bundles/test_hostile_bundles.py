"""Bundles made to harm, each with right hashes: refused when they are opened, soon and without much memory."""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebehave import BundleError, Predictor
from edgebehave.bundles.manifest import MAX_BUNDLE_BYTES, digested_manifest

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
mutate_graphs = pytest.importorskip("mutate_graphs")

TINY = Path(__file__).parents[1] / "tiny_bundle"
MAX_S, MAX_MB = 2, 200

helper, INT64, FLOAT = onnx.helper, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT


@pytest.fixture
def folder(tmp_path) -> Path:
    """A bundle of one's own to break."""
    return Path(shutil.copytree(TINY / "int8", tmp_path / "bundle"))


def edit(folder: Path, change, name: str = "predict.onnx") -> None:
    """Change a graph, and list its new size and hash."""
    proto = onnx.load(folder / name)
    change(proto.graph)
    mutate_graphs.write_bundle(folder, {name: proto.SerializeToString()})


def edit_manifest(folder: Path, change) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))


def constant(graph, name: str, values) -> str:
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(values), name))
    return name


def last(graph, *nodes) -> None:
    """The probabilities become `right`, and these nodes make `probs` of it."""
    for node in graph.node:
        node.output[:] = ["right" if name == "probs" else name for name in node.output]
    for operator, given, output, attributes in nodes:
        graph.node.append(helper.make_node(operator, given, [output], **attributes))


def endless_loop(graph):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"])],
        "body",
        [helper.make_tensor_value_info("i", INT64, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("go_on", 9, [])],
    )
    constant(graph, "true", True)
    graph.node.append(helper.make_node("Loop", ["", "true"], [], body=body))


def large_at_run_time(graph):
    constant(graph, "count", [10**9])
    constant(graph, "axes", [0])
    last(
        graph,
        ("Expand", ["tail", "count"], "large", {}),
        ("ReduceSum", ["large", "axes"], "sum", {"keepdims": 0}),
        ("Mul", ["sum", "zero"], "nothing", {}),
        ("Add", ["right", "nothing"], "probs", {}),
    )
    constant(graph, "zero", np.float32(0))


def large_by_a_number_of_the_run(graph):
    constant(graph, "many", [10**9])
    last(
        graph,
        ("Mul", ["time_known", "many"], "count", {}),
        ("Expand", ["tail", "count"], "large", {}),
        ("Softmax", ["large"], "soft", {"axis": 0}),
        ("Slice", ["soft", "start", "end"], "part", {}),
        ("Add", ["right", "part"], "probs", {}),
    )
    constant(graph, "start", [0])
    constant(graph, "end", [1])


def large_when_folded(graph):
    constant(graph, "v0", np.zeros(1, np.float32))
    constant(graph, "axes", [0])
    nodes = [("Concat", [f"v{i}", f"v{i}"], f"v{i + 1}", {"axis": 0}) for i in range(33)]
    end = [("ReduceSum", ["v33", "axes"], "s", {"keepdims": 0}), ("Add", ["right", "s"], "probs", {})]
    last(graph, *nodes, *end)


def much_work(graph):
    constant(graph, "square", np.zeros((900, 900), np.float32))
    nodes = [("MatMul", ["square" if i == 0 else f"w{i}", "square"], f"w{i + 1}", {}) for i in range(60)]
    constant(graph, "axes", [0, 1])
    end = [("ReduceSum", ["w60", "axes"], "s", {"keepdims": 0}), ("Add", ["right", "s"], "probs", {})]
    last(graph, *nodes, *end)


def output_of(operator, *values):
    def change(graph):
        names = [constant(graph, f"extra_{i}", np.float32(value)) for i, value in enumerate(values)]
        last(graph, (operator, ["right", *names], "probs", {}))

    return change


def not_a_number(graph):
    constant(graph, "minus", np.float32(-1))
    last(graph, ("Mul", ["right", "minus"], "negative", {}), ("Log", ["negative"], "probs", {}))


def not_a_number_in_a_full_history_only(graph):
    """log(400 - n) of the number of events."""
    constant(graph, "most", [4, 400])
    constant(graph, "zero", np.float32(0))
    constant(graph, "second", [1])
    constant(graph, "two", [2])
    last(
        graph,
        ("Shape", ["history"], "sizes", {}),
        ("Sub", ["most", "sizes"], "left", {}),
        ("Cast", ["left"], "left_f", {"to": 1}),
        ("Slice", ["left_f", "second", "two"], "left_n", {}),
        ("Log", ["left_n"], "log", {}),
        ("Mul", ["log", "zero"], "nan_or_0", {}),
        ("Add", ["right", "nan_or_0"], "probs", {}),
    )


def double_output(graph):
    last(graph, ("Cast", ["right"], "probs", {"to": 11}))
    graph.output[0].type.tensor_type.elem_type = 11


def renamed_output(graph):
    last(graph, ("Abs", ["right"], "p2", {}))
    graph.output[0].name = "p2"


def second_output(graph):
    last(graph, ("Abs", ["right"], "probs", {}))
    graph.output.append(helper.make_tensor_value_info("right", FLOAT, [541]))


def output_of_another_size(graph):
    graph.output[0].type.tensor_type.shape.dim[0].dim_value += 1


def input_of_another_type(graph):
    next(value for value in graph.input if value.name == "history").type.tensor_type.elem_type = 8


def input_of_a_fixed_size(graph):
    next(value for value in graph.input if value.name == "history").type.tensor_type.shape.dim[1].dim_value = 4


def input_more(graph):
    graph.input.append(helper.make_tensor_value_info("secret", FLOAT, [1]))


def fewer_probabilities_than_promised(graph):
    constant(graph, "zero", [0])
    constant(graph, "five", [5])
    last(graph, ("Slice", ["right", "zero", "five"], "probs", {}))


def other_files(graph):
    tensor = graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="vocabulary.json")


def random_numbers(graph):
    last(graph, ("RandomUniformLike", ["right"], "noise", {}), ("Min", ["right", "noise"], "probs", {}))


def no_harm(graph):
    last(graph, ("Abs", ["right"], "probs", {}))


def test_a_graph_of_more_nodes_opens(folder):
    """So what follows is refused for its harm."""
    edit(folder, no_harm)
    predictor = Predictor.load(folder)
    predictor.observe("ada", "an event", at=1_750_000_000)
    assert predictor.predict("ada", at=1_750_000_060)


HARM = [
    *(endless_loop, large_at_run_time, large_by_a_number_of_the_run, large_when_folded, much_work, not_a_number),
    *(not_a_number_in_a_full_history_only, double_output, renamed_output, second_output, output_of_another_size),
    *(input_of_another_type, input_of_a_fixed_size, input_more, fewer_probabilities_than_promised, other_files),
    random_numbers,
]


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_a_harmful_graph_is_refused(folder, harm):
    edit(folder, harm)
    with pytest.raises(BundleError) as refused:
        Predictor.load(folder)
    assert "one name" not in str(refused.value)  # the test itself is right


@pytest.mark.parametrize(
    ("operator", "value"),
    [("Mul", 3), ("Sub", 1), ("Mul", math.inf), ("Add", math.nan), ("Add", 0.5), ("Div", 0), ("Pow", -1)],
)
def test_what_is_no_probability_is_refused(folder, operator, value):
    edit(folder, output_of(operator, value))
    said = "first run: predict.onnx gives numbers that are no probabilities"
    if not math.isfinite(value):
        said = "holds numbers that are not finite"
    with pytest.raises(BundleError, match=re.escape(said)):
        Predictor.load(folder)


def state_that_is_not_finite(graph):
    scale = next(node for node in graph.node if node.op_type == "LayerNormalization").input[1]
    tensor = next(each for each in graph.initializer if each.name == scale)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(tensor.dims), np.nan, np.float32), scale))


def attention_elsewhere(index, name):
    def change(graph):
        constant(graph, "far", np.array([1 << 20], np.int32))
        for node in graph.node:
            if node.op_type == "GroupQueryAttention":
                node.input[index] = name

    return change


def small_table_of_events(graph):
    for tensor in graph.initializer:
        if tensor.name.startswith("model.event"):
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[:3].copy(), tensor.name))


@pytest.mark.parametrize(
    "harm",
    [
        state_that_is_not_finite,
        attention_elsewhere(5, "far"),
        attention_elsewhere(6, "far"),
        attention_elsewhere(9, "position"),
        attention_elsewhere(3, "value_0"),
        small_table_of_events,
    ],
)
def test_a_harmful_network_is_refused(folder, harm):
    edit(folder, harm, "observe.onnx")
    with pytest.raises(BundleError):
        Predictor.load(folder)


_MEASURE = """
import resource, sys, time
from edgebehave import BundleError, Predictor
import onnxruntime
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
for path in sys.argv[1:]:
    started = time.perf_counter()
    try:
        Predictor.load(path)
        print("opened")
    except BundleError:
        # Not ru_maxrss: a child begins with that of the process that started it.
        (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
        print(time.perf_counter() - started, int(peak) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory is read from /proc")
def test_they_are_refused_soon_and_without_much_memory(tmp_path):
    paths = []
    for harm in HARM:
        paths.append(Path(shutil.copytree(TINY / "int8", tmp_path / harm.__name__)))
        edit(paths[-1], harm)
    done = subprocess.run([sys.executable, "-c", _MEASURE, *paths], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(HARM)
    for harm, (seconds, megabytes) in zip(HARM, lines, strict=True):
        assert float(seconds) < MAX_S, harm
        assert float(megabytes) < MAX_MB, harm


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["manifest.json", "vocabulary.json", "predict.onnx"])
def test_what_is_no_regular_file_is_refused(folder, kind, name, tmp_path):
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes in folders")
    file = folder / name
    file.rename(tmp_path / "elsewhere")
    if kind == "link":
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(BundleError, match="is not a regular file"):
        Predictor.load(folder)


def test_sizes_are_enforced_before_a_byte_is_read(folder):
    with (folder / "predict.onnx").open("ab") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(BundleError, match="is damaged: 1099511627776 bytes, expected"):
        Predictor.load(folder)
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="is damaged: 1099511627776 bytes"):
        Predictor.load(folder)


@pytest.mark.parametrize("size", [-1, 2.0, True, None, MAX_BUNDLE_BYTES + 1, 10**30])
def test_a_size_that_no_file_of_a_bundle_has(folder, size):
    edit_manifest(folder, lambda m: m["files"]["predict.onnx"].update(bytes=size))
    with pytest.raises(BundleError, match="no size up to"):
        Predictor.load(folder)


def test_a_bundle_has_a_largest_size(folder):
    for name in ("predict.onnx", "observe.onnx"):
        edit_manifest(folder, lambda m, name=name: m["files"][name].update(bytes=MAX_BUNDLE_BYTES))
    with pytest.raises(BundleError, match="more than the"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b.onnx", "C:x.onnx", "NUL", "observe.onnx\0", "", "x" * 200]
)
def test_names_of_other_files(folder, name):
    edit_manifest(folder, lambda m: m["files"].update({name: {"sha256": "", "bytes": 1}}))
    with pytest.raises(BundleError, match="not a file name"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        *(
            ("model", name, value)
            for name in ("width", "num_layers", "window", "num_spare")
            for value in (-1, 10**9, 1.5)
        ),
        *(("model", name, 3) for name in ("width", "num_layers", "num_heads", "head_width", "num_spare")),
        *(("model", name, 5) for name in ("window", "receptive_field")),
        *(("model", name, 10**18) for name in ("history_events", "habit_events", "num_events")),
        *((None, "format_version", value) for value in ("2", 2.0, True, -1, 10**400)),
        *((None, "min_runtime", value) for value in (1, "", "1.x", "-1", "1" * 5000, "٣.1", None)),
        *(
            (None, "class_priors", value)
            for value in ([], None, "ab", [0.5] * 29, [True] * 29, [[1]] * 29, [10**400] * 29)
        ),
        *(("tail", "log_ratio", value) for value in ([1e9] * 29, ["0"] * 29, [], {})),
        *(("conformal", "threshold", value) for value in ([2.0], [0.5] * 3, None)),
        (None, "target", ["native"]),
        (None, "target", "web"),
        (None, "model", None),
    ],
)
def test_a_number_outside_its_bounds(folder, part, field, value):
    edit_manifest(folder, lambda m: (m[part] if part else m).update({field: value}))
    with pytest.raises(BundleError):
        Predictor.load(folder)


@pytest.mark.parametrize(
    "replace",
    [
        (b'"width": 16', b'"width": 16, "width": 32'),
        (b'"width": 16', b'"width": NaN'),
        (b'"width": 16', b'"width": ' + b"9" * 5000),
        (b'"width": 16', b'"width": ' + b"[" * 100_000 + b"]" * 100_000),
        (b'"width": 16', b'"width": "\xff"'),
    ],
)
def test_json_with_one_reading(folder, replace):
    file = folder / "manifest.json"
    content = file.read_bytes().replace(*replace)
    assert content != file.read_bytes()
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"events": ["<unknown>", 1]}',
        b'{"events": [["<unknown>"]], "locations": [], "behaviors": [], "event_to_behavior": []}',
        b'{"events": null, "locations": [], "behaviors": [], "event_to_behavior": []}',
        b"null",
    ],
)
def test_a_vocabulary_that_is_none(folder, content):
    mutate_graphs.write_bundle(folder, {"vocabulary.json": content})
    with pytest.raises(BundleError, match=r"vocabulary\.json is not a vocabulary"):
        Predictor.load(folder)


def test_a_digest_pins_a_bundle(folder):
    digest = json.loads((folder / "manifest.json").read_text())["digest"]
    Predictor.load(folder, digest=digest)
    Predictor.load(folder, digest=digest.upper())
    edit_manifest(folder, lambda m: m.update(quality={"hr_at_1": 1}))
    Predictor.load(folder)
    with pytest.raises(BundleError, match="it is not the bundle that was asked for"):
        Predictor.load(folder, digest=digest)


def test_numbers_that_turn_bad_after_opening_are_an_error(folder):
    """The first run cannot try every history: each prediction is checked."""
    from edgebehave.bundles.bundle import Bundle

    bundle = Bundle.open(folder)
    predictor = Predictor(bundle)
    predictor.observe("ada", bundle.vocabulary.events[1], at=1_750_000_000)
    predictor.predict("ada", at=1_750_000_060)
    state = predictor._users.get("ada").network_state
    state.hidden[:] = np.nan
    with pytest.raises(BundleError, match=r"predict\.onnx gives numbers that are no probabilities"):
        predictor.predict("ada", at=1_750_000_060)


@pytest.mark.parametrize("seed", [1684, 2367, 3815, 4760, 6407])
def test_mutations_that_once_opened_and_failed_later_are_refused(seed, tmp_path):
    """Weights that fail for repeated behaviors, a division by the moment, ids just above the vocabulary, inf."""
    assert mutate_graphs.case(TINY / ("web" if seed % 2 else "int8"), seed, tmp_path / "bundle") == "refused"


@pytest.mark.parametrize("name", ["int8", "fp32", "web"])
def test_every_accepted_mutation_answers_with_probabilities(name, tmp_path):
    outcomes = [
        mutate_graphs.case(TINY / name, seed, tmp_path / "bundle")
        for seed in random.Random(name).sample(range(10**6), 100)
    ]
    assert set(outcomes) <= {"refused", "answered"}
    assert outcomes.count("refused") > 50
