"""Random worlds: a prior over users, from which a model for any log learns.

A world is one user with a random character, and the events of that user. Nothing of a real log is in it: every trait
is drawn from a wide range, so that real users of phones, homes, desktops, maps and the web lie inside. Names are
numbers in the order of their first use; a model can learn from them only what holds for any names.

Time        sessions of close events, pauses between them, and nights; gaps from seconds to hours (`Clockwork`).
Location    none, or a location that changes with the hours, or one that goes with the behavior (`Whereabouts`).
Behavior    one of two laws:
            `MixedHabits`    every event follows one of several habits, chosen at random: a chain of order 0 to 4, the
                             hour, the location, one of the latest names, a task, a routine, or nothing at all;
            `WeighedHabits`  all habits weigh every event at once: p(b) is proportional to exp(sum of weighted scores).

Both laws draw names from a Pitman-Yor process (Pitman and Yor 1997), so vocabularies grow with a long tail. Chains are
hierarchical Pitman-Yor processes over contexts (Teh 2006): what followed a context becomes likelier after it.
"""

# n events, K names of a WeighedHabits world

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

SHARE_WEIGHED = 0.4
"""Share of the worlds whose behavior follows `WeighedHabits`."""

NO_LOCATION = -1
_MAX_LATEST = 80


@dataclass(frozen=True, kw_only=True)
class WorldLog:
    """The events of one user, oldest first; all (n,) int64.

    behavior    names, as numbers in the order of first use.
    location    numbers, NO_LOCATION where there is none.
    local_s     local time of each event, seconds since 1970.
    """

    behavior: IntArray
    location: IntArray
    local_s: IntArray


def random_world(rng: np.random.Generator, num_events: int) -> WorldLog:
    """One user with a random character, and so many events of that user."""
    chance = Chance(rng)
    clockwork, whereabouts = Clockwork(rng, chance), Whereabouts(rng, chance)
    habits: Habits = WeighedHabits(rng, chance) if chance() < SHARE_WEIGHED else MixedHabits(rng, chance)
    behavior, location, local_s = (np.empty(num_events, np.int64) for _ in range(3))
    last: int | None = None
    for i in range(num_events):
        moment = clockwork.advance(last)
        where = whereabouts.location(moment)
        last = habits.draw(moment, where)
        behavior[i], local_s[i] = last, int(moment.local_s)
        location[i] = whereabouts.seen(where, last)
    return WorldLog(behavior=in_order_of_use(behavior), location=location, local_s=local_s)


def random_worlds(seed: int, num_events: int) -> Iterator[WorldLog]:
    """An endless stream of worlds; the same seed gives the same worlds."""
    rng = np.random.default_rng(seed)
    while True:
        yield random_world(rng, num_events)


