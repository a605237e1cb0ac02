"""A bundle is verified before it runs, and what is wrong with it is said in one line."""

import contextlib
import hashlib
import json
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from bundle_changes import edit_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebehave import BundleError, OperatingPoint, Predictor, __version__
from edgebehave.bundles import inference as inference_module
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.manifest import digested_manifest

pytest.importorskip("onnxruntime")

TINY = Path(__file__).parents[1] / "tiny_bundle"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A bundle of one's own to break."""
    return Path(shutil.copytree(TINY / "int8", tmp_path / "bundle"))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Change a file and list its new hash: a consistent bundle of wrong parts."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(folder, lambda m: m["files"].update({name: {"sha256": digest, "bytes": len(content)}}))


def test_points_of_acting_are_read_and_may_be_missing(folder):
    assert Predictor.load(folder).operating_points == ()
    edit_manifest(
        folder, lambda m: m.update(acting={"coverage": [0, 1], "threshold": [0.8, 0.1], "precision": [1, 0.4]})
    )
    assert Predictor.load(folder).operating_points == (OperatingPoint(0, 0.8, 1), OperatingPoint(1, 0.1, 0.4))
    assert Predictor().operating_points == ()


@pytest.mark.parametrize("name", ["fp32", "int8", "web"])
def test_it_opens_and_predicts(name):
    bundle = Bundle.open(TINY / name)
    assert bundle.manifest["precision"] == ("fp32" if name == "fp32" else "int8")
    assert bundle.target == ("web" if name == "web" else "native")
    assert bundle.vocabulary.num_behaviors == bundle.shape.num_behaviors == len(bundle.class_priors)
    assert bundle.class_priors[0] == 0
    assert bundle.class_priors.sum() == pytest.approx(1)
    predictor = Predictor.load(TINY / name)
    predictor.observe("ada", bundle.vocabulary.events[1])
    predictions = predictor.predict("ada", k=3)
    assert len(predictions) == 3
    assert all(0 < p.probability < 1 for p in predictions)
    assert np.isfinite(predictor.probabilities("ada")[1]).all()


def test_the_tiny_bundles_stay_tiny():
    assert sum(file.stat().st_size for file in TINY.rglob("*") if file.is_file()) <= 350_000


def test_a_path_that_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="is not a bundle; make one with `edgebehave export`"):
        Predictor.load(tmp_path / "nothing")


def test_an_error_is_a_value_error():
    assert issubclass(BundleError, ValueError)


def test_a_newer_format_says_what_it_needs(folder):
    edit_manifest(folder, lambda m: m.update(format_version=3, min_runtime="0.9.0"))
    says = f"format 3 and needs edgebehave 0.9.0 or newer, this is {__version__}"
    with pytest.raises(BundleError, match=says):
        Predictor.load(folder)


def test_an_older_format_is_to_be_exported_again(folder):
    edit_manifest(folder, lambda m: m.update(format_version=1))
    with pytest.raises(BundleError, match=r"is a bundle of format 1, .* export it again"):
        Predictor.load(folder)


def test_a_newer_runtime_may_be_needed_for_the_same_format(folder):
    edit_manifest(folder, lambda m: m.update(min_runtime="10.0"))
    with pytest.raises(BundleError, match=r"needs edgebehave 10\.0 or newer"):
        Predictor.load(folder)


