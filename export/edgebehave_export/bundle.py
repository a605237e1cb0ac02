"""From a checkpoint to a bundle (contract 3): graphs, parity gate, manifest, one atomic move."""

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args

from onnx import ModelProto

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.bundles.manifest import FORMAT_VERSION, MAX_BUNDLE_BYTES, digested_manifest, read_json
from edgebehave.bundles.model_shape import (
    GRAPHS,
    LOCATION_GRAPH,
    LOOKUP_GRAPH,
    NEXT_GRAPH,
    PREDICT_GRAPH,
    WAIT_GRAPH,
    ModelShape,
    Target,
)
from edgebehave.habits import HABIT_EVENTS
from edgebehave.time_features import NUM_SLOTS, SECONDS_PER_SLOT
from edgebehave_export.graphs.generation_graphs import can_generate
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.graphs.native_observe import native_observe
from edgebehave_export.graphs.onnx_export import export_location, export_observe, export_wait
from edgebehave_export.graphs.predict_graph import next_graph, predict_graph
from edgebehave_export.lookup import MIN_RUNTIME, universal_graphs, universal_parity, universal_shape
from edgebehave_export.parity.gate import check_parity
from edgebehave_export.parity.golden import check_golden_path, write_golden
from edgebehave_export.parity.report import ParityReport
from edgebehave_export.quantization import quantize_graphs
from edgebehave_train.calibration.answer_tuning import MAX_CELLS, AnswerTuning, part_probs, tune_answers
from edgebehave_train.files import file_digest, names_in, replaced_folder
from edgebehave_train.kernels.time_gaps import NUM_QUANTILES
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.universal.answers import READ_EVENTS

Precision = Literal["fp32", "int8"]

_GATE_LENGTHS = (3, 66, 450)
"""Events of the worlds on which the graphs of a lookup are compared with it: it was tuned, not made anew."""

TIME_RULE = (
    "local = time_s + 60 utc_offset_min; s = (local + 259200) mod 604800; "
    "weekday = s div 86400 (Monday = 0); slot = (s mod 86400) div 1800"
)


def export_bundle(
    checkpoint: Path,
    store: Path,
    out: Path,
    precision: Precision = "int8",
    *,
    overwrite: bool = False,
    target: Target = "native",
    golden: Path | None = None,
    ort: bool = False,
    on_line: Callable[[str], None] = lambda line: None,
) -> ParityReport:
    """Export a checkpoint, after its graphs have passed the parity gate on a real log.

    store      the log that the checkpoint was trained on: its validation part is the test.
    out        a folder that does not exist or is empty; with overwrite also an old bundle.
    target     "native": for ONNX Runtime of a phone or a computer. "web": for ONNX Runtime in a
               browser; observe.onnx returns only the new rows of the cache.
    golden     a file for golden vectors, beside the bundle: see `edgebehave_export.parity.golden`.
    ort        also write the graphs in ONNX Runtime's own format, see `ort_files`.
    on_line    receives lines of progress, the table of the gate among them.
    Returns    the table of the gate, which is also in the manifest.
    A lookup goes into native bundles alone; a web bundle answers by the named model.
    Raises ValueError for a folder that must not be replaced and for more names than the runtime
    reads, and ParityError, which carries the table, when a graph differs from the checkpoint. Then
    nothing is written.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be fp32 or int8, got {precision!r}")
    if target not in get_args(Target):
        raise ValueError(f"target must be {' or '.join(get_args(Target))}, got {target!r}")
    checkpoint, store, out = Path(checkpoint), Path(store), Path(out)
    if golden is not None:
        check_golden_path(Path(golden), out)
    with bundle_folder(out, overwrite) as new:
        opened, log = Checkpoint.open(checkpoint), EventStore.open(store)
        opened.require_log(log)
        opened.vocabulary.save(new / "vocabulary.json")
        _require_readable("vocabulary.json", (new / "vocabulary.json").read_bytes())
        model = opened.load_model()
        lookup, model.lookup = model.lookup, None
        if lookup and target == "web":
            on_line("web bundles have no lookup: this one answers by the named model alone, see `train --from scratch`")
            lookup = None
        tuning = tune_answers(opened, part_probs(log, opened, "validation", MAX_CELLS, with_lookup=lookup is not None))
        on_line(tuning.to_text())
        # With a lookup, calibration is the last step behind both models.
        shift = None if lookup else tuning.shift
        graphs = export_graphs(model, target, shift)
        shipped = quantize_graphs(graphs) if precision == "int8" else graphs
        on_line(f"graphs: {target}, {precision}, {_total_bytes(shipped):,} bytes")
        parity = check_parity(
            opened,
            model,
            log,
            fp32=graph_bytes(graphs),
            int8=graph_bytes(shipped) if precision == "int8" else None,
            shift=shift,
        )
        files = graph_bytes(shipped)
        if lookup:
            devices = universal_graphs(lookup.model)
            if precision == "fp32":
                del devices["int8"]
            parity = parity.with_checks("lookup: ", universal_parity(lookup.model, devices, _GATE_LENGTHS).checks)
            files[LOOKUP_GRAPH] = devices[precision][PREDICT_GRAPH]
        on_line(parity.to_text())
        parity.raise_if_failed()
        for name, content in (files | ort_files(files) if ort else files).items():
            (new / name).write_bytes(content)
        sizes = {
            path.name: {"sha256": file_digest(path), "bytes": path.stat().st_size} for path in sorted(new.iterdir())
        }
        manifest = {"target": target, "precision": precision, **_manifest(opened, model, tuning, parity)}
        if lookup:
            manifest["lookup"] = {"model": universal_shape(lookup.model), "powers": asdict(lookup.powers)}
            manifest["model"]["history_events"] = max(READ_EVENTS, model.config.history_events)
        content = digested_manifest(manifest | {"files": sizes})
        _require_readable("manifest.json", content)
        (new / "manifest.json").write_bytes(content)
    on_line(f"wrote {out}")
    if _is_large(sizes):
        digest = json.loads(content)["digest"]
        on_line(f"it is large, so it opens by its digest alone: Predictor.load({str(out)!r}, digest={digest!r})")
    if golden is not None:
        num_histories = write_golden(out, log, opened.config.split, Path(golden))
        on_line(f"wrote {golden}: {num_histories:,} golden histories, as private as the log")
    return parity


def _require_readable(name: str, content: bytes) -> None:
    """Raises ValueError for a file of JSON that is too large for the runtime, which no digest changes."""
    try:
        read_json(content)
    except ValueError as error:
        raise ValueError(
            f"{name} of this bundle would be refused: {error}; train with a larger --min-users, which leaves rare "
            "names out"
        ) from None


def _is_large(sizes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the runtime wants the digest: it bounds the files that it reads, and those that it does not."""
    unread = sum(size["bytes"] for name, size in sizes.items() if name.endswith(".ort"))
    total: int = sum(size["bytes"] for size in sizes.values())
    return max(unread, total - unread) > MAX_BUNDLE_BYTES


