"""The parts of a log that a training run reads: to train on, and to choose its weights by.

A log without a target to train on, or without one to choose by, is refused before the run begins. The store is read in
pieces; what stays in memory grows with the users, and not with their events.
"""

# N events of the log, U users, V behaviors, S ranges

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.loading.history_pieces import HistoryPieces, HistoryReader
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, NameCounts, groups_of_users, map_log
from edgebehave_train.logs.packing import PackedRows, share_of_ranges
from edgebehave_train.logs.split import TRAIN, VALIDATION, part_bounds, part_of_bounds
from edgebehave_train.training.recipes import TrainConfig

VALIDATION_EVENTS = 500_000
"""Events of the validation part that choose the weights, at most: those of the first users, who stand in the order of
a hash of their names. The mean loss of so many is known to 0.003 nats."""

_ROW_EVENTS = 4096
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class LogParts:
    """A log, the ids of a run, and where its training and validation parts lie.

    vocabulary          of the run.
    behavior_counts     (V,) int64, occurrences in the training part.
    bounds              (U, 4) int64 of `part_bounds`, the validation part cut off after VALIDATION_EVENTS.
    chosen_targets      (N,) bool, events that may be training targets; None = the training part.
    train_ranges        (S, 2) int64, first and past-the-end positions to train on.
    validation_ranges   (S, 2) int64, events that a model must read to predict the validation part.
    receptive_field     events that rebuild the state of the model, the last one included.
    """

    store: EventStore
    vocabulary: Vocabulary
    behavior_counts: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    chosen_targets: npt.NDArray[np.bool_] | None
    train_ranges: npt.NDArray[np.int64]
    validation_ranges: npt.NDArray[np.int64]
    receptive_field: int

    @classmethod
    def of(
        cls,
        store: EventStore,
        config: TrainConfig,
        *,
        vocabulary: Vocabulary | None = None,
        is_target: npt.NDArray[np.bool_] | None = None,
        train_ranges: npt.NDArray[np.int64] | None = None,
    ) -> "LogParts":
        """The parts by the split of a config; an argument that is None is taken from the training part.

        Raises ValueError if the training part has fewer than two behaviors or no target, or the validation part
        nothing to predict.
        """
        bounds = part_bounds(store, config.split)
        counted = NameCounts(store, lambda first, stop: part_of_bounds(bounds[first:stop]) == TRAIN, config.min_users)
        vocabulary = vocabulary or counted.vocabulary()
        counts = counted.of_behaviors(vocabulary)
        if vocabulary.num_behaviors < 3:
            raise ValueError(
                f"the training part of {store.path} holds {vocabulary.num_behaviors - 1} "
                "behaviors; a model needs at least 2 to choose from: take a log with more"
            )
        _require_time(store)
        # The last event of the part has its target in the next part.
        whole_part = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
        train_ranges = whole_part if train_ranges is None else train_ranges
        train_ranges = share_of_ranges(train_ranges, config.data_share, config.seed)
        bounds = _limited(bounds)
        reader = HistoryReader(store, vocabulary, bounds, is_target, history_events=0)
        if not any(len(read.asked) for read in _read(reader, whole_part)):
            raise ValueError(
                "no behavior of the training part follows another event, so there is nothing to "
                "train on; take a log with longer histories"
            )
        if config.data_share < 1:
            shown: set[int] = set()
            for read in _read(reader, train_ranges):
                shown |= set(np.unique(read.target[read.asked]).tolist())
                if len(shown) > 1:
                    break
            if len(shown) < 2:
                raise ValueError(
                    f"{config.data_share:.2%} of the training part show {len(shown)} behaviors; take a larger share"
                )
        receptive_field = config.model_config(vocabulary).receptive_field
        validation_ranges, is_asked = _validation_ranges(store, vocabulary, bounds, receptive_field)
        if not is_asked:
            if counts.max(initial=0) <= 1:
                raise ValueError(
                    f"no behavior occurs twice in the training part of {store.path}, so none can be predicted; "
                    "ingest the log with a coarser column of events"
                )
            raise ValueError(
                "the validation part holds nothing to predict, but its loss chooses the weights; "
                "give it a larger share, or take a longer log"
            )
        return cls(
            store=store,
            vocabulary=vocabulary,
            behavior_counts=counts,
            bounds=bounds,
            chosen_targets=is_target,
            train_ranges=train_ranges,
            validation_ranges=validation_ranges,
            receptive_field=receptive_field,
        )

    def of_users(self, first: int, stop: int) -> "LogParts":
        """The parts of the users first..stop-1; their events are read into memory. It keeps no ranges."""
        store = self.store.of_users(first, stop)
        start = int(self.store.user_start[first])
        chosen = self.chosen_targets
        return replace(
            self,
            store=store,
            bounds=self.bounds[first:stop] - start,
            chosen_targets=None if chosen is None else chosen[start : start + store.num_events],
            train_ranges=np.zeros((0, 2), np.int64),
            validation_ranges=np.zeros((0, 2), np.int64),
        )

    def groups(self, max_events: int = 1 << 20) -> Iterator["LogParts"]:
        """The parts of some users after the other, as many as hold about `max_events`."""
        for first, stop in groups_of_users(self.store.user_start, max_events):
            yield self.of_users(first, stop)

    # -- of all events at once: for few users ----------------------------------------------

    @cached_property
    def log(self) -> MappedLog:
        """All events in the ids of the run."""
        return map_log(self.store, self.vocabulary)

    @cached_property
    def behaviors(self) -> BehaviorLog:
        """All events that have a behavior."""
        return self.log.behavior_log(self._part == TRAIN)

    @cached_property
    def is_target(self) -> npt.NDArray[np.bool_]:
        """(N,) events that may be training targets."""
        is_train: npt.NDArray[np.bool_] = self._part == TRAIN
        return is_train if self.chosen_targets is None else is_train & self.chosen_targets

    @cached_property
    def is_validated(self) -> npt.NDArray[np.bool_]:
        """(N,) the validation part."""
        is_validated: npt.NDArray[np.bool_] = self._part == VALIDATION
        return is_validated

    @cached_property
    def validation_targets(self) -> Targets:
        """Behaviors of the validation part, as `evaluate` asks for them."""
        return self.behaviors.targets(self.is_validated)

    @property
    def _part(self) -> npt.NDArray[np.int8]:
        return part_of_bounds(self.bounds)


