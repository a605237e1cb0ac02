"""A bundle of a named model together with a universal one, put together from the two tiny ones."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from lives import TINY

from edgebehave.bundles.manifest import digested_manifest

UNIVERSAL = TINY.parent / "tiny_universal"
POWERS = {"universal": 0.7, "named": 0.4, "unused": -0.5}


def write_combined(folder: Path) -> Path:
    """The int8 tiny bundle, in which every event gets a behavior, with the tiny universal bundle's graph as lookup."""
    shutil.copytree(TINY / "int8", folder)
    shutil.copy(UNIVERSAL / "predict.onnx", folder / "lookup.onnx")
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    vocabulary["event_to_behavior"] = [1 if number < 0 else number for number in vocabulary["event_to_behavior"]]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    universal = json.loads((UNIVERSAL / "manifest.json").read_text(encoding="utf-8"))
    change_manifest(folder, lookup={"model": universal["model"], "powers": POWERS})
    return folder


def change_manifest(folder: Path, **changes: Any) -> None:
    """Change fields of a manifest, and list the files with the hashes that they have now."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | changes
    for name in ("lookup.onnx", "vocabulary.json"):
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))
