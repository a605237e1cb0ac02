"""A model on a log whose names are all unknown to it: the table of docs/experiments.md.

    python research/reproduce_unseen_vocabulary.py STORE BUNDLE [BUNDLE ...]

STORE is an event store that the bundles were not trained on. Every name of it, events and locations
alike, is replaced by its hash, and the SDK observes each user's events one by one; from the 20th
on, it predicts each event before it observes it. Whatever the bundle was trained on, these
names are new to it: the network sees unknown events at known times, and everything that is
predicted by name is a name of the user's own.

The row "as it answers" is the bundle with its defaults: the universal model answers where the names are foreign. Beside
it stand `Predictor()`, and `Predictor(model="habits")`, which is habits or follow the leader, and three predictors that
know the user's own past and nothing else: most recently used, most frequently used, and a Markov chain (what followed
the last behavior, or the last two where they occurred before, then what followed the last, then the most frequent).
Ties go to the more recent. Intervals: 95 % by bootstrap over users.
"""

import argparse
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgebehave import Predictor
from edgebehave_train.logs.event_store import EventStore, NamedEvent

FIRST_ASKED = 20
"""Events of a user before the first question, less one."""
CUTOFFS = (1, 3, 5)
_NUM_RESAMPLES = 2000


class Row(Protocol):
    """One predictor, for one user after another."""

    def first(self, k: int, event: NamedEvent) -> Sequence[str]:
        """The k likeliest names for an event; only its moment is used."""

    def observe(self, event: NamedEvent) -> None: ...

    def start_user(self) -> None: ...


class OnSdk:
    """A predictor of the SDK; `knows_time` False: it predicts without a moment."""

    def __init__(self, predictor: Predictor, *, knows_time: bool = True) -> None:
        self._predictor, self._knows_time = predictor, knows_time

    def start_user(self) -> None:
        self._predictor.forget("user")

    def first(self, k: int, event: NamedEvent) -> Sequence[str]:
        at = event.time_s if self._knows_time else None
        found = self._predictor.predict("user", k, at=at, utc_offset_min=event.utc_offset_min)
        return [one.behavior for one in found]

    def observe(self, event: NamedEvent) -> None:
        event.observe_in(self._predictor, "user")


class OwnPast:
    """The names of a user by recency, by frequency, or by what followed the last `order` names."""

    def __init__(self, order: int | None = None, *, by_recency: bool = False) -> None:
        self._contexts = range(order or 0, 0, -1)
        self._by_recency = by_recency
        self.start_user()

    def start_user(self) -> None:
        self._past: list[str] = []
        self._last_use: dict[str, int] = {}
        self._count: Counter[str] = Counter()
        self._after: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)

    def first(self, k: int, event: NamedEvent) -> Sequence[str]:
        del event
        found: list[str] = []
        counts = [self._after.get(self._context(n), Counter()) for n in self._contexts]
        for count in (*counts, Counter() if self._by_recency else self._count, self._last_use):
            ranked = sorted(count, key=lambda name: (-count[name], -self._last_use[name]))
            found += [name for name in ranked if name not in found]
            if len(found) >= k:
                break
        return found[:k]

    def observe(self, event: NamedEvent) -> None:
        for n in self._contexts:
            if len(self._past) >= n:
                self._after[self._context(n)][event.event] += 1
        self._last_use[event.event] = len(self._past)
        self._count[event.event] += 1
        self._past.append(event.event)

    def _context(self, length: int) -> tuple[str, ...]:
        return tuple(self._past[-length:])


def hashed(event: NamedEvent) -> NamedEvent:
    """The same event under names that no vocabulary holds."""

    def name(word: str) -> str:
        return hashlib.sha256(word.encode()).hexdigest()[:16]

    return event._replace(
        event=name(event.event),
        location=None if event.location is None else name(event.location),
    )


def hits(store: EventStore, row: Row) -> npt.NDArray[np.float64]:
    """Hits among the first 1, 3 and 5, and questions, of each user: (users, 4)."""
    counts = np.zeros((len(store.users()), len(CUTOFFS) + 1))
    for user in range(len(counts)):
        row.start_user()
        for number, event in enumerate(map(hashed, store.named_events(user)), 1):
            if number >= FIRST_ASKED:
                found = row.first(max(CUTOFFS), event)
                counts[user, :-1] += [event.event in found[:k] for k in CUTOFFS]
                counts[user, -1] += 1
            row.observe(event)
    return counts


def cells(counts: npt.NDArray[np.float64], sign: str = "") -> str:
    """Columns of a table: share of the questions, and its interval over resampled users.

    counts  (users, 4) as in `hits`, or a difference of the first three columns.
    """
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(0, len(counts), (_NUM_RESAMPLES, len(counts)))].sum(1)
    shares = drawn[:, :-1] / drawn[:, -1:]
    low, high = np.quantile(shares, (0.025, 0.975), axis=0)
    mean = counts[:, :-1].sum(0) / counts[:, -1].sum()
    return " | ".join(f"{m:{sign}.3f} [{a:{sign}.3f}, {b:{sign}.3f}]" for m, a, b in zip(mean, low, high, strict=True))


def minus(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gain in hits per user; the questions are the same."""
    return np.concatenate([a[:, :-1] - b[:, :-1], a[:, -1:]], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("bundles", type=Path, nargs="*")
    args = parser.parse_args()
    started, store = time.monotonic(), EventStore.open(args.store)
    own: dict[str, Row] = {
        "most recently used": OwnPast(by_recency=True),
        "most frequently used": OwnPast(),
        "online Markov, order 1": OwnPast(1),
        "online Markov, order 2": OwnPast(2),
    }
    habits: dict[str, Row] = {
        "habits or the leader": OnSdk(Predictor(model="habits", max_ahead=None)),
        "habits or the leader, no query time": OnSdk(Predictor(model="habits", max_ahead=None), knows_time=False),
    }
    models: dict[str, Row] = {"universal": OnSdk(Predictor(max_ahead=None))}
    for bundle in args.bundles:
        by_itself = Predictor.load(bundle, max_ahead=None, foreign="bundle")
        models[f"`{bundle.name}`"] = OnSdk(by_itself)
        models[f"`{bundle.name}`, no query time"] = OnSdk(by_itself, knows_time=False)
        models[f"`{bundle.name}` as it answers"] = OnSdk(Predictor.load(bundle, max_ahead=None))
    measured = {}
    print("| predictor | " + " | ".join(f"HR@{k}" for k in CUTOFFS) + " |")
    print("|---" * (1 + len(CUTOFFS)) + "|")
    for name, row in (own | habits | models).items():
        measured[name] = hits(store, row)
        print(f"| {name} | {cells(measured[name])} |", flush=True)
    best_own = max(own, key=lambda name: float(measured[name][:, 0].sum()))
    alone, alone_untimed = habits
    print()
    for name in (alone, *models):
        # Against habits that are asked the same.
        same = alone_untimed if name.endswith("no query time") else alone
        for other in (best_own,) if name == alone else (best_own, same):
            gain = cells(minus(measured[name], measured[other]), "+").replace(" | ", ", ")
            print(f"- {name} over {other}: {gain}")
    questions = int(measured[alone][:, -1].sum())
    print(
        f"\n{questions:,} questions, {len(store.users())} users, data {store.fingerprint[:16]}, "
        f"{time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
