"""Training in Python: `ingest`, `train`, `evaluate` and the hub, as the command line has them.

from edgebehave_train import ingest, train, evaluate

store = ingest("log.csv", "runs/store", user="uid", time="ts", event="app")
run = train(store, "runs/edge", preset="tiny")
table = evaluate(run, store)     # shown as a table in a notebook; table.to_pandas()
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebehave_train.evaluation.baselines import Baseline
from edgebehave_train.evaluation.table import Table
from edgebehave_train.evaluation.table import evaluate as evaluate_checkpoints
from edgebehave_train.hub.hub import from_pretrained, push_to_hub
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig
from edgebehave_train.logs.ingest import ingest as ingest_log
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.objectives import ObjectiveConfig
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.progress import Progress
from edgebehave_train.training.recipes import PRESETS, TrainConfig

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


def ingest(
    log: Any,
    out: Path | str,
    *,
    user: str = "user",
    time: str = "time",
    event: str = "event",
    on_line: Callable[[str], None] = print,
    **options: Any,
) -> EventStore:
    """Read a log, clean it, and write its event store.

    log      a file, a glob, a table of pandas, polars or Arrow, or a list of them.
    out      folder of the store.
    user, time, event
             names of the columns.
    on_line  receives lines about what was found.
    options  fields of `IngestConfig`: location, utc_offset, behavior, timezone, overwrite and others.
    Raises IngestError if the log cannot be read, TypeError for an unknown option, and ValueError if `out` holds
    anything that must not be replaced.
    """
    ingest_log(IngestConfig(log=log, out=Path(out), user=user, time=time, event=event, **options), on_line)
    return EventStore.open(out)


def train(
    store: EventStore | Path | str,
    out: Path | str,
    *,
    preset: str = "edge",
    objective: str | ObjectiveConfig = "ce",
    config: TrainConfig | None = None,
    resume: bool = False,
    device: str = "auto",
    loggers: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> Checkpoint:
    """Train a model on the training part of a store and write its checkpoint to `out`.

    preset       tiny, edge, base, large or paper.
    objective    a name, or its settings.
    config       the whole configuration, instead of preset, objective and changes.
    resume       continue the run in `out` with its own configuration, which preset, objective and changes do not alter;
                 only epochs=N extends a finished run to more epochs.
    device       "auto", "cpu" or "cuda".
    loggers      beside metrics.jsonl: "tensorboard", or those of installed packages.
    on_progress  receives the progress; default: a line after every epoch.
    changes      fields of `TrainConfig` that differ from the preset: epochs, seed, dropout and others.
    Raises ValueError for a bad setting, or if `out` holds another run; TypeError for an unknown field.
    """
    if resume:
        config = Checkpoint.open(out).config
        if "epochs" in changes:
            config = dataclasses.replace(config, epochs=changes["epochs"])
    elif config is None:
        if preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        settings = ObjectiveConfig(name=objective) if isinstance(objective, str) else objective
        config = PRESETS[preset](objective=settings, **changes)
    return pretrain(
        _opened(store),
        config,
        Path(out),
        resume=resume,
        device=device,
        loggers=loggers,
        extendable=True,
        on_progress=on_progress or _print_progress,
    )


def evaluate(
    checkpoints: Checkpoint | Path | str | Sequence[Checkpoint | Path | str],
    store: EventStore | Path | str,
    *,
    part: str = "validation",
    adjust: Sequence[float] = (),
    variants: bool = False,
    peers: Mapping[str, Baseline] | None = None,
    num_resamples: int = 1000,
) -> Table:
    """Measure checkpoints and every baseline on the validation part, or the test part, of a store.

    checkpoints    one or several; the first is compared with all other rows.
    part           "validation" or "test"; each reading of the test part is noted in the checkpoints.
    adjust         tau of post-hoc logit adjustment, a row each.
    variants       also rows for the network alone, no query time, and asking early.
    peers          other predictors of the same targets, by the names of their rows.
    num_resamples  of the bootstrap over users, for the 95 % intervals.
    """
    given = [checkpoints] if isinstance(checkpoints, Checkpoint | Path | str) else list(checkpoints)
    opened = [one if isinstance(one, Checkpoint) else Checkpoint.open(one) for one in given]
    return evaluate_checkpoints(
        _opened(store),
        opened,
        part=part,
        adjust=adjust,
        variants=variants,
        peers=peers,
        num_resamples=num_resamples,
    )


def _opened(store: EventStore | Path | str) -> EventStore:
    return store if isinstance(store, EventStore) else EventStore.open(store)


def _print_progress(progress: Progress) -> None:
    if progress.kind == "validation":
        best = ", best so far" if progress.is_best else ""
        print(f"epoch {progress.epoch}/{progress.num_epochs}: validation loss {progress.validation_loss:.4f}{best}")
    elif progress.message:
        print(progress.message)
