"""A mapped log as tensors: batches of packed rows with a target at every position."""

# B rows, T events, N events of the log, J behaviors of the log, M targets of a batch, K kernels

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.habits import KERNELS
from edgebehave_train.kernels.copy_kernels import copy_numbers
from edgebehave_train.kernels.habit_kernels import target_features, target_normalizers
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.model.generation_heads import GenerationTargets


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Packed rows, and the positions in them that have a target.

    event, location, weekday, slot, segment, time_s  (B, T) int64.
    where            (M,) int64 positions in the flattened (B T) rows.
    target           (M,) int64 behavior ids >= 1.
    target_event     (M,) int64 positions of the targets in the log.
    row              (M,) int64 rows of the targets in the behavior log.
    query_weekday, query_slot, query_location  (M,) int64, of the target's moment.
    target_probs, evidence  (M, K) float32, of the habit kernels.
    normalizers      (M, K) float32, A_k of the habit kernels; None if the objective needs none.
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
    target_probs: Tensor
    evidence: Tensor
    normalizers: Tensor | None = None
    generation: GenerationTargets | None = None

    @property
    def num_events(self) -> int:
        """Events in the rows, padding left out."""
        return int((self.segment >= 0).sum())


class TrainingLog:
    """Columns of a log on the device that trains, with the numbers of the habit kernels."""

    def __init__(
        self,
        log: MappedLog,
        behaviors: BehaviorLog,
        device: torch.device,
        *,
        habits: bool = True,
        learned_kernel: bool = False,
        generation: bool = False,
        ratio_C: npt.NDArray[np.floating] | None = None,
    ) -> None:
        """`habits=False` leaves the kernel numbers at zero and saves computing them.

        learned_kernel  keep the columns from which its pairs are made.
        generation      compute the numbers of the generation heads as well.
        ratio_C         (V + U,) r_b of an objective that shifts the prior; None: no normalizers.
        """
        self.device = device
        self.past = PastBehaviors(behaviors, device, ratio_C=ratio_C) if learned_kernel else None

        def column(values: npt.NDArray[np.integer]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        self.event, self.location = column(log.event), column(log.location)
        self.weekday, self.slot = column(log.weekday), column(log.slot)
        self.user, self.target = column(log.user_of_event()), column(log.target)
        self.time_s = column(np.array(log.time_s))  # a writable copy of the memory map
        self.next_behavior = column(log.next_behavior)
        # Numbers of the kernels stand in log order, one row per event that has a behavior.
        target_probs, evidence = kernel_numbers(behaviors, habits)
        row = np.full(len(log.event), -1, np.int64)
        row[behaviors.event] = np.arange(len(behaviors.event))
        self.row = column(row)
        self.target_probs = torch.from_numpy(target_probs).to(device)
        self.evidence = torch.from_numpy(evidence).to(device)
        self.normalizers = None
        if habits and ratio_C is not None:
            self.normalizers = torch.from_numpy(kernel_normalizers(behaviors, ratio_C)).to(device)
        self.copies: dict[str, Tensor] | None = None
        if generation:
            numbers = vars(copy_numbers(log, behaviors))
            self.copies = {name: column(values) for name, values in numbers.items()}

    def batch(self, rows: Sequence[npt.NDArray[np.int64]], in_part: Tensor) -> Batch:
        """Batch of packed rows.

        rows     positions in the log, one array per row; -1 = padding.
        in_part  (N,) bool, events that may be targets.
        """
        position = np.full((len(rows), max(len(row) for row in rows)), -1, np.int64)
        for i, row in enumerate(rows):
            position[i, : len(row)] = row
        index = torch.from_numpy(position).to(self.device)
        padding = index < 0
        index = index.clamp_min(0)
        following = self.next_behavior[index].masked_fill(padding, -1)
        candidate = following.clamp_min(0)
        has_target = (following >= 0) & in_part[candidate] & (self.target[candidate] > 0)
        where = has_target.flatten().nonzero()[:, 0]
        event = candidate.flatten()[where]
        row_of_target = self.row[event]
        return Batch(
            event=self.event[index].long(),
            location=self.location[index].long(),
            weekday=self.weekday[index].long(),
            slot=self.slot[index].long(),
            segment=self.user[index].long().masked_fill(padding, -1),
            time_s=self.time_s[index],
            where=where,
            target=self.target[event].long(),
            target_event=event,
            row=row_of_target,
            query_weekday=self.weekday[event].long(),
            query_slot=self.slot[event].long(),
            query_location=self.location[event].long(),
            target_probs=self.target_probs[row_of_target],
            evidence=self.evidence[row_of_target],
            normalizers=None if self.normalizers is None else self.normalizers[row_of_target],
            generation=self._generation_targets(event, row_of_target),
        )

    def _generation_targets(self, event_M: Tensor, row_M: Tensor) -> GenerationTargets | None:
        if self.copies is None:
            return None
        return GenerationTargets(
            behavior=self.target[event_M].long(),
            event=self.event[event_M].long(),
            location=self.location[event_M].long(),
            **{name: numbers[row_M] for name, numbers in self.copies.items()},
        )


def kernel_numbers(
    behaviors: BehaviorLog, habits: bool = True
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """p_k(y) and E_k of every behavior of a log, both (J, K) float32."""
    shape = (len(behaviors.event), len(KERNELS))
    target_probs, evidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if habits:
        for user in range(behaviors.num_users):
            rows = slice(behaviors.user_start[user], behaviors.user_start[user + 1])
            target_probs[rows], evidence[rows] = target_features(behaviors.user(user))
    return target_probs, evidence


def kernel_normalizers(behaviors: BehaviorLog, ratio_C: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """A_k of every behavior of a log, (J, K) float32; ratio_C (V + U,) r_b of every candidate."""
    users = range(behaviors.num_users)
    return np.concatenate([target_normalizers(behaviors.user(user), ratio_C) for user in users])