def in_order_of_use(names: npt.NDArray[np.integer]) -> IntArray:
    """Names as numbers: 0 for the first one used, 1 for the second new one, ..."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    rank: IntArray = np.argsort(np.argsort(first))
    return rank[inverse]


class Chance:
    """Uniform numbers in [0, 1), drawn in blocks: single ones would cost most of the time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._block: list[float] = []

    def __call__(self) -> float:
        if not self._block:
            self._block = self._rng.random(512).tolist()
        return self._block.pop()


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of local time.

    local_s       seconds since 1970, local.
    hour          of the day, in [0, 24).
    is_weekend    False all week for a user who makes no difference.
    is_new_visit  whether the event begins a session.
    """

    local_s: float
    hour: float
    is_weekend: bool
    is_new_visit: bool


class Clockwork:
    """When events happen: gaps inside a session, gaps between sessions, and sleep."""

    def __init__(self, rng: np.random.Generator, chance: Chance) -> None:
        self._rng, self._chance = rng, chance
        self._local_s = float(rng.integers(1_300_000_000, 1_700_000_000))
        has_sessions = chance() < 0.65
        self._session_events = _log_uniform(rng, 1, 25) if has_sessions else 1.0
        self._gap_inside_s, self._spread_inside = _log_uniform(rng, 2, 900), rng.uniform(0.3, 1.6)
        self._gap_between_s, self._spread_between = _log_uniform(rng, 60, 12 * 3600), rng.uniform(0.3, 1.8)
        self._sleeps = chance() < 0.72
        self._wakes_h, self._sleeps_h = rng.uniform(5, 10), rng.uniform(21, 26)
        self._gap_of_name: dict[int, float] | None = {} if chance() < 0.45 else None
        self._knows_weekends = chance() < 0.65
        self._left = 0

    def advance(self, last: int | None) -> Moment:
        """The moment of the next event, after an event `last`."""
        self._left -= 1
        is_new_visit = self._left <= 0
        if is_new_visit:
            self._left = int(self._rng.geometric(1 / self._session_events))
        mean_s = self._gap_between_s if is_new_visit else self._gap_inside_s
        spread = self._spread_between if is_new_visit else self._spread_inside
        gap_s = mean_s * np.exp(self._rng.normal(0, spread))
        if self._gap_of_name is not None and last is not None:
            gap_s *= self._gap_of_name.setdefault(last, float(np.exp(self._rng.normal(0, 1))))
        self._local_s += max(1.0, gap_s)
        if self._sleeps:
            self._sleep()
        hour = self._local_s % 86400 / 3600
        is_weekend = self._knows_weekends and (self._local_s // 86400 + 3) % 7 >= 5
        return Moment(self._local_s, hour, is_weekend, is_new_visit)

    def _sleep(self) -> None:
        hour = self._local_s % 86400 / 3600
        if hour < self._wakes_h and hour + 24 > self._sleeps_h:
            wait_h = self._wakes_h - hour
        elif hour >= self._sleeps_h:
            wait_h = 24 - hour + self._wakes_h
        else:
            return
        self._local_s += wait_h * 3600 + self._rng.exponential(1800)


class Whereabouts:
    """Where the user is: nowhere known, or one of some locations that depend on the hour."""

    def __init__(self, rng: np.random.Generator, chance: Chance) -> None:
        self._chance = chance
        self._num = int(rng.choice([0, 0, 1, 2, 4, 10, 40]))
        self._stays = rng.uniform(0.3, 0.98)
        self._follows_behavior = chance() < 0.4
        discount = (rng.uniform(0, 0.5), rng.uniform(0, 0.6))
        concentration = (np.exp(rng.uniform(-1, 2)), np.exp(rng.uniform(0, 3)))
        self._law = Restaurants(chance, discount, concentration, lambda: int(chance() * max(self._num, 1)))
        self._location = 0

    def location(self, moment: Moment) -> int:
        """The location of the user at a moment; 0 where the world has none."""
        if self._num and (moment.is_new_visit or self._chance() > self._stays):
            self._location = self._law.draw([(int(moment.hour / 6), moment.is_weekend), ()])
        return self._location

    def seen(self, location: int, behavior: int) -> int:
        """What the log says: the location, or one that goes with location and behavior."""
        if not self._num:
            return NO_LOCATION
        return (7 * location + behavior) % max(self._num, 2) if self._follows_behavior else location


class Habits(Protocol):
    """The law of a user's behaviors."""

    def draw(self, moment: Moment, location: int) -> int: ...


class Names:
    """Names of behaviors by a Pitman-Yor process: often an old one, sometimes one never used before."""

    def __init__(self, rng: np.random.Generator, chance: Chance) -> None:
        self.num_used = 0
        limit = int(_log_uniform(rng, 3, 400)) if chance() < 0.7 else None
        discount, concentration = float(rng.choice([0, 0, 0.2, 0.4, 0.6, 0.75])), _log_uniform(rng, 0.5, 60)
        self._chance, self._limit = chance, limit
        self._tables = Restaurant()
        self._discount, self._concentration = discount, concentration

    def fresh(self) -> int:
        """A name never used before."""
        self.num_used += 1
        return self.num_used - 1

    def draw(self) -> int:
        table = self._tables
        full = self._limit is not None and self.num_used >= self._limit
        name = table.old(self._chance, self._discount, self._concentration, always=full)
        if name is None:
            name = self.fresh()
            table.add(name, new_table=True)
        else:
            table.add(name)
        return name


