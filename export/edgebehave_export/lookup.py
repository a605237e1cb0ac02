"""The graph of a universal model, for a bundle of its own or as the lookup of a named model, and its parity gate."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebehave.bundles.manifest import FORMAT_VERSION, digested_manifest
from edgebehave.bundles.model_shape import PREDICT_GRAPH
from edgebehave.bundles.universal_bundle import UNIVERSAL, UniversalBundle
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.graphs.universal_graphs import universal_predict
from edgebehave_export.parity.report import ParityReport
from edgebehave_export.parity.universal_parity import LENGTHS, check_universal_parity
from edgebehave_export.quantization import quantize
from edgebehave_train.files import file_digest
from edgebehave_train.universal.answers import READ_EVENTS
from edgebehave_train.universal.lookup import LOOKBACK, NUM_BEFORE
from edgebehave_train.universal.universal_model import SUCCESS_EVENTS, UniversalModel

MIN_RUNTIME = "0.1.0"
"""The oldest runtime that reads what this package writes."""


def universal_graphs(model: UniversalModel) -> dict[str, dict[str, bytes]]:
    """Contents of the graphs by precision and by file name."""
    graphs = {PREDICT_GRAPH: universal_predict(model)}
    int8 = {name: quantize(proto, None) for name, proto in graphs.items()}
    return {"fp32": graph_bytes(graphs), "int8": graph_bytes(int8)}


def universal_parity(
    model: UniversalModel, devices: Mapping[str, Mapping[str, bytes]], lengths: tuple[int, ...] = LENGTHS
) -> ParityReport:
    """Run the parity gate of a universal model on its graphs; devices as in `universal_graphs`."""
    with tempfile.TemporaryDirectory() as folder:
        opened = {}
        for name, files in devices.items():
            write_universal(Path(folder) / name, {"model": universal_shape(model)}, files)
            opened[name] = UniversalBundle.open(Path(folder) / name)
        return check_universal_parity(model, opened, lengths=lengths)


def write_universal(folder: Path, manifest: Mapping[str, Any], graphs: Mapping[str, bytes]) -> None:
    """Write the files of a universal bundle. manifest: all of it but the versions, the kind and the list of files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in graphs.items():
        (folder / name).write_bytes(content)
    files = {name: {"sha256": file_digest(folder / name), "bytes": len(content)} for name, content in graphs.items()}
    whole = {"format_version": FORMAT_VERSION, "min_runtime": MIN_RUNTIME, "kind": UNIVERSAL, **manifest}
    (folder / "manifest.json").write_bytes(digested_manifest(whole | {"files": files}))


def universal_shape(model: UniversalModel) -> dict[str, int]:
    """The part of a manifest that `edgebehave.bundles.universal_bundle.UniversalShape` reads."""
    return {
        "lookback": LOOKBACK,
        "num_before": NUM_BEFORE,
        "success_events": SUCCESS_EVENTS,
        "success_columns": model.config.num_kernels + 2,
        "history_events": READ_EVENTS,
    }
