"""Names and their ids: events, locations, behaviors, and the behavior of each event."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from pathlib import Path

import numpy as np
import numpy.typing as npt

UNKNOWN = 0
"""Id of every name that a vocabulary does not hold, and of "no location"."""

NO_BEHAVIOR = -1
"""Behavior of an input-only event, which is never predicted and has no behavior id."""

UNKNOWN_NAME = "<unknown>"


@dataclass(frozen=True, kw_only=True, repr=False)
class Vocabulary:
    """Three lists of names: the id of a name is its position, and position 0 is unknown.

    events             N_events names.
    locations          names; id 0 also stands for an event without a location.
    behaviors          V names: what is predicted.
    event_to_behavior  one behavior id per event id; NO_BEHAVIOR for input-only events, UNKNOWN for event 0.
    Raises ValueError if a list does not start with UNKNOWN_NAME, holds a name twice, or
    event_to_behavior does not fit.
    """

    events: Sequence[str]
    locations: Sequence[str]
    behaviors: Sequence[str]
    event_to_behavior: Sequence[int]
    _ids: Mapping[str, Mapping[str, int]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        ids: dict[str, Mapping[str, int]] = {}
        for kind in ("events", "locations", "behaviors"):
            names = tuple(getattr(self, kind))
            if not names or names[0] != UNKNOWN_NAME:
                raise ValueError(f"vocabulary: {kind} must start with {UNKNOWN_NAME!r}")
            if not all(isinstance(name, str) for name in names):
                raise ValueError(f"vocabulary: {kind} holds something that is no name")
            ids[kind] = {name: i for i, name in enumerate(names)}
            if len(ids[kind]) != len(names):
                twice = next(n for i, n in enumerate(names) if ids[kind][n] != i)
                raise ValueError(f"vocabulary: {kind} holds {twice!r:.60} twice")
            object.__setattr__(self, kind, names)
        try:
            mapping = tuple(index(b) for b in self.event_to_behavior)
        except TypeError:
            raise ValueError("vocabulary: event_to_behavior holds something that is no whole number") from None
        if len(mapping) != len(self.events):
            raise ValueError(f"vocabulary: event_to_behavior has {len(mapping)} entries for {len(self.events)} events")
        if mapping[UNKNOWN] != UNKNOWN or not all(NO_BEHAVIOR <= b < len(self.behaviors) for b in mapping):
            raise ValueError("vocabulary: event_to_behavior names a behavior that does not exist")
        object.__setattr__(self, "event_to_behavior", mapping)
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def identity(cls, events: Sequence[str], locations: Sequence[str] = ()) -> "Vocabulary":
        """A vocabulary in which each event is a behavior; pass the names without position 0."""
        names = (UNKNOWN_NAME, *events)
        return cls(
            events=names, locations=(UNKNOWN_NAME, *locations), behaviors=names, event_to_behavior=range(len(names))
        )

    def __repr__(self) -> str:
        counts = (f"{len(getattr(self, kind)) - 1:,} {kind}" for kind in ("events", "locations", "behaviors"))
        return f"Vocabulary({', '.join(counts)})"

    @property
    def num_events(self) -> int:
        return len(self.events)

    @property
    def num_locations(self) -> int:
        return len(self.locations)

    @property
    def num_behaviors(self) -> int:
        return len(self.behaviors)

    def event_id(self, name: str) -> int:
        return self._ids["events"].get(name, UNKNOWN)

    def location_id(self, name: str | None) -> int:
        return UNKNOWN if name is None else self._ids["locations"].get(name, UNKNOWN)

    def behavior_id(self, name: str) -> int:
        return self._ids["behaviors"].get(name, UNKNOWN)

    def translate(self, other: "Vocabulary", kind: str) -> npt.NDArray[np.int32]:
        """Ids of this vocabulary for each name of another, UNKNOWN where it has none.

        kind     "events", "locations" or "behaviors".
        Returns  (len(other names),) int32: `ids_here = table[ids_there]`.
        """
        known = self._ids[kind]
        return np.array([known.get(n, UNKNOWN) for n in getattr(other, kind)], np.int32)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        names = {name: getattr(self, name) for name in ("events", "locations", "behaviors", "event_to_behavior")}
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(names, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a file that `save` wrote. Raises ValueError that names the file if it is something else."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a vocabulary: {error}") from None
