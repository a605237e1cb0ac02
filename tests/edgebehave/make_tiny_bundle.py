"""Make the bundles that the tests of the runtime run on, so that those need no torch.

    python tests/edgebehave/make_tiny_bundle.py

A simulated log of a few users, two small models, and three bundles beside this file, together
350 kB: their predictions mean little, their form is that of a real one. Needs the extras `train`
and `export`. The window of 6 events makes caches fill and slide within a short test.

    tiny_bundle/int8  width 16, 2 layers, query_context "time"
    tiny_bundle/web   the same model, for browsers; with golden.jsonl.gz beside it
    tiny_bundle/fp32  width 16, 1 layer, query_context "time_location"
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from edgebehave_export.bundle import export_bundle
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest
from edgebehave_train.simulator.log import SimulatorConfig, simulate, write_log
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.recipes import tiny

TINY = Path(__file__).parent / "tiny_bundle"

BUNDLES: dict[str, dict[str, Any]] = {
    "int8": {"width": 16, "num_heads": 1, "num_layers": 2, "query_context": "time"},
    "fp32": {"width": 16, "num_heads": 1, "num_layers": 1, "query_context": "time_location"},
}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_log(simulate(SimulatorConfig(num_users=12, num_days=30)), work / "log.csv")
        ingest(
            IngestConfig(
                log=work / "log.csv",
                out=work / "store",
                user="user",
                time="time",
                event="event",
                location="location",
                utc_offset="utc_offset_min",
                behavior="behavior",
            )
        )
        store = EventStore.open(work / "store")
        for precision, changes in BUNDLES.items():
            config = tiny(window=6, learning_rate=3e-3, epochs=8, patience=0, **changes)
            checkpoint = work / precision
            pretrain(store, config, checkpoint, device="cpu")
            for target in ("native", "web") if precision == "int8" else ("native",):
                out = TINY / ("web" if target == "web" else precision)
                export_bundle(
                    checkpoint,
                    store.path,
                    out,
                    precision,
                    overwrite=True,
                    target=target,
                    golden=TINY / "golden.jsonl.gz" if target == "web" else None,
                    on_line=print,
                )
    total = sum(file.stat().st_size for file in TINY.rglob("*") if file.is_file())
    print(f"{TINY}: {total:,} bytes")


if __name__ == "__main__":
    main()
