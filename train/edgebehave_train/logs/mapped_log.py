"""An event log in the ids of a model's vocabulary, as a device that runs the model sees it.

Training, evaluation and the parity gate all read logs in this form, so that they agree on which names are unknown. A
name that the vocabulary lacks has id 0 for the network. The habit kernels only compare behaviors, so an unknown
behavior of a user gets a private id, V + 0, V + 1, ... in the order of its first event.
"""

# N events, U users, V behaviors of the vocabulary

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, UNKNOWN_NAME, Vocabulary
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.logs.event_store import EventStore


@dataclass(frozen=True, kw_only=True)
class MappedLog:
    """Columns of a log in the ids of a vocabulary; users and events in store order.

    user_start      (U + 1,) int64 events of user u: user_start[u] .. user_start[u + 1]
    time_s          (N,) int64 UTC
    utc_offset_min  (N,) int16
    event           (N,) int32
    location        (N,) int32
    location_identity (N,) int32 identity of the location in the store, for the habit kernels
    weekday, slot   (N,) int8    local time
    behavior        (N,) int32   as the device sees it: -1 none, >= V the user's own
    target          (N,) int32   as the evaluation sees it: -1 none, 0 not in the vocabulary
    next_behavior   (N,) int64   the next event of the same user that has a behavior; -1 if none
    """

    vocabulary: Vocabulary
    user_start: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int16]
    event: npt.NDArray[np.int32]
    location: npt.NDArray[np.int32]
    location_identity: npt.NDArray[np.int32]
    weekday: npt.NDArray[np.int8]
    slot: npt.NDArray[np.int8]
    behavior: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    next_behavior: npt.NDArray[np.int64]

    @property
    def num_users(self) -> int:
        return len(self.user_start) - 1

    def user_of_event(self) -> npt.NDArray[np.int32]:
        """(N,) int32: the user of each event."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), np.diff(self.user_start))

    def behavior_log(self, is_train: npt.NDArray[np.bool_], ask_early_s: int | None = 0) -> BehaviorLog:
        """The events that have a behavior, as the habit kernels and the baselines read them.

        is_train     (N,) bool.
        ask_early_s  see `BehaviorLog.of_columns`.
        """
        num_behaviors = self.vocabulary.num_behaviors
        return BehaviorLog.of_columns(
            user_start=self.user_start,
            mapped_behavior=self.behavior,
            location=self.location_identity,
            time_s=self.time_s,
            utc_offset_min=self.utc_offset_min,
            is_train=is_train,
            num_behaviors=num_behaviors,
            num_spare=max(0, int(self.behavior.max(initial=0)) + 1 - num_behaviors),
            ask_early_s=ask_early_s,
            target=self.target,
        )


@dataclass(frozen=True)
class IdTables:
    """Ids of a vocabulary for the ids of a store: `ids = table[ids of the store]`, all int64.

    event, location  of the network.
    target           as `MappedLog.target`; the last entry, index -1, is NO_BEHAVIOR.
    behavior         of an event, as the device sees it. An event that no vocabulary names has V + its id in the store:
                     like the private ids of a `MappedLog`, it differs from every other behavior of its user.
    """

    event: npt.NDArray[np.int64]
    location: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.int64]

    @classmethod
    def of(cls, store: EventStore, vocabulary: Vocabulary) -> "IdTables":
        event, location, target = (
            vocabulary.translate(store.vocabulary, kind).astype(np.int64)
            for kind in ("events", "locations", "behaviors")
        )
        behavior = np.array(vocabulary.event_to_behavior, np.int64)[event]
        unknown = np.flatnonzero(event == UNKNOWN)
        behavior[unknown] = _named_like(store, vocabulary)[unknown]
        own = unknown[behavior[unknown] == UNKNOWN]
        behavior[own] = vocabulary.num_behaviors + own
        return cls(event, location, np.append(target, NO_BEHAVIOR), behavior)


def map_log(store: EventStore, vocabulary: Vocabulary) -> MappedLog:
    """A store in the ids of a vocabulary, its own or another log's."""
    event = vocabulary.translate(store.vocabulary, "events")[store.event]
    location = vocabulary.translate(store.vocabulary, "locations")[store.location]
    behavior_table = vocabulary.translate(store.vocabulary, "behaviors")
    has_behavior = store.behavior != NO_BEHAVIOR
    target = np.where(has_behavior, behavior_table[store.behavior], NO_BEHAVIOR).astype(np.int32)
    behavior = np.array(vocabulary.event_to_behavior, np.int32)[event]
    _name_unseen_events(behavior, event, store, vocabulary)
    weekday, slot = weekday_and_slot(store.time_s, store.utc_offset_min)
    return MappedLog(
        vocabulary=vocabulary,
        user_start=store.user_start,
        time_s=np.asarray(store.time_s),
        utc_offset_min=np.asarray(store.utc_offset_min),
        event=event,
        location=location,
        location_identity=np.asarray(store.location),
        weekday=weekday.astype(np.int8),
        slot=slot.astype(np.int8),
        behavior=behavior,
        target=target,
        next_behavior=_next_behavior(target, store.user_start),
    )


