"""Samples of a log: a user's last behaviors, the moment that is asked for, and what came.

The samples of a part are the targets that `edgebehave evaluate` scores there, but for those that
a language model cannot be asked or taught: see `log_samples`.
"""

# N events of the log, M events that have a behavior, S samples, V behaviors, id 0 included

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
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
    location     its name; None if the log has none.
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
    weekday   of the moment that is asked for, local, 0 = Monday.
    hour      of it, 0..23.
    location     where the target happens: only the paper's own prompt shows it.
    behavior  the truth, id 1..V-1.
    """

    event: int
    user: int
    history: Sequence[PastBehavior]
    weekday: int
    hour: int
    location: str | None
    behavior: int


@dataclass(frozen=True, kw_only=True)
class _PastColumns:
    """What samples are built from, for the events that have a behavior; all (M,) but names."""

    weekday: npt.NDArray[np.int8]
    hour: npt.NDArray[np.int8]
    location: npt.NDArray[np.int32]
    behavior: npt.NDArray[np.int64]
    location_names: Sequence[str]

    def past(self, row: int) -> PastBehavior:
        return PastBehavior(
            weekday=int(self.weekday[row]),
            hour=int(self.hour[row]),
            location=self.location_name(row),
            behavior=int(self.behavior[row]),
        )

    def location_name(self, row: int) -> str | None:
        location = int(self.location[row])
        return None if location == UNKNOWN else self.location_names[location]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSamples(Sequence[Sample]):
    """The samples of a part of a log; each is built when it is asked for.

    targets              what is to be predicted, S of them in log order, ids 1..V-1.
    part, split          where in the log they lie.
    vocabulary           whose ids these are.
    train_counts         (V,) how often each behavior occurs in the training part; 0 for id 0.
    num_unknown          targets of the part whose behavior the vocabulary lacks: no samples.
    num_without_history  targets before which the vocabulary knows no behavior: no samples.
    """

    targets: Targets
    part: str
    split: SplitConfig
    vocabulary: Vocabulary
    train_counts: npt.NDArray[np.int64]
    num_unknown: int
    num_without_history: int
    _columns: _PastColumns
    _known: npt.NDArray[np.int64]
    _first: npt.NDArray[np.int64]
    _stop: npt.NDArray[np.int64]

    @property
    def behavior(self) -> npt.NDArray[np.int64]:
        """(S,) the truth of each sample, 1..V-1."""
        return self.targets.behavior

    def take(self, which: npt.NDArray[np.integer | np.bool_]) -> "LogSamples":
        """Some of the samples, by mask or by ascending indices; the counts stay the part's."""
        which = np.asarray(which)
        if which.dtype != bool and np.any(np.diff(which) <= 0):
            raise ValueError("samples are taken by a mask or by indices that ascend")
        return replace(
            self,
            targets=self.targets.take(which),
            _first=self._first[which],
            _stop=self._stop[which],
        )

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
        row = int(self.targets.row[index])
        past = self._known[self._first[index] : self._stop[index]].tolist()
        return Sample(
            event=int(self.targets.event[index]),
            user=int(self.targets.user[index]),
            history=tuple(self._columns.past(row) for row in past),
            weekday=int(self._columns.weekday[row]),
            hour=int(self._columns.hour[row]),
            location=self._columns.location_name(row),
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

    Past events that stand for no behavior, or for one that the vocabulary lacks, are left out, and
    the history reaches further back instead. A target whose own behavior is unknown, and one with
    no known behavior before it, is no sample; both are counted. Locations keep the names that the
    log gives them, those which training never saw too: a language model reads names, not ids.
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

    is_known = (behaviors.behavior > UNKNOWN) & (behaviors.behavior < behaviors.num_behaviors)
    known = np.flatnonzero(is_known)
    stop = np.searchsorted(known, asked.row)
    first = np.maximum(stop - history, np.searchsorted(known, behaviors.user_start[asked.user]))
    is_unknown = asked.behavior == UNKNOWN
    has_history = first < stop
    kept = ~is_unknown & has_history
    if not kept.any():
        raise ValueError(
            f"the {part} part of {store.path} holds no sample: of {len(asked)} targets "
            f"{is_unknown.sum()} are unknown to the vocabulary, the rest have no known past"
        )
    event = behaviors.event
    return LogSamples(
        targets=asked.take(kept),
        part=part,
        split=split,
        vocabulary=log.vocabulary,
        train_counts=behaviors.train_counts,
        num_unknown=int(is_unknown.sum()),
        num_without_history=int((~is_unknown & ~has_history).sum()),
        _columns=_PastColumns(
            weekday=log.weekday[event],
            hour=log.slot[event] // 2,
            location=log.location_identity[event],
            behavior=behaviors.behavior,
            location_names=store.vocabulary.locations,
        ),
        _known=known,
        _first=first[kept],
        _stop=stop[kept],
    )