@pytest.mark.parametrize("name", ["vocabulary.json", "observe.onnx", "predict.onnx"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        Predictor.load(folder)


@pytest.mark.parametrize("name", ["vocabulary.json", "observe.onnx", "predict.onnx"])
def test_a_flipped_bit_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.pop("format_version"), "manifest.json is damaged"),
        (lambda m: m.pop("files"), "lists no files"),
        (lambda m: m["files"].pop("predict.onnx"), "does not list predict.onnx"),
        (lambda m: m["files"].update({"../secret": {"sha256": ""}}), "not a file name"),
        (lambda m: m.update(target="toaster"), "is made for 'toaster'"),
        (lambda m: m.update(target="server"), "is made for 'server', this runtime reads bundles for native and web"),
        (lambda m: m["model"].pop("window"), "missing or wrong values: 'window'"),
        (lambda m: m["model"].update(window="six"), "missing or wrong values: window: 'six'"),
        (lambda m: m.update(model=[]), "missing or wrong values"),
        (lambda m: m.update(class_priors={"a": 1}), "missing or wrong values"),
        (lambda m: m["model"].update(num_events=3), r"the vocabulary has num_events \d+ but"),
        (lambda m: m["class_priors"].pop(), "class priors for"),
        (lambda m: m["tail"]["log_ratio"].pop(), "ratios of the tail shift for"),
        (lambda m: m["conformal"]["coverage"].pop(), "missing or wrong values: conformal: coverage"),
        (lambda m: m["conformal"].update(threshold=[[1]]), "missing or wrong values: numbers expected"),
        (lambda m: m.update(acting={"coverage": [1]}), "missing or wrong values: 'threshold'"),
        (lambda m: m.update(acting={key: [2] for key in ("coverage", "threshold", "precision")}), "must lie in 0..1"),
        (lambda m: m.update(acting={"coverage": [1], "threshold": [1], "precision": [1.01]}), "must lie in 0..1"),
        (lambda m: m.update(acting={"coverage": [-0.01], "threshold": [1], "precision": [1]}), "must lie in 0..1"),
        (lambda m: m.update(acting={"coverage": [1], "threshold": [], "precision": [1]}), "lists of equal length"),
        (lambda m: m.update(acting=dict.fromkeys(("coverage", "threshold", "precision"), 1)), "lists of equal length"),
        (lambda m: m.pop("tail"), "missing or wrong values: 'tail'"),
        (lambda m: m["model"].update(query_context="none"), r"predict\.onnx takes .*promises"),
        (lambda m: m["model"].update(history_events=3), "keeps 3 events per user"),
    ],
)
def test_an_inconsistent_manifest(folder, change, says):
    edit_manifest(folder, change)
    with pytest.raises(BundleError, match=says):
        Predictor.load(folder)


def test_files_that_a_bundle_only_carries_are_verified_and_not_read(folder):
    (folder / "notes.txt").write_bytes(b"carried")
    replace_file(folder, "notes.txt", b"carried")
    assert "notes.txt" in Bundle.open(folder).manifest["files"]
    (folder / "notes.txt").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"notes\.txt is damaged"):
        Bundle.open(folder)


def test_a_manifest_lists_a_bounded_number_of_files(folder):
    listed = {f"f{number}.txt": {"sha256": "0" * 64, "bytes": 0} for number in range(1000)}
    edit_manifest(folder, lambda m: m["files"].update(listed))
    with pytest.raises(BundleError, match=r"lists 100\d files, more than"):
        Bundle.open(folder)


def test_a_file_that_grows_while_it_is_read_is_refused(folder, monkeypatch):
    """The size is taken before the content: what comes between is found."""
    from edgebehave.bundles import manifest

    fdopen = manifest.os.fdopen

    def growing(number, mode):
        opened = fdopen(number, mode)
        return type(
            "Grown",
            (),
            {
                "__enter__": lambda self: self,
                "__exit__": lambda self, *error: opened.close(),
                "fileno": lambda self: number,
                "read": lambda self, size: opened.read()[:-1],
            },
        )()

    monkeypatch.setattr(manifest.os, "fdopen", growing)
    with pytest.raises(BundleError, match=r"manifest\.json changes while it is read; copy the bundle again"):
        Bundle.open(folder)


def priors(*values):
    """A change of the class priors: the first few, and the rest at the last behavior."""

    def change(manifest):
        given = manifest["class_priors"]
        zeros = [0.0] * (len(given) - len(values) - 1)
        manifest["class_priors"] = [*values, *zeros, 1.0 - sum(values)]

    return change


