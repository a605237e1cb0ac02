"""The setting of an event in a random world: when it happens, and where.

Gaps are log-normal around one median inside sessions and another between them, so events come in bursts, as they do in
people's logs (Barabasi 2005). Locations follow Pitman-Yor processes by part of the day.
"""

from dataclasses import dataclass

import numpy as np

from edgebehave_train.simulator.pitman_yor import Base, Chance, Names, Restaurants
from edgebehave_train.simulator.traits import NO_LOCATION
from edgebehave_train.simulator.world_ranges import LocationRanges, TimeRanges

_FIRST_S, _LAST_S = 1_300_000_000, 1_700_000_000
"""A world begins between March 2011 and November 2023."""
_DAY_S, _HOUR_S = 86400, 3600
_WAKING_S = 1800
"""Mean time from waking to the first event."""
_PARTS_OF_DAY = 4


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of local time.

    local_s          seconds since 1970, local.
    hour             of the day, in [0, 24).
    is_weekend       False all week for a user who makes no difference.
    begins_session   whether the event is the first of a session.
    gap_s            seconds since the event before, sleep included; 0 for the first event.
    """

    local_s: int
    hour: float
    is_weekend: bool
    begins_session: bool
    gap_s: int


class Clock:
    """When events happen: gaps inside a session, gaps between sessions, and sleep."""

    def __init__(self, rng: np.random.Generator, chance: Chance, ranges: TimeRanges) -> None:
        self._rng = rng
        self._local_s = int(rng.integers(_FIRST_S, _LAST_S))
        self._session_events = ranges.session_events.draw(rng) if chance() < ranges.has_sessions else 1.0
        self._gap_inside_s, self._spread_inside = ranges.gap_inside_s.draw(rng), ranges.spread_inside.draw(rng)
        self._gap_between_s, self._spread_between = ranges.gap_between_s.draw(rng), ranges.spread_between.draw(rng)
        self._sleeps = chance() < ranges.sleeps
        self._awake_h, self._asleep_h = ranges.awake_h.draw(rng), ranges.asleep_h.draw(rng)
        self._gap_after: dict[int, float] | None = {} if chance() < ranges.gaps_of_names else None
        self._knows_weekends = chance() < ranges.knows_weekends
        self._left_in_session = 0

    def advance(self, last: int | None) -> Moment:
        """The moment of the next event, after an event `last`."""
        self._left_in_session -= 1
        begins_session = self._left_in_session <= 0
        before_s = self._local_s
        if begins_session:
            self._left_in_session = int(self._rng.geometric(1 / self._session_events))
            gap_s, spread = self._gap_between_s, self._spread_between
        else:
            gap_s, spread = self._gap_inside_s, self._spread_inside
        gap_s *= float(np.exp(self._rng.normal(0, spread)))
        if self._gap_after is not None and last is not None:
            if last not in self._gap_after:
                self._gap_after[last] = float(np.exp(self._rng.normal()))
            gap_s *= self._gap_after[last]
        # Whole seconds: they are the same on every platform, whatever the last bit of a float.
        self._local_s += max(1, round(gap_s))
        if self._sleeps:
            self._sleep()
        is_weekend = self._knows_weekends and (self._local_s // _DAY_S + 3) % 7 >= 5  # 1970 began on a Thursday
        since_s = self._local_s - before_s if last is not None else 0
        return Moment(self._local_s, self._hour(), is_weekend, begins_session, since_s)

    def _hour(self) -> float:
        return self._local_s % _DAY_S / _HOUR_S

    def _sleep(self) -> None:
        hour = self._hour()
        if hour < self._awake_h and hour + 24 > self._asleep_h:
            wait_h = self._awake_h - hour
        elif hour >= self._asleep_h:
            wait_h = 24 - hour + self._awake_h
        else:
            return
        self._local_s += round(wait_h * _HOUR_S + self._rng.exponential(_WAKING_S))


class Whereabouts:
    """The location of the user, and its name in the log: none, the location, or a venue of the behavior there."""

    def __init__(self, rng: np.random.Generator, chance: Chance, ranges: LocationRanges) -> None:
        self._chance = chance
        self._num = int(ranges.num.draw(rng))
        self._stays = ranges.stays.draw(rng)
        self._always_moves = self._num > 1 and chance() < ranges.always_moves

        def restaurants(base: Base) -> Restaurants:
            discount, concentration = ranges.discount.draw_many(rng, 2), ranges.concentration.draw_many(rng, 2)
            return Restaurants(chance, discount.tolist(), concentration.tolist(), base)

        self._by_part_of_day = restaurants(self._any_location)
        venues = Names(chance)
        has_venues = self._num > 1 and chance() < ranges.has_venues
        self._venues = restaurants(lambda avoid: venues.new()) if has_venues else None
        self._location = self._logged = 0

    def location(self, moment: Moment) -> int:
        """The location of the user; 0 where the log has none."""
        if self._num and (moment.begins_session or self._always_moves or self._chance() >= self._stays):
            part = int(moment.hour * _PARTS_OF_DAY / 24)
            avoid = self._location if self._always_moves else None
            self._location = self._by_part_of_day.draw([(part, moment.is_weekend), ()], avoid)
        return self._location

    @property
    def last_logged(self) -> int:
        """The location that the log gave to the event before; 0 before the first one."""
        return self._logged if self._venues is not None else self._location

    def logged(self, behavior: int) -> int:
        """The location that the log gives to a behavior at the present location."""
        if not self._num:
            return NO_LOCATION
        if self._venues is None:
            return self._location
        avoid = self._logged if self._always_moves else None
        self._logged = self._venues.draw([(behavior, self._location), (behavior,)], avoid)
        return self._logged

    def _any_location(self, avoid: int | None) -> int:
        if avoid is None:
            return self._chance.below(self._num)
        location = self._chance.below(self._num - 1)
        return location + (location >= avoid)
