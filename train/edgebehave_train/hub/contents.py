"""The files of a checkpoint or a bundle that may travel: those that its format names, and no others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgebehave.bundles.manifest import MAX_PINNED_BYTES, listed_files, read_files, read_manifest
from edgebehave_train.files import content_digest, read_json
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.universal.own_names import LOOKUP_FILE

Kind = Literal["checkpoint", "bundle"]

CARD = "README.md"
_DESCRIPTIONS = {"bundle": ("manifest.json",), "checkpoint": ("config.json", "training.json")}
_OF_CHECKPOINT = ("vocabulary.json", "model.safetensors")
_METRICS = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The verified contents of a folder.

    files   names, the description first; without the card.
    digest  of a bundle the one of its manifest; of a checkpoint the SHA-256 of training.json, which holds those of the
            configuration and the weights.
    """

    kind: Kind
    path: Path
    files: Sequence[str]
    digest: str
    manifest: dict[str, Any]


def kind_of(names: Sequence[str]) -> Kind:
    """The kind of a folder, by its files. Raises ValueError if it is neither."""
    if "manifest.json" in names:
        return "bundle"
    if "config.json" in names and "training.json" in names:
        return "checkpoint"
    raise ValueError("neither a checkpoint nor a bundle is there")


def read_contents(path: Path) -> Contents:
    """Verify a folder. Raises ValueError for damage, for an unfinished run, and for anything else than both kinds."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; expected a checkpoint or a bundle")
    try:
        kind = kind_of([entry.name for entry in path.iterdir()])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if kind == "bundle":
        manifest = read_manifest(path)
        read_files(path, manifest, (), set(), MAX_PINNED_BYTES)
        files = ("manifest.json", *manifest["files"])
        return Contents(kind=kind, path=path, files=files, digest=manifest["digest"], manifest=manifest)
    checkpoint = Checkpoint.open(path)
    if not checkpoint.training.finished:
        raise ValueError(f"{path} is not finished; finish it with `edgebehave train --resume`")
    checkpoint.check()
    record = read_json(path / "training.json")
    optional = [name for name in (_METRICS,) if (path / name).is_file()]
    files = (
        *_DESCRIPTIONS[kind],
        *_OF_CHECKPOINT,
        *([LOOKUP_FILE] if checkpoint.training.universal else []),
        *optional,
    )
    return Contents(kind=kind, path=path, files=files, digest=content_digest(record), manifest={})


def fetch(names: Sequence[str], copy: Callable[[str], None], new: Path) -> Contents:
    """Bring the files of a checkpoint or a bundle into a new folder, and verify them.

    names  of what is there.
    copy   brings one of them into `new`. It is called for names of the format alone: a manifest that names a file
           outside its folder is refused before.
    Raises ValueError as `read_contents`.
    """
    kind = kind_of(names)
    for name in _DESCRIPTIONS[kind]:
        copy(name)
    if kind == "bundle":
        listed = list(listed_files(new, read_manifest(new), (), set(), MAX_PINNED_BYTES))
    else:
        record = read_json(new / "training.json", sealed_with="sha256")
        wanted = (*_OF_CHECKPOINT, *([LOOKUP_FILE] if record.get("universal") else []), _METRICS, CARD)
        listed = [name for name in wanted if name in names or name in _OF_CHECKPOINT]
    for name in listed:
        copy(name)
    return read_contents(new)
