"""Kernels that copy waiting time and location of the next behavior from a user's own past.

They work like the habit kernels of `edgebehave.habits`: a kernel weighs each past behavior j, and copies its waiting
time g_j (seconds since the behavior before it) or its location.

    gap kernel         w(j); "last" is the last behavior, "before" the one before j
    frequency          1
    recency            DECAY ** age
    transition         [before is the same behavior as last]
    hour               clock(before, last; HOUR_WIDTH), both on workdays or both not
    transition_hour    transition * hour
    location_hour      [before was at the location of last] * hour
    pace               [the wait for before was about as long as the wait for last]

    location kernel       w(j); the next event and its time are given
    last               [j is last]
    hour               clock(j, next; HOUR_WIDTH), both on workdays or both not
    event              [same event as next]
    event_recent       event * DECAY ** age
    event_after        event * [before was at the location of last]
    event_hour         event * hour

No gap kernel reads the time of the next behavior, which it predicts.
"""

# R queries, C past behaviors, J behaviors of the log, K kernels; (..., C) broadcasts to (R, C)

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.habits import DECAY, FIRST_WEEKEND_DAY, HABIT_EVENTS, HOUR_WIDTH, clock_similarity, gap_similarity
from edgebehave.time_features import weekday_and_slot
from edgebehave_train.kernels.habit_kernels import history_blocks
from edgebehave_train.kernels.time_gaps import NUM_PACES, bin_of_gap, pace_of_bin
from edgebehave_train.logs.behavior_log import BehaviorLog

GAP_KERNELS = ("frequency", "recency", "transition", "hour", "transition_hour", "location_hour", "pace")
LOCATION_KERNELS = ("last", "hour", "event", "event_recent", "event_after", "event_hour")
UNKNOWN_GAP = -1
"""Waiting time of a behavior that has none before it."""


@dataclass(frozen=True, kw_only=True)
class Occurrences:
    """Behaviors that happened, or that are asked about, in arrays of one shape.

    behavior, event, location  ids, compared with each other only.
    slot, is_weekend        of local time.
    gap_s                   seconds since the behavior before it, UNKNOWN_GAP without one.
    """

    behavior: npt.NDArray[np.integer]
    event: npt.NDArray[np.integer]
    location: npt.NDArray[np.integer]
    slot: npt.NDArray[np.integer]
    is_weekend: npt.NDArray[np.bool_]
    gap_s: npt.NDArray[np.integer]

    @classmethod
    def of_columns(
        cls,
        *,
        behavior: npt.NDArray[np.integer],
        event: npt.NDArray[np.integer],
        location: npt.NDArray[np.integer],
        time_s: npt.NDArray[np.integer],
        utc_offset_min: npt.NDArray[np.integer],
        gap_s: npt.NDArray[np.integer] | None = None,
    ) -> "Occurrences":
        """From the columns of a user's behaviors, time along the last axis."""
        if gap_s is None:
            gap_s = np.diff(time_s, prepend=0)
            gap_s[..., :1] = UNKNOWN_GAP
        weekday, slot = weekday_and_slot(time_s, utc_offset_min)
        return cls(
            behavior=behavior,
            event=event,
            location=location,
            slot=slot,
            is_weekend=weekday >= FIRST_WEEKEND_DAY,
            gap_s=gap_s,
        )

    def at(self, index: object) -> "Occurrences":
        """The same index applied to every column."""
        return Occurrences(**{name: column[index] for name, column in vars(self).items()})

    def shifted(self) -> "Occurrences":
        """The one before each; the caller masks the first, which wraps around."""
        return Occurrences(**{name: np.roll(column, 1, -1) for name, column in vars(self).items()})


def _same_hour(a: Occurrences, b: Occurrences) -> npt.NDArray[np.float32]:
    similarity = clock_similarity(a.slot, b.slot, HOUR_WIDTH)
    product: npt.NDArray[np.float32] = similarity * (a.is_weekend == b.is_weekend)
    return product