def _limited(bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Bounds whose validation part ends after VALIDATION_EVENTS."""
    num_validated = bounds[:, 2] - bounds[:, 1]
    before = num_validated.cumsum() - num_validated
    bounds = bounds.copy()
    bounds[:, 2] = bounds[:, 1] + np.clip(VALIDATION_EVENTS - before, 0, num_validated)
    return bounds


def _require_time(store: EventStore) -> None:
    """Raise ValueError if the events of every user happen at one time, and some user has several."""
    has_several = False
    for first, stop in groups_of_users(store.user_start):
        within = np.flatnonzero(np.diff(store.user_start[first : stop + 1]) > 0)
        ends = store.user_start[first : stop + 1]
        oldest, latest = ends[:-1][within], ends[1:][within] - 1
        has_several |= bool((latest > oldest).any())
        if (store.time_s[oldest] != store.time_s[latest]).any():
            return
        store.release()
    if has_several:
        raise ValueError(
            f"all events of each user in {store.path} happen at one time, so there is no order in time to learn; "
            "ingest the log with a column of times that has a clock"
        )


def _read(reader: HistoryReader, ranges: npt.NDArray[np.int64]) -> Iterator[HistoryPieces]:
    """Some ranges of the training part after the other."""
    rows = PackedRows(ranges, _ROW_EVENTS)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield reader.read(rows.pieces(range(first, min(first + _ROWS_AT_ONCE, len(rows)))), TRAIN)


def _validation_ranges(
    store: EventStore, vocabulary: Vocabulary, bounds: npt.NDArray[np.int64], receptive_field: int
) -> tuple[npt.NDArray[np.int64], bool]:
    """`asking_ranges` of a whole store, and whether they hold a behavior of the vocabulary."""
    found, is_asked = [np.zeros((0, 2), np.int64)], False
    for first, stop in groups_of_users(store.user_start):
        if (bounds[first:stop, 2] > bounds[first:stop, 1]).any():
            start = int(store.user_start[first])
            log = map_log(store.of_users(first, stop), vocabulary)
            inside = bounds[first:stop] - start
            asked = part_of_bounds(inside) == VALIDATION
            following = log.next_behavior[log.next_behavior >= 0]
            is_asked |= bool((asked[following] & (log.target[following] > 0)).any())
            found.append(start + asking_ranges(log.next_behavior, asked, inside, receptive_field))
            store.release()
    return np.concatenate(found), is_asked


def asking_ranges(
    next_behavior: npt.NDArray[np.int64],
    is_asked: npt.NDArray[np.bool_],
    bounds: npt.NDArray[np.int64],
    receptive_field: int,
) -> npt.NDArray[np.int64]:
    """The events that a model must read to predict the validation part, and no older ones.

    next_behavior    (N,) as in MappedLog.
    is_asked         (N,) bool, events of the validation part.
    bounds           (U, 4) as from `part_bounds`.
    receptive_field  events that rebuild a state, the last one included.
    Returns          (S, 2) first and past-the-end positions, of the users who are asked.
    """
    asking = np.flatnonzero((next_behavior >= 0) & is_asked[next_behavior])
    first, stop = (np.searchsorted(asking, bounds[:, column]) for column in (0, 2))
    is_user_asked = stop > first
    oldest = asking[first[is_user_asked]] - receptive_field + 1
    start = np.maximum(oldest, bounds[is_user_asked, 0])
    return np.stack([start, asking[stop[is_user_asked] - 1] + 1], 1)
