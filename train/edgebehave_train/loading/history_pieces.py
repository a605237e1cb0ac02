"""Pieces of users' events as they are read from a store for training: each with the past that its targets look back on.

Only what a few batches need is read, and everything that kernels and network need follows from it, so that memory does
not grow with the log, nor time with the length of a user.
"""

# P pieces, N events read, I events of the rows, J behaviors read, M targets

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HABIT_EVENTS
from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import NO_BEHAVIOR, Vocabulary
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import IdTables
from edgebehave_train.logs.packing import Pieces, positions_of
from edgebehave_train.logs.split import TRAIN

_AHEAD_EVENTS = 64
"""Events that are read at once in the search for the next behavior."""


@dataclass(frozen=True, kw_only=True)
class HistoryPieces:
    """Some pieces, end to end; ids of the vocabulary unless another is named.

    offset         (P + 1,) where the events of each piece begin.
    position       (N,) in the log.
    event          (N,) as the network reads it.
    location, location_identity  (N,) as the network reads it, and as places of a user differ.
    time_s, utc_offset_min, weekday, slot  (N,).
    target         (N,) as in `MappedLog`.
    behavior       (N,) as the device sees it, -1 for none; see `IdTables`.
    behavior_event  (J,) the events that have a behavior.
    inputs         (I,) the events of the rows; input_piece (I,) and user (I,) of each.
    asked_from     (M,) which of the inputs have a target.
    asked          (M,) the events that are their targets; asked_row (M,) their behaviors among J.
    oldest         (M,) the first behavior among J that each target sees.
    """

    offset: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    event: npt.NDArray[np.int64]
    location: npt.NDArray[np.int64]
    location_identity: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int64]
    weekday: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.int64]
    behavior_event: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.int64]
    input_piece: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    asked_from: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]
    asked_row: npt.NDArray[np.int64]
    oldest: npt.NDArray[np.int64]


class HistoryReader:
    """Reads pieces of a store in the ids of a vocabulary."""

    def __init__(
        self,
        store: EventStore,
        vocabulary: Vocabulary,
        bounds: npt.NDArray[np.int64],
        is_target: npt.NDArray[np.bool_] | None = None,
        history_events: int = HABIT_EVENTS,
    ) -> None:
        """How to read.

        bounds          (U, 4) of `part_bounds`.
        is_target       events that may be targets of the training part; None = all.
        history_events  before a target, that its kernels look back on.
        """
        self.store, self.bounds, self.is_target = store, bounds, is_target
        self.history_events = history_events
        self.tables = IdTables.of(store, vocabulary)

    def read(self, pieces: Pieces, part: int) -> HistoryPieces:
        """Events, behaviors and targets of some pieces.

        part  only its events are targets.
        """
        store, tables = self.store, self.tables
        user = np.searchsorted(store.user_start, pieces.start, "right") - 1
        asked_start, asked_stop = self.bounds[user, part], self.bounds[user, part + 1]
        # The first target comes after the first event of the piece.
        low = np.maximum(store.user_start[user], pieces.start + 1 - self.history_events)
        low = np.minimum(low, pieces.start)
        high = self._end_of_targets(pieces.stop, asked_stop)
        length = high - low
        offset = np.append(0, length.cumsum())
        position = positions_of(low, high)
        event_id, behavior_id = store.read("event", low, high), store.read("behavior", low, high)
        location_id = store.read("location", low, high).astype(np.int64)
        time_s = store.read("time_s", low, high)
        utc_offset_min = store.read("utc_offset_min", low, high).astype(np.int64)
        weekday, slot = weekday_and_slot(time_s, utc_offset_min)
        event, behavior = tables.event[event_id], tables.behavior[event_id]
        target = tables.target[behavior_id]
        behavior_event = np.flatnonzero(behavior >= 0)

        # The next event with a behavior, within the piece.
        following = np.arange(1, len(position) + 1)
        has_behavior = target != NO_BEHAVIOR
        if not has_behavior.all():
            where = np.where(has_behavior, np.arange(len(position)), len(position))
            following = np.append(np.minimum.accumulate(where[::-1])[::-1][1:], len(position))
        num_inputs = pieces.stop - pieces.start
        inputs = positions_of(pieces.start - low + offset[:-1], pieces.stop - low + offset[:-1])
        input_piece = np.repeat(np.arange(len(user)), num_inputs)
        following = following[inputs]
        is_inside = following < offset[1:][input_piece]
        candidate = np.where(is_inside, following, 0)
        asked_at = position[candidate]
        is_asked = is_inside & (asked_at < asked_stop[input_piece]) & (asked_at >= asked_start[input_piece])
        is_asked &= target[candidate] > 0
        if pieces.ask_start is not None:
            is_asked &= position[inputs] >= pieces.ask_start[input_piece]
        if self.is_target is not None and part == TRAIN:
            is_asked &= self.is_target[asked_at]
        asked_from = np.flatnonzero(is_asked)
        asked = candidate[asked_from]

        asked_piece = input_piece[asked_from]
        first_seen = np.maximum(asked - self.history_events, offset[asked_piece])
        asked_row, oldest = asked, first_seen
        if len(behavior_event) < len(position):
            asked_row = np.searchsorted(behavior_event, asked)
            oldest = np.searchsorted(behavior_event, first_seen)
        return HistoryPieces(
            offset=offset,
            position=position,
            event=event,
            location=tables.location[location_id],
            location_identity=location_id,
            time_s=time_s,
            utc_offset_min=utc_offset_min,
            weekday=weekday,
            slot=slot,
            target=target,
            behavior=behavior,
            behavior_event=behavior_event,
            inputs=inputs,
            input_piece=input_piece,
            user=user[input_piece],
            asked_from=asked_from,
            asked=asked,
            asked_row=asked_row,
            oldest=oldest,
        )

    def _end_of_targets(self, stop: npt.NDArray[np.int64], asked_stop: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Past-the-end position of the last target of each piece: that of its last event, if it has one."""
        end = np.maximum(stop, np.minimum(stop + 1, asked_stop))
        if self.store.statistics.get("behavior_is_event"):
            return end
        searched = np.flatnonzero((stop < asked_stop) & (self.store.read("behavior", end - 1, end) == NO_BEHAVIOR))
        ahead = _AHEAD_EVENTS
        while len(searched):
            first = end[searched]
            last = np.minimum(first + ahead, asked_stop[searched])
            offset = np.append(0, (last - first).cumsum())
            found = np.flatnonzero(self.store.read("behavior", first, last) != NO_BEHAVIOR)
            nearest = np.searchsorted(found, offset[:-1])
            is_found = nearest < np.searchsorted(found, offset[1:])
            reached = last - first
            reached[is_found] = found[nearest[is_found]] - offset[:-1][is_found] + 1
            end[searched] = first + reached
            searched = searched[~is_found & (last < asked_stop[searched])]
            ahead *= 4
        return end
