"""Habit kernels for every behavior of a log at once, equal to `edgebehave.habits` query by query.

Training needs two numbers per target and kernel, p_k(y) and E_k. An objective that shifts the prior needs a third, A_k
= sum_b p_k(b) r_b. `target_numbers` makes them for the targets of a batch, on the device that trains. Evaluation needs
the whole distributions, which `kernel_blocks` yields.
"""

# M targets, R targets in a block, C history columns of the block, L past behaviors of a block of pairs, K kernels

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.habits import (
    DECAY,
    FIRST_WEEKEND_DAY,
    GAP_WIDTH,
    HABIT_EVENTS,
    HOUR_WIDTH,
    KERNELS,
    MOMENT_WIDTH,
    TIMED_KERNELS,
    clock_similarity,
    gap_similarity,
)
from edgebehave.time_features import weekday_and_slot
from edgebehave_train.kernels.cues import bell, is_equal
from edgebehave_train.kernels.pairs import PairBlock
from edgebehave_train.logs.behavior_log import NO_TIME, UserBehaviors

_BLOCK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class HistoryBlock:
    """Consecutive targets of a user and the history they share, as positions among the user's behaviors.

    rows        (R,) the targets.
    columns     (C,) the history.
    age         (R, C) behaviors between each past one and the target.
    seen        (R, C) the target sees the behavior; one_before, two_before: and the one, two before it.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    age: npt.NDArray[np.int64]
    seen: npt.NDArray[np.bool_]
    one_before: npt.NDArray[np.bool_]
    two_before: npt.NDArray[np.bool_]


def history_blocks(
    event_index: npt.NDArray[np.integer], first: int = 1, stop: int | None = None, history_events: int = HABIT_EVENTS
) -> Iterator[HistoryBlock]:
    """The targets first..stop-1 of a user, in blocks of bounded size.

    event_index  (m,) position of each behavior among all events of the user: a target sees the behaviors among the
                 `history_events` events before it.
    """
    stop = len(event_index) if stop is None else stop
    oldest = np.searchsorted(event_index, event_index - history_events)
    for row_start in range(first, stop, _BLOCK_ROWS):
        rows = np.arange(row_start, min(row_start + _BLOCK_ROWS, stop))
        columns = np.arange(int(oldest[row_start]), rows[-1])
        row, column, cut = rows[:, None], columns[None], oldest[rows][:, None]
        seen = (column >= cut) & (column < row)
        # The oldest behavior that is seen has no predecessor.
        yield HistoryBlock(
            rows=rows,
            columns=columns,
            age=row - 1 - column,
            seen=seen,
            one_before=seen & (column > cut),
            two_before=seen & (column > cut + 1),
        )


@dataclass(frozen=True, kw_only=True)
class KernelBlock:
    """Kernel weights of consecutive targets over the history they share.

    rows         the targets: behaviors rows.start .. rows.stop - 1 of the user.
    columns      the history: behaviors columns.start .. columns.stop - 1 of the user.
    weights_KRC  (K, R, C) float32, 0 where a target does not see a behavior.
    """

    rows: slice
    columns: slice
    weights_KRC: npt.NDArray[np.float32]


def kernel_blocks(
    user: UserBehaviors, first: int = 1, stop: int | None = None, history_events: int = HABIT_EVENTS
) -> Iterator[KernelBlock]:
    """Weights w_k(j) for the targets first..stop-1 of a user, in blocks of bounded size.

    A target sees the behaviors among the `history_events` events before it.
    """
    behavior, location = user.behavior, user.location
    is_timed = user.query_time_s != NO_TIME
    asked_at = np.where(is_timed, user.query_time_s, 0)
    weekday, slot = weekday_and_slot(user.time_s, user.utc_offset_min)
    query_weekday, query_slot = weekday_and_slot(asked_at, user.utc_offset_min)
    gap_s = np.diff(user.time_s, prepend=0)
    query_gap_s = asked_at - np.append(0, user.time_s[:-1])
    for block in history_blocks(user.event_index, first, stop, history_events):
        rows, columns, seen = block.rows, block.columns, block.seen
        # Index -1 of the arrays is read only where a mask hides it.
        same_last = behavior[columns - 1][None] == behavior[rows - 1][:, None]
        same_last_but_one = behavior[columns - 2][None] == behavior[rows - 2][:, None]
        same_location = location[columns - 1][None] == location[rows - 1][:, None]
        same_day_type = (weekday[columns] >= FIRST_WEEKEND_DAY)[None] == (query_weekday[rows] >= FIRST_WEEKEND_DAY)[
            :, None
        ]
        slots = slot[columns][None], query_slot[rows][:, None]
        moment = clock_similarity(*slots, MOMENT_WIDTH) * gap_similarity(
            gap_s[columns][None], query_gap_s[rows][:, None]
        )
        weights_KRC = np.empty((len(KERNELS), len(rows), len(columns)), np.float32)
        weights = dict(zip(KERNELS, weights_KRC, strict=True))  # rows, to be filled in place
        weights["frequency"][:] = seen
        weights["recency"][:] = seen * np.float32(DECAY) ** np.maximum(block.age, 0)
        weights["transition"][:] = block.one_before & same_last
        weights["second_order"][:] = block.two_before & same_last & same_last_but_one
        weights["location"][:] = block.one_before & same_location
        weights["hour"][:] = seen * same_day_type * clock_similarity(*slots, HOUR_WIDTH)
        weights["transition_moment"][:] = weights["transition"] * moment
        weights["location_moment"][:] = weights["location"] * moment
        for name in TIMED_KERNELS:
            weights[name][~is_timed[rows]] = 0
        yield KernelBlock(
            rows=slice(int(rows[0]), int(rows[-1]) + 1),
            columns=slice(int(rows[-1]) - len(columns), int(rows[-1])),
            weights_KRC=weights_KRC,
        )


class TargetNumbers(NamedTuple):
    """Of M targets and all kernels; 0 without a history.

    probs        (M, K) float32, p_k(y) of the behavior that came.
    evidence     (M, K) float32, E_k.
    normalizers  (M, K) float32, A_k = sum_b p_k(b) r_b = sum_j w_k(j) r_{b_j} / E_k; None without a prior shift.
    """

    probs: Tensor
    evidence: Tensor
    normalizers: Tensor | None


def target_numbers(blocks: Iterable[PairBlock], came_M: Tensor, shifts_prior: bool = False) -> TargetNumbers:
    """Numbers of the targets whose pairs are in some blocks; a timed kernel has none for a query without a time.

    came_M        (M,) the behavior that came, in the ids of the blocks.
    shifts_prior  the blocks hold r_b.
    """
    sums_MSK = torch.zeros(len(came_M), 2 + shifts_prior, len(KERNELS), device=came_M.device)
    for block in blocks:
        counted = [block.seen, is_equal(block.behavior, came_M[block.query][:, None])]
        if shifts_prior:
            assert block.ratio is not None
            counted.append(block.ratio)
        # In this order a CPU needs a sixth of the time.
        sums_MSK[block.query] = torch.bmm(torch.stack(counted, 1), _weights(block).transpose(1, 2))
    evidence, *masses = sums_MSK.unbind(1)
    shares = [mass / evidence.clamp_min(1e-9) for mass in masses]
    return TargetNumbers(shares[0], evidence, shares[1] if shifts_prior else None)


def _weights(block: PairBlock) -> Tensor:
    """w_k(j) of every pair, (R, K, L) float32, kernels in the order of KERNELS."""
    pairs, seen = block.coincidences, block.seen
    moment = bell(pairs.apart, MOMENT_WIDTH).mul_(bell(pairs.waited - pairs.wait, GAP_WIDTH)).mul_(pairs.time_known)
    on_same_days = (seen * pairs.same_day_type).mul_(pairs.time_known)
    weights_RKL = seen.new_empty((len(seen), len(KERNELS), seen.shape[1]))
    weights = dict(zip(KERNELS, weights_RKL.unbind(1), strict=True))  # rows, to be filled in place
    weights["frequency"].copy_(seen)
    # As a power of two: a CPU takes a quarter of the time of another base.
    torch.mul(seen, pairs.age.float().mul_(math.log2(DECAY)).exp2_(), out=weights["recency"])
    weights["transition"].copy_(pairs.same_last)
    weights["second_order"].copy_(pairs.same_last_two)
    weights["location"].copy_(pairs.same_location)
    bell(pairs.apart, HOUR_WIDTH, out=weights["hour"]).mul_(on_same_days)
    torch.mul(moment, pairs.same_last, out=weights["transition_moment"])
    torch.mul(moment, pairs.same_location, out=weights["location_moment"])
    return weights_RKL
