"""A user's retained events as ids of a vocabulary, with names of the user's own beside them."""

import numpy as np
import numpy.typing as npt

from edgebehave.histories.history import Mark, NamedEvents
from edgebehave.histories.private_names import PrivateNames
from edgebehave.histories.rolling import Events, RollingHistory
from edgebehave.vocabulary import UNKNOWN, Vocabulary

IntArray = npt.NDArray[np.int64]


class MappedHistory:
    """What a history holds of one user, in the form that predictions are made from.

    Behaviors from V up and locations from `num_locations` up are ids of the user's own names. A
    history is mapped when its user is asked about and follows events as they come; `mark` says up
    to where.
    """

    def __init__(self, vocabulary: Vocabulary, capacity: int, mark: Mark, events: NamedEvents) -> None:
        self._vocabulary = vocabulary
        self.mark = mark
        self.history = RollingHistory(capacity, mark.num_events - len(events))
        self.own_behaviors = PrivateNames(vocabulary.num_behaviors)
        self.own_locations = PrivateNames(vocabulary.num_locations)
        self._last_unnamed = -1
        self._extend(events)

    @property
    def last_offset_min(self) -> int:
        """Local time of the latest event."""
        return self.history.latest_offset_min()

    def is_plain(self, num_events: int) -> bool:
        """Whether each of the last events stands for a behavior of the vocabulary."""
        return self._last_unnamed < max(0, self.history.count - num_events)

    def append(self, mark: Mark, event: str, location: str | None, time_s: int, utc_offset_min: int) -> None:
        """Follow the history by one latest event."""
        event_id = self._vocabulary.event_id(event)
        behavior_id = self._behavior_id(event, event_id)
        if not 0 < behavior_id < self._vocabulary.num_behaviors:
            self._last_unnamed = self.history.count
        self.history.append(
            event=event_id,
            location=self._location_id(location),
            behavior=behavior_id,
            time_s=time_s,
            utc_offset_min=utc_offset_min,
        )
        self.mark = mark
        self._drop_unused_names()

    def extend(self, mark: Mark, events: NamedEvents) -> None:
        """Follow the history by latest events."""
        self._extend(events)
        self.mark = mark
        self._drop_unused_names()

    def _extend(self, events: NamedEvents) -> None:
        ids = self._ids(events)
        is_named = (ids.behavior > 0) & (ids.behavior < self._vocabulary.num_behaviors)
        unnamed = np.flatnonzero(~is_named)
        if len(unnamed):
            self._last_unnamed = self.history.count + int(unnamed[-1])
        self.history.extend(ids)

    def _ids(self, named: NamedEvents) -> Events:
        event_ids, behavior_ids = [], []
        for name in named.event.names:
            assert name is not None
            event_id = self._vocabulary.event_id(name)
            event_ids.append(event_id)
            behavior_ids.append(self._behavior_id(name, event_id))
        location_ids = [self._location_id(name) for name in named.location.names]
        return Events(
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
        """Keep memory bounded where every event has a name never seen before."""
        for names, column in ((self.own_behaviors, "behavior"), (self.own_locations, "location")):
            if len(names) > 2 * self.history.capacity:
                names.keep_only(getattr(self.history.latest(), column))
