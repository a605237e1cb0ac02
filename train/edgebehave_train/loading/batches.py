"""A log as tensors: batches of packed rows with a target at every position, read from the store as they are needed."""

# B rows, T events, M targets of a batch, J behaviors that it reads, K kernels

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.habits import GAP_UNIT_S, HABIT_EVENTS
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.kernels.copy_kernels import copy_numbers
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.loading.history_pieces import HistoryPieces, HistoryReader
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.packing import Pieces
from edgebehave_train.model.generation_heads import GenerationTargets

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Packed rows, and the positions in them that have a target.

    event, location, weekday, slot, segment, time_s  (B, T) int64; segment -1 is padding.
    where            (M,) int64 positions in the flattened (B T) rows.
    target           (M,) int64 behavior ids >= 1.
    target_event     (M,) int64 positions of the targets in the log.
    row              (M,) int64 rows of the targets among the behaviors that the batch reads.
    query_weekday, query_slot, query_location  (M,) int64, of the target's moment.
    past             the behaviors that the kernels look back on; None without kernels.
    generation       what the generation heads learn, if there are any.
    """

    event: Tensor
    location: Tensor
    weekday: Tensor
    slot: Tensor
    segment: Tensor
    time_s: Tensor
    where: Tensor
    target: Tensor
    target_event: Tensor
    row: Tensor
    query_weekday: Tensor
    query_slot: Tensor
    query_location: Tensor
    past: PastBehaviors | None = None
    generation: GenerationTargets | None = None

    @property
    def num_events(self) -> int:
        """Events in the rows, padding left out."""
        return int((self.segment >= 0).sum())

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return self if device == self.segment.device else _moved(self, device)


def _moved(record: Record, device: torch.device) -> Record:
    """A dataclass of tensors, and of such dataclasses, on a device."""
    moved: dict[str, object] = {}
    for name, value in vars(record).items():
        if isinstance(value, Tensor):
            pinned = value.pin_memory() if device.type == "cuda" else value
            moved[name] = pinned.to(device, non_blocking=True)
        else:
            moved[name] = value if value is None else _moved(value, device)
    return dataclasses.replace(record, **moved)  # type: ignore[type-var]  # every record is a dataclass


class TrainingLog:
    """Makes batches of a store; holds nothing that grows with its events."""

    def __init__(
        self,
        store: EventStore,
        vocabulary: Vocabulary,
        bounds: npt.NDArray[np.int64],
        device: torch.device,
        *,
        habits: bool = True,
        generation: bool = False,
        candidate_ratio: Callable[[int], npt.NDArray[np.floating] | None] = lambda num_candidates: None,
        is_target: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """What batches hold.

        bounds           (U, 4) of `part_bounds`.
        habits           behaviors for the kernels.
        generation       the numbers of the generation heads.
        candidate_ratio  r_b of every candidate, for an objective that shifts the prior; private behaviors share one.
        is_target        (N,) events that may be training targets; None = all of the training part.
        Batches of a part hold its targets alone.
        """
        self.device, self.habits, self.generation = device, habits, generation
        history_events = HABIT_EVENTS if habits or generation else 0
        self.reader = HistoryReader(store, vocabulary, bounds, is_target, history_events)
        self.num_behaviors, self.num_events = vocabulary.num_behaviors, vocabulary.num_events
        ratio_C = candidate_ratio(vocabulary.num_behaviors + 1)
        self.ratio_C = None if ratio_C is None else np.asarray(ratio_C, np.float32)

    @property
    def shifts_prior(self) -> bool:
        """Whether batches hold r_b."""
        return self.ratio_C is not None

    def batches(
        self,
        pieces: Pieces,
        rows_of_batch: Sequence[int],
        part: int,
        row_events: int,
        pad_events: int = 1,
        at_end: bool = False,
    ) -> list[Batch]:
        """Batches of packed rows, all read at once.

        pieces         of the rows of all batches, one batch after the other.
        rows_of_batch  number of rows of each batch; a batch without rows gets one of padding.
        part           only its events are targets.
        row_events     length of a row of padding.
        pad_events     rows are padded to a multiple of it.
        at_end         the events of a row stand at its end, behind the padding.
        """
        read = self.reader.read(pieces, part)
        num_rows = np.asarray(rows_of_batch, np.int64)
        first_row = num_rows.cumsum() - num_rows
        batch_of_row = np.repeat(np.arange(len(num_rows)), num_rows)
        row = pieces.row[read.input_piece]
        length_of_row = np.bincount(row, minlength=len(batch_of_row))
        width = np.full(len(num_rows), row_events, np.int64)
        width[num_rows > 0] = np.maximum.reduceat(length_of_row, first_row[num_rows > 0]) if len(row) else row_events
        width += -width % pad_events
        # Where each event stands in its flattened batch.
        of_batch = batch_of_row[row]
        column = np.arange(len(row)) - np.repeat(length_of_row.cumsum() - length_of_row, length_of_row)
        if at_end:
            column += (width[batch_of_row] - length_of_row)[row]
        place = (row - first_row[of_batch]) * width[of_batch] + column

        def borders(batch: npt.NDArray[np.int64]) -> list[int]:
            return np.searchsorted(batch, np.arange(len(num_rows) + 1)).tolist()

        piece_batch = batch_of_row[pieces.row]
        input_borders, asked_borders = borders(of_batch), borders(of_batch[read.asked_from])
        columns = [read.event, read.location, read.weekday, read.slot]
        inputs = [*(values[read.inputs] for values in columns), read.user, read.time_s[read.inputs]]
        of_rows = torch.from_numpy(np.stack(inputs))
        asked = [place[read.asked_from], read.target[read.asked], read.position[read.asked]]
        asked += [values[read.asked] for values in (read.weekday, read.slot, read.location)]
        of_targets = torch.from_numpy(np.stack([*asked, read.asked_row, read.oldest]))
        places = torch.from_numpy(place)
        past = self._past(read) if self.habits else None
        copies = self._copies(read) if self.generation else None
        piece_border = np.append(read.offset[np.searchsorted(piece_batch, np.arange(len(num_rows)))], read.offset[-1])
        row_borders = np.searchsorted(read.behavior_event, piece_border).tolist()
        made = []
        for b in range(len(num_rows)):
            of_batch_rows = of_rows[:, input_borders[b] : input_borders[b + 1]]
            shape = (6, max(1, int(num_rows[b])), int(width[b]))
            if of_batch_rows.shape[1] < shape[1] * shape[2]:
                padded = torch.zeros(6, shape[1] * shape[2], dtype=torch.int64)
                padded[4] = -1
                padded[:, places[input_borders[b] : input_borders[b + 1]]] = of_batch_rows
                of_batch_rows = padded
            event, location, weekday, slot, segment, time_s = of_batch_rows.reshape(shape).unbind()
            inside = slice(asked_borders[b], asked_borders[b + 1])
            where, target, target_event, *query, row_M, oldest_M = of_targets[:, inside].unbind()
            row_M = row_M - row_borders[b]
            batch = Batch(
                event=event,
                location=location,
                weekday=weekday,
                slot=slot,
                segment=segment,
                time_s=time_s,
                where=where,
                target=target,
                target_event=target_event,
                row=row_M,
                query_weekday=query[0],
                query_slot=query[1],
                query_location=query[2],
                past=past and _of_rows(past, slice(*row_borders[b : b + 2]), row_M, oldest_M - row_borders[b]),
                generation=_at(copies, inside),
            )
            made.append(batch.to(self.device))
        return made

    def _past(self, read: HistoryPieces) -> PastBehaviors:
        """The behaviors of all pieces; `oldest` is set batch by batch."""
        which = read.behavior_event
        behavior = read.behavior[which]

        def column(values: npt.NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(values[which].astype(np.int32))

        time_s = read.time_s[which]
        # The first of a piece has the wrong time before it; no kernel sees that. In numpy: a worker that used the
        # threads of torch would take them from the training.
        waited_s = np.maximum(np.diff(time_s, prepend=time_s[:1]), 0).astype(np.float32)
        waited = torch.from_numpy(np.log1p(waited_s / np.float32(GAP_UNIT_S)))
        weekday, slot = column(read.weekday), column(read.slot)
        ratio = None
        if self.ratio_C is not None:
            ratio = torch.from_numpy(self.ratio_C[np.minimum(behavior, self.num_behaviors)])
        return PastBehaviors(
            behavior=torch.from_numpy(behavior.astype(np.int32)),
            location=column(read.location_identity),
            time_s=torch.from_numpy(time_s),
            weekday=weekday,
            slot=slot,
            query_weekday=weekday,
            query_slot=slot,
            waited=waited,
            wait=waited,
            oldest=torch.from_numpy(time_s),
            ratio=ratio,
        )

    def _copies(self, read: HistoryPieces) -> dict[str, Tensor]:
        """What the generation heads learn at the targets of all pieces."""
        behaviors = BehaviorLog.of_columns(
            user_start=read.offset,
            mapped_behavior=read.behavior,
            location=read.location_identity,
            time_s=read.time_s,
            utc_offset_min=read.utc_offset_min,
            is_train=np.zeros(len(read.position), bool),
            num_behaviors=int(read.behavior.max(initial=0)) + 1,
        )
        identity = np.where(read.event > 0, read.event, self.num_events + read.behavior)
        is_asked = np.zeros(len(behaviors.event), bool)
        is_asked[read.asked_row] = True
        numbers = vars(copy_numbers(identity, behaviors, is_asked))
        asked = {name: values[read.asked_row] for name, values in numbers.items()}
        asked |= {name: getattr(read, name)[read.asked] for name in ("event", "location")}
        return {
            name: torch.from_numpy(values) for name, values in {**asked, "behavior": read.target[read.asked]}.items()
        }


def _at(copies: dict[str, Tensor] | None, targets: slice) -> GenerationTargets | None:
    """What the generation heads learn at some targets."""
    if copies is None:
        return None
    return GenerationTargets(**{name: values[targets] for name, values in copies.items()})


def _of_rows(past: PastBehaviors, rows: slice, row_M: Tensor, oldest_M: Tensor) -> PastBehaviors:
    """The behaviors of some rows, with the oldest one that each target among them sees."""
    columns: dict[str, Tensor] = {name: values[rows] for name, values in vars(past).items() if values is not None}
    oldest = torch.zeros_like(columns["oldest"])
    oldest[row_M] = oldest_M
    return PastBehaviors(**{**columns, "oldest": oldest})