def test_class_priors_are_spread_over_the_known_behaviors(folder):
    edit_manifest(folder, priors(0.0, 0.25))
    assert Bundle.open(folder).class_priors[1] == 0.25
    for change in (priors(0.25, 0.25), priors(0.0, -0.25), lambda m: m.update(class_priors=[0.01] * 2)):
        other = Path(shutil.copytree(TINY / "int8", folder.with_name(f"{id(change)}")))
        edit_manifest(other, change)
        with pytest.raises(BundleError, match=r"class priors (that do not sum to one|for)"):
            Bundle.open(other)
    edit_manifest(folder, lambda m: m["class_priors"].__setitem__(1, 0.252))
    with pytest.raises(BundleError, match="class priors that do not sum to one"):
        Bundle.open(folder)


@pytest.mark.parametrize("sign", [1, -1])
def test_ratios_of_the_tail_shift_up_to_a_hundred(folder, sign):
    edit_manifest(folder, lambda m: m["tail"]["log_ratio"].__setitem__(1, 100 * sign))
    assert Bundle.open(folder).log_ratio[1] == 100 * sign
    edit_manifest(folder, lambda m: m["tail"]["log_ratio"].__setitem__(1, 100.5 * sign))
    with pytest.raises(BundleError, match="ratios of the tail shift above 100"):
        Bundle.open(folder)


def test_a_device_keeps_at_least_what_the_model_looks_back_on(folder):
    shape = Bundle.open(folder).shape
    least = max(shape.receptive_field + shape.window - 2, shape.habit_events)
    edit_manifest(folder, lambda m: m["model"].update(history_events=least))
    assert Bundle.open(folder).shape.history_events == least
    edit_manifest(folder, lambda m: m["model"].update(history_events=least - 1))
    with pytest.raises(BundleError, match=f"keeps {least - 1} events per user, but the model looks back on {least}"):
        Bundle.open(folder)


def test_a_provider_that_runs_the_bundle_is_no_fallback(monkeypatch):
    """The warning compares what runs with what was wanted first."""
    from edgebehave.bundles import opened_graph

    class OnAnother:
        def __init__(self, session):
            self._session = session

        def __getattr__(self, name):
            return getattr(self._session, name)

        def get_providers(self):
            return ["QNNExecutionProvider", "CPUExecutionProvider"]

    real = opened_graph.open_graph
    monkeypatch.setattr(opened_graph, "open_graph", lambda content, providers: OnAnother(real(content)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = Predictor.load(TINY / "web", providers=["QNNExecutionProvider"])
    assert predictor.providers == ("QNNExecutionProvider", "CPUExecutionProvider")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["events"].__setitem__(1, 7), "names must be texts"),
        (lambda v: v["event_to_behavior"].__setitem__(1, 1.0), "ids whole numbers"),
        (lambda v: v["event_to_behavior"].__setitem__(1, True), "ids whole numbers"),
        (lambda v: v.pop("locations"), "'locations'"),
    ],
)
def test_a_vocabulary_of_other_types(folder, change, says):
    content = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    change(content)
    replace_file(folder, "vocabulary.json", json.dumps(content).encode())
    with pytest.raises(BundleError, match=rf"vocabulary\.json is not a vocabulary: .*{says}"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["fp32", "int8", "web"])
