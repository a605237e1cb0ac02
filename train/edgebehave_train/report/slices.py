"""HR@1 on parts of the targets: by hour, behavior, events seen, week, and repeat or new."""

# T targets, S slices

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.evaluation.table import EVENTS_SEEN, Row
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k

NOVELTY = ("the last one again", "another one of before", "new to the user")
_MOST_BEHAVIORS = 15
_WEEK_S = 7 * 86_400
_FEWEST = 10  # targets, below which a slice is left out


@dataclass(frozen=True, kw_only=True)
class Slices:
    """HR@1 of some predictors on parts of the targets.

    labels       (S,) of the parts.
    num_targets  (S,) in each part.
    hr_at_1      by the name of the row, (S,) each.
    """

    labels: tuple[str, ...]
    num_targets: tuple[int, ...]
    hr_at_1: dict[str, tuple[float, ...]]


def all_slices(store: EventStore, vocabulary: Vocabulary, rows: Sequence[Row]) -> dict[str, Slices]:
    """The parts of a table's targets, by what they are divided by: hour, seen, behavior, novelty, week.

    vocabulary  of the model: it names the behaviors.
    rows        predictors of the same targets.
    """
    targets = rows[0].predictions.targets
    local_s = store.time_s[targets.event] + 60 * store.utc_offset_min[targets.event].astype(np.int64)
    hour_T = local_s // 3600 % 24
    seen_T = np.searchsorted(EVENTS_SEEN, targets.event - store.user_start[targets.user], side="right")
    week_T = (store.time_s[targets.event] - store.time_s[targets.event].min()) // _WEEK_S
    counts = np.bincount(targets.behavior)
    counts[0] = 0
    frequent = [int(b) for b in np.argsort(-counts, kind="stable")[:_MOST_BEHAVIORS] if counts[b]]
    novelty_T = np.where(targets.is_switch, 1, 0) + np.where(targets.is_repeat, 0, 1)
    ends = [f"{a}-{b - 1}" if b - 1 > a else str(a) for a, b in itertools.pairwise(EVENTS_SEEN)]
    return {
        "hour": _sliced(rows, hour_T, [(hour, str(hour)) for hour in range(24)]),
        "seen": _sliced(rows, seen_T, list(enumerate([*ends, f"{EVENTS_SEEN[-1]}+"], start=1))),
        "behavior": _sliced(rows, targets.behavior, [(b, vocabulary.behaviors[b]) for b in frequent]),
        "novelty": _sliced(rows, novelty_T, list(enumerate(NOVELTY))),
        "week": _sliced(rows, week_T, [(week, str(week + 1)) for week in range(int(week_T.max(initial=0)) + 1)]),
    }


def _sliced(rows: Sequence[Row], part_T: npt.NDArray[np.integer], parts: Sequence[tuple[int, str]]) -> Slices:
    """Slices of the parts that have enough targets."""
    kept = [(part_T == part, label) for part, label in parts if np.count_nonzero(part_T == part) >= _FEWEST]
    hits = {row.name: hit_rate_at_k(row.predictions, 1) for row in rows}
    return Slices(
        labels=tuple(label for _, label in kept),
        num_targets=tuple(int(inside.sum()) for inside, _ in kept),
        hr_at_1={name: tuple(float(hit_T[inside].mean()) for inside, _ in kept) for name, hit_T in hits.items()},
    )
