"""Predictions for users and moments; a bad question is explained."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from lives import BUNDLES, START_S, TINY, answer, load, random_life, tell

from edgebehave import Prediction, Predictor
from edgebehave.bundles.bundle import Bundle
from edgebehave.vocabulary import NO_BEHAVIOR

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request) -> Bundle:
    return Bundle.open(TINY / request.param)


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
    # Only the habits use events before the receptive field.
    np.testing.assert_array_equal(predictor.probabilities("ben", habits=False, **moment)[1], probs)
    with_habits = predictor.probabilities("ada", **moment)[1][: len(known)]
    assert not np.allclose(with_habits, probs)
    best = predictor.predict("ada", 1, habits=False, **moment)[0]
    assert best.behavior == names[int(probs.argmax())]


def test_without_habits_and_without_a_bundle_there_is_nothing():
    with pytest.raises(ValueError, match="without a bundle"):
        Predictor().predict("ada", habits=False)


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
    answers = [predictor.probabilities("ada", at=at)[1].tobytes() for at in (START_S, START_S + 6 * 3600, None)]
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


def test_only_a_bundle_that_asks_for_the_location_takes_it():
    bundle = Bundle.open(TINY / "fp32")
    by_location = load(bundle)
    tell(by_location, "ada", random_life(bundle, 20))
    one, other, nowhere, unheard_of = (
        by_location.probabilities("ada", at=START_S, location=location)[1].tolist()
        for location in (*bundle.vocabulary.locations[1:3], None, "the moon")
    )
    assert one != other != nowhere == unheard_of
    for predictor, has in ((Predictor.load(TINY / "int8"), "'time'"), (Predictor(), "'no bundle'")):
        with pytest.raises(ValueError, match=f"query_context 'time_location', this is {has}"):
            predictor.predict("ada", location="anywhere")


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
