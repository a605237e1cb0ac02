"""Pairs of a target of a log and a behavior that is in its user's rolling history at that time.

Training reads them as blocks: targets with histories of about one length, which fill a rectangle. A block is small
enough for the cache of a processor. Evaluation reads them end to end.
"""

# J behaviors of the log, M queries, P pairs, R queries of a block, L past behaviors of a block, F cues

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.habits import HABIT_EVENTS
from edgebehave.time_features import weekday_and_slot
from edgebehave_train.kernels.cues import Coincidences, log_gap
from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog

_PAIRS_AT_ONCE = {"cpu": 1 << 15}
"""Pairs of a block; on an accelerator, which wants few large steps, 4 million."""


@dataclass(frozen=True, kw_only=True)
class HistoryPairs:
    """Pairs of M queries and their past behaviors, the pairs of a query adjacent.

    query     (P,) int64 in 0..M-1, ascending.
    behavior  (P,) int32, ids of the past behaviors.
    cues      (F, P) float32.
    """

    query: Tensor
    behavior: Tensor
    cues: Tensor


@dataclass(frozen=True, kw_only=True)
class PairBlock:
    """Some queries and their past behaviors, the latest first.

    query         (R,) int64 in 0..M-1.
    seen          (R, L) bool, whether the query sees that many behaviors.
    behavior      (R, L) int32, ids of the past behaviors.
    coincidences  of every pair.
    ratio         (R, L) float32, r_b of the past behaviors if the objective shifts the prior.
    """

    query: Tensor
    seen: Tensor
    behavior: Tensor
    coincidences: Coincidences
    ratio: Tensor | None


