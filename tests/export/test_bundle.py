"""Writing bundles: what is in them, and what is never overwritten."""

import hashlib
import json
import logging
import math
import shutil
import warnings

import numpy as np
import onnx
import pytest

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.inference import open_graph
from edgebehave.bundles.model_shape import GRAPHS
from edgebehave.vocabulary import Vocabulary
from edgebehave_export import bundle as bundle_module
from edgebehave_export.bundle import bundle_folder, export_bundle, foreign_to_bundle, ort_files
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.parity.replay import ClientHistory, Device
from edgebehave_export.parity.report import ParityError, ParityReport
from edgebehave_train.logs.mapped_log import map_log


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tiny_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "nested" / "int8"
    lines = []
    report = export_bundle(tiny_checkpoint.path, tiny_store.path, out, on_line=lines.append)
    return out, report, lines


@pytest.fixture(scope="module")
def shipped_graphs(exported):
    """The int8 graphs of that bundle, calibration and tail shift included."""
    return {name: onnx.load(exported[0] / name) for name in GRAPHS}


@pytest.fixture
def quick(monkeypatch, exported, fp32_graphs, shipped_graphs):
    """Exports without exporting and without the gate: how it is written is the question."""
    monkeypatch.setattr(bundle_module, "quantize_graphs", lambda graphs: shipped_graphs)
    monkeypatch.setattr(bundle_module, "export_graphs", lambda *args: fp32_graphs)
    monkeypatch.setattr(bundle_module, "check_parity", lambda *args, **graphs: exported[1])


def manifest_of(path):
    return json.loads((path / "manifest.json").read_text(encoding="utf-8"))


def test_a_bundle_holds_what_its_manifest_lists(exported, tiny_checkpoint):
    out, report, lines = exported
    files = manifest_of(out)["files"]
    assert set(files) == {"observe.onnx", "predict.onnx", "vocabulary.json"}
    assert {path.name for path in out.iterdir()} == set(files) | {"manifest.json"}
    for name, entry in files.items():
        content = (out / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert Vocabulary.load(out / "vocabulary.json") == tiny_checkpoint.vocabulary
    assert report.to_text() in lines
    assert not list(out.parent.glob(".*"))


def test_the_manifest_describes_the_model(exported, tiny_checkpoint):
    out, report, _ = exported
    manifest, config = manifest_of(out), tiny_checkpoint.model_config
    assert manifest["format_version"] == 2
    assert manifest["target"] == "native"
    assert manifest["precision"] == "int8"
    for name in ("width", "head_width", "window", "receptive_field", "num_spare", "num_behaviors"):
        assert manifest["model"][name] == getattr(config, name)
    assert (manifest["model"]["history_events"], manifest["model"]["habit_events"]) == (512, 512)
    assert manifest["time"]["num_slots"] * manifest["time"]["slot_s"] == 86400
    priors = np.array(manifest["class_priors"])
    assert priors[0] == 0
    assert priors.sum() == pytest.approx(1)
    assert manifest["dro_weights"] is None
    assert 0.2 < manifest["calibration"]["temperature"] <= 5
    assert manifest["calibration"]["boost"] >= 0
    assert {"before", "after", "num_targets", "num_users"} <= set(manifest["calibration"])
    assert len(manifest["tail"]["log_ratio"]) == config.num_behaviors
    assert [point["tail"] for point in manifest["tail"]["points"]] == [0, 0.25, 0.5, 0.75, 1]
    assert len(manifest["conformal"]["threshold"]) == len(manifest["conformal"]["coverage"])
    assert manifest["parity"] == json.loads(json.dumps(report.to_json()))
    source = manifest["source"]
    assert source["data_fingerprint"] == tiny_checkpoint.training.data_fingerprint
    weights = (tiny_checkpoint.path / "model.safetensors").read_bytes()
    assert source["weights_sha256"] == hashlib.sha256(weights).hexdigest()


def test_the_runtime_opens_it(exported, tiny_checkpoint):
    opened = Bundle.open(exported[0])
    assert opened.vocabulary.num_events == tiny_checkpoint.model_config.num_events
    assert opened.operating_points[-1].coverage == 1
    assert opened.operating_points[-1].precision == pytest.approx(opened.manifest["calibration"]["after"]["hr_at_1"])


def test_the_same_checkpoint_gives_the_same_bundle(quick, exported, tiny_checkpoint, tiny_store, tmp_path):
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "again")
    for path in exported[0].iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_bundle_is_replaced_only_on_request(quick, exported, tiny_checkpoint, tiny_store):
    out = exported[0]
    arguments = (tiny_checkpoint.path, tiny_store.path, out, "fp32")
    with pytest.raises(ValueError, match="already holds a bundle; use --overwrite"):
        export_bundle(*arguments)
    assert manifest_of(out)["precision"] == "int8"
    export_bundle(*arguments, overwrite=True)
    assert manifest_of(out)["precision"] == "fp32"
    assert not list(out.parent.glob(".*"))
    export_bundle(*arguments[:3], overwrite=True)


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path, exported):
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(ValueError, match="not part of a bundle"), bundle_folder(tmp_path, overwrite=True):
        pass
    # Nor is a bundle to which somebody added something.
    content = (exported[0] / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(content)
    assert foreign_to_bundle(tmp_path) == {"photo.jpg"}
    (tmp_path / "photo.jpg").unlink()
    assert not foreign_to_bundle(tmp_path)
    (tmp_path / "empty").mkdir()
    for free in ("new", "empty"):
        with bundle_folder(tmp_path / free, overwrite=False):
            pass
    (tmp_path / "empty" / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match="not part of a bundle"), bundle_folder(tmp_path / "empty", overwrite=True):
        pass


@pytest.fixture
def failing_gate(monkeypatch, exported):
    """The gate fails with the table of `exported`."""
    _, report, _ = exported

    class FailedReport(type(report)):
        def raise_if_failed(self):
            raise ParityError(self)

    failed = FailedReport(**vars(report))
    monkeypatch.setattr(bundle_module, "check_parity", lambda *a, **k: failed)
    return report


def test_a_failed_gate_writes_nothing(quick, failing_gate, tiny_checkpoint, tiny_store, tmp_path):
    lines = []
    with pytest.raises(ParityError):
        export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "out", on_line=lines.append)
    assert not list(tmp_path.iterdir())
    assert failing_gate.to_text() in lines  # the table is shown either way


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="precision must be fp32 or int8, got 'int4'"):
        export_bundle(tmp_path, tmp_path, tmp_path / "out", precision="int4")