class Restaurant:
    """Counts of one context of a Pitman-Yor process (Chinese restaurant): customers and tables of each name."""

    __slots__ = ("customers", "num_customers", "num_tables", "tables")

    def __init__(self) -> None:
        self.customers: dict[int, int] = {}
        self.tables: dict[int, int] = {}
        self.num_customers = self.num_tables = 0

    def add(self, name: int, new_table: bool = False) -> None:
        self.customers[name] = self.customers.get(name, 0) + 1
        self.num_customers += 1
        if new_table:
            self.tables[name] = self.tables.get(name, 0) + 1
            self.num_tables += 1

    def old(self, chance: Chance, discount: float, concentration: float, always: bool = False) -> int | None:
        """A name in proportion to its customers less `discount` a table; None: ask the shorter context."""
        if not self.num_customers:
            return None
        new = concentration + discount * self.num_tables
        if not always and chance() * (self.num_customers + concentration) < new:
            return None
        left = chance() * (self.num_customers - discount * self.num_tables)
        name = -1
        for name, count in self.customers.items():
            left -= count - discount * self.tables.get(name, 0)
            if left <= 0:
                break
        return name


class Restaurants:
    """A hierarchical Pitman-Yor process over contexts (Teh 2006).

    discount       of each length of context, longest first, in [0, 1).
    concentration  likewise, above 0.
    base           draws where no context knows anything.
    """

    def __init__(
        self,
        chance: Chance,
        discount: Sequence[float],
        concentration: Sequence[float],
        base: Callable[[], int],
    ) -> None:
        self._chance, self._base = chance, base
        self._discount, self._concentration = discount, concentration
        self._of_context: dict[tuple[int, Hashable], Restaurant] = {}

    @classmethod
    def random(cls, rng: np.random.Generator, chance: Chance, depth: int, base: Callable[[], int]) -> "Restaurants":
        return cls(chance, rng.uniform(0, 0.9, depth), np.exp(rng.uniform(np.log(0.05), np.log(8), depth)), base)

    def draw(self, contexts: Sequence[Hashable]) -> int:
        """A name after some contexts, the longest first; the draw changes what comes after them next time."""
        asked: list[Restaurant] = []
        for i, context in enumerate(contexts):
            restaurant = self._at(i, context)
            name = restaurant.old(self._chance, self._discount[i], self._concentration[i])
            if name is not None:
                restaurant.add(name)
                break
            asked.append(restaurant)
        else:
            name = self._base()
        for restaurant in asked:
            restaurant.add(name, new_table=True)
        return name

    def learn(self, contexts: Sequence[Hashable], name: int) -> None:
        """Count an event that another habit drew."""
        for i, context in enumerate(contexts):
            restaurant = self._at(i, context)
            if name in restaurant.customers:
                restaurant.add(name)
                return
            restaurant.add(name, new_table=True)

    def forget(self) -> None:
        self._of_context.clear()

    def _at(self, length: int, context: Hashable) -> Restaurant:
        return self._of_context.setdefault((length, context), Restaurant())


