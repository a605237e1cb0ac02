"""Generated events from graphs with known answers: times add up, own names come back, the user does not change."""

from dataclasses import replace

import numpy as np
import pytest
from lives import START_S, TINY

from edgebehave import GeneratedEvent, Predictor
from edgebehave.bundles.bundle import Bundle, GenerationHeads

pytest.importorskip("onnxruntime")

HOUR_S = 3600


class StubGraph:
    """In place of a session: computes its outputs by a function and keeps its inputs."""

    def __init__(self, outputs) -> None:
        self._outputs = outputs
        self.inputs = []

    def run(self, names, inputs):
        # Copies: the state is overwritten by the next step.
        self.inputs.append({name: np.array(values) for name, values in inputs.items()})
        return self._outputs(inputs)


@pytest.fixture
def bundle() -> Bundle:
    """The next behavior comes after an hour, at the location of the last behavior; behavior 1 or the first own name."""
    real = Bundle.open(TINY / "int8")
    shape = real.shape

    def wait(inputs):
        n = inputs["history"].shape[1]
        return np.array([HOUR_S] + n * [60]), np.array([1.0] + n * [0.0])

    def next_behavior(inputs):
        probs = np.zeros(shape.num_behaviors + shape.num_spare, np.float32)
        probs[[0, 1, shape.num_behaviors]] = 0.5, 0.25, 0.25  # the unknown behavior is never generated
        return probs, np.zeros(shape.num_events, np.float32), np.zeros((1, shape.width), np.float32)

    def location(inputs):
        copied = np.zeros(inputs["history"].shape[1], np.float32)
        copied[-1] = 1
        return np.zeros(shape.num_locations, np.float32), copied

    return replace(
        real,
        wait=StubGraph(wait),
        generation=GenerationHeads(
            next=StubGraph(next_behavior),
            location=StubGraph(location),
            num_quantiles=1,
            clock_rate=np.full((2, 48), 1 / 48),
        ),
    )


@pytest.fixture
def predictor(bundle) -> Predictor:
    predictor = Predictor(bundle)
    predictor.observe("ada", bundle.vocabulary.events[1], at=START_S, location="home", utc_offset_min=60)
    predictor.observe("ada", "sourdough.feed", at=START_S + 60, location="my kitchen", utc_offset_min=60)
    return predictor


def test_events_follow_each_other_by_the_drawn_gaps_at_the_copied_location(predictor):
    future = predictor.generate("ada", 20, seed=0, at=START_S + 90)
    assert [event.time_s for event in future] == [START_S + 60 + HOUR_S * i for i in range(1, 21)]
    assert {event.location for event in future} == {"my kitchen"}
    assert {event.utc_offset_min for event in future} == {60}
    assert future[0].at.isoformat() == "2026-01-01T14:01:00+01:00"


def test_names_are_those_of_the_vocabulary_and_of_the_user(predictor, bundle):
    future = predictor.generate("ada", 40, seed=0)
    vocabulary = bundle.vocabulary
    assert {event.behavior for event in future} == {vocabulary.behaviors[1], "sourdough.feed"}
    for event in future:
        if event.behavior == "sourdough.feed":
            assert event.event == "sourdough.feed"
        else:
            assert vocabulary.event_to_behavior[vocabulary.event_id(event.event)] == 1


def test_the_graphs_read_generated_events_but_count_observed_ones(predictor, bundle):
    future = predictor.generate("ada", 3, seed=1)
    asked = bundle.generation.next.inputs
    assert [inputs["history"].shape[1] for inputs in asked] == [2, 3, 4]
    assert [int(inputs["num_real"]) for inputs in asked] == [2, 2, 2]
    assert asked[2]["history"][2].tolist() == [START_S, START_S + 60, future[0].time_s, future[1].time_s]


def test_the_same_seed_gives_the_same_events_and_the_user_does_not_change(predictor):
    before, prediction = predictor.export_user("ada"), predictor.predict("ada", at=START_S + 90)
    first, again, other = (predictor.generate("ada", 30, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert all(isinstance(event, GeneratedEvent) for event in first)
    assert predictor.export_user("ada") == before
    assert predictor.predict("ada", at=START_S + 90) == prediction


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 1.5}, TypeError, "steps must be an integer"),
        ({"temperature": 0}, ValueError, "temperature must be positive"),
        ({"top_p": 2}, ValueError, "top_p must lie in"),
        ({"user": "bob"}, ValueError, "'bob' has none yet"),
    ],
)
def test_a_mistake_is_explained(predictor, change, error, says):
    with pytest.raises(error, match=says):
        predictor.generate(**{"user": "ada", **change})


def test_without_generation_heads_it_says_how_to_train(bundle):
    for predictor in (Predictor(), Predictor(replace(bundle, generation=None))):
        predictor.observe("ada", "x", at=START_S)
        with pytest.raises(ValueError, match="generate needs a bundle that generates"):
            predictor.generate("ada")
