"""Two laws of behavior for random worlds.

`MixedHabits`    every event follows one habit, chosen at random: a chain of order 1 to 4, the hour, the location, one
                 of the latest names, a task, a routine, or nothing. Names have a long tail.
`WeighedHabits`  all habits weigh every event at once: p(b) is proportional to exp(sum of weighted scores), a product of
                 experts (Hinton 2002), over names known from the start.
"""

# In a WeighedHabits world: K names, R rows of its chain, L locations

import math
from bisect import bisect, insort
from collections.abc import Callable, Hashable
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgebehave_train.simulator.pitman_yor import Base, Chance, Names, Restaurants
from edgebehave_train.simulator.world_ranges import MixedRanges, NameRanges, WeighedRanges
from edgebehave_train.simulator.world_setting import Moment

FloatArray = npt.NDArray[np.float64]

_NUM_LATEST = 80
"""Names that `MixedHabits` remembers in the order of their last use."""
_NOT_YET, _SESSION_BEGAN = -1, -2
"""In the context of a chain, where there is no event."""
_MIN_SHARE, _MIN_TRANSITION = 1e-4, 1e-6
"""Floors under the logarithms of the base and of the chain."""
_MIN_CLOCK_WEIGHT, _MIN_CLOCK_SCORE = 0.05, -6.0
"""A lighter clock is left out; a name far from its hours loses no more than this, nats."""
_NUM_LOCATION_TASTES = 64
"""Locations with tastes of their own; others share them."""
_SECOND_ORDER_SHARE = 0.7
"""Share of the events to which the second order applies, in a `WeighedHabits` world that has it."""
_DONE_TODAY_SCORE = -3.0
"""Score of a name that was used today, where names hardly return on the same day, nats."""


class Habits(Protocol):
    """The law of a user's behaviors."""

    def draw(self, moment: Moment, location: int, last_logged: int) -> int:
        """The next name, at a moment, a location, and after an event at the location that the log gave to it."""
        ...


