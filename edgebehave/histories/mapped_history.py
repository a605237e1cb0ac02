"""The history of one user, mapped from names to ids of a vocabulary and to ids of the user's own names."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.histories.history import Mark, NamedEvents
from edgebehave.histories.rolling_events import IdEvents, RollingEvents
from edgebehave.vocabulary import UNKNOWN, Vocabulary


class PrivateNames:
    """Ids for the names of one user that the vocabulary does not hold, from `first_id` up.

    An id is never given to a second name. Only the identity of an id has a meaning: a name that was
    dropped may come back with another id.
    """

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self._id_of_name: dict[str, int] = {}
        self._name_of_id: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._id_of_name)

    def id_of(self, name: str) -> int:
        """The id of a name, a new one for a new name."""
        if name not in self._id_of_name:
            self._id_of_name[name] = self._next_id
            self._name_of_id[self._next_id] = name
            self._next_id += 1
        return self._id_of_name[name]

    def name_of(self, private_id: int) -> str:
        return self._name_of_id[private_id]

    def keep_only(self, ids: npt.NDArray[np.int64]) -> None:
        """Drop the names of all other ids."""
        kept = set(ids.tolist())
        self._name_of_id = {i: name for i, name in self._name_of_id.items() if i in kept}
        self._id_of_name = {name: i for i, name in self._name_of_id.items()}


class MappedHistory:
    """The latest events of one user as ids, with the tables of the user's own names: predictions read this.

    Behaviors from V up and locations from `num_locations` up are ids of the user's own names. A history is
    mapped when its user is asked about, and then follows the events that come.

    events         the ids.
    mark           version of the history that `events` has reached.
    network_state  a place for the `NetworkState` that a bundle computes from `events`, None before. It is
                   kept here so that it is dropped together with the events that it was computed from.
    success_state  likewise for the `SuccessState` of the universal model.
    """

    def __init__(self, vocabulary: Vocabulary, capacity: int, mark: Mark, events: NamedEvents) -> None:
        self._vocabulary = vocabulary
        self.mark = mark
        self.events = RollingEvents(capacity, mark.num_events - len(events))
        self.own_behaviors = PrivateNames(vocabulary.num_behaviors)
        self.own_locations = PrivateNames(vocabulary.num_locations)
        self.network_state: Any = None
        self.success_state: Any = None
        self._last_unnamed = -1
        self.extend(mark, events)

    def is_plain(self, num_events: int) -> bool:
        """True if each of the last events has a behavior of the vocabulary."""
        return self._last_unnamed < max(0, self.events.count - num_events)

    def append(self, mark: Mark, event: str, location: str | None, time_s: int, utc_offset_min: int) -> None:
        """Add an event that is the latest of the user."""
        event_id = self._vocabulary.event_id(event)
        behavior_id = self._behavior_id(event, event_id)
        if not 0 < behavior_id < self._vocabulary.num_behaviors:
            self._last_unnamed = self.events.count
        self.events.append(event_id, behavior_id, self._location_id(location), time_s, utc_offset_min)
        self.mark = mark
        self._drop_unused_names()

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
