"""The ranges from which the traits of random worlds are drawn: every number of the prior stands here, once.

`Ranges()` holds the widest ranges. A `Kind` narrows some of them, so that traits which occur together in real life also
occur together in the worlds: a phone's log has seconds between its events, no repeats and many returns.
The numbers are round; they were widened by hand until the real logs of `docs/random_worlds.md` lay inside. Counts are
rounded down.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Uniform:
    """All values between two bounds alike."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.low, self.high))

    def draw_many(self, rng: np.random.Generator, num: int) -> FloatArray:
        return rng.uniform(self.low, self.high, num)


@dataclass(frozen=True)
class LogUniform:
    """The logarithm of the value is uniform: every order of magnitude alike."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, log"

    def draw(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))

    def draw_many(self, rng: np.random.Generator, num: int) -> FloatArray:
        return np.exp(rng.uniform(np.log(self.low), np.log(self.high), num))


@dataclass(frozen=True)
class OneOf:
    """One of some values, all alike; a value that stands twice is twice as likely."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(f"{value:g}" for value in self.values)

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(self.values))


@dataclass(frozen=True)
class HabitRange:
    """The weight of one habit: 0 with probability 1 - present, else a share of Dirichlet(weight)."""

    present: float
    weight: float

    def __str__(self) -> str:
        return f"{self.present:g}, Dirichlet({self.weight:g})"


@dataclass(frozen=True, kw_only=True)
class TimeRanges:
    """When events happen. Fields without a range are probabilities.

    session_events    mean number of events of a session; a world without sessions has 1.
    gap_inside_s      median gap inside a session, seconds; gap_between_s between sessions.
    spread_*          standard deviation of the logarithm of these gaps.
    sleeps            a night without events, from `asleep_h` to `awake_h` (26 is 2 in the morning).
    gaps_of_names     every name has a factor of its own, exp(normal), on the gap after it.
    knows_weekends    Saturday and Sunday differ from other days.
    """

    has_sessions: float = 0.7
    session_events: LogUniform = LogUniform(1, 100)
    gap_inside_s: LogUniform = LogUniform(1, 900)
    spread_inside: Uniform = Uniform(0.3, 1.8)
    gap_between_s: LogUniform = LogUniform(60, 4 * 86400)
    spread_between: Uniform = Uniform(0.3, 1.8)
    sleeps: float = 0.72
    awake_h: Uniform = Uniform(5, 10)
    asleep_h: Uniform = Uniform(21, 26)
    gaps_of_names: float = 0.45
    knows_weekends: float = 0.65


@dataclass(frozen=True, kw_only=True)
class LocationRanges:
    """Ranges for the locations of events. Fields without a range are probabilities.

    num              locations of the user; 0 = the log has none.
    stays            the user stays for another event of the session.
    discount, concentration
                     of the Pitman-Yor processes by part of the day, and of those of the venues.
    has_venues       the log names venues: a location belongs to one behavior.
    always_moves     no event has the location of the event before: the log holds arrivals.
    """

    num: OneOf = OneOf((0, 0, 1, 2, 4, 10, 40, 200))
    stays: Uniform = Uniform(0.0, 0.98)
    discount: Uniform = Uniform(0, 0.7)
    concentration: LogUniform = LogUniform(0.4, 60)
    has_venues: float = 0.35
    always_moves: float = 0.15


@dataclass(frozen=True, kw_only=True)
class NameRanges:
    """The names of a `MixedHabits` world: a Pitman-Yor process.

    is_limited  probability that the number of names has a limit.
    """

    is_limited: float = 0.6
    limit: LogUniform = LogUniform(3, 400)
    discount: OneOf = OneOf((0, 0, 0.2, 0.4, 0.6, 0.8))
    concentration: LogUniform = LogUniform(2, 400)


