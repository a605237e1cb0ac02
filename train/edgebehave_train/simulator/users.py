"""The simulator's users: persons drawn from personas, and the moments at which they use their phone.

A person's day begins at 4:00 local time. It follows one of three plans (a free day, a working day of an even week, a
working day of an odd week), and "minute" means minutes after 4:00 throughout. Shapes: U users, V behaviors, P
locations, S = 48 half-hour slots, A appointments per plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave_train.simulator.world import (
    BEHAVIORS,
    CLOCK_BUMPS,
    FIRST_TAIL,
    LOCATION_KINDS,
    PERSONAS,
    START_S,
    TRIGGERS,
    ZONES,
    Persona,
    Shift,
)

DAY_START_H = 4
FREE, EVEN, ODD = 0, 1, 2
NUM_PLANS = 3
NUM_APPOINTMENTS = 6
MAX_EVENTS = max(len(b.events) for b in BEHAVIORS)

_FLOOR = 0.15  # height of a clock between its bumps
_APPOINTMENT_MIN = 12.0  # standard deviation of a session's start around its appointment
_AT_APPOINTMENT = 0.5  # share of the sessions that start at one
_SESSION_EVENTS = 2.0  # mean events per session
_WITHIN_SESSION_S = 420.0  # mean time between them
_EVENING = 1.8  # how much more the phone is used from 19:00 on than before
_ASLEEP = 0.02  # and how much less at night

# Where people who are free go, relative to home.
_OUTINGS = {"restaurant": 0.10, "shop": 0.16, "park": 0.12, "transit": 0.10, "clinic": 0.012}

# How people differ. Gamma shapes: the smaller, the more; all means are 1 except that of the sessions.
_INTEREST_SHAPE = 0.8
_FIRST_INTEREST_SHAPE = 6.0  # every user does the most common behavior
_TRIP_SHAPE = 1.5
_SESSIONS_SHAPE, _SESSIONS_PER_DAY = 6.0, 2.1
_LEAST_SESSIONS_PER_DAY = 0.2
_SHIFT_MIN, _MOST_SHIFT_MIN = 40.0, 90.0  # standard deviation and limit
_SUCCESSOR_WEIGHT = (0.1, 0.5)
_APPOINTMENT_WEIGHT = (0.35, 0.9)

_SLOT_HOUR = DAY_START_H + (np.arange(48) + 0.5) / 2

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Population:
    """The latent parameters of every user, which the oracle knows and a predictor does not.

    persona, zone       (U,) positions in PERSONAS and ZONES.
    shift_min           (U,) how much later than the persona a user lives, minutes.
    sessions_per_day    (U,) mean.
    plan                (U, 2, 7) plan of an even / odd week's weekday.
    taste               (U, V) weights of the behaviors, rows sum to 1.
    event_probs         (U, V, E) which of a behavior's events a user prefers, rows sum to 1.
    trip_factor         (U,) mean 1, on the persona's rate of trips.
    adopted             (U, number of triggers) bool.
    successor           (U, V) the behavior that a user prefers after each behavior.
    successor_weight    (U,) how strongly.
    appointment_min     (U, 3, A) minute of each appointment of a plan.
    appointment         (U, 3, A) the behavior of it.
    appointment_weight  (U, 3, A) the probability that it is kept.
    """

    persona: Ints
    zone: Ints
    shift_min: Floats
    sessions_per_day: Floats
    plan: Ints
    taste: Floats
    event_probs: Floats
    trip_factor: Floats
    adopted: npt.NDArray[np.bool_]
    successor: Ints
    successor_weight: Floats
    appointment_min: Floats
    appointment: Ints
    appointment_weight: Floats

    @property
    def num_users(self) -> int:
        return len(self.persona)


def choose(probs: Floats, rng: np.random.Generator) -> Ints:
    """One draw from each of the distributions along the last axis (they need not be normalized)."""
    cumulative = probs.cumsum(-1)
    at = rng.random((*probs.shape[:-1], 1)) * cumulative[..., -1:]
    return np.minimum((cumulative <= at).sum(-1), probs.shape[-1] - 1)


def slot_of(minute: npt.NDArray[np.floating]) -> Ints:
    """Half-hour slot, 0..47 from 4:00 on, of a minute that may lie in the neighboring days."""
    return (minute // 30).astype(np.int64) % 48


def clock_table() -> Floats:
    """(S, V): weight of each behavior in each half hour; mean 1 over the day."""
    table = np.empty((48, len(BEHAVIORS)))
    for v, behavior in enumerate(BEHAVIORS):
        height = np.full(48, _FLOOR)
        for center, width, bump in CLOCK_BUMPS[behavior.clock]:
            away = (_SLOT_HOUR - center + 12) % 24 - 12
            height += bump * np.exp(-0.5 * (away / width) ** 2)
        table[:, v] = height / height.mean()
    return table


def _plans() -> Iterator[tuple[tuple[int, int], Persona, Shift | None, float, float]]:
    """Index (persona, plan), persona, working hours, and hours of waking and sleep of every plan."""
    for i, persona in enumerate(PERSONAS):
        for plan, shift in enumerate((None, persona.early, persona.late)):
            awake = persona.wake_off if shift is None else (shift.wake, shift.sleep)
            yield (i, plan), persona, shift, *awake


def rhythm_table() -> Floats:
    """(personas, plans, S): share of the phone's use in each half hour; rows sum to 1."""
    table = np.zeros((len(PERSONAS), NUM_PLANS, 48))
    for index, _, _, wake, sleep in _plans():
        use = np.where((wake <= _SLOT_HOUR) & (sleep > _SLOT_HOUR), 1.0, _ASLEEP)
        use[(_SLOT_HOUR >= 19) & (sleep > _SLOT_HOUR)] *= _EVENING
        table[index] = use / use.sum()
    return table


