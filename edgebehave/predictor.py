"""The SDK: observe the events of users and predict the next behavior of each of them, on the device."""

# V behaviors of the bundle, id 0 (unknown) included; U spare slots for behaviors of a user's own

import math
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from edgebehave.answers.acting import OperatingPoint
from edgebehave.answers.habits_or_leader import habits_or_leader
from edgebehave.answers.prediction import FloatArray, Prediction, best_first, predictions
from edgebehave.answers.prediction_table import PredictionTable
from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.answers.question import Question, Questions
from edgebehave.answers.sampling import Sampling
from edgebehave.answers.waiting_time import NOTHING, WaitingTime
from edgebehave.arguments import check_count, check_name, check_share, list_of_names, one_per_row
from edgebehave.bundles.bundle import Bundle, open_bundle
from edgebehave.bundles.inference import Array, run_graph
from edgebehave.bundles.network_state import latest_state
from edgebehave.bundles.predict_graph import PredictGraph
from edgebehave.bundles.probe import check_waiting_times
from edgebehave.bundles.universal_bundle import UniversalBundle, has_shipped_bundle, shipped_bundle
from edgebehave.bundles.universal_graph import UniversalGraph
from edgebehave.bundles.universal_state import combined_probs, latest_success, universal_probs
from edgebehave.generation import DRAWS, Future, GeneratedEvent
from edgebehave.habits import HABIT_EVENTS, HabitWeights
from edgebehave.histories.active_users import ActiveUsers
from edgebehave.histories.history import History
from edgebehave.histories.mapped_history import MappedHistory
from edgebehave.histories.memory import MemoryHistory
from edgebehave.histories.recorder import Recorder
from edgebehave.moments import At, Moment, check_offset, read_duration, read_moment
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary

FOREIGN_SHARE, FOREIGN_EVENTS = 0.2, 5
"""A bundle whose vocabulary holds less than this share of at least so many behaviors of a user was made for another
log, and the universal model answers."""

_A_DAY = timedelta(days=1)

OwnModel = Literal["universal", "habits"]
"""Models that need no bundle from the app."""

ForForeign = Literal["universal", "bundle"]
"""Models for a user of whose names a bundle knows hardly any, see `Predictor.known_share`."""

Result = TypeVar("Result")


