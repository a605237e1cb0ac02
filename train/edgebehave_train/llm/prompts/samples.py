"""Samples of a log: a user's last behaviors, the moment to predict for, and the behavior that came.

The samples of a part are the targets that `edgebehave evaluate` scores there, without those that
a language model cannot be asked or tuned on: see `log_samples`.
"""

# N events of the log, S samples, K events with a known behavior, V behaviors, id 0 included

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, map_log, training_vocabulary
from edgebehave_train.logs.split import PARTS, TRAIN, SplitConfig, part_of_event

LLM_SPLIT = SplitConfig(by="user", train=0.8, validation=0.1)
"""Users 8:1:1, as BehaviorLM divides a log."""

NUM_HISTORY = 20
"""Past behaviors of a sample, as many as BehaviorLM shows."""


@dataclass(frozen=True, kw_only=True)
class PastBehavior:
    """One event of a history.

    weekday   local, 0 = Monday.
    hour      local, 0..23.
    location  its name; None if the log has none.
    behavior  id 1..V-1 of the vocabulary.
    """

    weekday: int
    hour: int
    location: str | None
    behavior: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One prediction to make.

    event     position of the target among all events of the log, as in `Targets.event`.
    user      index of the user in the log.
    history   oldest first, at least one.
    weekday   of the moment to predict for, local, 0 = Monday.
    hour      of it, 0..23.
    location  where the target happens: only the paper's own prompt shows it.
    behavior  the behavior that came, id 1..V-1; 0 if it is not known yet.
    """

    event: int
    user: int
    history: Sequence[PastBehavior]
    weekday: int
    hour: int
    location: str | None
    behavior: int


@dataclass(frozen=True, kw_only=True)
class _Events:
    """A log whose events become parts of samples; locations have the names that the log gives them."""

    log: MappedLog
    location_names: Sequence[str]

    def known(self, first: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Positions of the events from `first` to `stop` whose behavior the vocabulary knows, ascending."""
        behavior = self.log.behavior[first:stop]
        return first + np.flatnonzero((behavior > UNKNOWN) & (behavior < self.log.vocabulary.num_behaviors))

    def past(self, events: npt.NDArray[np.int64]) -> tuple[PastBehavior, ...]:
        return tuple(
            PastBehavior(
                weekday=int(self.log.weekday[i]),
                hour=int(self.log.slot[i]) // 2,
                location=self.location(i),
                behavior=int(self.log.behavior[i]),
            )
            for i in events.tolist()
        )

    def location(self, event: int) -> str | None:
        identity = int(self.log.location_identity[event])
        return None if identity == UNKNOWN else self.location_names[identity]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSamples(Sequence[Sample]):
    """The samples of a part of a log; each is built when it is asked for.

    targets              the events to predict, S of them in log order, ids 1..V-1.
    part, split          part of the log that holds them.
    vocabulary           of the ids.
    train_counts         (V,) how often each behavior occurs in the training part; 0 for id 0.
    _known               (K,) positions of the events with a known behavior; the history of sample
                         s is _known[_first[s] : _stop[s]].
    """

    targets: Targets
    part: str
    split: SplitConfig
    vocabulary: Vocabulary
    train_counts: npt.NDArray[np.int64]
    _events: _Events
    _known: npt.NDArray[np.int64]
    _first: npt.NDArray[np.int64]
    _stop: npt.NDArray[np.int64]

    @property
    def behavior(self) -> npt.NDArray[np.int64]:
        """(S,) the behavior that came, 1..V-1."""
        return self.targets.behavior

    def take(self, which: npt.NDArray[np.integer | np.bool_]) -> "LogSamples":
        """Some of the samples, by mask or by ascending indices; train_counts stay the same."""
        which = np.asarray(which)
        if which.dtype != bool and np.any(np.diff(which) <= 0):
            raise ValueError("samples are taken by a mask or by indices that ascend")
        return replace(self, targets=self.targets.take(which), _first=self._first[which], _stop=self._stop[which])

    def __len__(self) -> int:
        return len(self.targets)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "LogSamples": ...
    def __getitem__(self, index: int | slice) -> "Sample | LogSamples":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        event = int(self.targets.event[index])
        return Sample(
            event=event,
            user=int(self.targets.user[index]),
            history=self._events.past(self._known[self._first[index] : self._stop[index]]),
            weekday=int(self._events.log.weekday[event]),
            hour=int(self._events.log.slot[event]) // 2,
            location=self._events.location(event),
            behavior=int(self.targets.behavior[index]),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def log_samples(
    store: EventStore,
    part: str,
    split: SplitConfig = LLM_SPLIT,
    vocabulary: Vocabulary | None = None,
    history: int = NUM_HISTORY,
) -> LogSamples:
    """The samples of a part of a store: its targets, as evaluation defines them.

    part        "train", "validation" or "test".
    vocabulary  default: the names of the training part, as a model trained on it would know.
    history     past behaviors of a sample at most, 1 or more.

    Past events without a behavior, or with one that the vocabulary lacks, are left out, and the
    history reaches further back instead. A target whose own behavior is unknown, and one without a
    known behavior before it, is no sample. Locations keep the names of the log, also those that
    training never saw: a language model reads names, not ids.
    Raises ValueError for another part, a history below 1, and a part that holds no sample.
    """
    if part not in PARTS:
        raise ValueError(f"part must be train, validation or test, got {part!r}")
    if history < 1:
        raise ValueError(f"history must be 1 or more behaviors, got {history}")
    parts = part_of_event(store, split)
    is_train = parts == TRAIN
    log = map_log(store, vocabulary or training_vocabulary(store, is_train))
    behaviors = log.behavior_log(is_train)
    asked = behaviors.targets(parts == PARTS[part])
    events = _Events(log=log, location_names=store.vocabulary.locations)
    known = events.known()
    stop = np.searchsorted(known, asked.event)
    first = np.maximum(stop - history, np.searchsorted(known, log.user_start[asked.user]))
    is_unknown = asked.behavior == UNKNOWN
    kept = ~is_unknown & (first < stop)
    if not kept.any():
        raise ValueError(
            f"the {part} part of {store.path} holds no sample: of {len(asked)} targets "
            f"{is_unknown.sum()} are unknown to the vocabulary, the rest have no known past"
        )
    return LogSamples(
        targets=asked.take(kept),
        part=part,
        split=split,
        vocabulary=log.vocabulary,
        train_counts=behaviors.train_counts,
        _events=events,
        _known=known,
        _first=first[kept],
        _stop=stop[kept],
    )


def next_sample(
    store: EventStore,
    user: str,
    vocabulary: Vocabulary,
    *,
    at: datetime.datetime | None = None,
    history: int = NUM_HISTORY,
) -> Sample:
    """The sample of the next behavior of a user, which is not known yet: its `behavior` is 0.

    at       moment to predict for, with a zone; None: that of the user's last event.
    history  past behaviors at most. Those that the vocabulary lacks are left out.
    Raises ValueError if the store has no such user, or the user no known behavior.
    """
    users = store.users()
    if user not in users:
        raise ValueError(f"{store.path} has no user {user!r}; it has for example {users[0]!r}")
    index = users.index(user)
    log = map_log(store, vocabulary)
    events = _Events(log=log, location_names=store.vocabulary.locations)
    start, stop = int(store.user_start[index]), int(store.user_start[index + 1])
    shown = events.known(start, stop)[-history:]
    if not len(shown):
        raise ValueError(f"user {user!r} has no behavior that the model knows")
    if at is None:
        weekday, slot = int(log.weekday[stop - 1]), int(log.slot[stop - 1])
    else:
        offset = at.utcoffset()
        if offset is None:
            raise ValueError(f"the moment to predict for needs a time zone, got {at.isoformat()}")
        minutes = int(offset.total_seconds()) // 60
        days, slots = weekday_and_slot(np.array([int(at.timestamp())]), np.array([minutes], np.int64))
        weekday, slot = int(days[0]), int(slots[0])
    return Sample(
        event=stop,
        user=index,
        history=events.past(shown),
        weekday=weekday,
        hour=slot // 2,
        location=None,
        behavior=UNKNOWN,
    )
