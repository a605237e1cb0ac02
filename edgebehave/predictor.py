"""The SDK: observe what users do, predict what each of them does next, on the device."""

# V behaviors of the bundle, id 0 (unknown) included; U spare slots for behaviors of a user's own

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave.active_users import ActiveUsers
from edgebehave.bundle import Bundle
from edgebehave.generation import DRAWS, Future, GeneratedEvent
from edgebehave.habits import HABIT_EVENTS, HabitHistory, HabitWeights, habit_probs
from edgebehave.history import History, HistoryError, Match
from edgebehave.many import column, for_each, names_of
from edgebehave.mapped_history import MappedHistory
from edgebehave.memory_history import MemoryHistory
from edgebehave.moments import (
    EARLIEST_S,
    LATEST_S,
    At,
    Moment,
    check_offset,
    read_duration,
    read_moment,
)
from edgebehave.names import check_name
from edgebehave.predict_graph import PredictGraph
from edgebehave.probability_shift import shift_prior
from edgebehave.rolling_history import IntArray
from edgebehave.sampling import Sampling
from edgebehave.stream_states import StreamStates
from edgebehave.user_export import read_user, write_user
from edgebehave.user_locks import UserLocks
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary
from edgebehave.waiting_time import NOTHING, WaitingTime

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A behavior and the probability, in 0..1, that it comes next."""

    behavior: str
    probability: float


class _Question(NamedTuple):
    """What a prediction is made from.

    past        (4, n) what the habit kernels look back on, rows as in `RollingHistory.past`:
                behaviors as candidates 1..V-1, V..V+U-1 for names of the user's own, 0 for those
                without a slot; events without a behavior are left out.
    candidates  (number of candidates, or fewer) names of the ids from 1 up.
    moment      None: not known.
    location    id of the place to predict for.
    """

    past: IntArray
    candidates: Sequence[str]
    moment: Moment | None
    location: int


class Predictor:
    """Next-behavior prediction for any number of users.

    With a bundle (`Predictor.load`) the trained model predicts, habits included. Without one
    (`Predictor()`) habits alone do, from a user's first event on.

    All state is a pure function of the events: those that the history retains per user (the last
    512, or as many as the model needs, unless some have aged) and their number. Neither the order
    in which they arrive, nor when predictions are asked for, nor which cached states had to make
    room, nor a restart over a `SqliteHistory` changes a bit of the result; only events of the same
    second stay in the order in which they came, and a number for `at` without `utc_offset_min`
    takes the offset of the event that came before. An event older than everything that a full
    history retains is not kept, but counts.

    Names that the vocabulary does not hold are welcome: an unknown event is unknown to the network,
    but the user's habits know it, and once used it is a candidate by its own name. Of more than U
    such names among the events that habits look back on, those used longest ago have no slot until
    they are used again. A name that is that of a behavior of the vocabulary stands for it.

    Safe for use from several threads at once; calls about the same user wait for each other.
    """

    def __init__(
        self,
        bundle: Bundle | None = None,
        *,
        history: History | None = None,
        state_mb: float = 64,
        habit_weights: HabitWeights | None = None,
    ) -> None:
        """A predictor for an opened bundle, or, by default, without a model.

        history        as in `load`.
        state_mb       as in `load`.
        habit_weights  how the habits are mixed where there is no bundle; popularity means
                       nothing there.
        """
        self._bundle = bundle
        if not 0 < state_mb < math.inf:
            raise ValueError(f"state_mb must be above 0 and finite, got {state_mb}")
        self._states = StreamStates(bundle, int(state_mb * 1e6)) if bundle else None
        self._predict_graph = PredictGraph(bundle) if bundle else None
        self._vocabulary = bundle.vocabulary if bundle else Vocabulary.identity(())
        self._known_behaviors = tuple(self._vocabulary.behaviors[1:])
        self._history_events = bundle.shape.history_events if bundle else HABIT_EVENTS
        self._habit_events = bundle.shape.habit_events if bundle else HABIT_EVENTS
        self._num_spare = bundle.shape.num_spare if bundle else HABIT_EVENTS
        self._habit_weights = habit_weights or HabitWeights()
        self._history = MemoryHistory() if history is None else history
        self._locks = UserLocks()
        self._users = ActiveUsers(
            self._history,
            self._vocabulary,
            self._history_events,
            self._states.capacity if self._states is not None else int(state_mb * 1e6 / 30_000),
            _nothing_to_drop if self._states is None else self._states.drop,
        )

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        history: History | None = None,
        state_mb: float = 64,
        providers: Sequence[str] | None = None,
    ) -> "Predictor":
        """A predictor with the model of a bundle.

        bundle     the folder that `edgebehave export` wrote.
        history    where events are kept: a `SqliteHistory` on disk, or, by default, a
                   `MemoryHistory` of its own. It holds names: any bundle reads any history.
        state_mb   megabytes for the network states of users that were asked about, room for one
                   at least; the one not asked about for longest makes room and is rebuilt from
                   its history when asked about again. A state takes 8 L window D bytes; the
                   user's latest events, as the model wants them, come on top, up to 30 kB.
        providers  execution providers of ONNX Runtime, best first; default the CPU.
        Raises BundleError that says what is wrong with the bundle, ImportError without ONNX
        Runtime.
        """
        return cls(Bundle.open(bundle, providers), history=history, state_mb=state_mb)

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the model, best first; none without a bundle."""
        return self._bundle.providers if self._bundle else ()

    @property
    def users(self) -> list[str]:
        """Everyone with at least one event, in the order of the first observation."""
        return self._history.users()

    def num_events(self, user: str) -> int:
        """Events observed of a user, retained or not, without those forgotten; 0 if not known."""
        mark = self._history.mark(check_name(user, "user"))
        return mark.num_events if mark else 0

    def forget(self, user: str) -> bool:
        """Erase everything about a user. Returns whether there was anything."""
        with self._locks.of(check_name(user, "user")):
            self._users.drop(user)
            return self._history.forget(user)

    def forget_event(
        self,
        user: str,
        event: str | None = None,
        *,
        location: str | None = None,
        at: datetime | float | None = None,
        until: datetime | float | None = None,
    ) -> int:
        """Erase the retained events of a user that fit all of what is given, at least one thing.

        event     its name.
        location  where it happened.
        at        the second in which it happened, a datetime with a time zone or unix seconds;
                  with `until`, the first second of a span. None: from the beginning.
        until     the last second of a span. None: `at` alone, or, without it, to the end.
        Returns  how many. If none is left, the user is forgotten.
        What remains is, to the bit, what it would be had they never been observed, as long as the
        history has displaced nothing. Otherwise the events that these had displaced do not come
        back: it is then as if the history had retained so many fewer until now.
        Raises TypeError or ValueError that says what to pass instead.
        """
        check_name(user, "user")
        if event is None and location is None and at is None and until is None:
            raise ValueError("forget_event needs an event, a location, at or until; see forget")
        if event is not None:
            check_name(event, "event")
        if location is not None:
            check_name(location, "location")
        first_s = EARLIEST_S if at is None else read_moment(at, None, 0).time_s
        last_s = LATEST_S if at is None else first_s
        if until is not None:
            last_s = read_moment(until, None, 0).time_s
        if last_s < first_s:
            raise ValueError(f"until lies {first_s - last_s} s before at")
        with self._locks.of(user):
            self._users.drop(user)
            return self._history.forget_events(user, Match(event, location, first_s, last_s))

    def export_user(self, user: str) -> bytes:
        """A user's history as JSON text, names included, for `import_user` of any predictor.

        It holds the retained events and how many were observed, and not the user's name.
        Raises KeyError for a user not known.
        """
        found = self._history.latest(check_name(user, "user"), _ALL)
        if found is None:
            raise KeyError(f"there is no user {user!r:.60}")
        mark, events = found
        return write_user(mark.num_events, events)

    def import_user(self, user: str, data: bytes | str) -> None:
        """Take in what `export_user` returned; predictions are then equal to the bit.

        What this predictor's history would not have retained, by its `max_events` and `max_age`,
        is left out, and counts.
        Raises ValueError if the user has a history already (forget it first) or the data is not
        what `export_user` returns, and then changes nothing.
        """
        check_name(user, "user")
        known = read_user(data)
        with self._locks.of(user):
            self._history.put(user, *known)

    def observe(
        self,
        user: str,
        event: str,
        *,
        at: At = "now",
        location: str | None = None,
        utc_offset_min: int | None = None,
    ) -> None:
        """Take note of an event. The network runs when asked to predict.

        In memory this takes microseconds; a `SqliteHistory` first waits for the disk. Where the
        history raises HistoryError, nothing was noted.

        at              when it happened: "now", a datetime with a time zone, or unix seconds.
                        Events may come late; they go to their place in time.
        location        where; None: no place.
        utc_offset_min  minutes to add for local time, -840..840; default: what `at` says, and
                        the user's last offset (at first 0) if `at` is a number.
        Raises TypeError or ValueError that says what to pass instead, and then notes nothing.
        """
        check_name(event, "event")
        if location is not None:
            check_name(location, "location")
        if at is None:
            raise TypeError("an event needs a time: at must not be None")
        check_name(user, "user")
        with self._locks.of(user):
            offset_min = 0
            if utc_offset_min is None and not isinstance(at, str | datetime):
                offset_min = self._history.last_offset_min(user)
            self._users.append(user, event, location, read_moment(at, utc_offset_min, offset_min))

    def observe_many(
        self,
        users: Sequence[str],
        events: Sequence[str],
        *,
        at: Any = "now",
        location: Any = None,
        utc_offset_min: Any = None,
    ) -> None:
        """`observe` for each user and event in turn, for servers.

        at, location, utc_offset_min  as in `observe`, one for all or a list or array of one each.
        Raises what `observe` raises, with a note which row it was; those before it are noted.
        """
        users = names_of(users, "users")
        num_rows = len(users)
        events = names_of(events, "events")
        if len(events) != num_rows:
            raise ValueError(f"events has {len(events)} entries for {num_rows} users")
        times = column(at, num_rows, "at")
        places = column(location, num_rows, "location")
        offsets = column(utc_offset_min, num_rows, "utc_offset_min")
        for row in range(num_rows):
            try:
                self.observe(
                    users[row],
                    events[row],
                    at=times[row],
                    location=places[row],
                    utc_offset_min=offsets[row],
                )
            except (TypeError, ValueError, HistoryError) as error:
                error.add_note(f"in row {row} of {num_rows}; the rows before it are noted")
                raise

    def advance(self, users: Sequence[str], *, threads: int = 1) -> None:
        """Run the network over what these users did since they were last asked about.

        `predict` does so itself; done at a quiet moment, or on several threads, it answers sooner.
        Without a bundle there is nothing to do.
        """
        users = names_of(users, "users")

        def call(row: int) -> None:
            user = check_name(users[row], "user")
            with self._locks.of(user):
                known = self._users.get(user)
                if known is not None and self._states is not None:
                    self._states.hidden(user, known.history)

        for_each(call, len(users), threads)

    def predict_many(
        self,
        users: Sequence[str],
        k: int = 5,
        *,
        at: Any = "now",
        utc_offset_min: Any = None,
        tail: float = 0.0,
        min_confidence: float = 0.0,
        threads: int = 1,
    ) -> list[list[Prediction]]:
        """`predict` for each user, for servers, on so many threads.

        at, utc_offset_min  as in `predict`, one for all or a list or array of one each.
        """
        users = names_of(users, "users")
        times = column(at, len(users), "at")
        offsets = column(utc_offset_min, len(users), "utc_offset_min")

        def call(row: int) -> list[Prediction]:
            return self.predict(
                users[row],
                k,
                at=times[row],
                utc_offset_min=offsets[row],
                tail=tail,
                min_confidence=min_confidence,
            )

        return for_each(call, len(users), threads)

    def predict(
        self,
        user: str,
        k: int = 5,
        *,
        at: At | None = "now",
        location: str | None = None,
        utc_offset_min: int | None = None,
        habits: bool = True,
        within: timedelta | None = None,
        tail: float = 0.0,
        min_confidence: float = 0.0,
    ) -> list[Prediction]:
        """The k most probable next behaviors, the most probable first; fewer if there are fewer.

        The prediction is for the behavior after the latest event, given that it happens at `at`.

        k               at least 1.
        at              the moment to predict for, as in `observe`; None: not known. A bundle with
                        query_context "none" makes no use of it.
        location        the place to predict for; for bundles with query_context "time_location".
        utc_offset_min  as in `observe`.
        habits          False: the network alone answers, which knows the user's latest events but
                        nothing of what this user tends to do. Names of the user's own are then no
                        candidates. Needs a bundle, whose calibration is that of the whole.
        within          ask what happens within that time after `at`, given that nothing has
                        happened since the last behavior. `NOTHING` is then a candidate, with

                            p(nothing) = S(waited + within) / S(waited),   S(t) = p(gap > t)

                        and all others are scaled to 1 - p(nothing). They are asked for at one
                        moment, the median of when it happens if it happens in time. Needs a
                        bundle whose model was trained with generation heads, and a user with at
                        least one behavior.
        tail            how much rare behaviors count, 0..1: 0 gives calibrated probabilities, 1
                        the most that was useful on validation. It needs a bundle.
        min_confidence  0..1; if the most probable behavior has less, nothing is predicted: [].
                        It is compared with the probability that would be returned, and without
                        a bundle that is not calibrated.
        Raises TypeError or ValueError that says what to pass instead.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise TypeError(f"k must be an integer, got {k!r}")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        _share(min_confidence, "min_confidence")
        names, probs = self.probabilities(
            user,
            at=at,
            location=location,
            utc_offset_min=utc_offset_min,
            habits=habits,
            within=within,
            tail=tail,
        )
        best = _best_first(probs, k)
        if not len(best) or probs[best[0]] < min_confidence:
            return []
        return [Prediction(names[i], float(probs[i])) for i in best.tolist()]

    def prediction_set(
        self,
        user: str,
        coverage: float = 0.9,
        *,
        at: At | None = "now",
        location: str | None = None,
        utc_offset_min: int | None = None,
    ) -> list[Prediction]:
        """The behaviors that together hold the next one in `coverage` of the cases.

        The fewer, the surer the model is; at least one, the most probable first. The promise is
        for the average over users like those of the training log, asked at the moment of the next
        behavior. While people change, `AdaptiveCoverage` keeps it.

        coverage  0..1; the bundle has thresholds for every hundredth, and takes the next higher.
                  Beyond the highest that its log supports, all candidates are returned.
        The other arguments are as in `predict`.
        Raises TypeError or ValueError that says what to pass instead, and without a bundle.
        """
        if self._bundle is None:
            raise ValueError("prediction_set needs the thresholds of a bundle; use predict")
        _share(coverage, "coverage")
        names, probs = self.probabilities(
            user, at=at, location=location, utc_offset_min=utc_offset_min
        )
        inside = np.flatnonzero(self._bundle.thresholds.members(probs, coverage))
        best = inside[_best_first(probs[inside], len(inside))]
        return [Prediction(names[i], float(probs[i])) for i in best.tolist()]

    def probabilities(
        self,
        user: str,
        *,
        at: At | None = "now",
        location: str | None = None,
        utc_offset_min: int | None = None,
        habits: bool = True,
        within: timedelta | None = None,
        tail: float = 0.0,
    ) -> tuple[list[str], FloatArray]:
        """All candidates and their probabilities; arguments as in `predict`.

        Returns  the behaviors of the vocabulary, in its order, then the user's own, the most
                 recently used first; and as many float32. They sum to at most 1: what is left
                 belongs to behaviors of the user's own that are too many to have a slot.
        A user without any behavior so far gets the frequencies of the training log.
        """
        if _share(tail, "tail") and self._bundle is None:
            raise ValueError("tail needs the class priors of a bundle; leave it out")
        with self._locks.of(check_name(user, "user")):
            known = self._users.get(user)
            moment = self._query_moment(at, utc_offset_min, known)
            place = self._query_location(location)
            if habits:
                question = self._question(known, moment, place)
            elif self._bundle is None:
                raise ValueError("habits=False leaves nothing to predict from without a bundle")
            else:
                question = _Question(_NAMELESS, self._known_behaviors, moment, place)
            p_nothing = 0.0
            if within is not None:
                at_median, p_nothing = self._wait(
                    user, known, question, read_duration(within, "within")
                )
                question = question._replace(moment=at_median)
            if self._bundle is None:
                probs = _habits_alone(question, self._habit_weights)
            else:
                probs = self._run(self._bundle, user, known, question, tail)
        # Column 0 is what nobody can name.
        probs = probs[1 : len(question.candidates) + 1]
        if not habits:
            # What is missing from 1 went to the nameless behavior; the rest is the network's.
            probs = probs / probs.sum()
        if within is None:
            return list(question.candidates), probs
        probs = np.append(probs * np.float32(1 - p_nothing), np.float32(p_nothing))
        return [*question.candidates, NOTHING], probs

    def generate(
        self,
        user: str,
        steps: int = 50,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        at: At | None = "now",
        utc_offset_min: int | None = None,
    ) -> list[GeneratedEvent]:
        """The next events of a user, drawn one after the other; nothing of the user changes.

        steps           how many, at least 1; each has a behavior.
        seed            the same seed gives the same future; None: another one each time.
        temperature     above 0; below 1 what is likely gains. Times are not shaped by it.
        top_p           in (0, 1]: names are drawn from the fewest that hold so much probability.
        at              the first event comes after it, as in `observe`, and after the latest event;
                        None: after the latest event.
        utc_offset_min  local time of the future, as in `observe`.
        Raises TypeError or ValueError that says what to pass instead; without a bundle whose model
        was trained with generation heads, and for a user without a behavior.
        """
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
            raise TypeError(f"steps must be an integer, got {steps!r}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        sampling = Sampling(temperature=temperature, top_p=top_p)
        bundle = self._bundle
        if bundle is None or bundle.generation is None:
            raise ValueError(
                "generate needs a bundle that generates: train with `--set generation_heads=true` "
                "and export again, not for the web"
            )
        with self._locks.of(check_name(user, "user")):
            known = self._users.get(user)
            moment = self._query_moment(at, utc_offset_min, known)
            question = self._question(known, moment, UNKNOWN)
            if known is None or not question.past.shape[1]:
                raise ValueError(f"generate goes on from a behavior, and {user!r:.60} has none yet")
            assert self._states is not None
            future = Future(
                bundle,
                self._states.copy(user, known.history),
                known.history.latest(self._habit_events),
                question.past,
                question.candidates,
                known.own_locations,
                moment,
            )
            draws = np.random.default_rng(seed).random((steps, DRAWS))
            return [future.step(pick_4, sampling) for pick_4 in draws]

    def _wait(
        self, user: str, known: MappedHistory | None, question: _Question, within_s: float
    ) -> tuple[Moment, float]:
        """The moment at which to ask what happens in time, and p(nothing)."""
        bundle, moment = self._bundle, question.moment
        if bundle is None or bundle.wait is None:
            raise ValueError(
                "within needs a bundle that knows waiting times: train with "
                "`--set generation_heads=true` and export again"
            )
        if moment is None:
            raise ValueError("within counts from a moment: at must not be None")
        past = known.history.past(self._habit_events) if known else _NOTHING
        past = past[:, past[0] != NO_BEHAVIOR]
        if known is None or not past.shape[1]:
            raise ValueError(f"within counts from a last behavior, and {user!r:.60} has none yet")
        last_s = int(past[2, -1])
        assert self._states is not None
        inputs = {
            "hidden": self._states.hidden(user, known.history),
            "history": np.ascontiguousarray(question.past),
            "num_real": np.array(question.past.shape[1]),
        }
        gap_s, probs = bundle.wait.run(["gap_s", "probs"], inputs)
        gap = WaitingTime(gap_s=gap_s, probs=probs)
        waited_s = max(0, moment.time_s - last_s)
        median_s = gap.median(waited_s, waited_s + within_s)
        at_median = moment._replace(time_s=last_s + int(median_s))
        return at_median, gap.nothing_within(waited_s, within_s)

    def _query_moment(
        self, at: object, utc_offset_min: object, known: MappedHistory | None
    ) -> Moment | None:
        if at is None:
            if utc_offset_min is not None:
                check_offset(utc_offset_min)
            return None
        return read_moment(at, utc_offset_min, known.last_offset_min if known else 0)

    def _query_location(self, location: str | None) -> int:
        if location is None:
            return UNKNOWN
        context = self._bundle.shape.query_context if self._bundle else "no bundle"
        if context != "time_location":
            raise ValueError(
                "location is not part of this prediction: it needs a bundle with query_context "
                f"'time_location', this is {context!r}; leave it out"
            )
        return self._vocabulary.location_id(check_name(location, "location"))

    def _question(
        self, known: MappedHistory | None, moment: Moment | None, location: int
    ) -> _Question:
        """Collect the behaviors to look back on, and give slots to names of the user's own."""
        if known is None:
            return _Question(_NOTHING, self._known_behaviors, moment, location)
        past = known.history.past(self._habit_events)
        if known.is_plain(self._habit_events):
            return _Question(past, self._known_behaviors, moment, location)
        past = past[:, past[0] != NO_BEHAVIOR]
        behavior = past[0]
        num_known = self._vocabulary.num_behaviors
        is_own = behavior >= num_known
        latest_first = dict.fromkeys(behavior[is_own][::-1].tolist())
        slot_of = {
            own: num_known + slot
            for slot, own in enumerate(itertools.islice(latest_first, self._num_spare))
        }
        behavior[is_own] = [slot_of.get(own, UNKNOWN) for own in behavior[is_own].tolist()]
        own_names = (known.own_behaviors.name_of(own) for own in slot_of)
        return _Question(past, (*self._known_behaviors, *own_names), moment, location)

    def _run(
        self,
        bundle: Bundle,
        user: str,
        known: MappedHistory | None,
        question: _Question,
        tail: float,
    ) -> FloatArray:
        """Probabilities of all ids from the model, (V + U,) or, without any history, (V,)."""
        shape = bundle.shape
        if known is None or (shape.habits and not question.past.shape[1]):
            return shift_prior(bundle.class_priors, bundle.log_ratio, tail)
        assert self._states is not None
        assert self._predict_graph is not None
        hidden_1D = self._states.hidden(user, known.history)
        return self._predict_graph.probs(
            hidden_1D, question.moment, question.location, question.past, tail
        )


