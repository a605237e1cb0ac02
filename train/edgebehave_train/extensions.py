"""Objectives, baselines, metrics, log readers and run loggers that other packages add.

A package adds one by an entry point in its pyproject.toml; nothing of edgebehave is edited:

    [project.entry-points."edgebehave.objectives"]
    my_objective = "my_package:build"

The group says what the entry point is:

    edgebehave.objectives  (ObjectiveConfig, behavior_counts_V) -> Objective       training/objectives.py
    edgebehave.baselines   (BehaviorLog, Targets) -> Predictions                   evaluation/baselines.py
    edgebehave.metrics     (Predictions) -> (T,) values, NaN = not counted         metrics/prediction_metrics.py
    edgebehave.log_readers LogReader                                               logs/exports/reader.py
    edgebehave.run_loggers (Path, TrainConfig, int) -> RunLogger                   training/run_log.py
"""

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Any

OBJECTIVE_GROUP = "edgebehave.objectives"
BASELINE_GROUP = "edgebehave.baselines"
METRIC_GROUP = "edgebehave.metrics"
LOG_READER_GROUP = "edgebehave.log_readers"
RUN_LOGGER_GROUP = "edgebehave.run_loggers"


def extension_names(group: str, built_in: Collection[str] = ()) -> list[str]:
    """Names of what installed packages add to a group, sorted; nothing is imported.

    Raises ValueError if two packages add the same name, or one adds a name that is built in.
    """
    found = _entry_points(group)
    for name in found:
        if name in built_in:
            raise ValueError(
                f"{_source(found[name])} adds {name!r} to {group}, which is built in; it needs another name"
            )
    return sorted(found)


def load_extension(group: str, name: str) -> Any:
    """The object that a package adds to a group under a name.

    Raises KeyError if there is none, ValueError if it cannot be imported.
    """
    entry_point = _entry_points(group)[name]
    try:
        return entry_point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{name!r} of {group} cannot be loaded from {_source(entry_point)}: {error}; update or uninstall it"
        ) from error


def _entry_points(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=group):
        if entry_point.value.startswith("edgebehave_train."):  # built in, and found without the metadata too
            continue
        other = found.setdefault(entry_point.name, entry_point)
        if other.value != entry_point.value:  # one package that is found twice adds one thing
            raise ValueError(
                f"{_source(other)} and {_source(entry_point)} both add {entry_point.name!r} to {group}; "
                "uninstall one of them"
            )
    return found


def _source(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist else entry_point.value