def test_no_flipped_bit_and_no_missing_end_goes_unnoticed(name, tmp_path):
    folder = Path(shutil.copytree(TINY / name, tmp_path / "bundle"))
    draw = random.Random(0)
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        for position in draw.sample(range(len(content)), 120):
            flipped = bytearray(content)
            flipped[position] ^= 1 << draw.randrange(8)
            for damaged in (bytes(flipped), content[:position]):
                file.write_bytes(damaged)
                with pytest.raises(BundleError):
                    Bundle.open(folder)
        file.write_bytes(content)
    Bundle.open(folder)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_manifest_rewritten_with_its_digest_is_an_error_or_a_bundle(data):
    """Whoever writes the digest may write anything: never another exception than BundleError."""
    manifest = json.loads((TINY / "int8" / "manifest.json").read_text())
    holder = data.draw(st.sampled_from([manifest, manifest["model"], manifest["files"]]))
    key = data.draw(st.sampled_from(sorted(holder)))
    anything = st.one_of(
        *(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text()),
        *(st.lists(st.integers()), st.dictionaries(st.text(), st.text())),
    )
    holder[key] = data.draw(anything)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(TINY / "int8", Path(parent) / "bundle"))
        (folder / "manifest.json").write_bytes(digested_manifest(manifest))
        with contextlib.suppress(BundleError):
            Bundle.open(folder)


def test_a_manifest_that_is_no_json(folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Predictor.load(folder)


def test_a_graph_that_is_no_graph(folder):
    replace_file(folder, "observe.onnx", b"not a graph")
    with pytest.raises(BundleError, match=r"observe\.onnx cannot be loaded"):
        Predictor.load(folder)


def test_a_vocabulary_that_is_none(folder):
    replace_file(folder, "vocabulary.json", b"[]")
    with pytest.raises(BundleError, match=r"vocabulary\.json is not a vocabulary"):
        Predictor.load(folder)


def test_the_graphs_run_on_one_thread_of_the_cpu():
    predictor = Predictor.load(TINY / "int8")
    assert predictor.providers == ("CPUExecutionProvider",)
    for graph in (predictor._bundle.observe, predictor._bundle.predict):
        assert graph.get_session_options().intra_op_num_threads == 1
        assert graph.get_session_options().inter_op_num_threads == 1


def test_another_provider_never_falls_back_in_silence():
    with pytest.warns(RuntimeWarning, match="QNNExecutionProvider is not available here"):
        predictor = Predictor.load(TINY / "int8", providers=["QNNExecutionProvider"])
    assert predictor.providers == ("CPUExecutionProvider",)


def test_the_cpu_by_name_is_no_fallback():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor.load(TINY / "int8", providers=["CPUExecutionProvider"])


@pytest.fixture
def unloaded_onnxruntime():
    inference_module.load_onnxruntime.cache_clear()
    yield
    inference_module.load_onnxruntime.cache_clear()


@pytest.mark.usefixtures("unloaded_onnxruntime")
def test_without_onnxruntime_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install \"edgebehave\[cpu\]\""):
        Predictor.load(TINY / "int8")
    Predictor().observe("ada", "habits.need.no.runtime")


@pytest.mark.usefixtures("unloaded_onnxruntime")
def test_two_runtimes_that_overwrite_each_other_are_reported(monkeypatch):
    monkeypatch.setattr(inference_module, "_is_installed", lambda package: True)
    with pytest.warns(RuntimeWarning, match="overwrite each other's files"):
        Predictor.load(TINY / "int8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("external", r"predict\.onnx cannot be loaded: its weights lie in another file"),
        ("domain", r"predict\.onnx cannot be loaded: it calls 'Sum' of 'com\.other'"),
        ("op", r"predict\.onnx cannot be loaded: .*Telephone"),
    ],
)
def test_a_consistent_bundle_of_a_graph_that_wants_too_much(folder, change, says):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(folder / "predict.onnx")
    if change == "external":
        tensor = graph.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="vocabulary.json")
    else:
        domain, op = ("com.other", "Sum") if change == "domain" else ("", "Telephone")
        node = onnx.helper.make_node(op, ["hidden"], ["extra"], domain=domain)
        graph.graph.node.append(node)
    replace_file(folder, "predict.onnx", graph.SerializeToString())
    with pytest.raises(BundleError, match=says):
        Predictor.load(folder)