class MixedHabits:
    """Every event follows one habit, chosen at random.

    Three things come before the habits: a return from an interruption, an interruption, and the next step of a routine
    that has begun. The chain does not see interruptions.
    """

    def __init__(self, rng: np.random.Generator, chance: Chance, ranges: MixedRanges, names: NameRanges) -> None:
        self._chance = chance
        limit = int(names.limit.draw(rng)) if chance() < names.is_limited else None
        self._names = Names(chance, names.discount.draw(rng), names.concentration.draw(rng), limit)

        def restaurants(depth: int, base: Callable[[int | None], int] = self._names.draw) -> Restaurants:
            discount, concentration = ranges.discount.draw_many(rng, depth), ranges.concentration.draw_many(rng, depth)
            concentration[-1] = ranges.root_concentration.draw(rng)
            return Restaurants(chance, discount.tolist(), concentration.tolist(), base)

        def some_names(num: float) -> list[int]:
            return [self._names.draw() for _ in range(int(num))]

        self._order = int(ranges.order.draw(rng))
        self._chain, self._clock, self._of_location = restaurants(self._order + 1), restaurants(3), restaurants(2)
        self._parts_of_day = int(ranges.parts_of_day.draw(rng))
        self._situations = [
            _Situation(rng, chance, ranges, self._names.draw) for _ in range(int(ranges.num_situations.draw(rng)))
        ]
        self._second: int | None = None
        self._tasks = [
            restaurants(2, self._one_of(some_names(ranges.task_names.draw(rng))))
            for _ in range(int(ranges.num_tasks.draw(rng)))
        ]
        self._task, self._task_switch = 0, ranges.task_switch.draw(rng)
        self._routines = [some_names(ranges.routine_names.draw(rng)) for _ in range(int(ranges.num_routines.draw(rng)))]
        self._steps_left: list[int] = []
        self._routine_keeps = ranges.routine_keeps.draw(rng)
        self._routines_by_hour = chance() < ranges.routines_by_hour
        self._interrupts = ranges.interrupts.draw(rng)
        self._interrupters = some_names(ranges.num_interrupters.draw(rng))
        self._interrupted_returns = ranges.interrupted_returns.draw(rng)
        self._interrupted: int | None = None
        self._never_repeats = chance() < ranges.never_repeats
        self._repeats = ranges.repeats.draw(rng) if not self._never_repeats and chance() < ranges.has_repeats else 0.0
        self._rank_weight = np.cumsum(np.arange(1, ranges.num_ranks.draw(rng) + 1) ** -ranges.rank_exponent.draw(rng))
        self._drift = ranges.drift.draw(rng)
        self._learns_all = chance() < ranges.learns_all
        self._starts_anew = chance() < ranges.starts_anew
        self._latest: list[int] = []
        self._context = [_NOT_YET] * self._order
        self._last: int | None = None

        habits = (
            (self._by_chain, ranges.chain),
            (self._by_clock, ranges.clock),
            (self._by_location, ranges.location),
            (self._by_recency, ranges.recency),
            (self._by_task, ranges.task),
            (self._by_routine, ranges.routine),
            (self._by_nothing, ranges.nothing),
            (self._by_situation, ranges.situation),
        )
        self._habits = [habit for habit, _ in habits]
        weight = rng.dirichlet([habit.weight for _, habit in habits])
        weight *= rng.random(len(habits)) < [habit.present for _, habit in habits]
        if weight.sum() == 0:
            weight[0] = 1.0
        self._up_to = np.cumsum(weight / weight.sum())[:-1].tolist()
        if weight[self._habits.index(self._by_situation)] == 0:
            self._situations = []  # nothing asks them, so they need not learn

    def draw(self, moment: Moment, location: int, last_logged: int) -> int:
        self._prepare(moment, location, last_logged)
        avoid = self._last if self._never_repeats else None
        interrupted, self._interrupted = self._interrupted, None
        if interrupted is not None and self._chance() < self._interrupted_returns:
            name = interrupted
        elif self._interrupts and self._last is not None and self._chance() < self._interrupts:
            name = self._one_of(self._interrupters)(avoid)
            self._interrupted = self._last if name != self._last else None
        else:
            name = self._by_a_habit(avoid)
            self._context = [name, *self._context[:-1]]
        if name in self._latest:
            self._latest.remove(name)
        self._latest = [*self._latest[-_NUM_LATEST + 1 :], name]
        self._second, self._last = self._last, name
        return name

    def _prepare(self, moment: Moment, location: int, last_logged: int) -> None:
        if moment.begins_session:
            self._steps_left, self._interrupted = [], None
            if self._starts_anew:
                self._context = [_SESSION_BEGAN] * self._order
        if self._chance() < self._task_switch:
            self._task = self._chance.below(len(self._tasks))
        if self._drift and self._chance() < self._drift:
            self._chain.forget()
        part = int(moment.hour * self._parts_of_day / 24)
        self._chain_contexts = [tuple(self._context[:length]) for length in range(self._order, -1, -1)]
        self._clock_contexts = [(part, moment.is_weekend), (part,), ()]
        self._location, self._hour = location, moment.hour
        self._seen = _Seen(moment, self._last, self._second, last_logged)

    def _by_a_habit(self, avoid: int | None) -> int:
        habit = None
        if self._last is not None and self._chance() < self._repeats:
            name = self._last
        elif self._steps_left and self._steps_left[0] != avoid and self._chance() < self._routine_keeps:
            name = self._steps_left.pop(0)
        else:
            habit = self._habits[bisect(self._up_to, self._chance())]
            name = habit(avoid)
        if self._learns_all:
            if habit != self._by_chain:
                self._chain.learn(self._chain_contexts, name)
            if habit != self._by_clock:
                self._clock.learn(self._clock_contexts, name)
            if habit != self._by_situation:
                for situation in self._situations:
                    situation.learn(self._seen, name)
        return name

    def _by_chain(self, avoid: int | None) -> int:
        return self._chain.draw(self._chain_contexts, avoid)

    def _by_clock(self, avoid: int | None) -> int:
        return self._clock.draw(self._clock_contexts, avoid)

    def _by_location(self, avoid: int | None) -> int:
        return self._of_location.draw([self._location, ()], avoid)

    def _by_recency(self, avoid: int | None) -> int:
        """The r-th latest name with a weight of r^-a, a power law of forgetting (Anderson and Schooler 1991)."""
        skipped = 1 if avoid is not None else 0
        num = min(len(self._latest), len(self._rank_weight))
        if num <= skipped:
            return self._names.draw(avoid)
        low = self._rank_weight[0] if skipped else 0.0
        weight = low + self._chance() * (self._rank_weight[num - 1] - low)
        rank = int(np.searchsorted(self._rank_weight[:num], weight, side="right"))
        return self._latest[-1 - min(rank, num - 1)]

    def _by_task(self, avoid: int | None) -> int:
        return self._tasks[self._task].draw([self._last, ()], avoid)

    def _by_routine(self, avoid: int | None) -> int:
        """The first step of a routine; the others follow."""
        num = len(self._routines)
        routine = self._routines[int(self._hour * num / 24) if self._routines_by_hour else self._chance.below(num)]
        if routine[0] == avoid:
            return self._by_nothing(avoid)
        self._steps_left = routine[1:]
        return routine[0]

    def _by_situation(self, avoid: int | None) -> int:
        return self._situations[self._chance.below(len(self._situations))].draw(self._seen, avoid)

    def _by_nothing(self, avoid: int | None) -> int:
        return self._names.draw(avoid)

    def _one_of(self, names: list[int]) -> Callable[[int | None], int]:
        """Draws one of some names, all alike; any name if there is none but the one to avoid."""

        def draw(avoid: int | None) -> int:
            others = [name for name in names if name != avoid]
            return others[self._chance.below(len(others))] if others else self._names.draw(avoid)

        return draw


