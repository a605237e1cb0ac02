"""The parts of a log that a training run reads: to train on, and to choose its weights by.

A log without a target to train on, or without one to choose by, is refused before the run begins.
"""

# N events of the log, V behaviors, S ranges

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, behavior_counts, map_log, training_vocabulary
from edgebehave_train.logs.packing import share_of_ranges
from edgebehave_train.logs.split import TRAIN, VALIDATION, part_bounds, part_of_event
from edgebehave_train.training.recipes import TrainConfig


@dataclass(frozen=True, kw_only=True)
class LogParts:
    """A log in the ids of a run, and the events of its training and validation parts.

    vocabulary          of the run.
    behavior_counts     (V,) int64, occurrences in the training part.
    is_target           (N,) bool, events that may be training targets.
    train_ranges        (S, 2) int64, first and past-the-end positions to train on.
    is_validated        (N,) bool, the validation part.
    validation_ranges   (S, 2) int64, events that a model must read to predict it.
    validation_targets  its behaviors, as `evaluate` asks for them.
    """

    vocabulary: Vocabulary
    behavior_counts: npt.NDArray[np.int64]
    log: MappedLog
    behaviors: BehaviorLog
    is_target: npt.NDArray[np.bool_]
    train_ranges: npt.NDArray[np.int64]
    is_validated: npt.NDArray[np.bool_]
    validation_ranges: npt.NDArray[np.int64]
    validation_targets: Targets

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
        part = part_of_event(store, config.split)
        vocabulary = vocabulary or training_vocabulary(store, part == TRAIN, config.min_users)
        counts = behavior_counts(store, part == TRAIN, vocabulary)
        if vocabulary.num_behaviors < 3:
            raise ValueError(
                f"the training part of {store.path} holds {vocabulary.num_behaviors - 1} "
                "behaviors; a model needs at least 2 to choose from: take a log with more"
            )
        within = np.diff(store.user_start) > 0
        first, last = store.user_start[:-1][within], store.user_start[1:][within] - 1
        if store.num_events > len(first) and np.array_equal(store.time_s[first], store.time_s[last]):
            raise ValueError(
                f"all events of each user in {store.path} happen at one time, so there is no order in time to learn; "
                "ingest the log with a column of times that has a clock"
            )
        log = map_log(store, vocabulary)
        behaviors = log.behavior_log(part == TRAIN)
        is_target = part == TRAIN if is_target is None else is_target & (part == TRAIN)
        bounds = part_bounds(store, config.split)
        if train_ranges is None:
            # The last event of the part has its target in the next part.
            train_ranges = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
        train_ranges = share_of_ranges(train_ranges, config.data_share, config.seed)
        following = log.next_behavior[log.next_behavior >= 0]
        asked = following[log.target[following] > 0]
        if not is_target[asked].any():
            raise ValueError(
                "no behavior of the training part follows another event, so there is nothing to "
                "train on; take a log with longer histories"
            )
        if config.data_share < 1:
            shown = np.concatenate([np.arange(*ends) for ends in train_ranges])
            following = log.next_behavior[shown]
            following = following[following >= 0]
            targets = log.target[following[is_target[following]]]
            num_shown = len(np.unique(targets[targets > 0]))
            if num_shown < 2:
                raise ValueError(
                    f"{config.data_share:.2%} of the training part show {num_shown} behaviors; take a larger share"
                )
        if not (part[asked] == VALIDATION).any():
            if counts.max(initial=0) <= 1:
                raise ValueError(
                    f"no behavior occurs twice in the training part of {store.path}, so none can be predicted; "
                    "ingest the log with a coarser column of events"
                )
            raise ValueError(
                "the validation part holds nothing to predict, but its loss chooses the weights; "
                "give it a larger share, or take a longer log"
            )
        receptive_field = config.model_config(vocabulary).receptive_field
        return cls(
            vocabulary=vocabulary,
            behavior_counts=counts,
            log=log,
            behaviors=behaviors,
            is_target=is_target,
            train_ranges=train_ranges,
            is_validated=part == VALIDATION,
            validation_ranges=asking_ranges(log.next_behavior, part == VALIDATION, bounds, receptive_field),
            validation_targets=behaviors.targets(part == VALIDATION),
        )


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
