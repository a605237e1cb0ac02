"""The simulator's process: the kind of location of each user, and what the user does there.

At a moment whose time is given, the location is drawn from q(l), then the behavior from p(b | l), then one of its
events. Everything depends on the user's latent parameters, the past and the time only:

    p(b | l) = triggers_l(b) + (1 - |triggers_l|) (c cue(b) + (1 - c) (a [b = appointment]
               + (1 - a) (s [b = successor] + (1 - s) taste_l(b))))

    c, a, s      how much the cue just seen, the appointment at this time and the successor of the
                 last behavior weigh; 0 where there is none
    taste_l(b)   proportional to the user's taste, the clock and the location's multipliers
    |triggers_l| sum of triggers_l over the behaviors, capped

The oracle beside it does not know the location: p(b) = sum_l q(l) p(b | l). Both are linear in q.

Legend: N events, R users at work in one step, V behaviors, P kinds of locations, S half hours, C cues, T triggers,
E events of all behaviors.
"""

import copy

import numpy as np

from edgebehave_train.simulator.users import (
    DAY_START_H,
    Floats,
    Ints,
    Population,
    choose,
    clock_table,
    schedule_table,
    slot_of,
)
from edgebehave_train.simulator.world import BEHAVIORS, CUES, LOCATION_KINDS, START_S, TRIGGERS

_CUE_SHARE = 0.08  # of all events
_CUE_FRESH_MIN = 30.0
_SUCCESSOR_MIN = 45.0
_APPOINTMENT_WIDTH_MIN = 25.0
_JUST_DONE_MIN = 90.0  # an appointment that was kept so recently ...
_JUST_DONE_FACTOR = 0.5  # ... is this much less likely to be kept again
_MAX_TRIGGERED = 0.8

# Mean stay at a location before setting out anew, minutes.
_STAY_MIN = {
    "home": 150.0,
    "work": 200.0,
    "transit": 25.0,
    "restaurant": 50.0,
    "shop": 40.0,
    "park": 40.0,
    "clinic": 50.0,
    "station": 20.0,
    "away": 1500.0,
}

# Events of the behaviors in order, then the cues.
EVENT_NAMES = (*(e for b in BEHAVIORS for e in b.events), *(c.event for c in CUES))
_FIRST_EVENT = np.r_[0, np.cumsum([len(b.events) for b in BEHAVIORS])]
_BEHAVIOR_ID = {b.name: v for v, b in enumerate(BEHAVIORS)}
_HOME, _STATION, _AWAY = (LOCATION_KINDS.index(p) for p in ("home", "station", "away"))


