"""The SDK: streaming, eviction and replay give the same bits; odd inputs have a clear answer."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave import NOTHING, HabitWeights, MemoryHistory, Prediction, Predictor
from edgebehave.bundle import Bundle
from edgebehave.habits import HabitHistory, kernel_weights
from edgebehave.vocabulary import NO_BEHAVIOR

pytest.importorskip("onnxruntime")

TINY = Path(__file__).parent / "tiny_bundle"
BUNDLES = ("fp32", "int8", "web")
DAY = timedelta(days=1)
START_S = 1_767_268_800  # Thursday 2026-01-01 12:00 UTC


class Happened(NamedTuple):
    """An event as an app would report it."""

    event: str
    at: int
    location: str | None
    utc_offset_min: int


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request) -> Bundle:
    return Bundle.open(TINY / request.param)


def load(bundle: Bundle, **options) -> Predictor:
    return Predictor.load(bundle.path, **options)


def random_life(bundle: Bundle, num_events: int, seed: int = 0) -> list[Happened]:
    """Events at distinct times, one in ten with a name that the vocabulary does not hold."""
    draw = random.Random(seed)
    at, life = START_S, []
    for _ in range(num_events):
        at += draw.randint(1, 20_000)
        is_new = draw.random() < 0.1
        event = f"new.{draw.randint(0, 60)}" if is_new else draw.choice(bundle.vocabulary.events)
        place = draw.choice([None, f"my.{draw.randint(0, 5)}", *bundle.vocabulary.locations])
        life.append(Happened(event, at, place, draw.choice([-300, 0, 540])))
    return life


def tell(predictor: Predictor, user: str, life: list[Happened]) -> None:
    for event, at, location, offset in life:
        predictor.observe(user, event, at=at, location=location, utc_offset_min=offset)


def answer(predictor: Predictor, user: str = "ada", at: int = START_S + 10**7) -> tuple:
    """All candidates, and the bits of their probabilities."""
    names, probs = predictor.probabilities(user, at=at)
    return names, probs.tobytes()


# --- the state is a function of the events -------------------------------------------------------


@pytest.mark.parametrize("num_events", [1, 5, 6, 7, 11, 12, 60, 600])
def test_when_predictions_are_asked_for_changes_nothing(bundle, num_events):
    life = random_life(bundle, num_events)
    busy, idle = load(bundle), load(bundle)
    for happened in life:
        tell(busy, "ada", [happened])
        busy.predict("ada", at=happened.at)
    tell(idle, "ada", life)
    assert answer(busy) == answer(idle)


def test_evicted_states_are_rebuilt_to_the_bit(bundle):
    lives = {f"user {i}": random_life(bundle, 40 + i, seed=i) for i in range(6)}
    roomy, cramped = load(bundle), load(bundle, state_mb=1e-6)
    draw = random.Random(1)
    for step in range(46):
        for user, life in lives.items():
            for predictor in (roomy, cramped):
                tell(predictor, user, life[step : step + 1])
        user = draw.choice(list(lives))
        assert answer(roomy, user) == answer(cramped, user)
    assert len(cramped._states) == 1
    assert len(roomy._states) == 6


def test_a_bundle_for_the_web_predicts_what_the_native_one_does():
    native, web = (Predictor.load(TINY / name) for name in ("int8", "web"))
    for event, at, location, offset in random_life(Bundle.open(TINY / "int8"), 60):
        for predictor in (native, web):
            predictor.observe("ada", event, at=at, location=location, utc_offset_min=offset)
        given = {"at": at + 600, "utc_offset_min": offset}
        names, probs = native.probabilities("ada", **given)
        web_names, web_probs = web.probabilities("ada", **given)
        assert web_names == names
        np.testing.assert_allclose(web_probs, probs, atol=1e-5)


def test_a_replay_of_more_events_than_are_retained_is_equal(bundle):
    """Rotary positions have wrapped and the oldest events are gone."""
    life = random_life(bundle, bundle.shape.history_events + 100)
    first, second = load(bundle), load(bundle)
    for happened in life:
        tell(first, "ada", [happened])
        if happened.at % 3 == 0:
            first.predict("ada")
    tell(second, "ada", life)
    assert answer(first) == answer(second)
    assert first.num_events("ada") == len(life)


@settings(deadline=None, max_examples=15)
@given(num_events=st.integers(2, 40), order=st.randoms(use_true_random=False))
def test_late_events_go_to_their_place(num_events, order):
    bundle = Bundle.open(TINY / "int8")
    life = random_life(bundle, num_events)
    in_order, shuffled = load(bundle), load(bundle)
    tell(in_order, "ada", life)
    order.shuffle(life)
    for happened in life:
        tell(shuffled, "ada", [happened])
        shuffled.predict("ada")
    assert answer(in_order) == answer(shuffled)


def test_an_event_too_old_to_keep_counts_as_if_it_had_come_first(bundle):
    life = random_life(bundle, bundle.shape.history_events + 1)
    in_order, late = load(bundle), load(bundle)
    tell(in_order, "ada", life)
    tell(late, "ada", life[1:])
    late.predict("ada")
    tell(late, "ada", life[:1])
    assert late.num_events("ada") == len(life)
    assert answer(late) == answer(in_order)


def test_the_future_changes_no_prediction(bundle):
    life = random_life(bundle, 60)
    whole = load(bundle)
    early = []
    for happened in life:
        early.append(answer(whole))
        tell(whole, "ada", [happened])
    for cut in (0, 1, 7, 30, 59):
        prefix = load(bundle)
        tell(prefix, "ada", life[:cut])
        assert answer(prefix) == early[cut]
        other_future = load(bundle)
        tell(other_future, "ada", life[:cut])
        before = answer(other_future)
        tell(other_future, "ada", [Happened("something.else", life[-1].at + 5, None, 0)])
        assert before == early[cut]


def test_users_do_not_see_each_other(bundle):
    alone, together = load(bundle), load(bundle)
    life = random_life(bundle, 30)
    tell(alone, "ada", life)
    for i, happened in enumerate(life):
        tell(together, "ada", [happened])
        tell(together, "bob", random_life(bundle, 2, seed=i))
    assert answer(alone) == answer(together)


def test_one_event_at_a_time_equals_the_whole_history_at_once():
    """The stream against one run of the graph over everything, where sums differ in order.

    2e-5: a hundred times the rounding error of float32 in a network of this depth.
    """
    bundle = Bundle.open(TINY / "web")
    life = [h for h in random_life(bundle, 50) if not h.event.startswith(("new", "<"))]
    predictor = load(bundle)
    tell(predictor, "ada", life)
    vocabulary = bundle.vocabulary
    columns = {
        "event": [vocabulary.event_id(happened.event) for happened in life],
        "location": [vocabulary.location_id(happened.location) for happened in life],
        "time_s": [happened.at for happened in life],
        "utc_offset_min": [happened.utc_offset_min for happened in life],
    }
    inputs = {name: np.array(column, np.int64) for name, column in columns.items()}
    past = {"position": np.array(0, np.int64), "cache": bundle.shape.empty_cache()}
    hidden, _ = bundle.observe.run(None, inputs | past)
    state = predictor._states.hidden("ada", predictor._users.get("ada").history)
    assert state[0] == pytest.approx(hidden[-1], abs=2e-5)


# --- what is predicted ---------------------------------------------------------------------------


def test_candidates_are_the_vocabulary_and_the_users_own(bundle):
    predictor = load(bundle)
    tell(predictor, "ada", random_life(bundle, 30))
    predictor.observe("ada", "older.of.mine", at=START_S + 10**6)
    predictor.observe("ada", "newest.of.mine", at=START_S + 2 * 10**6)
    names, probs = predictor.probabilities("ada", at=START_S + 3 * 10**6)
    known = list(bundle.vocabulary.behaviors[1:])
    assert names[: len(known)] == known
    assert names[len(known) : len(known) + 2] == ["newest.of.mine", "older.of.mine"]
    assert len(names) == len(set(names)) == len(probs)
    assert probs.dtype == np.float32
    assert (probs >= 0).all()
    assert probs.sum() <= 1 + 1e-5


def test_predictions_are_the_best_candidates_in_order(bundle):
    predictor = load(bundle)
    tell(predictor, "ada", random_life(bundle, 30))
    names, probs = predictor.probabilities("ada", at=START_S)
    everything = predictor.predict("ada", k=10_000, at=START_S)
    assert sorted(p.behavior for p in everything) == sorted(names)
    assert [p.probability for p in everything] == sorted(probs.tolist(), reverse=True)
    assert predictor.predict("ada", at=START_S) == everything[:5]
    assert predictor.predict("ada", 1, at=START_S) == everything[:1]
    assert isinstance(everything[0], Prediction)


def test_a_new_name_is_predicted_once_it_is_a_habit(bundle):
    predictor = load(bundle)
    for day in range(30):
        predictor.observe("ada", "sourdough.feed", at=START_S + 86400 * day)
    (best,) = predictor.predict("ada", k=1, at=START_S + 86400 * 30)
    assert best.behavior == "sourdough.feed"


def test_a_new_name_is_a_candidate_once_it_was_seen(bundle):
    predictor = load(bundle)
    tell(predictor, "ada", random_life(bundle, 30))
    predictor.observe("ada", "sourdough.feed", at=START_S + 10**7)
    names, probs = predictor.probabilities("ada", at=START_S + 10**7 + 60)
    assert probs[names.index("sourdough.feed")] > 0


def test_without_habits_the_network_alone_answers(bundle):
    predictor = load(bundle)
    life = random_life(bundle, 20 + bundle.shape.receptive_field)
    other_start = [event._replace(event="elsewhere", location=None) for event in life[:20]]
    tell(predictor, "ada", life)
    tell(predictor, "ben", [*other_start, *life[20:]])
    known = list(bundle.vocabulary.behaviors[1:])
    moment = {"at": START_S + 10**7}
    names, probs = predictor.probabilities("ada", habits=False, **moment)
    assert names == known
    assert probs.dtype == np.float32
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    # What lies behind the receptive field is the habits' business.
    np.testing.assert_array_equal(predictor.probabilities("ben", habits=False, **moment)[1], probs)
    with_habits = predictor.probabilities("ada", **moment)[1][: len(known)]
    assert not np.allclose(with_habits, probs)
    best = predictor.predict("ada", 1, habits=False, **moment)[0]
    assert best.behavior == names[int(probs.argmax())]


def test_without_habits_and_without_a_bundle_there_is_nothing():
    with pytest.raises(ValueError, match="without a bundle"):
        Predictor().predict("ada", habits=False)


def test_nothing_may_happen_within_a_time():
    bundle = Bundle.open(TINY / "int8")
    # Four waiting times, as likely as each other.
    waits = [np.array([60, 600, 3600, 86400], np.float32), np.full(4, 0.25, np.float32)]
    bundle = replace(bundle, wait=StubAnswer(*waits))
    predictor = Predictor(bundle)
    life = random_life(bundle, 30)
    tell(predictor, "ada", life)
    last_s = life[-1].at

    def p_nothing(waited_s, **within):
        names, probs = predictor.probabilities(
            "ada", at=last_s + waited_s, within=timedelta(**within)
        )
        assert names[-1] == NOTHING
        assert probs.dtype == np.float32
        assert probs.sum() == pytest.approx(1, abs=1e-4)
        return probs[-1]

    assert p_nothing(0, seconds=30) == 1
    assert p_nothing(0, minutes=10) == 0.5
    assert p_nothing(60, minutes=59) == pytest.approx(1 / 3)
    assert p_nothing(10**6, days=1) == 1
    assert p_nothing(-500, minutes=1) == 0.75  # asked about before it happened: no wait yet
    # All others are asked for when half of what comes in time has come.
    names, probs = predictor.probabilities("ada", at=last_s, within=timedelta(hours=2))
    _, then = predictor.probabilities("ada", at=last_s + 600)
    np.testing.assert_allclose(probs[:-1], then * 0.75, rtol=1e-5)
    assert NOTHING in [p.behavior for p in predictor.predict("ada", len(names), within=DAY)]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"within": 60}, TypeError, "timedelta"),
        ({"within": timedelta(0)}, ValueError, "longer than nothing"),
        ({"at": None}, ValueError, "at must not be None"),
        ({"user": "nobody"}, ValueError, "none yet"),
    ],
)
def test_a_wait_that_cannot_be_asked_for_is_explained(change, error, says):
    bundle = replace(Bundle.open(TINY / "int8"), wait=StubGraph())
    predictor = Predictor(bundle)
    tell(predictor, "ada", random_life(bundle, 3))
    with pytest.raises(error, match=says):
        predictor.predict(**{"user": "ada", "within": DAY, **change})


@pytest.mark.parametrize("predictor", [Predictor(), Predictor.load(TINY / "int8")])
def test_waiting_needs_a_model_that_knows_of_it(predictor):
    predictor.observe("ada", "camera.open", at=START_S)
    with pytest.raises(ValueError, match="generation_heads=true"):
        predictor.predict("ada", within=DAY)


def test_only_the_latest_of_many_new_names_have_a_slot(bundle):
    num_spare = 32  # fewer than the graph has: a client may give out as many as it likes
    predictor = load(bundle)
    predictor._num_spare = num_spare
    for i in range(num_spare + 5):
        predictor.observe("ada", f"mine.{i}", at=START_S + i)
    names, probs = predictor.probabilities("ada", at=START_S + 10**4)
    own = names[bundle.vocabulary.num_behaviors - 1 :]
    assert own == [f"mine.{i}" for i in range(num_spare + 4, 4, -1)]
    # What the five others would have got is nobody's.
    assert 0.2 < probs.sum() < 1 - 1e-3
    # One of them comes back and takes the slot of the one used longest ago.
    predictor.observe("ada", "mine.0", at=START_S + 10**3)
    names, _ = predictor.probabilities("ada", at=START_S + 10**4)
    own = names[bundle.vocabulary.num_behaviors - 1 :]
    assert own[0] == "mine.0"
    assert "mine.5" not in own


def test_a_new_event_named_like_a_behavior_is_that_behavior(bundle):
    vocabulary = bundle.vocabulary
    name = next(b for b in vocabulary.behaviors[1:] if b not in vocabulary.events)
    predictor = load(bundle)
    for i in range(20):
        predictor.observe("ada", name, at=START_S + i)
    assert predictor.predict("ada", k=1, at=START_S + 30)[0].behavior == name
    names, _ = predictor.probabilities("ada")
    assert names == list(vocabulary.behaviors[1:])


def test_input_only_events_are_no_candidates(bundle):
    vocabulary = bundle.vocabulary
    cue = vocabulary.events[vocabulary.event_to_behavior.index(NO_BEHAVIOR)]
    predictor, without = load(bundle), load(bundle)
    life = random_life(bundle, 20)
    for each in (predictor, without):
        tell(each, "ada", life)
    predictor.observe("ada", cue, at=life[-1].at + 1)
    names, probs = predictor.probabilities("ada", at=START_S)
    assert cue not in names
    assert probs.tobytes() != without.probabilities("ada", at=START_S)[1].tobytes()


def test_a_user_without_behaviors_gets_the_frequencies_of_the_training_log(bundle):
    predictor = load(bundle)
    names, probs = predictor.probabilities("nobody")
    assert names == list(bundle.vocabulary.behaviors[1:])
    assert probs.tolist() == bundle.class_priors[1:].tolist()
    assert predictor.users == []
    cue = bundle.vocabulary.events[bundle.vocabulary.event_to_behavior.index(NO_BEHAVIOR)]
    predictor.observe("ada", cue, at=START_S)
    assert predictor.probabilities("ada")[1].tolist() == probs.tolist()


def test_the_moment_matters_and_may_be_unknown(bundle):
    predictor = load(bundle)
    tell(predictor, "ada", random_life(bundle, 40))
    answers = [
        predictor.probabilities("ada", at=at)[1].tobytes()
        for at in (START_S, START_S + 6 * 3600, None)
    ]
    assert len(set(answers)) == 3


def test_a_number_takes_the_offset_of_the_latest_event(bundle):
    predictor = load(bundle)
    tell(predictor, "ada", random_life(bundle, 40))
    latest = START_S + 10**7
    predictor.observe("ada", "x", at=latest, utc_offset_min=540)
    _, default = predictor.probabilities("ada", at=latest)
    _, tokyo = predictor.probabilities("ada", at=latest, utc_offset_min=540)
    _, london = predictor.probabilities("ada", at=latest, utc_offset_min=0)
    _, aware = predictor.probabilities("ada", at=datetime.fromtimestamp(latest, UTC))
    assert default.tolist() == tokyo.tolist() != london.tolist() == aware.tolist()


def test_only_a_bundle_that_asks_for_the_place_takes_it():
    bundle = Bundle.open(TINY / "fp32")
    by_place = load(bundle)
    tell(by_place, "ada", random_life(bundle, 20))
    one, other, nowhere, unheard_of = (
        by_place.probabilities("ada", at=START_S, location=place)[1].tolist()
        for place in (*bundle.vocabulary.locations[1:3], None, "the moon")
    )
    assert one != other != nowhere == unheard_of
    for predictor, has in ((Predictor.load(TINY / "int8"), "'time'"), (Predictor(), "'no bundle'")):
        with pytest.raises(ValueError, match=f"query_context 'time_location', this is {has}"):
            predictor.predict("ada", location="anywhere")


class StubAnswer:
    """In the place of a session: gives the same outputs, whatever it is given."""

    def __init__(self, *outputs: np.ndarray) -> None:
        self._outputs = outputs

    def run(self, names, inputs):
        return self._outputs


class StubGraph:
    """In the place of a session: remembers what was bound, computes nothing."""

    def __init__(self) -> None:
        self.bound, self.num_runs = {}, 0

    def io_binding(self):
        return self

    def bind_input(self, name, device, device_id, dtype, shape, pointer):
        values = np.ctypeslib.as_array(
            (np.ctypeslib.as_ctypes_type(dtype) * 1).from_address(pointer)
        )
        self.bound[name] = values, shape

    def bind_output(self, *given):
        pass

    def run_with_iobinding(self, binding):
        self.num_runs += 1


@pytest.mark.parametrize("habits", [True, False])
@pytest.mark.parametrize("query_context", ["none", "time", "time_location"])
def test_each_kind_of_model_gets_the_inputs_it_was_exported_with(query_context, habits):
    real = Bundle.open(TINY / "int8")
    shape = replace(real.shape, query_context=query_context, habits=habits)
    observe, predict = StubGraph(), StubGraph()
    predictor = Predictor(replace(real, shape=shape, observe=observe, predict=predict))
    tell(predictor, "ada", random_life(real, 7))
    names, probs = predictor.probabilities("ada", at=START_S + 9)
    assert set(predict.bound) == shape.predict_inputs()
    assert set(observe.bound) == shape.observe_inputs("native")
    assert (observe.num_runs, predict.num_runs, len(probs)) == (7, 1, len(names))
    if habits:
        assert predict.bound["history"][1][0] == 4
    if query_context != "none":
        assert (predict.bound["time_s"][0], predict.bound["time_known"][0]) == (START_S + 9, 1)


def test_spare_slots_go_to_the_latest_names_first():
    real = Bundle.open(TINY / "int8")
    num_known, (known, *_) = real.shape.num_behaviors, real.vocabulary.behaviors[1:]
    shape = replace(real.shape, num_spare=2)
    predictor = Predictor(replace(real, shape=shape))
    asked = predictor._predict_graph = StubPredictGraph(np.zeros(num_known + 2, np.float32))
    for second, event in enumerate(["a", "b", known, "c", "b", "a"]):
        predictor.observe("ada", event, at=START_S + second)
    names, _ = predictor.probabilities("ada")
    assert names[num_known - 1 :] == ["a", "b"]
    a, b, lost = num_known, num_known + 1, 0
    known_id = real.vocabulary.behavior_id(known)
    assert asked.history_4n[0].tolist() == [a, b, known_id, lost, b, a]


class StubPredictGraph:
    """Answers with the same probabilities whatever it is asked, and remembers the history."""

    def __init__(self, probs) -> None:
        self._probs = probs

    def probs(self, hidden_1D, moment, location, history_4n, tail):
        self.history_4n = history_4n
        return self._probs


# --- without a bundle ----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.sampled_from([None, "x", "y"])), max_size=60
    ),
    at_slot=st.none() | st.integers(0, 11),
)
def test_without_a_bundle_it_is_the_mixture_of_the_kernels(rows, at_slot):
    predictor, weights = Predictor(), HabitWeights()
    for i, (event, place) in enumerate(rows):
        predictor.observe("ada", event, at=START_S + 4000 * i, location=place)
    at = None if at_slot is None else START_S + 7200 * at_slot
    names, probs = predictor.probabilities("ada", at=at)
    history = HabitHistory(
        behavior=np.array([ord(event) for event, _ in rows], np.int64),
        location=np.array([" xy".index(place or " ") for _, place in rows], np.int64),
        time_s=START_S + 4000 * np.arange(len(rows)),
        utc_offset_min=np.zeros(len(rows), np.int64),
    )
    weights_Kn = kernel_weights(history, at)
    score = dict.fromkeys(names, 0.0)
    for row, weight, shrinkage in zip(weights_Kn, weights.weight, weights.shrinkage, strict=True):
        for (event, _), vote in zip(rows, row, strict=True):
            score[event] += weight * vote / (row.sum() + shrinkage)
    total = sum(score.values())
    assert set(names) == {event for event, _ in rows}
    assert probs == pytest.approx([score[name] / total for name in names], rel=1e-4)


def test_without_a_bundle_it_predicts_from_the_first_event_on():
    predictor = Predictor()
    assert predictor.predict("ada") == []
    predictor.observe("ada", "coffee")
    assert predictor.predict("ada") == [Prediction("coffee", 1.0)]
    assert predictor.providers == ()


def test_without_a_bundle_every_name_of_the_history_is_a_candidate():
    predictor = Predictor()
    for i in range(700):
        predictor.observe("ada", f"event {i}", at=START_S + i)
    names, probs = predictor.probabilities("ada", at=None)
    assert names == [f"event {i}" for i in range(699, 187, -1)]
    assert probs.sum() == pytest.approx(1)
    assert predictor.num_events("ada") == 700


@pytest.mark.parametrize("is_asked_about", [True, False])
def test_memory_for_names_is_bounded(is_asked_about):
    history = MemoryHistory()
    predictor = Predictor(history=history)
    for i in range(5000):
        predictor.observe("ada", f"event {i}", location=f"place {i}", at=START_S + i)
        if is_asked_about and i % 100 == 0:
            predictor.predict("ada", at=None)
    user = predictor._users.get("ada")
    assert len(history._names) == 2 * 512
    assert len(user.own_behaviors) <= 2 * user.history.capacity
    assert len(user.own_locations) <= 2 * user.history.capacity
    assert predictor.predict("ada", 1, at=None)[0].behavior == "event 4999"


# --- users, names and mistakes -------------------------------------------------------------------


def test_forget_leaves_nothing(bundle):
    predictor, fresh = load(bundle), load(bundle)
    tell(predictor, "ada", random_life(bundle, 30))
    predictor.predict("ada")
    assert predictor.users == ["ada"]
    assert predictor.forget("ada") is True
    assert predictor.forget("ada") is False
    assert (predictor.users, predictor.num_events("ada")) == ([], 0)
    life = random_life(bundle, 5, seed=9)
    for each in (predictor, fresh):
        tell(each, "ada", life)
    assert answer(predictor) == answer(fresh)


@pytest.mark.parametrize(
    "name", ["<unknown>", "🦊", "e\u0301", "\ud800", "a\nb", "a\0b", "\0", " ", "x" * 1024]
)
def test_any_name_works(bundle, name):
    for predictor in (load(bundle), Predictor()):
        for i in range(9):
            predictor.observe(name, name, at=START_S + i, location=name)
        assert predictor.predict(name, 1, at=START_S + 9)[0].behavior == name
        assert predictor.users == [name]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"user": ""}, ValueError, "user must not be empty"),
        ({"user": 7}, TypeError, "user must be a str, got int"),
        ({"event": ""}, ValueError, "event must not be empty"),
        ({"event": None}, TypeError, "event must be a str, got NoneType"),
        ({"event": b"x"}, TypeError, "event must be a str, got bytes"),
        ({"user": "x" * 10**6}, ValueError, "user must be at most 1024 bytes"),
        ({"event": "\ud800" * 342}, ValueError, "event must be at most 1024 bytes"),
        ({"location": "🦊" * 257}, ValueError, "location must be at most 1024 bytes"),
        ({"at": float("nan")}, ValueError, "at must be finite"),
        ({"at": float("inf")}, ValueError, "at must be finite"),
        ({"at": 2**53}, ValueError, "outside 1990..2100"),
        ({"at": -1}, ValueError, "outside 1990..2100"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, ValueError, "outside 1990..2100"),
        ({"location": ""}, ValueError, "location must not be empty"),
        ({"location": 3}, TypeError, "location must be a str"),
        ({"at": None}, TypeError, "an event needs a time"),
        ({"at": START_S * 1000}, ValueError, "milliseconds"),
        ({"at": datetime(2026, 1, 1)}, ValueError, "no time zone"),
        ({"at": True}, TypeError, "unix seconds"),
        ({"utc_offset_min": 9000}, ValueError, "utc_offset_min must lie in"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_noted(change, error, says):
    predictor = Predictor()
    given_arguments = {"user": "ada", "event": "x", "at": START_S, **change}
    with pytest.raises(error, match=says):
        predictor.observe(**given_arguments)
    assert predictor.users == []


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"k": True}, TypeError, "k must be an integer"),
        ({"k": 2.0}, TypeError, "k must be an integer"),
        ({"user": ""}, ValueError, "user must not be empty"),
        ({"at": "yesterday"}, ValueError, "datetime.fromisoformat"),
        ({"at": None, "utc_offset_min": 1.5}, TypeError, "whole minutes"),
    ],
)
def test_a_bad_question_is_explained(change, error, says):
    predictor = Predictor()
    predictor.observe("ada", "x", at=START_S)
    with pytest.raises(error, match=says):
        predictor.predict(**{"user": "ada", **change})


def test_every_kind_of_time_means_the_same():
    tokyo = datetime.fromtimestamp(START_S, UTC) + timedelta(hours=9)
    kinds = [
        {"at": START_S, "utc_offset_min": 540},
        {"at": START_S + 0.7, "utc_offset_min": 540},
        {"at": datetime.fromtimestamp(START_S, UTC), "utc_offset_min": 540},
        {"at": datetime.fromisoformat(f"{tokyo:%Y-%m-%dT%H:%M:%S}+09:00")},
    ]
    answers = []
    for kind in kinds:
        predictor = Predictor()
        predictor.observe("ada", "first", at=START_S - 4 * 3600, utc_offset_min=0)
        predictor.observe("ada", "second", **kind)
        answers.append(answer(predictor))
    assert len(set(map(repr, answers))) == 1


def test_a_predictor_needs_room_for_one_state():
    with pytest.raises(ValueError, match="state_mb must be above 0 and finite, got 0"):
        Predictor.load(TINY / "int8", state_mb=0)
