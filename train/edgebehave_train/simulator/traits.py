"""Traits of one user's log: numbers that say what kind of log it is, for random worlds and real logs alike.

Most of them depend on the number of events, so compare logs of equal length. Entropies are those of the observed shares
(no correction for small samples); probabilities of hits are those of a predictor that is asked before it is told.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]

NO_LOCATION = -1
_HALF_HOURS = 48


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Traits of one log; NaN where a trait has no meaning, as the repeat rate of locations in a log without any.

    repeat_rate             share of events with the name of the event before.
    return_rate             share of events with the name of the event before the last, but not of the last: A B A.
    num_names               distinct names.
    top_share               share of the most used name.
    entropy_bits            entropy of the names.
    next_entropy_bits       entropy of the next name given the last one.
    novelty                 share of events with a name never used before, in the later half of the log.
    hits_most_used          share of events that the most used name so far predicts.
    hits_after_last         share of events that the most frequent successor of the last name predicts.
    hits_after_two          the same after the last two names.
    hits_by_hour            the same by the two-hour slot of the day of the event.
    median_gap_s            median time between events, seconds.
    gap_spread              standard deviation of log(1 s + gap).
    gaps_below_minute       share of gaps below 60 s.
    events_per_day          events divided by days with an event.
    hour_entropy_bits       entropy of the half hours of the day in which events happen; 5.58 bits if all are alike.
    weekend_difference      total variation distance of the names of Saturday and Sunday from those of other days,
                            in [0, 1]; NaN if the log has only one of the two.
    num_locations           distinct locations; 0 where there are none.
    location_repeat_rate    share of events with a location that is the one of the event before.
    """

    repeat_rate: float
    return_rate: float
    num_names: float
    top_share: float
    entropy_bits: float
    next_entropy_bits: float
    novelty: float
    hits_most_used: float
    hits_after_last: float
    hits_after_two: float
    hits_by_hour: float
    median_gap_s: float
    gap_spread: float
    gaps_below_minute: float
    events_per_day: float
    hour_entropy_bits: float
    weekend_difference: float
    num_locations: float
    location_repeat_rate: float


TRAITS = tuple(field.name for field in fields(Traits))


def traits_of(behavior: IntArray, location: IntArray, local_s: IntArray) -> Traits:
    """Traits of the events of one user, oldest first.

    behavior  (n,) int, any numbers, n >= 4.
    location  (n,) int, NO_LOCATION where there is none.
    local_s   (n,) int, local time in seconds since 1970, never decreasing.
    """
    if not len(behavior) == len(location) == len(local_s) >= 4:
        raise ValueError(
            "traits_of expects at least 4 events and columns of equal length, "
            f"got {len(behavior)} behaviors, {len(location)} locations, {len(local_s)} times"
        )
    names = behavior.tolist()
    gap_s = np.diff(local_s)
    repeated, returned = behavior[1:] == behavior[:-1], behavior[2:] == behavior[:-2]
    pairs = Counter(pairwise(names))
    first = np.unique(behavior, return_index=True)[1]
    half = len(names) // 2
    slots = (local_s % 86400 // 7200).tolist()
    located = location[location != NO_LOCATION]
    return Traits(
        repeat_rate=float(repeated.mean()),
        return_rate=float((returned & ~repeated[1:]).mean()),
        num_names=float(len(first)),
        top_share=max(Counter(names).values()) / len(names),
        entropy_bits=_entropy_bits(Counter(names)),
        next_entropy_bits=_entropy_bits(pairs) - _entropy_bits(Counter(names[:-1])),
        novelty=float((first >= half).sum() / (len(names) - half)),
        hits_most_used=_hits(names, [0] * len(names)),
        hits_after_last=_hits(names, [None, *names[:-1]]),
        hits_after_two=_hits(names, [None, None, *pairwise(names[:-1])]),
        hits_by_hour=_hits(names, slots),
        median_gap_s=float(np.median(gap_s)),
        gap_spread=float(np.log1p(gap_s).std()),
        gaps_below_minute=float((gap_s < 60).mean()),
        events_per_day=len(names) / len(np.unique(local_s // 86400)),
        hour_entropy_bits=_entropy_bits(Counter((local_s % 86400 // (86400 // _HALF_HOURS)).tolist())),
        weekend_difference=_weekend_difference(behavior, local_s),
        num_locations=float(len(np.unique(located))),
        location_repeat_rate=_location_repeat_rate(location),
    )


def _entropy_bits(counts: Counter[Any]) -> float:
    share = np.array(list(counts.values())) / counts.total()
    return float(-(share * np.log2(share)).sum())


def _hits(names: Sequence[int], contexts: Sequence[Hashable]) -> float:
    """Share of events whose name was until then the most frequent in their context; at a tie the earlier one counts."""
    counts: dict[Hashable, dict[int, int]] = defaultdict(dict)
    best: dict[Hashable, int] = {}
    hits = 0
    for name, context in zip(names, contexts, strict=True):
        hits += best.get(context) == name
        of_context = counts[context]
        of_context[name] = of_context.get(name, 0) + 1
        if context not in best or of_context[name] > of_context[best[context]]:
            best[context] = name
    return hits / len(names)


def _weekend_difference(behavior: IntArray, local_s: IntArray) -> float:
    # 1 January 1970 was a Thursday.
    is_weekend = (local_s // 86400 + 3) % 7 >= 5
    if is_weekend.all() or not is_weekend.any():
        return float("nan")
    name = np.unique(behavior, return_inverse=True)[1]
    counts = [np.bincount(name[days], minlength=name.max() + 1) for days in (is_weekend, ~is_weekend)]
    return float(0.5 * np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum())


def _location_repeat_rate(location: IntArray) -> float:
    known = location[1:] != NO_LOCATION
    return float((location[1:] == location[:-1])[known].mean()) if known.any() else float("nan")