def schedule_table() -> Floats:
    """(personas, plans, S, P): location of a user who sets out anew at that time; rows sum to 1."""
    kind_id = {name: p for p, name in enumerate(LOCATION_KINDS)}
    outings = [kind_id[name] for name in _OUTINGS]
    table = np.zeros((len(PERSONAS), NUM_PLANS, 48, len(LOCATION_KINDS)))
    for index, persona, shift, wake, sleep in _plans():
        where = table[index]
        out = (wake + 1 <= _SLOT_HOUR) & (min(sleep - 1, 23.5) > _SLOT_HOUR)
        where[:, kind_id["home"]] = 1.0
        where[np.ix_(np.flatnonzero(out), np.array(outings))] = list(_OUTINGS.values())
        where[_SLOT_HOUR >= 20, kind_id["clinic"]] = 0.0
        if shift is None:
            where[(_SLOT_HOUR >= 8) & (_SLOT_HOUR < 13), kind_id["station"]] = persona.trips
            continue
        at_work = (shift.start <= _SLOT_HOUR) & (shift.stop > _SLOT_HOUR)
        where[at_work] = 0.0
        where[at_work, kind_id["work"]] = 1.0
        lunch = at_work & (np.abs(_SLOT_HOUR - (shift.start + shift.stop) / 2 + 0.5) < 0.8)
        where[lunch, kind_id["restaurant"]] = 0.8
        for edge in (shift.start - 0.5, shift.stop + 0.5):
            commute = np.abs(_SLOT_HOUR - edge) <= 0.5
            where[commute] = 0.0
            where[commute, kind_id["transit"]] = 1.0
            where[commute, kind_id["home"]] = 0.25
    return table / table.sum(-1, keepdims=True)


def draw_population(num_users: int, rng: np.random.Generator) -> Population:
    """Draw the users: persona first, then personal parameters."""
    num_behaviors = len(BEHAVIORS)
    persona = choose(np.tile([p.share for p in PERSONAS], (num_users, 1)), rng)
    zone = choose(np.tile([z.share for z in ZONES], (num_users, 1)), rng)
    shift_min = np.clip(rng.normal(0, _SHIFT_MIN, num_users), -_MOST_SHIFT_MIN, _MOST_SHIFT_MIN)

    likes = np.array([[p.likes.get(b.name, 1.0) for b in BEHAVIORS] for p in PERSONAS])
    shape = np.full(num_behaviors, _INTEREST_SHAPE)
    shape[0] = _FIRST_INTEREST_SHAPE
    taste = np.array([b.taste for b in BEHAVIORS]) * likes[persona]
    taste *= rng.gamma(shape, 1 / shape, (num_users, num_behaviors)) + 1e-6
    taste /= taste.sum(1, keepdims=True)

    usual = np.zeros((num_behaviors, MAX_EVENTS))
    for v, behavior in enumerate(BEHAVIORS):
        usual[v, : len(behavior.events)] = 1 / (1 + np.arange(len(behavior.events)))
    event_probs = usual * rng.gamma(1.0, 1.0, (num_users, num_behaviors, MAX_EVENTS)) + 0.02 * usual
    event_probs /= event_probs.sum(-1, keepdims=True)

    plan, appointment_min = _draw_week(persona, shift_min, rng)
    wanted = taste[:, None, None] * clock_table()[slot_of(appointment_min - shift_min[:, None, None])]
    # The successor of a behavior depends on taste, too, but is never the same behavior.
    after = np.repeat(taste[:, None], num_behaviors, 1)
    after[:, np.arange(num_behaviors), np.arange(num_behaviors)] = 0.0
    after[:, :, FIRST_TAIL:] = 0.0
    return Population(
        persona=persona,
        zone=zone,
        shift_min=shift_min,
        sessions_per_day=_LEAST_SESSIONS_PER_DAY
        + rng.gamma(_SESSIONS_SHAPE, _SESSIONS_PER_DAY / _SESSIONS_SHAPE, num_users),
        plan=plan,
        taste=taste,
        event_probs=event_probs,
        trip_factor=rng.gamma(_TRIP_SHAPE, 1 / _TRIP_SHAPE, num_users),
        adopted=rng.random((num_users, len(TRIGGERS))) < [t.adopters for t in TRIGGERS],
        successor=choose(after, rng),
        successor_weight=rng.uniform(*_SUCCESSOR_WEIGHT, num_users),
        appointment_min=appointment_min,
        appointment=choose(wanted, rng),
        appointment_weight=rng.uniform(*_APPOINTMENT_WEIGHT, appointment_min.shape),
    )