@pytest.mark.parametrize("target", ["phone", "server"])
def test_an_unknown_target_is_refused(tmp_path, target):
    with pytest.raises(ValueError, match=f"target must be native or web, got '{target}'"):
        export_bundle(tmp_path, tmp_path, tmp_path / "out", target=target)


def test_a_bundle_for_the_web_returns_what_is_new(exported, tiny_checkpoint, tiny_store, tmp_path):
    out = tmp_path / "web"
    export_bundle(tiny_checkpoint.path, tiny_store.path, out, target="web")
    assert manifest_of(out)["target"] == "web"
    opened = Bundle.open(out)
    assert [output.name for output in opened.observe.get_outputs()] == ["hidden", "new_rows"]
    for name in ("vocabulary.json", "predict.onnx"):
        assert (out / name).read_bytes() == (exported[0] / name).read_bytes()


def test_a_replacement_that_was_killed_is_undone_at_once(exported, tiny_checkpoint, tiny_store, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    shutil.copytree(exported[0], tmp_path / ".bundle.partial" / "old")
    monkeypatch.setattr(bundle_module, "tune_answers", lambda *a: pytest.fail("it works before it refuses"))
    with pytest.raises(ValueError, match="already holds a bundle"):
        export_bundle(tiny_checkpoint.path, tiny_store.path, out)
    assert not foreign_to_bundle(out)
    assert not (tmp_path / ".bundle.partial").exists()


def test_a_failed_gate_puts_back_what_a_killed_export_replaced(
    quick, failing_gate, exported, tiny_checkpoint, tiny_store, tmp_path
):
    shutil.copytree(exported[0], tmp_path / ".bundle.partial" / "old")
    with pytest.raises(ParityError):
        export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "bundle", overwrite=True)
    assert not foreign_to_bundle(tmp_path / "bundle")


@pytest.fixture(scope="module")
def ort(int8_graphs):
    return ort_files(graph_bytes(int8_graphs))


def test_ort_files_compute_what_the_graphs_do(ort, int8_graphs, tiny_store, tiny_checkpoint):
    assert set(ort) == {name.replace(".onnx", ".ort") for name in int8_graphs}
    log = map_log(tiny_store, tiny_checkpoint.vocabulary)
    history = ClientHistory.of_log(log, 0)
    renamed = {name.replace(".ort", ".onnx"): content for name, content in ort.items()}
    config = tiny_checkpoint.model_config
    states = [Device(config, graphs).stream(history)[0] for graphs in (renamed, graph_bytes(int8_graphs))]
    np.testing.assert_allclose(*states, atol=1e-5)
    predict = open_graph(ort["predict.ort"])
    assert predict.get_outputs()[0].name == "probs"


