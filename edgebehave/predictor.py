"""The SDK: observe what users do, predict what each of them does next, on the device."""

# V behaviors of the bundle, id 0 (unknown) included; U spare slots for behaviors of a user's own

import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave.answers.prediction import FloatArray, Prediction, best_first, predictions, read_share
from edgebehave.answers.probability_shift import shift_prior
from edgebehave.answers.question import NO_PAST, Question, Questions, habits_alone
from edgebehave.answers.sampling import Sampling
from edgebehave.answers.waiting_time import NOTHING, WaitingTime
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.predict_graph import PredictGraph
from edgebehave.bundles.stream_states import StreamStates
from edgebehave.generation import DRAWS, Future, GeneratedEvent
from edgebehave.habits import HABIT_EVENTS, HabitWeights
from edgebehave.histories.active_users import ActiveUsers
from edgebehave.histories.history import History
from edgebehave.histories.mapped import MappedHistory
from edgebehave.histories.memory import MemoryHistory
from edgebehave.histories.user_events import UserEvents
from edgebehave.many import column, for_each, names_of
from edgebehave.moments import At, Moment, check_offset, read_duration, read_moment
from edgebehave.names import check_name
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary


class Predictor(UserEvents):
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
        self._questions = Questions(
            self._vocabulary,
            bundle.shape.habit_events if bundle else HABIT_EVENTS,
            bundle.shape.num_spare if bundle else HABIT_EVENTS,
        )
        self._habit_weights = habit_weights or HabitWeights()
        history = MemoryHistory() if history is None else history
        users = ActiveUsers(
            history,
            self._vocabulary,
            bundle.shape.history_events if bundle else HABIT_EVENTS,
            self._states.capacity if self._states is not None else int(state_mb * 1e6 / 30_000),
            _nothing_to_drop if self._states is None else self._states.drop,
        )
        super().__init__(history, users)

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
        location        the location to predict for; for bundles with query_context "time_location".
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
        read_share(min_confidence, "min_confidence")
        names, probs = self.probabilities(
            user,
            at=at,
            location=location,
            utc_offset_min=utc_offset_min,
            habits=habits,
            within=within,
            tail=tail,
        )
        best = best_first(probs, k)
        if not len(best) or probs[best[0]] < min_confidence:
            return []
        return predictions(names, probs, best)

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
        read_share(coverage, "coverage")
        names, probs = self.probabilities(user, at=at, location=location, utc_offset_min=utc_offset_min)
        inside = np.flatnonzero(self._bundle.thresholds.members(probs, coverage))
        best = inside[best_first(probs[inside], len(inside))]
        return predictions(names, probs, best)

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
        if read_share(tail, "tail") and self._bundle is None:
            raise ValueError("tail needs the class priors of a bundle; leave it out")
        with self._locks.of(check_name(user, "user")):
            known = self._users.get(user)
            moment = self._query_moment(at, utc_offset_min, known)
            location_id = self._query_location(location)
            if habits:
                question = self._questions.of(known, moment, location_id)
            elif self._bundle is None:
                raise ValueError("habits=False leaves nothing to predict from without a bundle")
            else:
                question = self._questions.without_habits(moment, location_id)
            p_nothing = 0.0
            if within is not None:
                at_median, p_nothing = self._wait(user, known, question, read_duration(within, "within"))
                question = question._replace(moment=at_median)
            if self._bundle is None:
                probs = habits_alone(question, self._habit_weights)
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
            question = self._questions.of(known, moment, UNKNOWN)
            if known is None or not question.past.shape[1]:
                raise ValueError(f"generate goes on from a behavior, and {user!r:.60} has none yet")
            assert self._states is not None
            future = Future(
                bundle,
                self._states.copy(user, known.history),
                known.history.latest(self._questions.num_events),
                question.past,
                question.candidates,
                known.own_locations,
                moment,
            )
            draws = np.random.default_rng(seed).random((steps, DRAWS))
            return [future.step(pick_4, sampling) for pick_4 in draws]

    def _wait(
        self, user: str, known: MappedHistory | None, question: Question, within_s: float
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
        past = known.history.past(self._questions.num_events) if known else NO_PAST
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

    def _query_moment(self, at: object, utc_offset_min: object, known: MappedHistory | None) -> Moment | None:
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

    def _run(
        self,
        bundle: Bundle,
        user: str,
        known: MappedHistory | None,
        question: Question,
        tail: float,
    ) -> FloatArray:
        """Probabilities of all ids from the model, (V + U,) or, without any history, (V,)."""
        shape = bundle.shape
        if known is None or (shape.habits and not question.past.shape[1]):
            return shift_prior(bundle.class_priors, bundle.log_ratio, tail)
        assert self._states is not None
        assert self._predict_graph is not None
        hidden_1D = self._states.hidden(user, known.history)
        return self._predict_graph.probs(hidden_1D, question.moment, question.location, question.past, tail)


def _nothing_to_drop(user: str) -> None:
    """Without a model nothing is made from a mapped history."""
