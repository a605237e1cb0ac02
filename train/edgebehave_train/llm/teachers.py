"""Who can teach: a checkpoint, of this log or another."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.event_store import EventStore
from edgebehave_train.hardware import choose_device
from edgebehave_train.llm.teacher_probs import Teacher
from edgebehave_train.mapped_log import map_log
from edgebehave_train.scoring import target_probs
from edgebehave_train.split import TRAIN, part_of_event

_CHECKPOINT_TARGETS = 4096


def open_teacher(store: EventStore, path: Path, device: str = "auto") -> Teacher:
    """The teacher in a folder. Raises ValueError if it is none."""
    return checkpoint_teacher(store, Checkpoint.open(path), device)


def checkpoint_teacher(store: EventStore, checkpoint: Checkpoint, device: str = "auto") -> Teacher:
    """A finished checkpoint as the teacher of a smaller or another one, on any log.

    What it answers is what a device would be told, habits included, over the behaviors of its
    vocabulary. Raises ValueError if it is not finished.
    """
    if not checkpoint.training["finished"]:
        raise ValueError(
            f"{checkpoint.path} is not finished; go on with it by `edgebehave train --resume`"
        )
    log = map_log(store, checkpoint.vocabulary)
    behaviors = log.behavior_log(part_of_event(store, checkpoint.config.split) == TRAIN)
    num_behaviors = checkpoint.vocabulary.num_behaviors
    model = checkpoint.load_model().to(choose_device(device))

    def score(event: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        asked = np.zeros(store.num_events, bool)
        asked[event] = True
        targets = behaviors.targets(asked)
        if not np.array_equal(targets.event, event):
            raise ValueError(
                f"{checkpoint.path} takes {len(event) - len(targets)} of {len(event)} targets for "
                "events without a behavior; it cannot teach this log"
            )
        probs = np.zeros((len(event), num_behaviors), np.float32)
        for which, probs_RC in target_probs(model, log, behaviors, targets):
            probs[which] = probs_RC[:, :num_behaviors]
        probs[:, 0] = 0
        return probs / probs.sum(1, keepdims=True)

    return Teacher(
        behaviors=checkpoint.vocabulary.behaviors,
        score=score,
        card={
            "checkpoint": checkpoint.path.name,
            "sha256": weights_digest(checkpoint),
            "data_fingerprint": checkpoint.training["data_fingerprint"],
            "split": dataclasses.asdict(checkpoint.config.split),
        },
        at_a_time=_CHECKPOINT_TARGETS,
    )


def weights_digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of the weights."""
    return file_digest(checkpoint.path / "model.safetensors")


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
