"""The folder of a run that a longer command trains among others, and may have trained before."""

import shutil
from collections.abc import Callable
from pathlib import Path

from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.event_store import EventStore
from edgebehave_train.pretraining import Progress, pretrain
from edgebehave_train.recipes import TrainConfig


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
    is resumed; a folder without a whole description was killed while that was written, and begins
    anew. Raises ValueError as `pretrain` does.
    """
    begun = (folder / "config.json").exists()
    if begun:
        checkpoint = Checkpoint.open(folder)
        if checkpoint.training["finished"]:
            return checkpoint, True
    elif folder.exists():
        shutil.rmtree(folder)
    trained = pretrain(store, config, folder, resume=begun, device=device, on_progress=on_progress)
    return trained, False