class _Seen(NamedTuple):
    """The situation that an event may depend on."""

    moment: Moment
    last: int | None
    second: int | None
    last_logged: int


class _Situation:
    """A habit by some of the cues of a moment together: after lunch, at the office, half an hour after a call."""

    def __init__(self, rng: np.random.Generator, chance: Chance, ranges: MixedRanges, base: Base) -> None:
        num = int(ranges.situation_cues.draw(rng))
        self._cues: list[str] = rng.permutation(list(self._OF_CUE))[:num].tolist()
        self._hours = 24 / ranges.parts_of_day.draw(rng)
        self._gap_width = ranges.situation_gap_width.draw(rng)
        discount = ranges.situation_discount.draw_many(rng, num + 1)
        concentration = ranges.situation_concentration.draw_many(rng, num + 1)
        concentration[-1] = ranges.root_concentration.draw(rng)
        self._restaurants = Restaurants(chance, discount.tolist(), concentration.tolist(), base)

    def draw(self, seen: _Seen, avoid: int | None) -> int:
        return self._restaurants.draw(self._contexts(seen), avoid)

    def learn(self, seen: _Seen, name: int) -> None:
        self._restaurants.learn(self._contexts(seen), name)

    def _contexts(self, seen: _Seen) -> list[Hashable]:
        """The values of all cues, then of all but the last one, and so on down to none."""
        values = tuple(self._OF_CUE[cue](self, seen) for cue in self._cues)
        return [values[:length] for length in range(len(values), -1, -1)]

    def _part_of_day(self, seen: _Seen) -> Hashable:
        return int(seen.moment.hour / self._hours)

    def _gap(self, seen: _Seen) -> Hashable:
        return int(math.log(max(1, seen.moment.gap_s)) / self._gap_width)

    _OF_CUE: ClassVar[dict[str, Callable[["_Situation", _Seen], Hashable]]] = {
        "last": lambda _, seen: seen.last,
        "second": lambda _, seen: seen.second,
        "location": lambda _, seen: seen.last_logged,
        "part_of_day": _part_of_day,
        "gap": _gap,
        "is_weekend": lambda _, seen: seen.moment.is_weekend,
    }