@dataclass(frozen=True, kw_only=True)
class MixedRanges:
    """A `MixedHabits` world. Fields without a range are probabilities, except the habits.

    chain ... situation  weights of the habits.
    order                longest context of the chain.
    discount, concentration
                         of every restaurant of chain, clock, location and task.
    root_concentration   of the restaurant of no context, which decides how often a name comes that no habit knows.
    parts_of_day         of the clock.
    num_tasks, task_names, task_switch
                         tasks, names in the working set of each; per event, another task begins.
    num_routines, routine_names, routine_keeps
                         routines, names in each; the next step follows the one before.
    routines_by_hour     the hour decides which routine begins.
    never_repeats        no event has the name of the event before.
    has_repeats          else the name of the event before follows with probability repeats, on top of the habits.
    rank_exponent        a of r^-a, the weight of the r-th latest name, among num_ranks.
    interrupts           per event: one of num_interrupters names breaks in.
    interrupted_returns  the name before an interruption follows it.
    drift                per event: the chain is forgotten.
    learns_all           chain and clock count events of every habit, else only their own.
    starts_anew          a session forgets the context of the one before.
    num_situations, situation_cues
                         laws that read several cues together, cues of each: of the last two names, the last location,
                         the part of the day, the gap and the weekend.
    situation_discount, situation_concentration
                         of their restaurants.
    situation_gap_width  gaps are alike whose logarithms fall into the same bin of this width.
    """

    chain: HabitRange = HabitRange(0.95, 2.0)
    clock: HabitRange = HabitRange(0.7, 1.2)
    location: HabitRange = HabitRange(0.5, 0.6)
    recency: HabitRange = HabitRange(0.7, 0.8)
    task: HabitRange = HabitRange(0.4, 0.5)
    routine: HabitRange = HabitRange(0.4, 0.3)
    nothing: HabitRange = HabitRange(0.5, 0.6)
    situation: HabitRange = HabitRange(0.7, 2.0)
    order: OneOf = OneOf((1, 2, 3, 4))
    discount: Uniform = Uniform(0, 0.9)
    concentration: LogUniform = LogUniform(0.05, 20)
    root_concentration: LogUniform = LogUniform(0.2, 100)
    parts_of_day: OneOf = OneOf((2, 4, 8, 12, 24, 48))
    num_tasks: Uniform = Uniform(2, 9)
    task_names: LogUniform = LogUniform(2, 20)
    task_switch: LogUniform = LogUniform(0.01, 0.3)
    num_routines: Uniform = Uniform(1, 6)
    routine_names: LogUniform = LogUniform(2, 12)
    routine_keeps: Uniform = Uniform(0, 0.97)
    routines_by_hour: float = 0.5
    never_repeats: float = 0.3
    has_repeats: float = 0.4
    repeats: Uniform = Uniform(0, 0.85)
    rank_exponent: Uniform = Uniform(0.5, 2.5)
    num_ranks: OneOf = OneOf((3, 6, 15, 60))
    interrupts: OneOf = OneOf((0, 0, 0, 0.05, 0.2))
    num_interrupters: LogUniform = LogUniform(1, 8)
    interrupted_returns: Uniform = Uniform(0.2, 1)
    drift: OneOf = OneOf((0, 0, 0, 0.003))
    learns_all: float = 0.6
    starts_anew: float = 0.4
    num_situations: OneOf = OneOf((1, 1, 2, 3))
    situation_cues: OneOf = OneOf((1, 2, 3, 3, 4))
    situation_discount: Uniform = Uniform(0, 0.7)
    situation_concentration: LogUniform = LogUniform(0.05, 5)
    situation_gap_width: LogUniform = LogUniform(0.4, 4)