class Predictor(Recorder):
    """Next-behavior prediction for any number of users.

    With a bundle (`Predictor.load`) the trained model predicts, habits included. Without one (`Predictor()`) the
    universal model that comes with the package predicts, from a user's first event on and whatever the names are. It
    needs ONNX Runtime; without that, or with `habit_weights`, habits alone predict. `model` says which it is.

    All state is a pure function of the events that the history retains per user (the last 512, or as many
    as the model needs, unless some have aged) and of the number of events. The result does not depend, in
    any bit, on the order of arrival, on the moments of earlier predictions, on the states that were dropped
    from memory, or on a restart over a `SqliteHistory`. Two exceptions: events of the same second stay in
    order of arrival, and a number for `at` without `utc_offset_min` takes the offset of the event that came
    before. An event older than everything in a full history is not kept, but counts.

    Names that the vocabulary does not hold are allowed. Such an event is unknown to the network, but the user's
    habits use it, and after its first use it is a candidate by its own name. There are U slots for such names among
    the events that habits look back on; if there are more names, those used longest ago have no slot until they are
    used again. An unknown event with the name of a behavior counts as that behavior.

    Safe for use from several threads at once; calls about the same user wait for each other. A process may fork: the
    fork waits for the calls in other threads, and the child goes on with a copy; a `SqliteHistory` it opens anew.
    """

    def __init__(
        self,
        bundle: Bundle | UniversalBundle | None = None,
        *,
        history: History | None = None,
        state_mb: float = 64,
        habit_weights: HabitWeights | None = None,
        max_ahead: timedelta | None = _A_DAY,
        model: OwnModel | None = None,
        foreign: ForForeign = "universal",
    ) -> None:
        """A predictor for an opened bundle, or, by default, with the universal model of the package.

        history        as in `load`.
        state_mb       as in `load`.
        habit_weights  habits alone predict, with this mixture of the kernels; its popularity is not used.
        model          without a bundle: "universal", "habits", or by default the universal model where ONNX Runtime
                       is installed and the habits elsewhere. With habits, the predictor of
                       `edgebehave.follow_the_leader` ranks for a user about whom it has been right more often.
        max_ahead      as in `load`.
        foreign        as in `load`.
        """
        if foreign not in get_args(ForForeign):
            raise ValueError(f"foreign must be 'universal' or 'bundle', got {foreign!r:.60}")
        if model not in (None, *get_args(OwnModel)):
            raise ValueError(f"model must be 'universal' or 'habits', got {model!r:.60}")
        if bundle is not None and (model or habit_weights):
            raise ValueError("a bundle brings its own model: leave out model and habit_weights")
        if habit_weights and model == "universal":
            raise ValueError("habit_weights belong to the model 'habits'; leave out one of them")
        self._model: str = model or "habits"
        if bundle is not None:
            self._model = bundle.path.name
        elif model is None and habit_weights is None and has_shipped_bundle():
            self._model = "universal"
        self._universal = UniversalGraph(bundle) if isinstance(bundle, UniversalBundle) else None
        bundle = None if isinstance(bundle, UniversalBundle) else bundle
        self._bundle = bundle
        if not 0 < state_mb < math.inf:
            raise ValueError(f"state_mb must be above 0 and finite, got {state_mb}")
        self._predict_graph = PredictGraph(bundle) if bundle else None
        self._lookup_graph = UniversalGraph(bundle.lookup.universal) if bundle and bundle.lookup else None
        self._foreign = foreign
        self._has_warned = False
        self._vocabulary = bundle.vocabulary if bundle else Vocabulary.identity(())
        self._questions = Questions(
            self._vocabulary,
            bundle.shape.habit_events if bundle else HABIT_EVENTS,
            bundle.shape.num_spare if bundle else HABIT_EVENTS,
        )
        self._habit_weights = habit_weights or HabitWeights()
        history = MemoryHistory() if history is None else history
        if isinstance(history, str | Path):
            raise TypeError(f"history must be a history, got a path: pass SqliteHistory({str(history)!r})")
        users = ActiveUsers(
            history,
            self._vocabulary,
            bundle.shape.history_events if bundle else HABIT_EVENTS,
            state_mb * 1e6,
        )
        super().__init__(history, users, max_ahead)

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        history: History | None = None,
        state_mb: float = 64,
        providers: Sequence[str] | None = None,
        digest: str | None = None,
        max_ahead: timedelta | None = _A_DAY,
        foreign: ForForeign = "universal",
    ) -> "Predictor":
        """A predictor with the model of a bundle, one for a vocabulary or a universal one.

        bundle     the folder that `edgebehave export` wrote.
        history    the store of events: a `SqliteHistory` on disk or, by default, a new
                   `MemoryHistory`. It holds names, so any bundle reads any history.
        state_mb   megabytes for the network states and latest events of the users asked about most
                   recently, at least one; those of another user are rebuilt from the history when needed.
                   A user takes 8 L window D bytes, 40 bytes an event, the names of the user's own, and 30 kB.
        providers  execution providers of ONNX Runtime, best first; default the CPU.
        digest     the "digest" of the manifest.json of the bundle that is wanted. It covers all files: another
                   bundle, or this one changed, is refused. None: any bundle that is intact and has at most
                   32 MiB, which all presets up to large have in int8.
        max_ahead  `observe` refuses an event dated further than this after the device's clock. None: any
                   time, as for the replay of a log.
        foreign    what answers for a user of whose names the bundle knows hardly any, see `known_share`: the
                   "universal" model, or the "bundle" in any case.
        Raises BundleError that says what is wrong with the bundle, ImportError without ONNX Runtime.
        """
        opened = open_bundle(bundle, providers, digest=digest)
        return cls(opened, history=history, state_mb=state_mb, max_ahead=max_ahead, foreign=foreign)

    def __repr__(self) -> str:
        return f"Predictor(model={self._model!r})"

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the model, best first; none for habits alone."""
        universal = self._opened_universal()
        opened = universal.bundle if universal else self._bundle
        return opened.providers if opened else ()

    @property
    def model(self) -> str:
        """What predicts: "universal", "habits", or the name of the bundle's folder."""
        return self._model

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """Precision at each coverage on the validation part of the training log, the fewest actions first.

        None for the universal model and for habits, and where the export of the bundle did not measure it.
        """
        return self._bundle.operating_points if self._bundle else ()

    def advance(self, users: Sequence[str], *, threads: int = 1) -> None:
        """Run the network over the events of these users since they were last asked about.

        `predict` does this too, but answers sooner if this was done at a quiet moment or on several threads.
        With habits alone there is nothing to do.
        """
        self._opened_universal()  # before threads would open it twice
        users = list_of_names(users, "users")

        def call(row: int) -> None:
            user = check_name(users[row], "user")
            with self._locks.of(user):
                known = self._users.get(user)
                if known is None:
                    return
                if self._bundle is not None:
                    latest_state(self._bundle, known)
                universal = self._universal_for(known, user) or self._lookup_graph
                if universal is not None:
                    latest_success(universal, known)

        _for_each(call, len(users), threads)

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
    ) -> PredictionTable:
        """`predict` for each user, for servers, on this number of threads: a list of lists, with `to_pandas()`.

        at, utc_offset_min  as in `predict`, one for all or a list or array of one each.
        """
        users = list_of_names(users, "users")
        times = one_per_row(at, len(users), "at")
        offsets = one_per_row(utc_offset_min, len(users), "utc_offset_min")

        def call(row: int) -> list[Prediction]:
            return self.predict(
                users[row], k, at=times[row], utc_offset_min=offsets[row], tail=tail, min_confidence=min_confidence
            )

        return PredictionTable(users, _for_each(call, len(users), threads))

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
        at              the moment to predict for, as in `observe`; None: unknown. A bundle with
                        query_context "none" does not use it.
        location        the location to predict for; for bundles with query_context "time_location".
        utc_offset_min  as in `observe`.
        habits          False: the network alone answers, from the user's latest events without the
                        user's habits. Names of the user's own are then no candidates. Needs a bundle;
                        its calibration is that of network and habits together.
        within          predict the next behavior within this time after `at`, given that nothing has
                        happened since the last behavior. `NOTHING` is then a candidate, with

                            p(nothing) = S(waited + within) / S(waited),   S(t) = p(gap > t)

                        and all others are scaled to 1 - p(nothing). They are predicted for one
                        moment: the median time of the next behavior if it comes in time. Needs a
                        bundle whose model was trained with generation heads, and a user with at
                        least one behavior.
        tail            strength of the tail shift toward rare behaviors, 0..1: 0 gives calibrated probabilities, 1
                        the shift that was best on the validation part. Above 0 it needs a bundle.
        min_confidence  0..1; if the most probable behavior has less, the answer is []. It is compared
                        with the returned probability; that of model "habits" is not calibrated.
        Raises TypeError or ValueError that says what to pass instead.
        """
        k = check_count(k, "k")
        check_share(min_confidence, "min_confidence")
        names, probs = self.probabilities(
            user, at=at, location=location, utc_offset_min=utc_offset_min, habits=habits, within=within, tail=tail
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
        """The smallest set that holds the next behavior in a share `coverage` of the cases.

        A smaller set means a surer model; the set has at least one behavior, the most probable first. The
        share holds on average over users like those of the training log, asked at the moment of the next
        behavior. If users change, `AdaptiveCoverage` keeps it.

        coverage  0..1; the bundle has thresholds for every hundredth, and the next higher one is used.
                  Above the highest that its log supports, all candidates are returned. The universal model
                  has no thresholds: its set is the smallest whose probabilities sum to `coverage`; all
                  candidates if theirs sum to less.
        The other arguments are as in `predict`.
        Raises TypeError or ValueError that says what to pass instead, and for habits alone.
        """
        universal = self._opened_universal()
        if self._bundle is None and universal is None:
            raise ValueError("prediction_set needs the thresholds of a bundle, or the universal model; use predict")
        check_share(coverage, "coverage")
        names, probs, is_name_free = self._answer(user, at, location, utc_offset_min)
        if self._bundle is None or is_name_free:
            best = best_first(probs, len(probs))
            num_inside = 1 + int(np.searchsorted(np.cumsum(probs[best], dtype=np.float64), coverage))
            return predictions(names, probs, best[:num_inside])
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
                 recently used first; and their probabilities, float32. They sum to at most 1: the rest
                 belongs to behaviors of the user's own that have no slot, with the universal model to
                 behaviors that the user has not had among the latest ones, or never.
        A user without any behavior gets the frequencies of the training log, of which there are none without
        a bundle.
        For a user whose names the vocabulary hardly holds (see `known_share`) the universal model answers: the
        behaviors that the user has had, the most recently used first.
        """
        names, probs, _ = self._answer(user, at, location, utc_offset_min, habits=habits, within=within, tail=tail)
        return names, probs

    def known_share(self, user: str) -> float | None:
        """The share of a user's retained events whose behavior the vocabulary of the bundle holds, 0..1.

        Events without a behavior are left out; None for a user without any other. A model without a vocabulary, as
        the universal one, knows no names: 0.
        From five such events on, a share below a fifth says that the bundle was trained on a log of other names: its
        network sees unknown events. The universal model then answers in its place, without a tail shift, except for
        `habits=False` and `generate`. The predictor warns of the first such user.
        """
        with self._locks.of(check_name(user, "user")):
            known = self._users.get(user)
            num_known, num_behaviors = known.known_behaviors() if known is not None else (0, 0)
        return num_known / num_behaviors if num_behaviors else None

    def _answer(
        self,
        user: str,
        at: At | None,
        location: str | None,
        utc_offset_min: int | None,
        *,
        habits: bool = True,
        within: timedelta | None = None,
        tail: float = 0.0,
    ) -> tuple[list[str], FloatArray, bool]:
        """`probabilities`, and whether the universal model gave them."""
        if check_share(tail, "tail") and self._bundle is None:
            raise ValueError("tail needs the class priors of a bundle; leave it out")
        user = check_name(user, "user")
        with self._locks.of(user):
            known = self._users.get(user)
            moment = self._query_moment(at, utc_offset_min, known)
            location_id = self._query_location(location)
            universal = self._universal_for(known, user) if habits else None
            if universal is not None and within is None:
                return *universal_probs(universal, known, moment), True
            question = self._question(known, moment, location_id, habits)
            p_nothing = 0.0
            if within is not None:
                at_median, p_nothing = self._wait(user, known, question, read_duration(within, "within"))
                question = question._replace(moment=at_median)
            if universal is not None:
                names, probs = universal_probs(universal, known, question.moment)
                probs = np.append(np.float32(0), probs)
                question = question._replace(candidates=names)
            elif self._bundle is None:
                probs = habits_or_leader(known, question, self._habit_weights)
            else:
                probs = self._run(self._bundle, known, question, tail, habits)
        probs = probs[1 : len(question.candidates) + 1]  # column 0 is the unknown behavior
        if not habits:
            # The habits gave their share to the unknown behavior; the rest is the network's.
            probs = probs / (probs.sum() or 1)
        if within is None:
            return list(question.candidates), probs, False
        probs = np.append(probs * np.float32(1 - p_nothing), np.float32(p_nothing))
        return [*question.candidates, NOTHING], probs, universal is not None

    def _question(self, known: MappedHistory | None, moment: Moment | None, location_id: int, habits: bool) -> Question:
        if habits:
            return self._questions.of(known, moment, location_id)
        if self._bundle is None:
            raise ValueError("habits=False leaves no model without a bundle; leave it out, or load a bundle")
        return self._questions.without_habits(moment, location_id)

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
        """The next events of a user, drawn one after the other; the user's history does not change.

        steps           number of events, at least 1; each has a behavior.
        seed            the same seed gives the same events; None: other events each time.
        temperature     above 0; below 1 likely names become likelier. It does not act on times.
        top_p           in (0, 1]: names are drawn from the fewest that hold this share of the probability.
        at              the first event comes after it, as in `observe`, and after the latest event;
                        None: after the latest event.
        utc_offset_min  offset of local time of the generated events, as in `observe`.
        Raises TypeError or ValueError that says what to pass instead. Needs a bundle whose model was
        trained with generation heads, and a user with at least one behavior.
        """
        steps = check_count(steps, "steps")
        sampling = Sampling(temperature=temperature, top_p=top_p)
        bundle = self._bundle
        if bundle is None or bundle.generation is None:
            raise ValueError(
                "generate needs a bundle that generates: train with `--set generation_heads=true` "
                "and export again, not for the web"
            )
        user = check_name(user, "user")
        with self._locks.of(user):
            known = self._users.get(user)
            moment = self._query_moment(at, utc_offset_min, known)
            question = self._questions.of(known, moment, UNKNOWN)
            if known is None or not question.past.shape[1]:
                raise ValueError(f"generate goes on from a behavior, and {user!r:.60} has none yet; observe one first")
            future = Future(
                bundle,
                latest_state(bundle, known).copy(),
                known.events.latest(self._questions.num_events),
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
        """The median moment of the next behavior if it comes in time, and p(nothing)."""
        bundle, moment = self._bundle, question.moment
        if bundle is None or bundle.wait is None:
            raise ValueError(
                "within needs a bundle that knows waiting times: train with "
                "`--set generation_heads=true` and export again"
            )
        if moment is None:
            raise ValueError("within counts from a moment: at must not be None")
        events = known.events.latest(self._questions.num_events) if known else None
        if known is None or events is None or not (events.behavior != NO_BEHAVIOR).any():
            raise ValueError(f"within counts from a last behavior, and {user!r:.60} has none yet; observe one first")
        last_s = int(events.time_s[events.behavior != NO_BEHAVIOR][-1])
        inputs: dict[str, Array] = {
            "hidden": latest_state(bundle, known).hidden,
            "history": np.ascontiguousarray(question.past),
            "num_real": np.array(question.past.shape[1]),
        }
        gap_s, probs = run_graph(bundle.wait, ["gap_s", "probs"], inputs)
        check_waiting_times(gap_s, probs)
        gap = WaitingTime(gap_s=gap_s, probs=probs)
        waited_s = max(0, moment.time_s - last_s)
        median_s = gap.median(waited_s, waited_s + within_s)
        at_median = moment._replace(time_s=last_s + int(median_s))
        return at_median, gap.nothing_within(waited_s, within_s)

    def _opened_universal(self) -> UniversalGraph | None:
        """The universal model if that predicts; the one of the package is opened when it is first needed."""
        if self._universal is None and self._bundle is None and self._model == "universal":
            self._universal = UniversalGraph(shipped_bundle())
        return self._universal

    def _universal_for(self, known: MappedHistory | None, user: str) -> UniversalGraph | None:
        """The universal model if it answers for this user: always, or in place of a bundle of other names."""
        if self._bundle is None:
            return self._opened_universal()
        if self._foreign == "bundle" or known is None or known.is_plain(known.events.capacity):
            return None
        num_known, num_behaviors = known.known_behaviors()
        if num_behaviors < FOREIGN_EVENTS or num_known >= FOREIGN_SHARE * num_behaviors:
            return None
        if self._universal is None:
            if not has_shipped_bundle():
                return None
            self._universal = UniversalGraph(shipped_bundle())
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the vocabulary of the bundle {self._model!r:.60} holds {num_known} of {num_behaviors} behaviors of "
                f"user {user!r:.60}: the universal model answers for such users; train on a log with these names "
                "(see Predictor.known_share)",
                RuntimeWarning,
                stacklevel=4,
            )
        return self._universal

    def _query_moment(self, at: object, utc_offset_min: object, known: MappedHistory | None) -> Moment | None:
        if at is None:
            if utc_offset_min is not None:
                check_offset(utc_offset_min)
            return None
        return read_moment(at, utc_offset_min, known.events.latest_offset_min() if known else 0)

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
        self, bundle: Bundle, known: MappedHistory | None, question: Question, tail: float, habits: bool
    ) -> FloatArray:
        """Probabilities of all ids from the model, (V + U,) or, for a user without a history, (V,).

        habits  False: without the lookup, if the bundle has one.
        """
        if known is None or (bundle.shape.habits and not question.past.shape[1]):
            if not tail:
                return bundle.class_priors
            return ProbabilityShift(log_ratio_V=bundle.log_ratio).apply(bundle.class_priors, tail).astype(np.float32)
        assert self._predict_graph is not None
        hidden_1D = latest_state(bundle, known).hidden
        probs = self._predict_graph.probs(hidden_1D, question.moment, question.location, question.past, tail)
        if bundle.lookup is None or self._lookup_graph is None:
            return probs
        combination = bundle.lookup.combination
        if not habits:
            return combination.shift.apply(probs, tail).astype(np.float32)
        return combined_probs(self._lookup_graph, combination, known, question, probs, tail)


def _for_each(call: Callable[[int], Result], num_calls: int, num_threads: int) -> list[Result]:
    """[call(0), ..., call(num_calls - 1)], computed on this number of threads.

    ONNX Runtime releases Python's lock while it computes, so threads do help.
    """
    num_threads = check_count(num_threads, "threads")
    if num_threads == 1 or num_calls < 2:
        return [call(i) for i in range(num_calls)]
    # Imported here: few apps need it, and it takes a tenth of the time of importing the SDK.
    from concurrent.futures import ThreadPoolExecutor

    def share(first: int) -> list[Result]:
        return [call(i) for i in range(first, num_calls, num_threads)]

    with ThreadPoolExecutor(num_threads) as pool:
        shares = list(pool.map(share, range(num_threads)))
    return [shares[i % num_threads][i // num_threads] for i in range(num_calls)]
