"""Weights from event logs: ingest, model, objectives, pretraining, evaluation."""

import os
from typing import TYPE_CHECKING, Any

# Before torch is imported: its threads sleep while they wait for each other, and do not spin. On cores that another
# job shares, spinning takes the time that the awaited thread needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from edgebehave_train.api import (
        Checkpoint,
        EventStore,
        Table,
        TrainConfig,
        evaluate,
        from_pretrained,
        ingest,
        push_to_hub,
        train,
    )

__all__ = [
    "Checkpoint",
    "EventStore",
    "Table",
    "TrainConfig",
    "evaluate",
    "from_pretrained",
    "ingest",
    "push_to_hub",
    "train",
]


def __getattr__(name: str) -> Any:
    # Imported when used: they bring torch along, which a verb that only reads a log does not need.
    if name in __all__:
        from edgebehave_train import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
