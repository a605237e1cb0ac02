"""Values of the command line from their text: presets, --set NAME=VALUE, lists of numbers, moments."""

import dataclasses
import datetime
import difflib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:  # the annotations must not import torch
    from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.recipes import TrainConfig

Config = TypeVar("Config", "TrainConfig", "BehaviorLMConfig")
Number = TypeVar("Number", int, float)


def given_options(context: typer.Context, parameters: Sequence[str]) -> list[str]:
    """The parameters among these that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in parameters}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def refuse_with_resume(context: typer.Context, parameters: Sequence[str]) -> None:
    """Raises ValueError if a setting of a run is given beside --resume, which keeps those of the run."""
    if given := given_options(context, parameters):
        option = given[0].strip("_").replace("_", "-")
        raise ValueError(f"--resume goes on with the run's own settings; leave --{option} out")


def recipe(preset: str) -> "TrainConfig":
    """The configuration of a preset. Raises ValueError that names the presets."""
    from edgebehave_train.training.recipes import PRESETS

    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return PRESETS[preset]()


def starts_from_universal(begin: str, store: "EventStore", *, is_plain: bool = False) -> bool:
    """Whether a training starts from the universal model, by the option --from. Raises ValueError for another word.

    auto: if the log is not too large, and every event has a behavior, as the universal model needs.
    is_plain: a model without habits or without the time of the query was asked for, which auto leaves as it is.
    """
    from edgebehave.vocabulary import NO_BEHAVIOR
    from edgebehave_train.training.universal_start import MAX_EVENTS

    if begin not in ("auto", "universal", "scratch"):
        raise ValueError(f"--from must be universal, scratch or auto, got {begin!r}")
    all_have_behaviors = NO_BEHAVIOR not in store.vocabulary.event_to_behavior
    if begin == "universal" and not all_have_behaviors:
        raise ValueError(
            f"some events of {store.path} have no behavior, and the universal model needs one for each; "
            "use --from scratch, or ingest without --behavior"
        )
    is_fit = all_have_behaviors and not is_plain and store.num_events <= MAX_EVENTS
    return begin == "universal" or (begin == "auto" and is_fit)


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Settings "NAME=VALUE" by name; a value is JSON, else text. Raises ValueError for anything else."""
    settings: dict[str, Any] = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, got {setting!r}")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def read_settings(file: Path) -> dict[str, Any]:
    """Settings of a TOML or JSON file by name, as `preset = "tiny"`, `width = 64`, `[objective]`, `name = "dro"`, or
    what config.json of a checkpoint holds. Raises ValueError that names the file.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content: Any = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no settings; write NAME = VALUE lines")
    content = content.get("train", content)
    settings: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            settings |= {f"{name}.{part}": of_part for part, of_part in value.items()}
        else:
            settings[name] = value
    return settings


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """A config with some fields replaced; "objective.kappa" is a field of the part "objective".

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
            known = _names(config)
            near = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(path[-1], known, 1)
            own_fields = ", ".join(fields or [f.name for f in dataclasses.fields(config)])
            nearest = f"; the nearest is {near[0]!r}" if near else ""
            raise ValueError(f"there is no setting {name!r}{nearest}; there are: {own_fields}")
        changed = own if len(path) == 1 else of_part.setdefault(path[0], {})
        changed[path[-1]] = _fitting(name, value, getattr(owner, path[-1]))
    # All of a part at once: its fields are checked against each other.
    for part, changes in of_part.items():
        own[part] = dataclasses.replace(getattr(config, part), **changes)
    return dataclasses.replace(config, **own)


def _names(config: Any) -> list[str]:
    """All settings of a config, those of its parts as "objective.kappa"."""
    names = []
    for field in dataclasses.fields(config):
        part = getattr(config, field.name)
        names += (
            [f"{field.name}.{of.name}" for of in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []
        )
        names.append(field.name)
    return names


def _fitting(name: str, value: Any, present: Any) -> Any:
    """A value of the type that a setting has now. Raises ValueError if it is of another."""
    if isinstance(present, bool):
        named = {"true": True, "false": False}.get(str(value).lower())
        if named is not None:
            return named
    elif isinstance(present, float) and isinstance(value, int | float):
        return float(value)
    elif isinstance(present, int | str | dict) and type(value) is type(present):
        return value
    if dataclasses.is_dataclass(present):
        example = f"{name}.{dataclasses.fields(present)[0].name}"
        raise ValueError(f"{name} has settings of its own, for example {example}")
    raise ValueError(f"{name} is {present!r} now and takes a value like it, got {value!r}")


def parse_numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """A list such as 16,32,64. Raises ValueError that names the option."""
    try:
        return tuple(kind(part) for part in text.split(",") if part)
    except ValueError:
        example = "16,32,64" if kind is int else "0.1,0.2,0.5,1"
        raise ValueError(f"{option} takes numbers, for example {example}, got {text!r}") from None


def parse_moment(text: str | None) -> datetime.datetime | None:
    """The moment of --at. Raises ValueError if it is none, or has no zone."""
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--at takes ISO 8601, for example 2026-04-01T08:00+02:00, got {text!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"--at needs a time zone, for example {text}+00:00")
    return moment
