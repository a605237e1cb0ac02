"""Real histories for the parity gate: users of the validation part, some of them very long.

Two counters wrap on a device: the cache is full after `window - 1` events, and rotary positions
start over after 512. Where a log has too few users that long, the streams of several users are
laid end to end.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import NO_BEHAVIOR
from edgebehave_train.logs.event_store import COLUMNS, EventStore
from edgebehave_train.logs.split import SplitConfig, part_bounds
from edgebehave_train.model.behavior_model import ROTARY_PERIOD

_WEEK_S = 7 * 86400
_NUM_LONG = 3


@dataclass(frozen=True, kw_only=True)
class GateLog:
    """Histories of the gate, as a store in memory.

    store       its users are the histories, real ones first.
    asked       (N,) bool, events that are to be predicted.
    num_joined  histories at the end that were joined from several users.
    """

    store: EventStore
    asked: npt.NDArray[np.bool_]
    num_joined: int


def gate_log(
    store: EventStore,
    split: SplitConfig,
    window: int,
    num_predictions: int = 2100,
    max_events: int = 30_000,
    max_history: int = 2048,
) -> GateLog:
    """Choose the histories.

    num_predictions  stop adding users once that many behaviors of the validation part are asked
                     for. If the validation part has fewer, the events just before it are asked for, too.
    max_events       stop at that many events in any case: the gate must stay quick.
    max_history      a longer history loses its oldest events.
    Raises ValueError if the log has no validation part.
    """
    bounds = part_bounds(store, split)
    train_stop, stop = bounds[:, 1], bounds[:, 2]
    start = np.maximum(bounds[:, 0], stop - max_history)
    length = stop - start
    candidates = np.flatnonzero((stop > train_stop) & (length > 1))
    if not len(candidates):
        raise ValueError("the log has no validation part to check the export on; choose another")
    longest = candidates[np.argsort(-length[candidates], kind="stable")][:_NUM_LONG]
    others = np.random.default_rng(0).permutation(np.setdiff1d(candidates, longest))
    order = np.concatenate([longest, others])
    validation_start = np.maximum(train_stop, start)
    num_asked = _num_behaviors(store, validation_start[order], stop[order]).cumsum()
    enough = (num_asked >= num_predictions) | (length[order].cumsum() >= max_events)
    chosen = order[: int(enough.argmax()) + 1 if enough.any() else len(order)]
    asked_start = validation_start[chosen]
    if num_asked[len(chosen) - 1] < num_predictions:
        share = min(1.0, num_predictions / length[chosen].sum())
        earlier = stop[chosen] - np.ceil(share * length[chosen]).astype(np.int64)
        asked_start = np.minimum(asked_start, earlier)
    histories = [np.arange(start[user], stop[user]) for user in chosen]
    asked = [history >= begin for begin, history in zip(asked_start, histories, strict=True)]
    long_enough = ROTARY_PERIOD + 2 * window
    num_missing = max(0, _NUM_LONG - int((length[chosen] >= long_enough).sum()))
    parts = [np.arange(start[user], stop[user]) for user in order]
    joined = _join(parts, long_enough, num_missing)
    # A joined history serves the predictions after the wrap.
    asked += [np.arange(len(history)) >= ROTARY_PERIOD for history in joined]
    return GateLog(store=_take(store, histories + joined), asked=np.concatenate(asked), num_joined=len(joined))


def _num_behaviors(
    store: EventStore, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Events that have a behavior, in each of some ranges."""
    before: npt.NDArray[np.int64] = np.append(0, np.cumsum(np.asarray(store.behavior) != NO_BEHAVIOR))
    return before[stop] - before[start]


def _join(histories: list[npt.NDArray[np.int64]], num_events: int, num_joined: int) -> list[npt.NDArray[np.int64]]:
    """At most `num_joined` histories of at least `num_events` events, each joined from other users."""
    joined: list[npt.NDArray[np.int64]] = []
    rest = list(histories)
    while len(joined) < num_joined:
        parts: list[npt.NDArray[np.int64]] = []
        while rest and sum(len(part) for part in parts) < num_events:
            parts.append(rest.pop())
        if sum(len(part) for part in parts) < num_events:
            break
        joined.append(np.concatenate(parts))
    return joined


def _take(store: EventStore, histories: list[npt.NDArray[np.int64]]) -> EventStore:
    """A store of some histories, each in the order of time."""
    position = np.concatenate(histories)
    columns = {name: np.asarray(getattr(store, name))[position] for name in COLUMNS}
    user_start = np.append(0, np.cumsum([len(history) for history in histories]))
    time_s = columns["time_s"]
    for begin, end in itertools.pairwise(user_start):
        # A stream that begins before the end of the one before it is moved by whole weeks: weekdays and slots stay.
        for i in np.flatnonzero(np.diff(time_s[begin:end]) < 0) + begin + 1:
            weeks = -((time_s[i] - time_s[i - 1]) // _WEEK_S)
            time_s[i:end] += weeks * _WEEK_S
    return EventStore(
        path=store.path,
        vocabulary=store.vocabulary,
        statistics=store.statistics,
        user_start=user_start,
        columns=columns,
        whole=set(columns),
    )
