"""Export in Python, as `edgebehave export` has it.

from edgebehave_export import export

export("runs/edge", "runs/bundle", store="runs/store")
"""

from collections.abc import Callable
from pathlib import Path

from edgebehave.bundles.model_shape import Target
from edgebehave_export.bundle import Precision, export_bundle
from edgebehave_export.parity.report import ParityReport
from edgebehave_export.universal import export_universal, is_universal_run
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training.checkpoint import Checkpoint

__all__ = ["ParityReport", "export"]


def export(
    checkpoint: Checkpoint | Path | str,
    out: Path | str,
    store: EventStore | Path | str | None = None,
    *,
    precision: Precision = "int8",
    target: Target = "native",
    overwrite: bool = False,
    golden: Path | None = None,
    ort: bool = False,
    on_line: Callable[[str], None] = print,
) -> ParityReport:
    """Write the bundle of a checkpoint, or of a run of the universal model, once its graphs pass the parity gate.

    out        a folder that does not exist or is empty; with overwrite also an old bundle.
    store      the log that the checkpoint learned from; a run of the universal model has none.
    precision  "int8" or "fp32".
    target     "native" (phone, computer) or "web"; a universal bundle is the same for both.
    golden     a file for golden vectors, as private as the log; ort: also write graphs in ONNX Runtime's own format.
    on_line    receives lines of progress, the table of the gate among them.
    Returns    the table of the gate.
    Raises ParityError, which carries the table, when a graph differs from the checkpoint, and ValueError for a folder
    that must not be replaced. Then nothing is written.
    """
    folder = checkpoint.path if isinstance(checkpoint, Checkpoint) else Path(checkpoint)
    if is_universal_run(folder):
        if store is not None or golden or ort:
            raise ValueError("a universal bundle has no --store, --golden or --ort; leave them out")
        return export_universal(folder, Path(out), precision, overwrite=overwrite, on_line=on_line)
    if store is None:
        raise ValueError(f"exporting the checkpoint {folder} needs the log that it was trained on: add --store")
    return export_bundle(
        folder,
        store.path if isinstance(store, EventStore) else Path(store),
        Path(out),
        precision,
        overwrite=overwrite,
        target=target,
        golden=golden,
        ort=ort,
        on_line=on_line,
    )
