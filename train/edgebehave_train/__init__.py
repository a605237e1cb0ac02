"""Weights from event logs: ingest, model, objectives, pretraining, evaluation."""

from typing import TYPE_CHECKING, Any

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
