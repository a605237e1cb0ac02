"""Candidates, slots for names of the user's own, and habits without a bundle."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import BUNDLES, START_S, TINY, load, random_life, tell

from edgebehave import HabitWeights, Prediction, Predictor
from edgebehave.answers.question import habits_alone
from edgebehave.bundles.bundle import Bundle
from edgebehave.habits import HabitHistory, kernel_weights
from edgebehave.moments import Moment
from edgebehave.vocabulary import NO_BEHAVIOR

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def no_answers_of_the_universal_model(monkeypatch):
    monkeypatch.setattr("edgebehave.predictor.FOREIGN_EVENTS", 10**6)


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request) -> Bundle:
    return Bundle.open(TINY / request.param)


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


def test_only_the_latest_of_many_new_names_have_a_slot(bundle):
    num_spare = 32  # fewer than the graph has: a client may give out as many as it likes
    predictor = load(bundle)
    predictor._questions.num_spare = num_spare
    for i in range(num_spare + 5):
        predictor.observe("ada", f"mine.{i}", at=START_S + i)
    names, probs = predictor.probabilities("ada", at=START_S + 10**4)
    own = names[bundle.vocabulary.num_behaviors - 1 :]
    assert own == [f"mine.{i}" for i in range(num_spare + 4, 4, -1)]
    # The share of the five others is given to no candidate.
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


class StubPredictGraph:
    """Answers with the same probabilities whatever it is asked, and remembers the history."""

    def __init__(self, probs) -> None:
        self._probs = probs

    def probs(self, hidden_1D, moment, location, history_4n, tail):
        self.history_4n = history_4n
        return self._probs


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


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from([None, "x", "y"])), max_size=60),
    at_slot=st.none() | st.integers(0, 11),
)
def test_without_a_bundle_it_is_the_mixture_of_the_kernels(rows, at_slot):
    predictor, weights = Predictor(model="habits"), HabitWeights()
    for i, (event, location) in enumerate(rows):
        predictor.observe("ada", event, at=START_S + 4000 * i, location=location)
    at = None if at_slot is None else START_S + 7200 * at_slot
    known = predictor._users.get("ada")
    question = predictor._questions.of(known, None if at is None else Moment(at, 0), 0)
    names, probs = question.candidates, habits_alone(question, weights)[1:]
    # The answer holds the same probabilities, in the order of the leader where that is better; some is left for a
    # name never used before.
    answered_names, answered = predictor.probabilities("ada", at=at)
    assert answered_names == list(names)
    used_once = sum(number == 1 for number in Counter(event for event, _ in rows).values())
    left = (used_once + 1) / (len(rows) + 2)
    assert sorted(answered.tolist()) == pytest.approx(sorted(((1 - left) * probs).tolist()), rel=1e-6)
    history = HabitHistory(
        behavior=np.array([ord(event) for event, _ in rows], np.int64),
        location=np.array([" xy".index(location or " ") for _, location in rows], np.int64),
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
    predictor = Predictor(model="habits")
    assert predictor.predict("ada") == []
    predictor.observe("ada", "coffee")
    assert predictor.predict("ada") == [Prediction("coffee", pytest.approx(1 / 3))]
    assert predictor.providers == ()


def test_without_a_bundle_every_name_of_the_history_is_a_candidate():
    predictor = Predictor(model="habits")
    for i in range(700):
        predictor.observe("ada", f"event {i}", at=START_S + i)
    names, probs = predictor.probabilities("ada", at=None)
    assert names == [f"event {i}" for i in range(699, 187, -1)]
    assert probs.sum() == pytest.approx(1 - 513 / 514, rel=1e-4)  # each was used once
    assert predictor.num_events("ada") == 700