def export_graphs(
    model: BehaviorModel, target: Target = "native", shift: ProbabilityShift | None = None
) -> dict[str, ModelProto]:
    """The fp32 graphs of a bundle by file name; shift as in `predict_graph`."""
    observe = export_observe(model) if target == "web" else native_observe(model)
    graphs = dict(zip(GRAPHS, (observe, predict_graph(model, shift)), strict=True))
    if model.config.generation_heads:
        graphs[WAIT_GRAPH] = export_wait(model)
        if target != "web" and can_generate(model.config):
            graphs |= {NEXT_GRAPH: next_graph(model), LOCATION_GRAPH: export_location(model)}
    return graphs


def ort_files(graphs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The graphs in ONNX Runtime's own format by file name, observe.ort and so on, optimized for any processor.

    Such a file holds a graph as it is in memory after optimizing: it opens faster, and the smallest builds for
    phones read only this. It suits the ONNX Runtime that wrote it and newer ones, and differs by some bytes
    each time it is written. Raises RuntimeError if ONNX Runtime cannot convert a graph.
    """
    # Imported late: it brings all of onnxruntime's tools along.
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in graphs.items():
            (folder / file).write_bytes(content)
        with redirect_stdout(io.StringIO()):  # it prints each file
            convert_onnx_models_to_ort(folder, optimization_styles=[OptimizationStyle.Fixed])
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.ort"))}


def bundle_folder(out: Path, overwrite: bool) -> AbstractContextManager[Path]:
    """A new folder that takes the place of `out` at the end, see `replaced_folder`.

    Raises ValueError if a bundle must not be written to `out`.
    """
    return replaced_folder(out, "a bundle", foreign_to_bundle, instead="" if overwrite else "use --overwrite")


def foreign_to_bundle(path: Path) -> set[str]:
    """The names in a folder that are no files of a bundle, whatever its version."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        return names_in(path) - set(manifest["files"]) - {"manifest.json"}
    except (OSError, ValueError, KeyError, TypeError):
        return names_in(path)


def _manifest(
    checkpoint: Checkpoint, model: BehaviorModel, tuning: AnswerTuning, parity: ParityReport
) -> dict[str, Any]:
    config = model.config
    counts_V = checkpoint.behavior_counts
    generation = None
    if can_generate(config):
        generation = {
            "num_quantiles": NUM_QUANTILES,
            "clock_rate": model.generation.clock_rate_DS.tolist(),
        }
    return {
        "format_version": FORMAT_VERSION,
        "min_runtime": MIN_RUNTIME,
        "model": model_shape(config),
        "time": {"slot_s": SECONDS_PER_SLOT, "num_slots": NUM_SLOTS, "rule": TIME_RULE},
        "class_priors": (counts_V / max(1, int(counts_V.sum()))).tolist(),
        "dro_weights": checkpoint.training.worst_case,
        "calibration": tuning.calibration,
        "tail": tuning.tail,
        "conformal": tuning.conformal,
        "acting": tuning.acting,
        "generation": generation,
        "quality": checkpoint.read_metrics(),
        "parity": parity.to_json(),
        "source": {
            "data_fingerprint": checkpoint.training.data_fingerprint,
            "config": checkpoint.config.to_json(),
            "weights_sha256": file_digest(checkpoint.path / "model.safetensors"),
        },
    }


def model_shape(config: ModelConfig) -> dict[str, Any]:
    """The part of a manifest that `edgebehave.bundles.model_shape.ModelShape` reads."""
    names = [field.name for field in fields(ModelShape) if field.name != "habit_events"]
    return {name: getattr(config, name) for name in names} | {"habit_events": HABIT_EVENTS}


def _total_bytes(graphs: dict[str, ModelProto]) -> int:
    return sum(len(content) for content in graph_bytes(graphs).values())