class MixedHabits:
    """Every event follows one habit, chosen at random."""

    def __init__(self, rng: np.random.Generator, chance: Chance) -> None:
        self._chance = chance
        self._names = Names(rng, chance)
        base = self._names.draw
        self._order = int(rng.integers(1, 5))
        self._chain = Restaurants.random(rng, chance, self._order + 1, base)
        self._clock = Restaurants.random(rng, chance, 3, base)
        self._place = Restaurants.random(rng, chance, 2, base)
        self._tasks = [Restaurants.random(rng, chance, 2, base) for _ in range(rng.integers(2, 7))]
        self._task, self._task_switch = 0, _log_uniform(rng, 0.01, 0.3)
        self._routine = [base() for _ in range(rng.integers(3, 10))]
        self._routine_step = 0
        habits = (
            self._by_chain,
            self._by_clock,
            self._by_location,
            self._by_recency,
            self._by_task,
            self._by_routine,
            self._by_nothing,
        )
        weight = rng.dirichlet([2.0, 1.2, 0.6, 0.8, 0.5, 0.3, 0.4])
        weight *= rng.random(7) < [0.95, 0.7, 0.5, 0.7, 0.4, 0.3, 0.3]
        if weight.sum() == 0:
            weight[0] = 1.0
        self._habits = list(zip(habits, np.cumsum(weight / weight.sum()).tolist(), strict=True))
        self._learns_all = chance() < 0.6
        self._bins = int(rng.choice([2, 4, 8, 12, 24, 48]))
        self._never_repeats = chance() < 0.5
        self._repeats = 0.0 if self._never_repeats else float(rng.choice([0, 0, 0.1, 0.4, 0.7]) * chance())
        self._rank_exponent = rng.uniform(0.5, 2.5)
        self._num_ranks = int(rng.choice([3, 6, 15, 60]))
        self._drift = float(rng.choice([0, 0, 0, 0.003]))
        self._starts_anew = chance() < 0.4
        self._latest: list[int] = []
        self._context = [-1] * 4
        self._last: int | None = None
        self._moment, self._location = Moment(0.0, 0.0, False, True), 0

    def draw(self, moment: Moment, location: int) -> int:
        self._moment, self._location = moment, location
        if moment.is_new_visit and self._starts_anew:
            self._context = [-2] * 4
        if self._chance() < self._task_switch:
            self._task = int(self._chance() * len(self._tasks))
        if self._drift and self._chance() < self._drift:
            self._chain.forget()
        if self._last is not None and self._chance() < self._repeats:
            name = self._last
        else:
            name = self._one_habit()
            for _ in range(3):
                if not self._never_repeats or name != self._last:
                    break
                name = self._one_habit()
        if self._learns_all:
            self._chain.learn(self._chain_contexts(), name)
            self._clock.learn(self._clock_contexts(), name)
        if name in self._latest:
            self._latest.remove(name)
        self._latest = [*self._latest[-_MAX_LATEST + 1 :], name]
        self._context = [name, *self._context[:3]]
        self._last = name
        return name

    def _one_habit(self) -> int:
        chosen = self._chance()
        for habit, up_to in self._habits:
            if chosen <= up_to:
                return habit()
        return self._by_chain()

    def _chain_contexts(self) -> list[Hashable]:
        return [tuple(self._context[:length]) for length in range(self._order, -1, -1)]

    def _clock_contexts(self) -> list[Hashable]:
        part = int(self._moment.hour * self._bins / 24)
        return [(part, self._moment.is_weekend), (part,), ()]

    def _by_chain(self) -> int:
        return self._chain.draw(self._chain_contexts())

    def _by_clock(self) -> int:
        return self._clock.draw(self._clock_contexts())

    def _by_location(self) -> int:
        return self._place.draw([(self._location,), ()])

    def _by_recency(self) -> int:
        """One of the latest names, the r-th latest with a weight of r^-a."""
        if not self._latest:
            return self._names.draw()
        weight = np.arange(1, min(len(self._latest), self._num_ranks) + 1) ** -self._rank_exponent
        total = np.cumsum(weight)
        return self._latest[-1 - int(np.searchsorted(total, self._chance() * total[-1]))]

    def _by_task(self) -> int:
        return self._tasks[self._task].draw([(self._context[0],), ()])

    def _by_routine(self) -> int:
        self._routine_step += 1
        return self._routine[self._routine_step % len(self._routine)]

    def _by_nothing(self) -> int:
        return self._names.draw()


