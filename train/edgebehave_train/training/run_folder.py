"""The folder of a run that a longer command trains among others, and may have trained before."""

import shutil
from collections.abc import Callable
from pathlib import Path

from edgebehave_train.files import require_writable
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint
from edgebehave_train.training.pretraining import Progress, pretrain
from edgebehave_train.training.recipes import TrainConfig

_FILES = {
    *("config.json", "vocabulary.json", "training.json", "README.md"),
    *("model.safetensors", RESUME_FILE),
}


def finished_run(
    store: EventStore,
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Checkpoint, bool]:
    """The finished checkpoint in a folder, and whether it was finished before this call.

    A finished run is kept as it is: the caller checks its configuration and its log. A killed one
    is resumed; a folder with part of a description was killed while that was written, and begins
    anew. Raises ValueError as `pretrain` does, and if something else lies there.
    """
    begun = (folder / "config.json").exists()
    if begun:
        checkpoint = Checkpoint.open(folder)
        if checkpoint.training.finished:
            return checkpoint, True
    elif folder.exists():
        require_writable(folder, "a run that was begun", _is_of_run)
        shutil.rmtree(folder)
    trained = pretrain(store, config, folder, resume=begun, device=device, on_progress=on_progress)
    return trained, False


def _is_of_run(folder: Path) -> bool:
    """Whether everything in a folder is what a run writes, whole or in part."""
    names = (path.name.removesuffix(".partial") for path in folder.iterdir())
    return all(name in _FILES for name in names)