class BehaviorProcess:
    """All users side by side, one event of each per step.

    `run` fills these columns, all of shape (N,):
    location_kind, behavior, event  ids of LOCATION_KINDS, BEHAVIORS, EVENT_NAMES; a cue has -1 for the first two.
    rank, prob                 of the true behavior under the oracle's p; 0 for a cue.
    top, balanced_top          argmax of p(b), and of p(b) / share of b; -1 for a cue.
    previous                   position of the user's last behavior before it, -1 if there is none.
    was_away                   whether the user had left the city then.
    """

    def __init__(
        self, people: Population, user: Ints, time_s: Ints, offset_min: Ints, rng: np.random.Generator
    ) -> None:
        self.people, self.rng = people, rng
        self.user, self.utc_min = user, time_s / 60
        n = len(user)
        # Local time, in minutes after 4:00 of the day that the moment belongs to.
        self.local_min = (time_s - START_S) / 60 + offset_min - 60 * DAY_START_H
        self._plan_the_days()

        self.cue = np.where(rng.random(n) < _CUE_SHARE, choose(np.tile([c.rate for c in CUES], (n, 1)), rng), -1)
        self.location_kind = np.full(n, -1)
        self.event = np.where(self.cue >= 0, _FIRST_EVENT[-1] + self.cue, -1)
        self.behavior = np.full(n, -1)
        self.rank = np.zeros(n, np.int16)
        self.prob = np.zeros(n, np.float32)
        self.top = np.full(n, -1, np.int16)
        self.balanced_top = np.full(n, -1, np.int16)
        self.previous = np.full(n, -1)
        self.was_away = np.zeros(n, bool)

        self.share_v = np.array([b.share for b in BEHAVIORS])
        self.clock_sv = clock_table()
        self.schedule = schedule_table()
        self.kind_pv = np.array([[b.locations.get(p, 1.0) for b in BEHAVIORS] for p in LOCATION_KINDS])
        self.stay_p = np.array([_STAY_MIN[p] for p in LOCATION_KINDS])
        self.cue_weight = np.array([c.weight for c in CUES])
        self.cue_cv = np.array([[c.hints.get(b.name, 0.0) for b in BEHAVIORS] for c in CUES])
        self._tabulate_triggers()

    def _plan_the_days(self) -> None:
        """Kind of day, personal time and appointment of each moment."""
        day = np.floor(self.local_min / 1440).astype(np.int64)
        minute = self.local_min - 1440 * day
        self.plan = self.people.plan[self.user, day // 7 % 2, day % 7]
        self.slot = slot_of(minute - self.people.shift_min[self.user])
        self._keep_appointments(minute, self.plan)

    def _keep_appointments(self, minute: Floats, plan: Ints) -> None:
        """Appointment nearest to each moment, and how likely it is that it is kept then."""
        people, user = self.people, self.user
        away = np.abs(minute[:, None] - people.appointment_min[user, plan])
        away = np.minimum(away, 1440 - away)
        which = away.argmin(1)
        rows = np.arange(len(user))
        nearness = np.exp(-0.5 * (away[rows, which] / _APPOINTMENT_WIDTH_MIN) ** 2)
        self.appointment = people.appointment[user, plan, which]
        self.appointment_weight = people.appointment_weight[user, plan, which] * nearness

    def _tabulate_triggers(self) -> None:
        event_id = {name: e for e, name in enumerate(EVENT_NAMES)}
        shape = (len(TRIGGERS), len(EVENT_NAMES))
        self.trigger_after = np.zeros(shape, bool)
        self.trigger_from = np.zeros((len(TRIGGERS), len(LOCATION_KINDS)), bool)
        self.trigger_at = np.zeros((len(TRIGGERS), len(LOCATION_KINDS)))
        self.trigger_tv = np.zeros((len(TRIGGERS), len(BEHAVIORS)))
        for t, trigger in enumerate(TRIGGERS):
            self.trigger_after[t, [event_id[e] for e in trigger.after] or slice(None)] = True
            origin = trigger.arrived_from
            self.trigger_from[t, slice(None) if origin is None else LOCATION_KINDS.index(origin)] = True
            here = trigger.location
            self.trigger_at[t, slice(None) if here is None else LOCATION_KINDS.index(here)] = 1.0
            self.trigger_tv[t, _BEHAVIOR_ID[trigger.behavior]] = 1.0
        self.trigger_weight = np.array([t.weight for t in TRIGGERS])
        self.trigger_within = np.array([t.within_min for t in TRIGGERS])

    def run(self, with_oracle: bool = True) -> "BehaviorProcess":
        """Draw location, behavior and event of every moment, in time order within each user.

        with_oracle  fill rank, prob and the tops, too; they take no part in what is drawn.
        """
        num_users = self.people.num_users
        num_events = np.bincount(self.user, minlength=num_users)
        start = np.r_[0, num_events.cumsum()[:-1]]
        busiest_first = np.argsort(-num_events, kind="stable")
        # Last event with a behavior of each user, and whether the user has left the city.
        self.last = np.full(num_users, -1)
        self.is_away = np.zeros(num_users, bool)
        for step in range(int(num_events.max(initial=0))):
            still = np.searchsorted(-num_events[busiest_first], -step, side="left")
            at = start[busiest_first[:still]] + step
            self._step(at[self.cue[at] < 0], with_oracle)
        return self

    def _step(self, at: Ints, with_oracle: bool) -> None:
        """Draw the events at positions `at`, one per user, from what came before them."""
        if len(at) == 0:
            return
        user = self.user[at]
        self.previous[at], self.was_away[at] = self.last[user], self.is_away[user]
        q_rp, given = self._situation(at)

        oracle_rv = self._behavior_probs(q_rp, *given) if with_oracle else None
        kind = choose(q_rp, self.rng)
        behavior = choose(self._behavior_probs(np.eye(len(LOCATION_KINDS))[kind], *given), self.rng)
        event = _FIRST_EVENT[behavior] + choose(self.people.event_probs[user, behavior], self.rng)

        self.location_kind[at], self.behavior[at], self.event[at] = kind, behavior, event
        if oracle_rv is not None:
            prob = oracle_rv[np.arange(len(at)), behavior]
            self.prob[at] = prob
            self.rank[at] = 1 + (oracle_rv > prob[:, None]).sum(1)
            self.top[at] = oracle_rv.argmax(1)
            self.balanced_top[at] = (oracle_rv / self.share_v).argmax(1)
        self.last[user] = at
        self.is_away[user] = np.where(kind == _STATION, self.is_away[user], kind == _AWAY)

    def oracle_probs(self, at: Ints) -> Floats:
        """The oracle's p(b) at positions `at` of behaviors, (R, V), once the process has run."""
        q_rp, given = self._situation(at)
        return self._behavior_probs(q_rp, *given)

    def with_users(self, user: Ints) -> "BehaviorProcess":
        """A process that has run, with other users (N,) in place of its own.

        Behaviors, times and locations stay; the oracle predicts for the other users. Adjacent users must stay
        different from each other.
        """
        other = copy.copy(self)
        other.user = user
        other._plan_the_days()
        return other

    def _situation(self, at: Ints) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        """q of the locations at positions `at`, and the other inputs of the behavior."""
        user, last = self.user[at], self.previous[at]
        gap_min = np.where(last < 0, 1e9, self.utc_min[at] - self.utc_min[last])
        return (self._location_probs(at, user, last, gap_min), self._context(at, user, last, gap_min))

    def _location_probs(self, at: Ints, user: Ints, last: Ints, gap_min: Floats) -> Floats:
        """q (R, P): location of the user now, given the location at the last behavior."""
        people = self.people
        anew_rp = self.schedule[people.persona[user], self.plan[at], self.slot[at]].copy()
        anew_rp[:, _STATION] *= people.trip_factor[user]
        was = np.where(last < 0, _HOME, self.location_kind[last])
        # A trip: station, away for a day or so, station, home.
        for rows, target in (
            (was == _AWAY, _STATION),
            ((was == _STATION) & self.was_away[at], _HOME),
            ((was == _STATION) & ~self.was_away[at], _AWAY),
        ):
            anew_rp[rows] = np.eye(len(LOCATION_KINDS))[target]
        anew_rp /= anew_rp.sum(1, keepdims=True)
        stay_r = np.exp(-gap_min / self.stay_p[was])
        q_rp = (1 - stay_r)[:, None] * anew_rp
        q_rp[np.arange(len(at)), was] += stay_r
        return q_rp

    def _context(self, at: Ints, user: Ints, last: Ints, gap_min: Floats) -> tuple[Floats, Floats, Floats]:
        """The parts of p(b | l) that do not depend on the location.

        Returns  triggers_rt (R, T): weight of each trigger, if the location is right. personal_rv (R, V): cue,
                 appointment and successor; rows sum to at most 1. taste_rv (R, V): taste at this time of day, not
                 normalized.
        """
        people, rows = self.people, np.arange(len(at))
        done, was = self.behavior[last], self.location_kind[last]

        triggers_rt = self.trigger_weight * (
            people.adopted[user]
            & self.trigger_after[:, self.event[last]].T
            & self.trigger_from[:, was].T
            & (gap_min[:, None] <= self.trigger_within)
            & (last >= 0)[:, None]
        )

        before = np.maximum(at - 1, 0)
        cue = np.where((at > 0) & (self.user[before] == user), self.cue[before], -1)
        is_fresh = (cue >= 0) & (self.utc_min[at] - self.utc_min[before] <= _CUE_FRESH_MIN)
        cue_weight = np.where(is_fresh, self.cue_weight[cue], 0.0)
        personal_rv = cue_weight[:, None] * self.cue_cv[cue]

        kept = self.appointment_weight[at].copy()
        kept[(done == self.appointment[at]) & (gap_min <= _JUST_DONE_MIN)] *= _JUST_DONE_FACTOR
        left = 1 - cue_weight
        personal_rv[rows, self.appointment[at]] += left * kept
        left = left * (1 - kept)
        follows = np.where(gap_min <= _SUCCESSOR_MIN, people.successor_weight[user], 0.0)
        personal_rv[rows, people.successor[user, done]] += left * follows
        return triggers_rt, personal_rv, people.taste[user] * self.clock_sv[self.slot[at]]

    def _behavior_probs(self, q_rp: Floats, triggers_rt: Floats, personal_rv: Floats, taste_rv: Floats) -> Floats:
        """p(b) = sum_l q(l) p(b | l), shape (R, V); a location that is known is a one-hot q."""
        triggered_rp = triggers_rt @ self.trigger_at
        scale_rp = np.minimum(1.0, _MAX_TRIGGERED / np.maximum(triggered_rp, 1e-9))
        rest_rp = 1 - triggered_rp * scale_rp
        mass_rp = taste_rv @ self.kind_pv.T
        probs_rv = (((q_rp * scale_rp) @ self.trigger_at.T) * triggers_rt) @ self.trigger_tv
        probs_rv += (q_rp * rest_rp).sum(1, keepdims=True) * personal_rv
        taste_left_r = 1 - personal_rv.sum(1, keepdims=True)
        probs_rv += taste_left_r * taste_rv * ((q_rp * rest_rp / mass_rp) @ self.kind_pv)
        return probs_rv