@dataclass(frozen=True, kw_only=True)
class WeighedRanges:
    """A `WeighedHabits` world. Fields without a range are probabilities.

    num_names            known from the start.
    evenness             of the Dirichlet distribution of their base shares: small = few names have it all.
    chain_evenness       of the rows of the chain around the base: small = one successor, large = the base.
    weight_*             parameters of the Dirichlet distribution of the weights of chain, clock and base.
    total_weight         factor on the weights of chain and clock.
    two_peaks            a name has two hours of the day, else one.
    peak_width_h         standard deviation around these hours.
    never_repeats, has_repeats, repeats
                         as in MixedRanges.
    weekend, of_location standard deviation of the scores of names, nats.
    recency              weight of log(1 + 3 recent uses), which fade by `fades` an event.
    novelty, drift       per event: a name never used before; a third of the chain is drawn anew.
    once_a_day           a name hardly returns on the same day.
    routine              the world has one, of routine_names; routine_keeps: per event, its next step.
    of_gap               weight of the gap: every name has a preferred rank among the gaps, with gap_width around it.
    """

    num_names: LogUniform = LogUniform(3, 300)
    evenness: OneOf = OneOf((0.1, 0.3, 0.6, 1.0, 3.0))
    chain_evenness: LogUniform = LogUniform(0.3, 100)
    second_order: float = 0.4
    weight_chain: float = 1.0
    weight_clock: float = 1.0
    weight_base: float = 0.6
    total_weight: LogUniform = LogUniform(0.8, 5)
    two_peaks: float = 0.3
    peak_width_h: LogUniform = LogUniform(0.4, 6)
    weekend: OneOf = OneOf((0, 0.5, 1.5))
    of_location: OneOf = OneOf((0, 0, 1.0, 2.0))
    never_repeats: float = 0.3
    has_repeats: float = 0.4
    repeats: Uniform = Uniform(0, 0.7)
    recency: OneOf = OneOf((0, 0, 0.5, 1.5))
    fades: Uniform = Uniform(0.7, 0.98)
    novelty: OneOf = OneOf((0, 0, 0.02, 0.1, 0.25))
    drift: OneOf = OneOf((0, 0, 0.002, 0.01))
    once_a_day: float = 0.1
    routine: float = 0.35
    routine_names: Uniform = Uniform(3, 9)
    routine_keeps: Uniform = Uniform(0.3, 0.95)
    of_gap: OneOf = OneOf((0, 0, 0.5, 1.0, 2.0))
    gap_width: LogUniform = LogUniform(0.05, 0.5)


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """All ranges of a kind of world.

    is_weighed  probability of `WeighedHabits`, else `MixedHabits`.
    """

    is_weighed: float = 0.4
    time: TimeRanges = field(default_factory=TimeRanges)
    location: LocationRanges = field(default_factory=LocationRanges)
    names: NameRanges = field(default_factory=NameRanges)
    mixed: MixedRanges = field(default_factory=MixedRanges)
    weighed: WeighedRanges = field(default_factory=WeighedRanges)


_ANY = Ranges()
_NEARLY_NO_LOCATION = replace(_ANY.location, num=OneOf((0, 0, 0, 1, 4)), has_venues=0.0)

PHONE = Ranges(
    is_weighed=0.25,
    time=replace(
        _ANY.time,
        has_sessions=1.0,
        session_events=LogUniform(2, 30),
        gap_inside_s=LogUniform(2, 90),
        gap_between_s=LogUniform(120, 4 * 3600),
        sleeps=0.9,
    ),
    location=replace(_ANY.location, num=OneOf((0, 0, 0, 2, 10)), has_venues=0.0, always_moves=0.0),
    names=replace(_ANY.names, is_limited=0.7, limit=LogUniform(12, 150), concentration=LogUniform(5, 150)),
    mixed=replace(
        _ANY.mixed,
        recency=HabitRange(0.9, 1.5),
        task=HabitRange(0.5, 0.8),
        never_repeats=0.85,
        nothing=HabitRange(0.5, 0.6),
        situation=HabitRange(0.7, 1.2),
        interrupts=OneOf((0, 0.05, 0.1, 0.3)),
        starts_anew=0.6,
    ),
    weighed=replace(_ANY.weighed, num_names=LogUniform(12, 120), never_repeats=0.85, recency=OneOf((0, 0.5, 1.5, 3.0))),
)
"""App logs: sessions of seconds, switches, returns (A B A), notifications, dozens of apps with a long tail."""

HOME = Ranges(
    is_weighed=0.2,
    time=replace(_ANY.time, has_sessions=0.9, session_events=LogUniform(2, 60), gap_inside_s=LogUniform(1, 300)),
    location=_NEARLY_NO_LOCATION,
    names=replace(_ANY.names, is_limited=1.0, limit=LogUniform(5, 80), concentration=LogUniform(3, 60)),
    mixed=replace(
        _ANY.mixed,
        clock=HabitRange(0.8, 1.0),
        routine=HabitRange(0.9, 1.5),
        order=OneOf((2, 3, 4)),
        discount=Uniform(0, 0.6),
        concentration=LogUniform(0.05, 2),
        routine_keeps=Uniform(0.5, 0.97),
        routines_by_hour=0.8,
        nothing=HabitRange(0.5, 0.5),
        situation=HabitRange(0.7, 1.2),
        root_concentration=LogUniform(0.05, 5),
        interrupts=OneOf((0, 0.02, 0.1)),
        starts_anew=0.6,
    ),
)
"""Homes: sensors that fire in chains, routines by the hour."""

