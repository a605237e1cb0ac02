"""Files in ONNX Runtime's own format predict what their graphs do, and suit phones."""

import json
import logging

import numpy as np
import pytest

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.inference import open_graph
from edgebehave_export import bundle as bundle_module
from edgebehave_export.bundle import export_bundle, graph_bytes
from edgebehave_export.graphs.ort_format import ort_files
from edgebehave_export.parity.parity import ParityReport
from edgebehave_export.parity.replay import Device, History
from edgebehave_train.logs.mapped_log import map_log


@pytest.fixture(scope="module")
def files(int8_graphs):
    return ort_files(graph_bytes(int8_graphs))


def test_they_compute_what_the_graphs_do(files, int8_graphs, tiny_store, tiny_checkpoint):
    assert set(files) == {name.replace(".onnx", ".ort") for name in int8_graphs}
    log = map_log(tiny_store, tiny_checkpoint.vocabulary)
    history = History.of_log(log, 0)
    renamed = {name.replace(".ort", ".onnx"): content for name, content in files.items()}
    config = tiny_checkpoint.model_config
    states = [Device(config, graphs).stream(history)[0] for graphs in (renamed, graph_bytes(int8_graphs))]
    np.testing.assert_allclose(*states, atol=1e-5)
    predict = open_graph(files["predict.ort"])
    assert predict.get_outputs()[0].name == "probs"


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


def test_a_bundle_carries_them_on_request(files, int8_graphs, tiny_checkpoint, tiny_store, tmp_path, monkeypatch):
    report = ParityReport(num_predictions=0, num_users=0, num_joined=0, longest=0, num_full_cache=0, num_wrapped=0)
    monkeypatch.setattr(bundle_module, "quantize_graphs", lambda graphs: int8_graphs)
    monkeypatch.setattr(bundle_module, "export_graphs", lambda *model: int8_graphs)
    monkeypatch.setattr(bundle_module, "check_parity", lambda *args, **graphs: report)
    export_bundle(tiny_checkpoint.path, tiny_store.path, tmp_path / "out", ort=True)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(files) < set(manifest["files"])
    for name in files:
        open_graph((tmp_path / "out" / name).read_bytes())
    Bundle.open(tmp_path / "out")
