"""`metrics.json` beside trained weights: everything measured, and every reading of the test part."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebehave_train.files import content_digest, read_json, write_json
from edgebehave_train.logs.event_store import EventStore


def record_measurement(folder: Path, store: EventStore, part: str, measured: Mapping[str, Any] | None = None) -> int:
    """Write what was measured on one part of a log, and note the reading if it was the test part.

    folder    of the trained weights.
    part      "validation" or "test".
    measured  entries of metrics.json; an entry of the same name is replaced.
    Returns   how often the test part has been read with these weights, this time included.
    """
    file = folder / "metrics.json"
    metrics: dict[str, Any] = read_json(file) if file.is_file() else {}
    reads = metrics.setdefault("test_reads", [])
    if part == "test":
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        reads.append({"at": now, "data_fingerprint": store.fingerprint})
    metrics |= dict(measured or {})
    if (folder / "config.json").is_file():  # these measurements are of this checkpoint
        metrics["config_sha256"] = content_digest(read_json(folder / "config.json"))
    write_json(file, metrics, seal=True)
    return len(reads)