def _name_unseen_events(
    behavior: npt.NDArray[np.int32], event: npt.NDArray[np.int32], store: EventStore, vocabulary: Vocabulary
) -> None:
    """Behaviors of unseen events, in place, by the rule of the SDK: one that has the name of a known behavior stands
    for it, every other is a behavior of the user's own."""
    unknown = np.flatnonzero(event == UNKNOWN)
    behavior[unknown] = _named_like(store, vocabulary)[store.event[unknown]]
    unknown = unknown[behavior[unknown] == UNKNOWN]
    num_behaviors = vocabulary.num_behaviors
    users = np.searchsorted(store.user_start, unknown, side="right") - 1
    private_ids: dict[tuple[int, int], int] = {}
    num_private: dict[int, int] = {}
    for position, user in zip(unknown.tolist(), users.tolist(), strict=True):
        key = (user, int(store.event[position]))
        if key not in private_ids:
            private_ids[key] = num_behaviors + num_private.get(user, 0)
            num_private[user] = num_private.get(user, 0) + 1
        behavior[position] = private_ids[key]


def _named_like(store: EventStore, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """The behavior of a vocabulary that has the name of each event of a store; UNKNOWN for none."""
    return np.array([vocabulary.behavior_id(name) for name in store.vocabulary.events], np.int32)


def _next_behavior(target: npt.NDArray[np.int32], user_start: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) position of the next event with a behavior, same user, -1 where there is none."""
    num_events = len(target)
    position = np.where(target != NO_BEHAVIOR, np.arange(num_events), num_events)
    following = np.append(np.minimum.accumulate(position[::-1])[::-1], num_events)[1:]
    end_of_user = np.repeat(user_start[1:], np.diff(user_start))
    return np.where(following < end_of_user, following, -1)


class NameCounts:
    """Counts of each name of a store in some of its events, and of the users who have it; by kind."""

    def __init__(
        self, store: EventStore, is_counted: Callable[[int, int], npt.NDArray[np.bool_]], min_users: int = 1
    ) -> None:
        """Count, some users at a time.

        is_counted  of the events of the users first..stop-1.
        min_users   who must have a name before it enters the vocabulary, see `training_vocabulary`.
        """
        self._min_users = min_users
        names = store.vocabulary
        self._names = {"events": names.events, "locations": names.locations, "behaviors": names.behaviors}
        self._event_to_behavior = names.event_to_behavior
        self.counts = {kind: np.zeros(len(names), np.int64) for kind, names in self._names.items()}
        self.users = {kind: np.zeros(len(names), np.int64) for kind, names in self._names.items()}
        self.num_users = 0
        for first, stop in groups_of_users(store.user_start):
            events = slice(int(store.user_start[first]), int(store.user_start[stop]))
            counted = is_counted(first, stop)
            user = np.repeat(np.arange(stop - first), np.diff(store.user_start[first : stop + 1]))[counted]
            self.num_users += int(np.count_nonzero(np.bincount(user)))
            columns = {"events": store.event, "locations": store.location, "behaviors": store.behavior}
            for kind, column in columns.items():
                ids = column[events][counted]
                has_name = ids > UNKNOWN
                num_names = len(self.counts[kind])
                self.counts[kind] += np.bincount(ids[has_name], minlength=num_names)
                if min_users > 1:
                    pairs = np.unique(user[has_name] * num_names + ids[has_name])
                    self.users[kind] += np.bincount(pairs % num_names, minlength=num_names)
            store.release()

    def vocabulary(self) -> Vocabulary:
        """The names that occur, most frequent first; see `training_vocabulary`."""
        kept: dict[str, list[int]] = {}
        names: dict[str, list[str]] = {}
        for kind, all_names in self._names.items():
            count = self.counts[kind]
            is_kept = count > 0
            if self._min_users > 1:
                is_kept = self.users[kind] >= max(1, min(self._min_users, self.num_users))
            kept[kind] = sorted(np.flatnonzero(is_kept).tolist(), key=lambda i: (-count[i], all_names[i]))
            names[kind] = [UNKNOWN_NAME, *(all_names[i] for i in kept[kind])]
        behavior_id = {name: i for i, name in enumerate(names["behaviors"])}
        of_event = self._event_to_behavior
        mapping = [
            NO_BEHAVIOR if of_event[i] == NO_BEHAVIOR else behavior_id[self._names["behaviors"][of_event[i]]]
            for i in kept["events"]
        ]
        return Vocabulary(**names, event_to_behavior=[UNKNOWN, *mapping])

    def of_behaviors(self, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
        """(V,) int64: how often each behavior of a vocabulary occurs."""
        count = dict(zip(self._names["behaviors"], self.counts["behaviors"].tolist(), strict=True))
        return np.array([0, *(count.get(name, 0) for name in vocabulary.behaviors[1:])], np.int64)


def groups_of_users(user_start: npt.NDArray[np.int64], max_events: int = 1 << 20) -> Iterator[tuple[int, int]]:
    """First and past-the-end user of groups that hold about so many events, or one user."""
    first, num_users = 0, len(user_start) - 1
    while first < num_users:
        stop = max(first + 1, int(np.searchsorted(user_start, user_start[first] + max_events, "right")) - 1)
        yield first, stop
        first = stop


def training_vocabulary(store: EventStore, is_training: npt.NDArray[np.bool_], min_users: int = 1) -> Vocabulary:
    """The names that the training part holds, most frequent first.

    is_training  (N,) bool.
    min_users    users of the training part who must have a name; in a part of fewer users, all of them.
    """
    return _counted(store, is_training, min_users).vocabulary()


def behavior_counts(
    store: EventStore, is_training: npt.NDArray[np.bool_], vocabulary: Vocabulary
) -> npt.NDArray[np.int64]:
    """(V,) int64: how often each behavior of a vocabulary occurs in the training part."""
    return _counted(store, is_training).of_behaviors(vocabulary)


def _counted(store: EventStore, is_counted: npt.NDArray[np.bool_], min_users: int = 1) -> NameCounts:
    def of_users(first: int, stop: int) -> npt.NDArray[np.bool_]:
        return is_counted[store.user_start[first] : store.user_start[stop]]

    return NameCounts(store, of_users, min_users)


def event_identity(log: MappedLog) -> npt.NDArray[np.int64]:
    """(N,) ids by which the events of a user differ: an event that the vocabulary lacks is identified by its behavior,
    which has a private id."""
    known = log.event.astype(np.int64)
    return np.where(known > 0, known, log.vocabulary.num_events + log.behavior)