def test_warnings_of_the_converter_are_seen(monkeypatch, capsys):
    def convert(*arguments, **options):
        print("a line for each file")
        warnings.warn("a node is not supported", stacklevel=1)

    monkeypatch.setattr("onnxruntime.tools.convert_onnx_models_to_ort.convert_onnx_models_to_ort", convert)
    with pytest.warns(UserWarning, match="a node is not supported"):
        ort_files({})
    assert not capsys.readouterr().out


def test_the_mobile_usability_checker_finds_nothing_against_the_cpu(int8_graphs, tmp_path, caplog):
    checker = pytest.importorskip("onnxruntime.tools.mobile_helpers.usability_checker")
    for name, content in graph_bytes(int8_graphs).items():
        (tmp_path / name).write_bytes(content)
        logger = logging.getLogger("check_usability")
        with caplog.at_level(logging.INFO):
            # False: neither NNAPI nor CoreML would help, the CPU is right. It raises, or warns,
            # where a graph cannot run on a phone.
            assert not checker.analyze_model(tmp_path / name, skip_optimize=False, logger=logger)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_bundle_carries_ort_files_on_request(ort, int8_graphs, tiny_checkpoint, tiny_store, tmp_path, monkeypatch):
    report = ParityReport(num_predictions=0, num_users=0, num_joined=0, longest=0, num_full_cache=0, num_wrapped=0)
    monkeypatch.setattr(bundle_module, "quantize_graphs", lambda graphs: int8_graphs)
    monkeypatch.setattr(bundle_module, "export_graphs", lambda *model: int8_graphs)
    monkeypatch.setattr(bundle_module, "check_parity", lambda *args, **graphs: report)
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "out", ort=True)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(ort) < set(manifest["files"])
    for name in ort:
        open_graph((tmp_path / "out" / name).read_bytes())
    Bundle.open(tmp_path / "out")


def test_a_metric_that_was_not_measured_is_null(quick, tiny_checkpoint, tiny_store, tmp_path, monkeypatch):
    metrics = {"test": {"tail_accuracy": math.nan, "of_each": [0.5, math.inf]}}
    monkeypatch.setattr(type(tiny_checkpoint), "read_metrics", lambda self: metrics)
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "out")
    assert manifest_of(tmp_path / "out")["quality"] == {"test": {"tail_accuracy": None, "of_each": [0.5, None]}}
    Bundle.open(tmp_path / "out")


def test_a_large_bundle_is_written_with_its_golden_vectors_and_how_it_opens(
    quick, tiny_checkpoint, tiny_store, tmp_path, monkeypatch
):
    out, lines = tmp_path / "out", []
    for module in (bundle_module.__name__, "edgebehave.bundles.bundle", "edgebehave.bundles.manifest"):
        monkeypatch.setattr(f"{module}.MAX_BUNDLE_BYTES", 1000)
    export_bundle(tiny_checkpoint.path, tiny_store.path, out, golden=tmp_path / "golden.gz", on_line=lines.append)
    digest = manifest_of(out)["digest"]
    assert f"it is large, so it opens by its digest alone: Predictor.load({str(out)!r}, digest={digest!r})" in lines
    assert (tmp_path / "golden.gz").is_file()


def test_files_that_are_only_carried_do_not_make_a_bundle_large(
    quick, exported, tiny_checkpoint, tiny_store, tmp_path, monkeypatch
):
    read = sum(entry["bytes"] for entry in manifest_of(exported[0])["files"].values())
    for module in (bundle_module.__name__, "edgebehave.bundles.bundle", "edgebehave.bundles.manifest"):
        monkeypatch.setattr(f"{module}.MAX_BUNDLE_BYTES", read)
    monkeypatch.setattr(bundle_module, "ort_files", lambda graphs: {"observe.ort": bytes(read)})
    lines = []
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "out", ort=True, on_line=lines.append)
    assert not [line for line in lines if "large" in line]
    Bundle.open(tmp_path / "out")


@pytest.mark.parametrize("name", ["vocabulary.json", "manifest.json"])
def test_a_bundle_that_the_runtime_would_refuse_is_not_written(
    quick, exported, tiny_checkpoint, tiny_store, tmp_path, monkeypatch, name
):
    monkeypatch.setattr("edgebehave.bundles.manifest.MAX_JSON_BYTES", (exported[0] / name).stat().st_size - 1)
    with pytest.raises(ValueError, match=rf"{name} of this bundle would be refused: .*--min-users"):
        export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "out")
    assert not list(tmp_path.iterdir())