def gap_weights(
    before: Occurrences,
    last: Occurrences,
    age: npt.NDArray[np.integer],
    has_before: npt.NDArray[np.bool_],
    has_two_before: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Weight of each past waiting time, (K, R, C) float32, kernels in the order of GAP_KERNELS.

    before          (..., C) the behavior before each past one, where its waiting time began.
    last            (R, 1) where the waiting time that is asked for begins.
    age             (R, C) behaviors between each past one and the query.
    has_before      (R, C) the query sees j and the behavior before it.
    has_two_before  (R, C) and the one before that.
    """
    weights_KRC = np.empty((len(GAP_KERNELS), *has_before.shape), np.float32)
    weights = dict(zip(GAP_KERNELS, weights_KRC, strict=True))  # rows, to be filled in place
    hour = _same_hour(before, last)
    weights["frequency"][:] = has_before
    weights["recency"][:] = has_before * np.float32(DECAY) ** np.maximum(age, 0)
    weights["transition"][:] = has_before & (before.behavior == last.behavior)
    weights["hour"][:] = has_before * hour
    weights["transition_hour"][:] = weights["transition"] * hour
    weights["location_hour"][:] = weights["hour"] * (before.location == last.location)
    both = has_two_before & (last.gap_s >= 0)
    weights["pace"][:] = both * gap_similarity(before.gap_s, last.gap_s)
    return weights_KRC


def location_weights(
    past: Occurrences,
    before: Occurrences,
    last: Occurrences,
    following: Occurrences,
    age: npt.NDArray[np.integer],
    seen: npt.NDArray[np.bool_],
    has_before: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Weight of each past location, (K, R, C) float32, kernels in the order of LOCATION_KERNELS.

    past, before  (..., C) the past behaviors, and the one before each.
    last          (R, 1) the last behavior.
    following     (R, 1) the next one; its location is not read.
    age           (R, C) behaviors between each past one and the query, 0 for the last.
    seen          (R, C) the query sees j; has_before: and the behavior before it.
    """
    weights_KRC = np.empty((len(LOCATION_KERNELS), *seen.shape), np.float32)
    weights = dict(zip(LOCATION_KERNELS, weights_KRC, strict=True))
    hour = _same_hour(past, following)
    event = seen & (past.event == following.event)
    weights["last"][:] = seen & (age == 0)
    weights["hour"][:] = seen * hour
    weights["event"][:] = event
    weights["event_recent"][:] = event * np.float32(DECAY) ** np.maximum(age, 0)
    weights["event_after"][:] = event & has_before & (before.location == last.location)
    weights["event_hour"][:] = event * hour
    return weights_KRC


@dataclass(frozen=True, kw_only=True)
class CopyNumbers:
    """Probabilities that the kernels gave to what came, one row per behavior of a log; evidence as in habits.

    gap_bin         (J,) bin of the time since the behavior before; -1 for a user's first.
    gap_probs       (J, K) p_k(gap_bin), gap_evidence (J, K).
    pace_counts     (J, P) how many own waiting times fell into each group of bins.
    location_probs  (J, K) p_k(location), location_evidence (J, K).
    """

    gap_bin: npt.NDArray[np.int64]
    gap_probs: npt.NDArray[np.float32]
    gap_evidence: npt.NDArray[np.float32]
    pace_counts: npt.NDArray[np.float32]
    location_probs: npt.NDArray[np.float32]
    location_evidence: npt.NDArray[np.float32]


def waiting_times(behaviors: BehaviorLog, is_counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Seconds between adjacent behaviors of a user, those whose second event `is_counted` (N,)."""
    has_before = np.ones(len(behaviors.event), bool)
    has_before[behaviors.user_start[:-1][np.diff(behaviors.user_start) > 0]] = False
    gap_s = np.diff(behaviors.time_s, prepend=0)
    return gap_s[has_before & is_counted[behaviors.event]]


def copy_numbers(
    identity: npt.NDArray[np.integer], behaviors: BehaviorLog, is_asked: npt.NDArray[np.bool_] | None = None
) -> CopyNumbers:
    """The numbers of the behaviors of a log, from the behaviors before each.

    identity   (N,) of `event_identity`.
    behaviors  a query sees those among the HABIT_EVENTS events before it.
    is_asked   (J,) behaviors whose numbers are wanted, at least; None = all.
    """
    num_rows = len(behaviors.event)

    def zeros(kernels: tuple[str, ...]) -> npt.NDArray[np.float32]:
        return np.zeros((num_rows, len(kernels)), np.float32)

    numbers = CopyNumbers(
        gap_bin=np.full(num_rows, -1, np.int64),
        gap_probs=zeros(GAP_KERNELS),
        gap_evidence=zeros(GAP_KERNELS),
        pace_counts=np.zeros((num_rows, NUM_PACES), np.float32),
        location_probs=zeros(LOCATION_KERNELS),
        location_evidence=zeros(LOCATION_KERNELS),
    )
    for u in range(behaviors.num_users):
        start, stop = int(behaviors.user_start[u]), int(behaviors.user_start[u + 1])
        all_rows = slice(start, stop)
        occurrences = Occurrences.of_columns(
            behavior=behaviors.behavior[all_rows],
            event=identity[behaviors.event[all_rows]],
            location=behaviors.location[all_rows],
            time_s=behaviors.time_s[all_rows],
            utc_offset_min=behaviors.utc_offset_min[all_rows],
        )
        event_index = behaviors.event_index[all_rows]
        oldest = np.searchsorted(event_index, event_index - HABIT_EVENTS)
        gap_bin = bin_of_gap(occurrences.gap_s)
        before = occurrences.shifted()
        # Waiting times of the behaviors in (oldest, row): the oldest has none that is seen.
        is_pace = np.eye(NUM_PACES, dtype=np.float32)[pace_of_bin(gap_bin)]
        before_row = np.concatenate([np.zeros((1, NUM_PACES), np.float32), is_pace.cumsum(0)])
        past_oldest = np.minimum(oldest + 1, np.arange(stop - start))
        numbers.pace_counts[all_rows] = before_row[:-1] - before_row[past_oldest]
        first, asked_stop = 1, stop - start
        if is_asked is not None:
            asked = np.flatnonzero(is_asked[all_rows])
            first, asked_stop = (max(1, int(asked[0])), int(asked[-1]) + 1) if len(asked) else (1, 1)
        for block in history_blocks(event_index, first, asked_stop):
            rows, columns = block.rows, block.columns
            last, following = occurrences.at(rows - 1), occurrences.at(rows)
            last, following = last.at(np.s_[:, None]), following.at(np.s_[:, None])
            where = start + rows
            numbers.gap_bin[where] = gap_bin[rows]
            weights = gap_weights(before.at(columns), last, block.age, block.one_before, block.two_before)
            hit = gap_bin[columns][None] == gap_bin[rows][:, None]
            _fill(numbers.gap_probs, numbers.gap_evidence, where, weights, hit)
            weights = location_weights(
                occurrences.at(columns), before.at(columns), last, following, block.age, block.seen, block.one_before
            )
            hit = occurrences.location[columns][None] == occurrences.location[rows][:, None]
            _fill(numbers.location_probs, numbers.location_evidence, where, weights, hit)
    return numbers


def _fill(
    probs: npt.NDArray[np.float32],
    evidence: npt.NDArray[np.float32],
    where: npt.NDArray[np.int64],
    weights_KRC: npt.NDArray[np.float32],
    hit_RC: npt.NDArray[np.bool_],
) -> None:
    evidence[where] = weights_KRC.sum(2).T
    probs[where] = (weights_KRC * hit_RC).sum(2).T / np.maximum(evidence[where], 1e-9)
