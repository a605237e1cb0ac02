"""A universal bundle is written behind its gate, from a finished run alone, and by one command."""

import json
import shutil

import numpy as np
import onnx
import pytest
from make_tiny_universal import TINY_UNIVERSAL, write_random_run
from onnx import numpy_helper

import edgebehave_export.universal as universal_module
from edgebehave import Predictor
from edgebehave.bundles.universal_bundle import SHIPPED, UniversalBundle
from edgebehave_export.parity.report import ParityError
from edgebehave_export.universal import export_universal, is_universal_run, license_note, universal_graphs
from edgebehave_train.files import file_digest, read_json
from edgebehave_train.training import universal_start
from edgebehave_train.universal.pretraining import CONFIG_FILE, WEIGHTS_FILE

LENGTHS = (2, 5, 70)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("universal") / "run"
    write_random_run(folder)
    return folder


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_run_becomes_a_bundle(run, tmp_path, precision):
    lines: list[str] = []
    parity = export_universal(run, tmp_path / "out", precision, lengths=LENGTHS, on_line=lines.append)
    assert parity.passed
    assert parity.checks[0].value < 1e-5
    assert len(parity.checks) == (3 if precision == "int8" else 2)
    assert any("torch - fp32" in line for line in lines)
    manifest = UniversalBundle.open(tmp_path / "out").manifest
    assert (manifest["kind"], manifest["precision"]) == ("universal", precision)
    assert manifest["license_note"] == "trained on random worlds; no real log"
    assert (manifest["source"]["seed"], manifest["source"]["steps"]) == (0, 1)
    predictor = Predictor.load(tmp_path / "out")
    predictor.observe("ada", "coffee")
    assert predictor.predict("ada")[0].behavior == "coffee"


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    for name in ("one", "other"):
        export_universal(run, tmp_path / name, lengths=LENGTHS)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()


def test_the_bundle_of_the_tests_has_the_graphs_of_this_code(run):
    """Weights in 255 steps of a random model; the script beside the bundle makes it anew."""
    from edgebehave_train.universal.pretraining import load_universal

    for name, content in universal_graphs(load_universal(run))["int8"].items():
        mine, committed = onnx.load_from_string(content), onnx.load(TINY_UNIVERSAL / name)
        assert [node.op_type for node in mine.graph.node] == [node.op_type for node in committed.graph.node]


def test_training_starts_from_the_run_whose_bundle_the_package_predicts_with():
    source = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))["source"]
    assert source["weights_sha256"] == file_digest(universal_start.SHIPPED / WEIGHTS_FILE)
    assert source["config"] == read_json(universal_start.SHIPPED / CONFIG_FILE)["train"]


def test_a_graph_that_differs_is_not_written(run, tmp_path, monkeypatch):
    def broken(model):
        files = universal_graphs(model)
        proto = onnx.load_from_string(files["fp32"]["predict.onnx"])
        for tensor in proto.graph.initializer:
            if tensor.name == "model.heads.bias":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.1), tensor.name))
        files["fp32"]["predict.onnx"] = proto.SerializeToString()
        return files

    monkeypatch.setattr(universal_module, "universal_graphs", broken)
    with pytest.raises(ParityError, match="torch - fp32, probabilities"):
        export_universal(run, tmp_path / "out", lengths=LENGTHS)
    assert not (tmp_path / "out").exists()


def test_only_a_finished_run_and_a_free_folder_will_do(run, tmp_path):
    assert is_universal_run(run)
    assert not is_universal_run(tmp_path)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no finished universal model"):
        export_universal(unfinished, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="full"):
        export_universal(run, tmp_path / "full", overwrite=True)
    with pytest.raises(ValueError, match="precision must be fp32 or int8, got 'int4'"):
        export_universal(run, tmp_path / "out", "int4")


def test_the_command_recognizes_a_run(run, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    import edgebehave_export.parity.universal_parity as gate
    from edgebehave_cli.app import app

    monkeypatch.setattr(gate.check_universal_parity, "__kwdefaults__", {"lengths": LENGTHS, "worlds_per_length": 1})
    monkeypatch.setattr(export_universal, "__kwdefaults__", export_universal.__kwdefaults__ | {"lengths": LENGTHS})
    done = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["kind"] == "universal"
    for extra in (["--store", str(tmp_path)], ["--ort"]):
        refused = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / "other"), *extra])
        assert refused.exit_code
        assert "a universal bundle has no --store" in str(refused.exception) + refused.output


def test_the_note_names_the_logs_without_their_fingerprints():
    note = license_note(["web panel (MIT) 12ab", "diaries (public domain) 34cd"])
    assert note == "trained on random worlds and on logs: web panel (MIT); diaries (public domain)"