class WeighedHabits:
    """All habits weigh every event at once.

    log p(b) = w_0 log base(b) + w_1 log chain(b | last name) + w_2 clock(b; hour) + weekend(b) + taste(b; location)
               + w_3 log(1 + 3 recent(b)) + w_4 gap(b; rank of the gap) + constant

    The rank of a gap is the share of the user's gaps so far that were shorter.
    """

    def __init__(self, rng: np.random.Generator, chance: Chance, ranges: WeighedRanges) -> None:
        self._rng, self._chance = rng, chance
        num_names = int(ranges.num_names.draw(rng))
        base_K = rng.dirichlet(np.full(num_names, ranges.evenness.draw(rng))).clip(_MIN_SHARE)
        base_K /= base_K.sum()
        self._log_base_K = np.log(base_K)
        self._chain_evenness_K = (base_K * ranges.chain_evenness.draw(rng)).clip(1e-3)
        self._log_chain_KK = self._new_chain_RK(num_names)
        # With a second order, the chain depends on which of two groups the name before the last belongs to.
        has_second_order = chance() < ranges.second_order
        self._log_second_KK = [self._new_chain_RK(num_names) for _ in range(2)] if has_second_order else []
        self._group_K = rng.integers(0, 2, num_names)
        weight = rng.dirichlet([ranges.weight_chain, ranges.weight_clock, ranges.weight_base])
        self._weight_chain, self._weight_clock = (ranges.total_weight.draw(rng) * weight[:2]).tolist()
        self._weight_base = float(weight[2])
        self._peak_h_2K = rng.uniform(0, 24, (2, num_names))
        self._has_two_peaks_K = rng.random(num_names) < ranges.two_peaks
        self._peak_width_h_K = ranges.peak_width_h.draw_many(rng, num_names)
        self._weekend_K = rng.normal(0, ranges.weekend.draw(rng), num_names)
        self._taste_LK = rng.normal(0, ranges.of_location.draw(rng), (_NUM_LOCATION_TASTES, num_names))
        self._never_repeats = chance() < ranges.never_repeats
        self._repeats = ranges.repeats.draw(rng) if not self._never_repeats and chance() < ranges.has_repeats else 0.0
        self._once_a_day = chance() < ranges.once_a_day
        self._recency, self._fades = ranges.recency.draw(rng), ranges.fades.draw(rng)
        self._novelty, self._drift = ranges.novelty.draw(rng), ranges.drift.draw(rng)
        has_routine = chance() < ranges.routine
        self._routine = rng.integers(0, num_names, int(ranges.routine_names.draw(rng))).tolist() if has_routine else []
        self._routine_keeps, self._routine_step = ranges.routine_keeps.draw(rng), 0
        self._recent_K = np.zeros(num_names)
        self._num_used = num_names
        self._weight_gap, self._gap_width = ranges.of_gap.draw(rng), ranges.gap_width.draw(rng)
        self._gap_rank_K = rng.random(num_names)
        self._gaps_s: list[int] = []
        self._last: int | None = None
        self._state = [int(rng.integers(num_names)) for _ in range(2)]
        self._day, self._done_today_K = -1, np.zeros(num_names, bool)

    def _new_chain_RK(self, num_rows: int) -> FloatArray:
        """Log transition probabilities: every row is drawn from a Dirichlet distribution around the base."""
        weight_RK = self._rng.gamma(self._chain_evenness_K, 1, (num_rows, len(self._chain_evenness_K))) + 1e-9
        return np.log(weight_RK / weight_RK.sum(1, keepdims=True) + _MIN_TRANSITION)

    def draw(self, moment: Moment, location: int, last_logged: int) -> int:
        num_names = len(self._log_base_K)
        avoid = self._last if self._never_repeats else None
        routine_step = self._next_step(avoid)
        if self._last is not None and self._chance() < self._repeats:
            name = self._last
        elif self._chance() < self._novelty:
            name, self._num_used = self._num_used, self._num_used + 1
        elif routine_step is not None:
            name = routine_step
        else:
            total_K = np.cumsum(np.exp(self._scores_K(moment, location)))
            name = min(int(np.searchsorted(total_K, self._chance() * total_K[-1], side="right")), num_names - 1)
        self._recent_K *= self._fades
        if name < num_names:
            self._recent_K[name] += 1
            self._done_today_K[name] = True
        # After a name that the chain does not know, any of its states.
        known = name if name < num_names else self._chance.below(num_names)
        self._state = [known, self._state[0]]
        if self._drift and self._chance() < self._drift:
            changed = self._rng.integers(0, num_names, max(1, num_names // 3))
            self._log_chain_KK[changed] = self._new_chain_RK(len(changed))
        self._last = name
        return name

    def _next_step(self, avoid: int | None) -> int | None:
        if not self._routine or self._chance() >= self._routine_keeps:
            return None
        self._routine_step = (self._routine_step + 1) % len(self._routine)
        step: int = self._routine[self._routine_step]
        return None if step == avoid else step

    def _scores_K(self, moment: Moment, location: int) -> FloatArray:
        last, before = self._state
        log_chain_K = self._log_chain_KK[last]
        if self._log_second_KK and self._chance() < _SECOND_ORDER_SHARE:
            log_chain_K = self._log_second_KK[self._group_K[before]][last]
        score_K: FloatArray = self._weight_base * self._log_base_K + self._weight_chain * log_chain_K
        if self._weight_clock > _MIN_CLOCK_WEIGHT:
            apart_2K = np.abs(moment.hour - self._peak_h_2K)
            clock_2K = -0.5 * (np.minimum(apart_2K, 24 - apart_2K) / self._peak_width_h_K) ** 2
            clock_K = np.where(self._has_two_peaks_K, clock_2K.max(0), clock_2K[0])
            score_K += self._weight_clock * clock_K.clip(_MIN_CLOCK_SCORE)
        if moment.is_weekend:
            score_K += self._weekend_K
        score_K += self._taste_LK[location % _NUM_LOCATION_TASTES]
        if self._recency:
            score_K += self._recency * np.log1p(3 * self._recent_K)
        if self._weight_gap and self._last is not None:
            rank = (bisect(self._gaps_s, moment.gap_s) + 0.5) / (len(self._gaps_s) + 1)
            insort(self._gaps_s, moment.gap_s)
            gap_K = -0.5 * ((rank - self._gap_rank_K) / self._gap_width) ** 2
            score_K += self._weight_gap * gap_K.clip(_MIN_CLOCK_SCORE)
        if self._once_a_day:
            day = moment.local_s // 86400
            if day != self._day:
                self._day, self._done_today_K = day, np.zeros_like(self._done_today_K)
            score_K[self._done_today_K] += _DONE_TODAY_SCORE
        if self._never_repeats and self._last == last:
            score_K[last] = -np.inf
        return score_K - score_K.max()