@dataclass(frozen=True, kw_only=True)
class PastBehaviors:
    """Columns of behaviors on a device, from which the pairs of any targets among them are made.

    behavior, location         (J,) int32 ids; users one after the other, each in time order.
    time_s                     (J,) int64.
    weekday, slot              (J,) int32, local time.
    query_weekday, query_slot  (J,) int32, of the moment at which each is asked for.
    waited, wait               (J,) float32, `log_gap` of the seconds since the behavior before it, until it came and
                               until it is asked for.
    oldest                     (J,) int64, the first row that a query for each sees.
    ratio                      (J,) float32, r_b, for an objective that shifts the prior.
    """

    behavior: Tensor
    location: Tensor
    time_s: Tensor
    weekday: Tensor
    slot: Tensor
    query_weekday: Tensor
    query_slot: Tensor
    waited: Tensor
    wait: Tensor
    oldest: Tensor
    ratio: Tensor | None = None

    @classmethod
    def of_log(
        cls, behaviors: BehaviorLog, device: torch.device, history_events: int = HABIT_EVENTS
    ) -> "PastBehaviors":
        """The columns of a whole behavior log."""

        def column(values: npt.NDArray[np.number], dtype: type = np.int32) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype)).to(device)

        weekday, slot = weekday_and_slot(behaviors.time_s, behaviors.utc_offset_min)
        asked_at = np.where(behaviors.query_time_s == NO_TIME, behaviors.time_s, behaviors.query_time_s)
        query_weekday, query_slot = weekday_and_slot(asked_at, behaviors.utc_offset_min)
        # A target sees the behaviors among the events before it that a device keeps.
        oldest = np.zeros(len(behaviors.event), np.int64)
        for user in range(behaviors.num_users):
            start, stop = behaviors.user_start[user], behaviors.user_start[user + 1]
            index = behaviors.event_index[start:stop]
            oldest[start:stop] = start + np.searchsorted(index, index - history_events)
        return cls(
            behavior=column(behaviors.behavior),
            location=column(behaviors.location),
            time_s=column(behaviors.time_s, np.int64),
            weekday=column(weekday),
            slot=column(slot),
            query_weekday=column(query_weekday),
            query_slot=column(query_slot),
            waited=log_gap(column(np.diff(behaviors.time_s, prepend=0), np.int64)),
            wait=log_gap(column(asked_at - np.append(0, behaviors.time_s[:-1]), np.int64)),
            oldest=column(oldest, np.int64),
        )

    def pairs(self, row_M: Tensor, time_known_M: Tensor) -> HistoryPairs:
        """Pairs of the targets in some rows of the behavior log, end to end.

        row_M         (M,) int64 rows.
        time_known_M  (M,) bool, whether the query has a time.
        """
        oldest_M = self.oldest[row_M]
        count_M = row_M - oldest_M
        query = torch.repeat_interleave(torch.arange(len(row_M), device=row_M.device), count_M)
        first_pair_M = count_M.cumsum(0) - count_M
        column = torch.arange(len(query), device=row_M.device)
        column -= (first_pair_M - oldest_M).index_select(0, query)

        def of_query(values_M: Tensor) -> Tensor:
            return values_M.index_select(0, query)

        def of_past(values_J: Tensor, back: int = 0) -> Tensor:
            # The first behavior of a user has none before it; what stands there is masked.
            return values_J.index_select(0, (column - back).clamp_min(0) if back else column)

        since_oldest = column - of_query(oldest_M)
        age = of_query(row_M - 1) - column
        coincidences = self._coincidences(row_M, time_known_M, age, since_oldest, of_query, of_past)
        return HistoryPairs(query=query, behavior=of_past(self.behavior), cues=coincidences.cues())

    def blocks(self, row_M: Tensor, time_known_M: Tensor) -> Iterator[PairBlock]:
        """The same pairs in blocks, those of queries with long histories first; a query without a history is in none.

        row_M, time_known_M  as in `pairs`.
        """
        count_M, order_M = (row_M - self.oldest[row_M]).sort(descending=True, stable=True)
        counts = count_M.tolist()
        pairs_at_once = _PAIRS_AT_ONCE.get(row_M.device.type, 1 << 22)
        first = 0
        while first < len(counts) and counts[first]:
            longest = counts[first]
            stop = first + max(1, pairs_at_once // longest)
            yield self._block(row_M, time_known_M, order_M[first:stop], count_M[first:stop], longest)
            first = stop

    def _block(self, row_M: Tensor, time_known_M: Tensor, query_R: Tensor, count_R: Tensor, longest: int) -> PairBlock:
        row_R, known_R = row_M[query_R], time_known_M[query_R]
        age_L = torch.arange(longest + 2, device=row_M.device)
        # Two columns more: the behaviors before the oldest one. Rows that do not exist are masked.
        column_RL = (row_R[:, None] - 1 - age_L).clamp_min(0)
        flat = column_RL.flatten()
        taken: dict[int, Tensor] = {}

        def of_query(values_R: Tensor) -> Tensor:
            return values_R[:, None]

        def of_past(values_J: Tensor, back: int = 0) -> Tensor:
            if id(values_J) not in taken:
                taken[id(values_J)] = values_J.index_select(0, flat).view(column_RL.shape)
            return taken[id(values_J)][:, back : longest + back]

        age = age_L[:longest]
        since_oldest = count_R[:, None] - 1 - age
        return PairBlock(
            query=query_R,
            seen=since_oldest >= 0,
            behavior=of_past(self.behavior),
            coincidences=self._coincidences(row_R, known_R, age[None], since_oldest, of_query, of_past),
            ratio=None if self.ratio is None else of_past(self.ratio),
        )

    def _coincidences(
        self,
        row_M: Tensor,
        time_known_M: Tensor,
        age: Tensor,
        since_oldest: Tensor,
        of_query: Callable[[Tensor], Tensor],
        of_past: Callable[..., Tensor],
    ) -> Coincidences:
        """Of pairs in any shape, which of_query and of_past make from values of queries and of behaviors.

        age, since_oldest  behaviors between each past one and the query, and between it and the oldest one.
        """
        last_M = (row_M - 1).clamp_min(0)
        behavior, location = of_past(self.behavior), of_past(self.location)
        last, last_location = of_query(self.behavior[last_M]), of_query(self.location[last_M])
        # Before the oldest behavior nothing is known: -1, an id that no behavior has.
        has_two_M = row_M - 2 >= self.oldest[row_M]
        last_but_one = of_query(self.behavior[(row_M - 2).clamp_min(0)].masked_fill(~has_two_M, -1))
        has_one_before, has_two_before = since_oldest >= 1, since_oldest >= 2
        same_last = has_one_before & (of_past(self.behavior, 1) == last)
        return Coincidences(
            age=age,
            elapsed_s=of_query(self.time_s[last_M]) - of_past(self.time_s),
            same_last=same_last,
            same_last_two=has_two_before & same_last & (of_past(self.behavior, 2) == last_but_one),
            same_location=has_one_before & (of_past(self.location, 1) == last_location),
            repeat=behavior == last,
            alternation=behavior == last_but_one,
            at_location=location == last_location,
            waited=of_past(self.waited) * has_one_before,
            wait=of_query(self.wait[row_M]),
            slot=of_past(self.slot),
            weekday=of_past(self.weekday),
            query_slot=of_query(self.query_slot[row_M]),
            query_weekday=of_query(self.query_weekday[row_M]),
            time_known=of_query(time_known_M),
        )