class WeighedHabits:
    """All habits weigh every event: log p(b) = w_0 log base(b) + w_1 log chain(b | past) + w_2 clock(b; hour) + ..."""

    def __init__(self, rng: np.random.Generator, chance: Chance) -> None:
        self._rng, self._chance = rng, chance
        num_names = int(_log_uniform(rng, 3, 120))
        base = rng.dirichlet(np.full(num_names, rng.choice([0.1, 0.3, 0.6, 1.0]))).clip(1e-4)
        base /= base.sum()
        self._spread = base * _log_uniform(rng, 0.3, 30)
        self._log_base = np.log(base)
        self._log_chain = self._chain()
        has_second_order = chance() < 0.4
        self._log_second = [self._chain(), self._chain()] if has_second_order else []
        self._side = rng.integers(0, 2, num_names)
        weight_chain, weight_clock, self._weight_base = rng.dirichlet([1, 1, 0.6])
        self._weight_chain, self._weight_clock = 1.6 * weight_chain, 1.6 * weight_clock
        self._peaks = rng.uniform(0, 24, (2, num_names))
        self._has_two_peaks = rng.random(num_names) < 0.3
        self._peak_width = np.exp(rng.uniform(np.log(0.4), np.log(6), num_names))
        self._weekend = rng.normal(0, rng.choice([0, 0.5, 1.5]), num_names)
        self._of_location = rng.normal(0, rng.choice([0, 0, 1.0, 2.0]), (64, num_names))
        self._repeats = float(rng.choice([0, 0, 0.1, 0.3, 0.6]) * chance())
        self._never_repeats = chance() < 0.25
        self._once_a_day = chance() < 0.1
        self._recency, self._decay = float(rng.choice([0, 0, 0.5, 1.5])), rng.uniform(0.7, 0.98)
        self._novelty, self._drift = float(rng.choice([0, 0, 0.02, 0.1])), float(rng.choice([0, 0, 0.002, 0.01]))
        self._routine = rng.integers(0, num_names, rng.integers(3, 9)).tolist() if chance() < 0.35 else []
        self._keeps_routine, self._routine_step = rng.uniform(0.3, 0.95), 0
        self._recent = np.zeros(num_names)
        self._num_used = num_names
        self._last: int | None = None
        self._state = [int(rng.integers(num_names)) for _ in range(2)]
        self._day, self._done_today = -1, np.zeros(num_names, bool)

    def _chain(self) -> npt.NDArray[np.float64]:
        """log transition probabilities (K, K)."""
        weight = self._rng.gamma(self._spread.clip(1e-3), 1, (len(self._spread),) * 2) + 1e-9
        return np.log(weight / weight.sum(1, keepdims=True) + 1e-6)

    def draw(self, moment: Moment, location: int) -> int:
        num_names = len(self._log_base)
        if self._last is not None and self._chance() < self._repeats:
            name = self._last
        elif self._chance() < self._novelty:
            name, self._num_used = self._num_used, self._num_used + 1
        elif self._routine and self._chance() < self._keeps_routine:
            self._routine_step += 1
            name = self._routine[self._routine_step % len(self._routine)]
        else:
            total = np.cumsum(np.exp(self._scores(moment, location)))
            name = min(int(np.searchsorted(total, self._chance() * total[-1])), num_names - 1)
        self._recent *= self._decay
        if name < num_names:
            self._recent[name] += 1
            self._done_today[name] = True
        known = name if name < num_names else int(self._rng.integers(num_names))
        self._state = [known, self._state[0]]
        if self._drift and self._chance() < self._drift:
            changed = self._rng.integers(0, num_names, max(1, num_names // 3))
            self._log_chain[changed] = self._chain()[changed]
        self._last = name
        return name

    def _scores(self, moment: Moment, location: int) -> npt.NDArray[np.float64]:
        last, before = self._state
        chain = self._log_chain[last]
        if self._log_second and self._chance() < 0.7:
            chain = self._log_second[self._side[before]][last]
        score: npt.NDArray[np.float64] = self._weight_base * self._log_base + self._weight_chain * chain
        if self._weight_clock > 0.05:
            apart = np.abs(moment.hour - self._peaks)
            peak = -0.5 * (np.minimum(apart, 24 - apart) / self._peak_width) ** 2
            clock = np.where(self._has_two_peaks, peak.max(0), peak[0])
            score += self._weight_clock * clock.clip(-6)
        if moment.is_weekend:
            score += self._weekend
        score += self._of_location[location % 64]
        if self._recency:
            score += self._recency * np.log1p(3 * self._recent)
        if self._never_repeats:
            score[last] -= 4
        if self._once_a_day:
            day = int(moment.local_s // 86400)
            if day != self._day:
                self._day, self._done_today = day, np.zeros_like(self._done_today)
            score[self._done_today] -= 3
        return score - score.max()


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
