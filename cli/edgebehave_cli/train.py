"""`edgebehave train`: an event store becomes a checkpoint."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import is_first_process, note, print_json
from edgebehave_cli.progress import TrainingBar
from edgebehave_cli.settings import (
    given_options,
    parse_settings,
    read_settings,
    recipe,
    refuse_with_resume,
    starts_from_universal,
    with_settings,
)

if TYPE_CHECKING:  # the annotations must not import torch
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint
    from edgebehave_train.training.recipes import TrainConfig

_SETTING_OF_OPTION = {
    "query_context": "query_context",
    "habits": "habits",
    "seed": "seed",
    "split": "split.by",
    "min_users": "min_users",
    "objective": "objective.name",
}
_SETTINGS = (*_SETTING_OF_OPTION, "preset", "from_", "set_", "config")
_LARGE = "Several processes, memory, loggers"


def train(
    context: typer.Context,
    store: options.StoreArgument,
    out: options.CheckpointOut,
    preset: options.Preset = "edge",
    objective: Annotated[
        str,
        typer.Option(
            help="ce; for rare behaviors dro, logit_adjusted, balanced_softmax, focal, class_balanced or group_dro; or "
            "one of an installed package. Settings of each: --set objective.NAME=VALUE."
        ),
    ] = "ce",
    query_context: options.QueryContext = "time",
    habits: options.Habits = True,
    from_: options.From = "auto",
    split: options.Split = "time",
    min_users: Annotated[
        int,
        typer.Option(
            min=1,
            help="A name enters the vocabulary, which ships with the bundle, if at least so many users of the training "
            "part have it; in a log of fewer users, all of them.",
        ),
    ] = 1,
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    set_: options.Set = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML or JSON with settings, for example config.json of a checkpoint; other options override it.",
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            help="A logger beside metrics.jsonl: tensorboard, or one of an installed package; may be repeated.",
            rich_help_panel=_LARGE,
        ),
    ] = None,
    parallel: Annotated[
        str,
        typer.Option(
            help="With several processes: ddp, each holds the whole model; fsdp, each holds a part; auto: by its size.",
            rich_help_panel=_LARGE,
        ),
    ] = "auto",
    micro_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="EVENTS",
            help="Accumulate gradients over parts of a batch of at most so many events, to save memory.",
            rich_help_panel=_LARGE,
        ),
    ] = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Pretrain a model on the training part of an event store.

    On logs of up to 400,000 events the universal model of the package is tuned to the log and answers together with
    the trained model. Validation keeps both, the trained model alone or the universal model as it is; a line
    says which.

    A killed run continues with --resume and ends with the same weights. To extend a finished run, give --resume and a
    larger --epochs. OUT/metrics.jsonl holds the losses.

    Example: [bold]edgebehave train runs/store -o runs/edge --preset edge[/bold]

    Example: [bold]edgebehave train runs/store -o runs/dro --objective dro --set dropout=0.3[/bold]

    Example, two processes: [bold]torchrun --nproc-per-node 2 -m edgebehave_cli train runs/store -o runs/edge[/bold]
    """
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint
    from edgebehave_train.training.pretraining import pretrain

    events = EventStore.open(store)
    if resume:
        refuse_with_resume(context, _SETTINGS)
        wanted = _config_of_run(Checkpoint.open(out), epochs)
    else:
        settings = {} if epochs is None else {"epochs": epochs}
        settings |= parse_settings(set_ or [])
        wanted = _new_config(context, events, settings, preset=preset, start=from_, file=config)
    with TrainingBar(f"go on with: edgebehave train {store} -o {out} --resume") as bar:
        checkpoint = pretrain(
            events,
            wanted,
            out,
            resume=resume,
            device=device,
            parallel=parallel,  # type: ignore[arg-type]  # pretrain checks the name
            micro_batch_events=micro_batch,
            loggers=log or [],
            extendable=True,
            on_progress=bar.report,
        )
    note(f"checkpoint -> {out}")
    if json and is_first_process():
        print_json({**checkpoint.training.to_json(), "events_per_s": bar.events_per_s})


def _config_of_run(begun: "Checkpoint", epochs: int | None) -> "TrainConfig":
    """The configuration of a run that goes on, with more epochs if they are given."""
    if epochs is None or epochs == begun.config.epochs:
        return begun.config
    if not begun.training.finished:
        raise ValueError(f"{begun.path} is not finished; --epochs extends a finished run, leave it out")
    return dataclasses.replace(begun.config, epochs=epochs)


def _new_config(
    context: typer.Context, store: "EventStore", last: dict[str, Any], *, preset: str, start: str, file: Path | None
) -> "TrainConfig":
    """The recipe of the preset with the defaults of the options, the settings of a file, the options that were given,
    and the last settings; later ones override earlier ones.

    start  the option --from.
    """
    on_line = given_options(context, (*_SETTING_OF_OPTION, "preset", "from_"))
    of_file = {} if file is None else read_settings(file)
    preset_of_file = of_file.pop("preset", preset)
    settings: dict[str, Any] = {setting: context.params[name] for name, setting in _SETTING_OF_OPTION.items()}
    settings |= of_file
    settings |= {_SETTING_OF_OPTION[name]: context.params[name] for name in on_line if name in _SETTING_OF_OPTION}
    if "from_" in on_line or "from_universal" not in of_file:
        is_plain = not settings["habits"] or settings["query_context"] == "none"
        settings["from_universal"] = starts_from_universal(start, store, is_plain=is_plain)
    return with_settings(recipe(preset if "preset" in on_line else preset_of_file), settings | last)
