"""From a run of the universal model to a universal bundle: graphs, parity gate, manifest, one atomic move.

The bundle that comes with the package is made by

    edgebehave export RUN -o edgebehave/universal_bundle --overwrite
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from edgebehave_export.bundle import bundle_folder
from edgebehave_export.lookup import universal_graphs, universal_parity, universal_shape, write_universal
from edgebehave_export.parity.report import ParityReport
from edgebehave_export.parity.universal_parity import LENGTHS
from edgebehave_train.files import file_digest, read_json
from edgebehave_train.universal.pretraining import CONFIG_FILE, WEIGHTS_FILE, load_universal

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
    on_line: Callable[[str], None] = lambda line: None,
) -> ParityReport:
    """Export a run of the universal model, after its graphs have passed the parity gate on random worlds.

    out        a folder that does not exist or is empty; with overwrite also an old bundle.
    precision  of the stored weights; the graphs compute in float either way, and are the same for every runtime.
    lengths    events of the worlds of the gate.
    on_line    receives lines of progress, the table of the gate among them.
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
        on_line(f"graphs: universal, {precision}, {sum(map(len, devices[precision].values())):,} bytes")
        parity = universal_parity(model, devices, lengths)
        on_line(parity.to_text())
        parity.raise_if_failed()
        train = read_json(run / CONFIG_FILE)["train"]
        manifest = {
            "precision": precision,
            "model": universal_shape(model),
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
    on_line(f"wrote {out}")
    return parity


def license_note(logs: Sequence[str]) -> str:
    """The training data of a model. logs: source and fingerprint of each, as in `UniversalTrainConfig`."""
    sources = [log.rpartition(" ")[0] or log for log in logs]
    return (
        f"trained on random worlds and on logs: {'; '.join(sources)}"
        if logs
        else "trained on random worlds; no real log"
    )
