"""Pairs of a target of a log and a behavior that is in its user's rolling history at that time."""

# J behaviors of the log, M queries, P pairs, F cues

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.habits import HABIT_EVENTS
from edgebehave.time_features import weekday_and_slot
from edgebehave_train.kernels.cues import Coincidences, log_gap
from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog


@dataclass(frozen=True, kw_only=True)
class HistoryPairs:
    """Pairs of M queries and their past behaviors, the pairs of a query adjacent.

    query     (P,) int64 in 0..M-1, ascending.
    behavior  (P,) int32, ids of the past behaviors.
    cues      (F, P) float32.
    ratio     (P,) float32, r_b of the past behaviors if the objective shifts the prior.
    """

    query: Tensor
    behavior: Tensor
    cues: Tensor
    ratio: Tensor | None = None


class PastBehaviors:
    """Columns of a behavior log on a device, from which the pairs of any targets are made."""

    def __init__(
        self,
        behaviors: BehaviorLog,
        device: torch.device,
        history_events: int = HABIT_EVENTS,
        ratio_C: npt.NDArray[np.floating] | None = None,
    ) -> None:
        """`ratio_C` (V + U,) r_b of every candidate, for an objective that shifts the prior."""

        def column(values: npt.NDArray[np.number], dtype: type = np.int32) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype)).to(device)

        self.behavior, self.location = column(behaviors.behavior), column(behaviors.location)
        self.time_s = column(behaviors.time_s, np.int64)
        weekday, slot = weekday_and_slot(behaviors.time_s, behaviors.utc_offset_min)
        self.weekday, self.slot = column(weekday), column(slot)
        asked_at = np.where(behaviors.query_time_s == NO_TIME, behaviors.time_s, behaviors.query_time_s)
        weekday, slot = weekday_and_slot(asked_at, behaviors.utc_offset_min)
        self.query_weekday, self.query_slot = column(weekday), column(slot)
        self.waited = log_gap(column(np.diff(behaviors.time_s, prepend=0)))
        self.wait = log_gap(column(asked_at - np.append(0, behaviors.time_s[:-1])))
        self.ratio = None
        if ratio_C is not None:
            self.ratio = column(ratio_C[behaviors.behavior], np.float32)
        # A target sees the behaviors among the events before it that a device keeps.
        oldest = np.zeros(len(behaviors.event), np.int64)
        for user in range(behaviors.num_users):
            start, stop = behaviors.user_start[user], behaviors.user_start[user + 1]
            index = behaviors.event_index[start:stop]
            oldest[start:stop] = start + np.searchsorted(index, index - history_events)
        self.oldest = column(oldest, np.int64)

    def pairs(self, row_M: Tensor, time_known_M: Tensor) -> HistoryPairs:
        """Pairs of the targets in some rows of the behavior log.

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

        last_M = row_M - 1
        last_but_one_M = (row_M - 2).clamp_min(0)
        behavior, location = of_past(self.behavior), of_past(self.location)
        last, last_location = of_query(self.behavior[last_M]), of_query(self.location[last_M])
        # Before the oldest behavior nothing is known: -1, an id that no behavior has.
        has_two_M = row_M - 2 >= oldest_M
        last_but_one = of_query(self.behavior[last_but_one_M].masked_fill(~has_two_M, -1))
        since_oldest = column - of_query(oldest_M)
        has_one_before, has_two_before = since_oldest >= 1, since_oldest >= 2
        same_last = has_one_before & (of_past(self.behavior, 1) == last)
        coincidences = Coincidences(
            age=of_query(last_M) - column,
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
        return HistoryPairs(
            query=query,
            behavior=behavior,
            cues=coincidences.cues(),
            ratio=None if self.ratio is None else of_past(self.ratio),
        )
