"""The history of one user, mapped from names to ids of a vocabulary and to ids of the user's own names."""

import sys
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgebehave.histories.history import Mark, NamedEvents
from edgebehave.histories.rolling_events import IdEvents, RollingEvents
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary

_OBJECT_BYTES = 8_000
"""Memory of the objects of a mapped history without a name and a state."""

_ENTRY_BYTES = 64
"""Memory of the two numbers of an entry of a dict."""


class State(Protocol):
    """What a model has computed from the events of a user."""

    @property
    def num_bytes(self) -> int:
        """Memory of the state."""


class PrivateNames:
    """Ids for the names of one user that the vocabulary does not hold, from `first_id` up.

    An id is never given to a second name. Only the identity of an id has a meaning: a name that was
    dropped may come back with another id.
    """

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self._id_of_name: dict[str, int] = {}
        self._name_of_id: dict[int, str] = {}
        self._text_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory of the names and their tables."""
        return self._text_bytes + dict_bytes(self._id_of_name) + sys.getsizeof(self._name_of_id)

    def __len__(self) -> int:
        return len(self._id_of_name)

    def id_of(self, name: str) -> int:
        """The id of a name, a new one for a new name."""
        if name not in self._id_of_name:
            self._id_of_name[name] = self._next_id
            self._name_of_id[self._next_id] = name
            self._next_id += 1
            self._text_bytes += sys.getsizeof(name)
        return self._id_of_name[name]

    def name_of(self, private_id: int) -> str:
        return self._name_of_id[private_id]

    def keep_only(self, ids: npt.NDArray[np.int64]) -> None:
        """Drop the names of all other ids."""
        kept = set(ids.tolist())
        self._name_of_id = {i: name for i, name in self._name_of_id.items() if i in kept}
        self._id_of_name = {name: i for i, name in self._name_of_id.items()}
        self._text_bytes = sum(map(sys.getsizeof, self._id_of_name))


def dict_bytes(table: dict[Any, int]) -> int:
    """Memory of a dict with numbers as values, and of these and as many more; without texts."""
    return sys.getsizeof(table) + _ENTRY_BYTES * len(table)


class MappedHistory:
    """The latest events of one user as ids, with the tables of the user's own names: predictions read this.

    Behaviors from V up and locations from `num_locations` up are ids of the user's own names. A history is
    mapped when its user is asked about, and then follows the events that come.

    events         the ids.
    mark           version of the history that `events` has reached.
    network_state  a place for the `NetworkState` that a bundle computes from `events`, None before. It is
                   kept here so that it is dropped together with the events that it was computed from.
    name_free_state
                   the same for the universal model.
    """

    def __init__(self, vocabulary: Vocabulary, capacity: int, mark: Mark, events: NamedEvents) -> None:
        self._vocabulary = vocabulary
        self.mark = mark
        self.events = RollingEvents(capacity, mark.num_events - len(events))
        self.own_behaviors = PrivateNames(vocabulary.num_behaviors)
        self.own_locations = PrivateNames(vocabulary.num_locations)
        self.network_state: Any = None
        self.name_free_state: Any = None
        self._last_unnamed = -1
        self._num_own = 0
        self.extend(mark, events)

    @property
    def num_bytes(self) -> int:
        """Memory of all that is held of the user."""
        of_names = self.own_behaviors.num_bytes + self.own_locations.num_bytes
        states: list[State | None] = [self.network_state, self.name_free_state]
        of_states = sum(state.num_bytes for state in states if state is not None)
        return _OBJECT_BYTES + self.events.num_bytes + of_names + of_states

    def is_plain(self, num_events: int) -> bool:
        """True if each of the last events has a behavior of the vocabulary."""
        return self._last_unnamed < max(0, self.events.count - num_events)

    def behavior_name(self, behavior: int) -> str:
        """The name of a behavior of the vocabulary or of the user's own."""
        if behavior < self._vocabulary.num_behaviors:
            return self._vocabulary.behaviors[behavior]
        return self.own_behaviors.name_of(behavior)

    def known_behaviors(self) -> tuple[int, int]:
        """Retained events whose behavior the vocabulary holds, and retained events with a behavior."""
        behavior = self.events.latest().behavior
        num_known = np.count_nonzero((behavior > UNKNOWN) & (behavior < self._vocabulary.num_behaviors))
        return int(num_known), int(np.count_nonzero(behavior != NO_BEHAVIOR))

    def append(self, mark: Mark, event: str, location: str | None, time_s: int, utc_offset_min: int) -> bool:
        """Add an event that is the latest of the user; returns whether it brought a name of the user's own."""
        vocabulary = self._vocabulary
        event_id, location_id = vocabulary.event_id(event), self._location_id(location)
        behavior_id = self._behavior_id(event, event_id)
        num_behaviors = vocabulary.num_behaviors
        if not 0 < behavior_id < num_behaviors:
            self._last_unnamed = self.events.count
        self.events.append(event_id, behavior_id, location_id, time_s, utc_offset_min)
        self.mark = mark
        if behavior_id < num_behaviors and location_id < vocabulary.num_locations:
            return False
        self._drop_unused_names()
        before, self._num_own = self._num_own, len(self.own_behaviors) + len(self.own_locations)
        return self._num_own != before

    def extend(self, mark: Mark, events: NamedEvents) -> None:
        """Add events that are the latest of the user."""
        ids = self._ids(events)
        unnamed = np.flatnonzero((ids.behavior <= 0) | (ids.behavior >= self._vocabulary.num_behaviors))
        if len(unnamed):
            self._last_unnamed = self.events.count + int(unnamed[-1])
        self.events.extend(ids)
        self.mark = mark
        self._drop_unused_names()

    def _ids(self, named: NamedEvents) -> IdEvents:
        event_ids, behavior_ids = [], []
        for name in named.event.names:
            assert name is not None
            event_id = self._vocabulary.event_id(name)
            event_ids.append(event_id)
            behavior_ids.append(self._behavior_id(name, event_id))
        location_ids = [self._location_id(name) for name in named.location.names]
        return IdEvents(
            event=np.array(event_ids, np.int64)[named.event.index],
            location=np.array(location_ids, np.int64)[named.location.index],
            behavior=np.array(behavior_ids, np.int64)[named.event.index],
            time_s=named.time_s,
            utc_offset_min=named.utc_offset_min,
        )

    def _location_id(self, location: str | None) -> int:
        if location is None:
            return UNKNOWN
        return self._vocabulary.location_id(location) or self.own_locations.id_of(location)

    def _behavior_id(self, event: str, event_id: int) -> int:
        if event_id != UNKNOWN:
            return self._vocabulary.event_to_behavior[event_id]
        return self._vocabulary.behavior_id(event) or self.own_behaviors.id_of(event)

    def _drop_unused_names(self) -> None:
        """Drop names without an event, so that memory is bounded even if every event has a new name."""
        for names, column in ((self.own_behaviors, "behavior"), (self.own_locations, "location")):
            if len(names) > 2 * self.events.capacity:
                names.keep_only(getattr(self.events.latest(), column))
