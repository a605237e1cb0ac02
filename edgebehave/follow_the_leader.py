"""Follow the leader: of a few counting predictors, the one that was right most often about this user so far.

The predictors are the most recently used behavior, and chains of order 0 to 3: what came most often after the last 0 to
3 behaviors, of equal counts the one used latest. Where a chain knows too few behaviors, the next shorter chain follows,
so every behavior that the user has had is ranked. It needs no training and no settings, so it is the least that a
predictor with a model must beat.
"""

# n behaviors of the past, C different ones

import sys
from collections.abc import Iterable

MAX_ORDER = 3
PREDICTORS = ("most_recently_used", "markov_0", "markov_1", "markov_2", "markov_3")
"""Names of the predictors; `_PREFERENCE` says which of equal leaders leads."""

_PREFERENCE = (3, 2, 1, 4, 0)
"""Indices of markov_2, markov_1, markov_0, markov_3, most_recently_used."""

_CONTEXT_BYTES, _PAIR_BYTES, _EVENT_BYTES = 300, 40, 64
"""Memory, measured: of a context's tuple and dict, of a behavior in that, and of an event in the lists."""


class FollowTheLeader:
    """The counts of one user; behaviors are observed in the order of time."""

    def __init__(self, behaviors: Iterable[int] = ()) -> None:
        self._last_use: dict[int, int] = {}
        self._past: list[int] = []
        self._counts: list[dict[tuple[int, ...], dict[int, int]]] = [{} for _ in range(MAX_ORDER + 1)]
        self._num_pairs = 0
        self.hits = [0] * len(PREDICTORS)
        self.leader_hits: list[bool] = []
        """Whether the leader was right, of every behavior; the first one had no leader."""
        for behavior in behaviors:
            self.observe(behavior)

    @property
    def num_seen(self) -> int:
        """Behaviors so far."""
        return len(self._past)

    @property
    def num_bytes(self) -> int:
        """Memory of the counts."""
        of_contexts = sum(sys.getsizeof(contexts) + _CONTEXT_BYTES * len(contexts) for contexts in self._counts)
        of_events = _EVENT_BYTES * len(self._past) + sys.getsizeof(self._last_use)
        return of_contexts + _PAIR_BYTES * self._num_pairs + of_events

    def observe(self, behavior: int) -> None:
        """Compare every predictor with what came, then count it."""
        choices = self._first_choices() if self._past else []
        self.leader_hits.append(bool(choices) and choices[self.leader()] == behavior)
        for index, first in enumerate(choices):
            self.hits[index] += first == behavior
        for order, contexts in enumerate(self._counts):
            if len(self._past) >= order:
                of_context = contexts.setdefault(self._context(order), {})
                self._num_pairs += behavior not in of_context
                of_context[behavior] = of_context.get(behavior, 0) + 1
        self._last_use[behavior] = len(self._past)
        self._past.append(behavior)

    def ranking(self, predictor: str | None = None) -> list[int]:
        """All behaviors of the past, the likeliest first, by one of PREDICTORS; default: the leader.

        Raises ValueError for another predictor.
        """
        if predictor is not None and predictor not in PREDICTORS:
            raise ValueError(f"predictor must be one of {', '.join(PREDICTORS)}, got {predictor!r}")
        index = self.leader() if predictor is None else PREDICTORS.index(predictor)
        if index == 0:
            return sorted(self._last_use, key=self._last_use.__getitem__, reverse=True)
        ranked: dict[int, None] = {}
        for order in range(index - 1, -1, -1):
            counts = self._counts_now(order)
            ranked |= dict.fromkeys(sorted(counts, key=lambda b: (-counts[b], -self._last_use[b])))
        return list(ranked)

    def leader(self) -> int:
        """Index of the predictor with most hits so far."""
        return max(range(len(PREDICTORS)), key=lambda index: (self.hits[index], _PREFERENCE.index(index) * -1))

    def _first_choices(self) -> list[int]:
        """The first choice of each of PREDICTORS; there must be a past."""
        choices = [self._past[-1]]
        for order in range(MAX_ORDER + 1):
            counts = self._counts_now(order)
            choices.append(max(counts, key=lambda b: (counts[b], self._last_use[b])) if counts else choices[-1])
        return choices

    def _counts_now(self, order: int) -> dict[int, int]:
        """Counts of what came after the last `order` behaviors."""
        return self._counts[order].get(self._context(order), {}) if len(self._past) >= order else {}

    def _context(self, order: int) -> tuple[int, ...]:
        return tuple(self._past[-order:]) if order else ()
