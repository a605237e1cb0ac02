"""`edgebehave train`: an event store becomes a checkpoint."""

import dataclasses
import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edgebehave_cli.console import JsonOption, note, print_json
from edgebehave_cli.training_progress import TrainingProgress

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
    from edgebehave_train.training.recipes import TrainConfig

Config = TypeVar("Config", "TrainConfig", "BehaviorLMConfig")


_SETTINGS = ("preset", "objective", "query_context", "habits", "split", "epochs", "seed", "set_")


def train(
    context: typer.Context,
    store: Annotated[Path, typer.Argument(help="Event store, from `edgebehave ingest`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the checkpoint.")],
    preset: Annotated[str, typer.Option(help="tiny, edge, base, large or paper.")] = "edge",
    objective: Annotated[
        str,
        typer.Option(
            help="ce; or, for the rare behaviors: dro, logit_adjusted, balanced_softmax, focal, "
            "class_balanced, group_dro. Settings of each: --set objective.NAME=VALUE."
        ),
    ] = "ce",
    query_context: Annotated[
        str, typer.Option(help="Known of the moment to predict for: none, time, time_location.")
    ] = "time",
    habits: Annotated[bool, typer.Option(help="Mix with the habit kernels; off = the paper's plain model.")] = True,
    split: Annotated[str, typer.Option(help="time: the last events of each user test; user: whole users do.")] = "time",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT, with its own settings.")] = False,
    json: JsonOption = False,
) -> None:
    """Pretrain a model on the training part of an event store.

    A run that was killed goes on with --resume and ends with the same weights.

    Example: [bold]edgebehave train runs/store -o runs/edge --preset edge[/bold]

    Example: [bold]edgebehave train runs/store -o runs/dro --objective dro --set dropout=0.3[/bold]
    """
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint
    from edgebehave_train.training.pretraining import pretrain

    if resume:
        given = [name for name in _SETTINGS if is_given(context, name)]
        if given:
            option = given[0].strip("_").replace("_", "-")
            raise ValueError(f"--resume goes on with the run's own settings; leave --{option} out")
        config = Checkpoint.open(out).config
    else:
        settings = [
            f"query_context={query_context}",
            f"habits={habits}",
            f"seed={seed}",
            f"split.by={split}",
            f"objective.name={objective}",
        ]
        settings += [] if epochs is None else [f"epochs={epochs}"]
        config = recipe_with(preset, [*settings, *(set_ or [])])
    with TrainingProgress() as progress:
        try:
            checkpoint = pretrain(
                EventStore.open(store),
                config,
                out,
                resume=resume,
                device=device,
                on_progress=progress.report,
            )
        except KeyboardInterrupt:
            note(f"interrupted; go on with: edgebehave train {store} -o {out} --resume")
            raise
    note(f"checkpoint -> {out}")
    if json:
        print_json({**checkpoint.training.to_json(), "events_per_s": progress.events_per_s})


def is_given(context: typer.Context, parameter: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def recipe_with(preset: str, given: Sequence[str]) -> "TrainConfig":
    """The recipe of a preset with settings "NAME=VALUE", later ones over earlier ones.

    Raises ValueError that names what there is.
    """
    from edgebehave_train.training.recipes import PRESETS

    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return with_settings(PRESETS[preset](), parse_settings(given))


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """What --set was given, NAME=VALUE each. Raises ValueError for what is not that."""
    settings: dict[str, Any] = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, got {setting!r}")
        settings[name] = _parse(value)
    return settings


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """A config with some fields replaced; "objective.kappa" reaches into a part.

    Raises ValueError that names the fields there are.
    """
    own: dict[str, Any] = {}
    of_part: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        path = name.split(".")
        owner: Any = config if len(path) == 1 else getattr(config, path[0], None)
        has_fields = dataclasses.is_dataclass(owner)
        fields = [f.name for f in dataclasses.fields(owner)] if has_fields else []
        if len(path) > 2 or path[-1] not in fields:
            known = ", ".join(fields or [f.name for f in dataclasses.fields(config)])
            raise ValueError(f"there is no setting {name!r}; there are: {known}")
        changed = own if len(path) == 1 else of_part.setdefault(path[0], {})
        changed[path[-1]] = _fitting(name, value, getattr(owner, path[-1]))
    # All of a part at once: its fields are checked against each other.
    for part, changes in of_part.items():
        own[part] = dataclasses.replace(getattr(config, part), **changes)
    return dataclasses.replace(config, **own)


def _fitting(name: str, value: Any, present: Any) -> Any:
    """A value of the type that a setting has now. Raises ValueError if it is of another."""
    if isinstance(present, bool):
        named = {"true": True, "false": False}.get(str(value).lower())
        if named is not None:
            return named
    elif isinstance(present, float) and isinstance(value, int | float):
        return float(value)
    elif isinstance(present, int | str) and type(value) is type(present):
        return value
    if dataclasses.is_dataclass(present):
        example = f"{name}.{dataclasses.fields(present)[0].name}"
        raise ValueError(f"{name} has settings of its own, as {example}")
    raise ValueError(f"{name} is {present!r} now and takes a value like it, got {value!r}")


def _parse(value: str) -> Any:
    """JSON if it is that, else text."""
    try:
        return json_module.loads(value)
    except json_module.JSONDecodeError:
        return value
