"""Random worlds: a prior over users, from which a model for any log learns.

A world is one user with a random character, and the events of that user. Nothing of a real log is in it: every trait is
drawn from a wide range (`world_ranges`), so that users of phones, homes, desktops, maps and the web lie inside. Names
are numbers in the order of their first use; a model can learn from them only what holds for any names.

World i of a seed depends on the seed and i alone, so every stream of them can start anywhere and be cut among workers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from edgebehave_train.simulator.pitman_yor import Chance
from edgebehave_train.simulator.random_habits import Habits, MixedHabits, WeighedHabits
from edgebehave_train.simulator.world_ranges import KINDS, Ranges
from edgebehave_train.simulator.world_setting import Clock, Whereabouts

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class WorldLog:
    """The events of one user, oldest first; all (n,) int64.

    behavior    names, as numbers in the order of first use.
    location    numbers in the order of first use, NO_LOCATION (-1) where there is none.
    local_s     local time of each event, seconds since 1970; it increases.
    """

    behavior: IntArray
    location: IntArray
    local_s: IntArray


def random_world(rng: np.random.Generator, num_events: int, ranges: Ranges | None = None) -> WorldLog:
    """One user with a random character, and so many events (at least one) of that user.

    ranges  None: those of one of `KINDS`, drawn by their shares.
    """
    chance = Chance(rng)
    if ranges is None:
        shares, of_kinds = zip(*KINDS.values(), strict=True)
        ranges = of_kinds[rng.choice(len(of_kinds), p=shares)]
    clock, whereabouts = Clock(rng, chance, ranges.time), Whereabouts(rng, chance, ranges.location)
    habits: Habits = (
        WeighedHabits(rng, chance, ranges.weighed)
        if chance() < ranges.is_weighed
        else MixedHabits(rng, chance, ranges.mixed, ranges.names)
    )
    behavior, location, local_s = (np.empty(num_events, np.int64) for _ in range(3))
    last: int | None = None
    for i in range(num_events):
        moment = clock.advance(last)
        last_logged = whereabouts.last_logged
        last = habits.draw(moment, whereabouts.location(moment), last_logged)
        behavior[i], location[i], local_s[i] = last, whereabouts.logged(last), moment.local_s
    if location[0] >= 0:
        location = in_order_of_use(location)
    return WorldLog(behavior=in_order_of_use(behavior), location=location, local_s=local_s)


def world(seed: int, i: int, num_events: int) -> WorldLog:
    """World i of a seed: the same on every run and platform, with the same version of numpy."""
    return random_world(np.random.default_rng([seed, i]), num_events)


def random_worlds(seed: int, num_events: int, first: int = 0) -> Iterator[WorldLog]:
    """The endless stream of the worlds of a seed, from world `first` on."""
    return (world(seed, i, num_events) for i in count(first))


def in_order_of_use(names: npt.NDArray[np.integer]) -> IntArray:
    """Names as numbers: 0 for the first one used, 1 for the second new one, ..."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    rank: IntArray = np.argsort(np.argsort(first))
    return rank[inverse]
