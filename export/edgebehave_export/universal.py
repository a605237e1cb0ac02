"""From a run of the universal model to a universal bundle: graphs, parity gate, manifest, one atomic move.

The bundle that comes with the package is made by

    edgebehave export RUN -o edgebehave/universal_bundle --overwrite
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from edgebehave.bundles.manifest import FORMAT_VERSION, digested_manifest
from edgebehave.bundles.model_shape import PREDICT_GRAPH
from edgebehave.bundles.universal_bundle import UNIVERSAL, UniversalBundle
from edgebehave_export.bundle import MIN_RUNTIME, bundle_folder, graph_bytes
from edgebehave_export.graphs.universal_graphs import universal_predict
from edgebehave_export.parity.report import ParityReport
from edgebehave_export.parity.universal_parity import LENGTHS, check_universal_parity
from edgebehave_export.quantization import quantize
from edgebehave_train.files import file_digest, read_json
from edgebehave_train.universal.answers import READ_EVENTS
from edgebehave_train.universal.lookup import LOOKBACK, NUM_BEFORE
from edgebehave_train.universal.pretraining import CONFIG_FILE, WEIGHTS_FILE, load_universal
from edgebehave_train.universal.universal_model import SUCCESS_EVENTS, UniversalModel

Precision = Literal["fp32", "int8"]


def is_universal_run(path: Path) -> bool:
    """Whether a folder holds a run of the universal model, finished or not."""
    try:
        return "shape" in read_json(path / CONFIG_FILE)["train"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def export_universal(
    run: Path,
    out: Path,
    precision: Precision = "int8",
    *,
    overwrite: bool = False,
    lengths: tuple[int, ...] = LENGTHS,
    report: Callable[[str], None] = lambda line: None,
) -> ParityReport:
    """Export a run of the universal model, after its graphs have passed the parity gate on random worlds.

    out        a folder that does not exist or is empty; with overwrite also an old bundle.
    precision  of the stored weights; the graphs compute in float either way, and are the same for every runtime.
    lengths    events of the worlds of the gate.
    report     receives lines of progress, the table of the gate among them.
    Returns    the table of the gate, which is also in the manifest.
    Raises ValueError for a folder that is no finished run or must not be replaced, and ParityError, which carries the
    table, when a graph differs from the model. Then nothing is written.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be fp32 or int8, got {precision!r}")
    run, out = Path(run), Path(out)
    with bundle_folder(out, overwrite) as new:
        model = load_universal(run)
        devices = universal_graphs(model)
        if precision == "fp32":
            del devices["int8"]
        report(f"graphs: universal, {precision}, {sum(map(len, devices[precision].values())):,} bytes")
        with tempfile.TemporaryDirectory() as folder:
            opened = {}
            for name, files in devices.items():
                write_universal(Path(folder) / name, {"model": _shape(model)}, files)
                opened[name] = UniversalBundle.open(Path(folder) / name)
            parity = check_universal_parity(model, opened, lengths=lengths)
        report(parity.to_text())
        parity.raise_if_failed()
        train = read_json(run / CONFIG_FILE)["train"]
        manifest = {
            "precision": precision,
            "model": _shape(model),
            "license_note": license_note(train.get("logs", ())),
            "parity": parity.to_json(),
            "source": {
                "seed": train["seed"],
                "steps": train["steps"],
                "config": train,
                "weights_sha256": file_digest(run / WEIGHTS_FILE),
            },
        }
        write_universal(new, manifest, devices[precision])
    report(f"wrote {out}")
    return parity


def universal_graphs(model: UniversalModel) -> dict[str, dict[str, bytes]]:
    """Contents of the graphs by precision and by file name."""
    graphs = {PREDICT_GRAPH: universal_predict(model)}
    int8 = {name: quantize(proto, None) for name, proto in graphs.items()}
    return {"fp32": graph_bytes(graphs), "int8": graph_bytes(int8)}


def write_universal(folder: Path, manifest: Mapping[str, Any], graphs: Mapping[str, bytes]) -> None:
    """Write the files of a universal bundle. manifest: all of it but the versions, the kind and the list of files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in graphs.items():
        (folder / name).write_bytes(content)
    files = {name: {"sha256": file_digest(folder / name), "bytes": len(content)} for name, content in graphs.items()}
    whole = {"format_version": FORMAT_VERSION, "min_runtime": MIN_RUNTIME, "kind": UNIVERSAL, **manifest}
    (folder / "manifest.json").write_bytes(digested_manifest(whole | {"files": files}))


def license_note(logs: Sequence[str]) -> str:
    """What a model was trained on. logs: source and fingerprint of each, as in `UniversalTrainConfig`."""
    sources = [log.rpartition(" ")[0] or log for log in logs]
    return (
        f"trained on random worlds and on logs: {'; '.join(sources)}"
        if logs
        else "trained on random worlds; no real log"
    )


def _shape(model: UniversalModel) -> dict[str, int]:
    """The part of a manifest that `edgebehave.bundles.universal_bundle.UniversalShape` reads."""
    return {
        "lookback": LOOKBACK,
        "num_before": NUM_BEFORE,
        "success_events": SUCCESS_EVENTS,
        "success_columns": model.config.num_kernels + 2,
        "history_events": READ_EVENTS,
    }
