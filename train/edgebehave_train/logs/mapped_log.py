"""An event log in the ids of a model's vocabulary, as a device that runs the model sees it.

Training, evaluation and the parity gate all read logs in this form, so that they agree on which names are unknown. A
name that the vocabulary lacks has id 0 for the network. The habit kernels only compare behaviors, so an unknown
behavior of a user gets a private id, V + 0, V + 1, ... in the order of its first event.
"""

# N events, U users, V behaviors of the vocabulary

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
    named_like = np.array([vocabulary.behavior_id(name) for name in store.vocabulary.events], np.int32)
    unknown = np.flatnonzero(event == UNKNOWN)
    behavior[unknown] = named_like[store.event[unknown]]
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


def _next_behavior(target: npt.NDArray[np.int32], user_start: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) position of the next event with a behavior, same user, -1 where there is none."""
    num_events = len(target)
    position = np.where(target != NO_BEHAVIOR, np.arange(num_events), num_events)
    following = np.append(np.minimum.accumulate(position[::-1])[::-1], num_events)[1:]
    end_of_user = np.repeat(user_start[1:], np.diff(user_start))
    return np.where(following < end_of_user, following, -1)


def training_vocabulary(store: EventStore, is_training: npt.NDArray[np.bool_], min_users: int = 1) -> Vocabulary:
    """The names that the training part holds, most frequent first.

    is_training  (N,) bool.
    min_users    users of the training part who must have a name; in a part of fewer users, all of them.
    """
    users = np.repeat(np.arange(store.num_users), np.diff(store.user_start))[is_training]
    min_users = min(min_users, len(np.unique(users)))
    kept: dict[str, list[int]] = {}
    names: dict[str, list[str]] = {}
    for kind, column, all_names in (
        ("events", store.event, store.vocabulary.events),
        ("locations", store.location, store.vocabulary.locations),
        ("behaviors", store.behavior, store.vocabulary.behaviors),
    ):
        ids = column[is_training]
        count = np.bincount(ids[ids > UNKNOWN], minlength=len(all_names))
        is_kept = count > 0
        if min_users > 1:
            has_name = ids > UNKNOWN
            pairs = np.unique(ids[has_name].astype(np.int64) * store.num_users + users[has_name])
            is_kept = np.bincount(pairs // store.num_users, minlength=len(all_names)) >= min_users
        kept[kind] = sorted(np.flatnonzero(is_kept).tolist(), key=lambda i: (-count[i], all_names[i]))
        names[kind] = [UNKNOWN_NAME, *(all_names[i] for i in kept[kind])]
    behavior_id = {name: i for i, name in enumerate(names["behaviors"])}
    of_event = store.vocabulary.event_to_behavior
    mapping = [
        NO_BEHAVIOR if of_event[i] == NO_BEHAVIOR else behavior_id[store.vocabulary.behaviors[of_event[i]]]
        for i in kept["events"]
    ]
    return Vocabulary(**names, event_to_behavior=[UNKNOWN, *mapping])


def behavior_counts(
    store: EventStore, is_training: npt.NDArray[np.bool_], vocabulary: Vocabulary
) -> npt.NDArray[np.int64]:
    """(V,) int64: how often each behavior of a vocabulary occurs in the training part."""
    ids = vocabulary.translate(store.vocabulary, "behaviors")[store.behavior[is_training]]
    ids = ids[(store.behavior[is_training] != NO_BEHAVIOR) & (ids != UNKNOWN)]
    return np.bincount(ids, minlength=vocabulary.num_behaviors)


def event_identity(log: MappedLog) -> npt.NDArray[np.int64]:
    """(N,) ids by which the events of a user differ: an event that the vocabulary lacks is identified by its behavior,
    which has a private id."""
    known = log.event.astype(np.int64)
    return np.where(known > 0, known, log.vocabulary.num_events + log.behavior)