def _draw_week(persona: Ints, shift_min: Floats, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Plans of the days of two weeks (U, 2, 7), and minutes of the appointments (U, 3, A)."""
    num_users = len(persona)
    first_day_off = rng.integers(0, 7, num_users)
    plan = np.empty((num_users, 2, 7), np.int64)
    weekday = np.arange(7)
    for i, kind in enumerate(PERSONAS):
        mine = np.flatnonzero(persona == i)
        if kind.days_off is None:
            is_off = (weekday - first_day_off[mine, None]) % 7 < 2
        else:
            is_off = np.broadcast_to(np.isin(weekday, kind.days_off), (len(mine), 7))
        if kind.early is None:
            is_off = np.ones_like(is_off)
        for week, working in enumerate((EVEN, ODD)):
            plan[mine, week] = np.where(is_off, FREE, working)
    slots = choose(np.repeat(rhythm_table()[persona][:, :, None], NUM_APPOINTMENTS, 2), rng)
    minute = 30.0 * slots + rng.uniform(0, 30, slots.shape) + shift_min[:, None, None]
    return plan, minute


def draw_times(people: Population, num_days: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Moments at which the users use their phones.

    Sessions are Poisson per day; half of them start around one of the day's appointments, the others follow the
    persona's rhythm. Moments do not depend on what is done at them.

    Returns user (N,), time_s (N,) UTC, utc_offset_min (N,), sorted by user, then time; the times of a user strictly
    increase.
    """
    num_sessions = rng.poisson(np.repeat(people.sessions_per_day[:, None], num_days, 1))
    user_day = np.repeat(np.arange(num_sessions.size), num_sessions.ravel())
    user, day = user_day // num_days, user_day % num_days
    plan = people.plan[user, day // 7 % 2, day % 7]

    rhythm = rhythm_table().cumsum(-1)[people.persona[user], plan]
    free_min = 30.0 * (rhythm <= rng.random((len(user), 1))).sum(-1).clip(max=47)
    free_min += rng.uniform(0, 30, len(user)) + people.shift_min[user]
    which = rng.integers(0, NUM_APPOINTMENTS, len(user))
    kept_min = people.appointment_min[user, plan, which]
    kept_min = kept_min + rng.normal(0, _APPOINTMENT_MIN, len(user))
    start_min = np.where(rng.random(len(user)) < _AT_APPOINTMENT, kept_min, free_min)

    size = rng.geometric(1 / _SESSION_EVENTS, len(user))
    gap_s = rng.exponential(_WITHIN_SESSION_S, size.sum())
    first = size.cumsum() - size
    gap_s[first] = 0.0
    elapsed_s = gap_s.cumsum()
    elapsed_s -= np.repeat(elapsed_s[first], size)
    minute = np.repeat(day * 1440.0 + DAY_START_H * 60 + start_min, size)
    local_s = START_S + (60 * minute + elapsed_s).astype(np.int64)
    user = np.repeat(user, size)

    time_s = local_s - 60 * utc_offset_min(people.zone[user], local_s, local=True)
    order = np.lexsort((time_s, user))
    user, time_s = user[order], time_s[order]
    time_s = _strictly_increasing(user, time_s)
    return user, time_s, utc_offset_min(people.zone[user], time_s)


def utc_offset_min(zone: Ints, time_s: Ints, *, local: bool = False) -> Ints:
    """Offset of local time in a zone, minutes; `time_s` is UTC, or the local clock if `local`.

    The hour that the local clock skips counts as summer time.
    """
    winter = np.array([z.offset_min for z in ZONES])[zone]
    never = np.iinfo(np.int64).max
    begin = np.array([z.summer[0] if z.summer else never for z in ZONES])[zone]
    end = np.array([z.summer[1] if z.summer else never for z in ZONES])[zone]
    utc_s = time_s - 60 * winter if local else time_s
    return winter + 60 * ((utc_s >= begin) & (utc_s < end))


def _strictly_increasing(user: Ints, time_s: Ints) -> Ints:
    """Move moments that coincide within a user apart, by the fewest seconds."""
    # t_i >= t_j + (i - j) for all j < i of the user, i.e. t - i is a running maximum.
    index = np.arange(len(time_s))
    ahead = time_s - index
    span = int(ahead.max() - ahead.min()) + 1 if len(ahead) else 1
    return np.maximum.accumulate(ahead + user * span) - user * span + index