DESKTOP = Ranges(
    is_weighed=0.2,
    time=replace(
        _ANY.time,
        has_sessions=1.0,
        session_events=LogUniform(10, 400),
        gap_inside_s=LogUniform(1, 120),
        gap_between_s=LogUniform(600, 86400),
        sleeps=0.9,
    ),
    location=_NEARLY_NO_LOCATION,
    names=replace(_ANY.names, concentration=LogUniform(3, 150)),
    mixed=replace(
        _ANY.mixed,
        recency=HabitRange(0.9, 1.5),
        task=HabitRange(1.0, 3.0),
        task_names=LogUniform(2, 6),
        task_switch=LogUniform(0.005, 0.1),
        nothing=HabitRange(0.5, 0.6),
        situation=HabitRange(0.6, 0.8),
        root_concentration=LogUniform(0.1, 50),
        never_repeats=0.5,
        has_repeats=0.8,
        repeats=Uniform(0, 0.9),
        interrupts=OneOf((0, 0.02, 0.1)),
    ),
)
"""Desktops and the web: long sessions, windows that alternate within a task, new pages."""

OUTINGS = Ranges(
    is_weighed=0.5,
    time=replace(
        _ANY.time, has_sessions=0.4, session_events=LogUniform(1, 6), gap_between_s=LogUniform(3600, 10 * 86400)
    ),
    location=LocationRanges(
        num=OneOf((1, 4, 10, 40, 400)),
        stays=Uniform(0, 0.6),
        concentration=LogUniform(0.4, 60),
        has_venues=0.7,
        always_moves=0.5,
    ),
    names=replace(_ANY.names, is_limited=0.3, concentration=LogUniform(10, 400)),
    mixed=replace(
        _ANY.mixed,
        nothing=HabitRange(0.9, 2.0),
        situation=HabitRange(0.9, 2.0),
        concentration=LogUniform(0.5, 40),
        situation_cues=OneOf((2, 3, 3, 4)),
    ),
    weighed=replace(
        _ANY.weighed, num_names=LogUniform(20, 300), evenness=OneOf((0.6, 1.0, 3.0)), chain_evenness=LogUniform(3, 100)
    ),
)
"""Trips and check-ins: hours apart, many names and venues, weak habits."""

DIARY = Ranges(
    is_weighed=0.6,
    time=replace(
        _ANY.time,
        has_sessions=0.5,
        session_events=LogUniform(5, 60),
        gap_inside_s=LogUniform(120, 7200),
        spread_inside=Uniform(0.3, 1.2),
        gap_between_s=LogUniform(3600, 86400),
    ),
    location=replace(_ANY.location, num=OneOf((0, 1, 4, 10, 40)), has_venues=0.2),
    names=replace(_ANY.names, is_limited=0.8, limit=LogUniform(15, 200), concentration=LogUniform(20, 1000)),
    mixed=replace(
        _ANY.mixed,
        nothing=HabitRange(0.95, 3.0),
        recency=HabitRange(0.4, 0.5),
        concentration=LogUniform(0.5, 40),
        root_concentration=LogUniform(10, 1000),
        never_repeats=0.8,
    ),
    weighed=replace(
        _ANY.weighed,
        num_names=LogUniform(10, 150),
        evenness=OneOf((0.6, 1.0, 3.0)),
        never_repeats=0.8,
        recency=OneOf((0, 0, 0.5)),
        once_a_day=0.5,
    ),
)
"""Diaries: one activity after another through the day, most of them not again soon."""

KINDS = {
    "any": (0.36, _ANY),
    "phone": (0.16, PHONE),
    "home": (0.13, HOME),
    "desktop": (0.16, DESKTOP),
    "outings": (0.12, OUTINGS),
    "diary": (0.07, DIARY),
}
"""{name: (share of the worlds, ranges)}; shares sum to 1."""
