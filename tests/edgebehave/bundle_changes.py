"""Changes of a bundle whose checksum is right again afterwards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebehave.bundles.manifest import digested_manifest


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))
