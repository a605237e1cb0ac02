"""Forecast points of a log, the real behaviors after them, and a replay of the past as a baseline."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave_train.generation.generation import Continuations
from edgebehave_train.generation.past import Prompts
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, event_identity
from edgebehave_train.logs.split import PARTS, SplitConfig, part_bounds


def forecast_prompts(
    store: EventStore,
    log: MappedLog,
    split: SplitConfig,
    part: str,
    num_steps: int,
    prompt_behaviors: int = 5,
) -> Prompts:
    """Forecast points of a part: users with enough behaviors before and after.

    Split by time: the whole past of every user, up to the first event of the part. Split by user:
    the first `prompt_behaviors` behaviors of the users of the part. At least so many behaviors
    stand in a prompt, and at least `num_steps` of the part behind it.
    """
    bounds = part_bounds(store, split)
    start, first, end = bounds[:, 0], bounds[:, PARTS[part]], bounds[:, PARTS[part] + 1]
    behaviors = np.flatnonzero(log.behavior >= 0)
    before_start, before_end = np.searchsorted(behaviors, start), np.searchsorted(behaviors, end)
    if split.by == "user":
        index = np.minimum(before_start + prompt_behaviors - 1, len(behaviors) - 1)
        in_part = end > first
        stop = np.where(in_part, np.minimum(behaviors[index] + 1, end), start)
    else:
        stop = first
    before_stop = np.searchsorted(behaviors, stop)
    is_long = (before_stop - before_start >= prompt_behaviors) & (before_end - before_stop >= num_steps)
    user = np.flatnonzero(is_long)
    if not len(user):
        raise ValueError(
            f"no user has {prompt_behaviors} behaviors before the {part} part and {num_steps} "
            "in it; forecast fewer steps"
        )
    return Prompts(user=user, start=start[user], stop=stop[user])


def real_continuations(log: MappedLog, prompts: Prompts, num_steps: int) -> Continuations:
    """The real `num_steps` behaviors after each prompt."""
    behaviors = np.flatnonzero(log.behavior >= 0)
    first = np.searchsorted(behaviors, prompts.stop)
    rows = behaviors[first[:, None] + np.arange(num_steps)]
    return Continuations(
        start_s=log.time_s[behaviors[first - 1]],
        time_s=log.time_s[rows],
        utc_offset_min=log.utc_offset_min[rows].astype(np.int64),
        behavior=log.behavior[rows].astype(np.int64),
        event=event_identity(log)[rows],
        location=log.location_identity[rows].astype(np.int64),
    )


def replayed(log: MappedLog, prompts: Prompts, num_steps: int) -> Continuations:
    """The last behaviors of each prompt once more, with their waiting times, over and over if
    there are fewer than `num_steps`: a baseline without any model."""
    drawn = ("gap_s", "utc_offset_min", "behavior", "event", "location")
    columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in drawn}
    identity = event_identity(log)
    start_s = []
    for start, stop in zip(prompts.start.tolist(), prompts.stop.tolist(), strict=True):
        rows = start + np.flatnonzero(log.behavior[start:stop] >= 0)
        gap_s = np.diff(log.time_s[rows])
        start_s.append(log.time_s[rows[-1]])
        # The first behavior of a user has no waiting time; a lone one waits a day.
        last = rows[1:][-num_steps:] if len(rows) > 1 else rows
        gap_s = gap_s[-num_steps:] if len(rows) > 1 else np.array([86400])
        columns["gap_s"].append(np.resize(gap_s, num_steps))
        for name, values in (
            ("utc_offset_min", log.utc_offset_min),
            ("behavior", log.behavior),
            ("event", identity),
            ("location", log.location_identity),
        ):
            columns[name].append(np.resize(values[last], num_steps))
    gap_s, *rest = (np.stack(values).astype(np.int64) for values in columns.values())
    start_s_U = np.array(start_s, np.int64)
    names = list(columns)[1:]
    return Continuations(
        start_s=start_s_U,
        time_s=start_s_U[:, None] + gap_s.cumsum(1),
        **dict(zip(names, rest, strict=True)),
    )