_ALL = 2**31
_FEW = 10


def _best_first(probs: FloatArray, k: int) -> IntArray:
    """Positions of the k largest; equal probabilities keep the order of the candidates."""
    if k > _FEW:
        return np.argsort(-probs, kind="stable")[:k]
    # Sorting all of them would take longer than this.
    left = probs.copy()
    best = np.empty(min(k, len(probs)), np.int64)
    for rank in range(len(best)):
        best[rank] = left.argmax()
        left[best[rank]] = -1.0
    return best


def _nothing_to_drop(user: str) -> None:
    """Without a model nothing is made from a mapped history."""


_NOTHING = np.empty((4, 0), np.int64)

_NAMELESS = np.zeros((4, 1), np.int64)
"""A past of one behavior that is no candidate: kernels have nothing else to copy."""


def _habits_alone(question: _Question, weights: HabitWeights) -> FloatArray:
    """The mixture of `HabitWeights` without popularity, (1 + number of candidates,) float32."""
    moment = question.moment
    history = HabitHistory.of_events(*question.past)
    probs_KC, evidence_K = habit_probs(
        history,
        1 + len(question.candidates),
        None if moment is None else moment.time_s,
        0 if moment is None else moment.utc_offset_min,
    )
    voice_K = np.array(weights.weight) * evidence_K / (evidence_K + np.array(weights.shrinkage))
    scores_C: npt.NDArray[np.float64] = voice_K @ probs_KC
    total = float(scores_C.sum())
    return (scores_C / (total or 1.0)).astype(np.float32)


def _share(value: object, what: str) -> float:
    """A number in 0..1, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating):
        raise TypeError(f"{what} must be a number, got {value!r:.60}")
    if not 0 <= value <= 1:
        raise ValueError(f"{what} must lie in 0..1, got {value}")
    return float(value)
