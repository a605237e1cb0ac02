"""The state is a function of the events: streaming, dropped states and replays give the same bits."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import BUNDLES, TINY, Happened, answer, load, random_life, tell

from edgebehave import Predictor
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.network_state import empty_state, latest_state

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request) -> Bundle:
    return Bundle.open(TINY / request.param)


@pytest.mark.parametrize("num_events", [1, 5, 6, 7, 11, 12, 60, 600])
def test_when_predictions_are_asked_for_changes_nothing(bundle, num_events):
    life = random_life(bundle, num_events)
    busy, idle = load(bundle), load(bundle)
    for happened in life:
        tell(busy, "ada", [happened])
        busy.predict("ada", at=happened.at)
    tell(idle, "ada", life)
    assert answer(busy) == answer(idle)


def test_dropped_states_are_rebuilt_to_the_bit(bundle):
    lives = {f"user {i}": random_life(bundle, 40 + i, seed=i) for i in range(6)}
    roomy, cramped = load(bundle), load(bundle, state_mb=1e-6)
    draw = random.Random(1)
    for step in range(46):
        for user, life in lives.items():
            for predictor in (roomy, cramped):
                tell(predictor, user, life[step : step + 1])
        user = draw.choice(list(lives))
        assert answer(roomy, user) == answer(cramped, user)
    assert len(cramped._users) == 1
    assert len(roomy._users) == 6


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
def test_late_events_go_to_their_place_in_time(num_events, order):
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
    state = latest_state(bundle, predictor._users.get("ada"))
    assert state.hidden[0] == pytest.approx(hidden[-1], abs=2e-5)


@pytest.mark.parametrize("name", ["int8", "web"])
def test_a_copied_state_goes_its_own_way(name):
    bundle = Bundle.open(TINY / name)
    state, alone = empty_state(bundle, 0), empty_state(bundle, 0)
    for i in range(bundle.shape.window + 5):
        copied = state.copy()
        copied.step(1, 1, 1_700_000_000, 0)
        copied.step(2, 1, 1_700_000_000, 0)
        for each in (state, alone):
            each.step(1 + i % 5, 2, 1_700_000_000 + 600 * i, 0)
        assert state.hidden.tobytes() == alone.hidden.tobytes()
    copied = state.copy()
    for i in range(bundle.shape.window + 5):
        for each in (copied, state):
            each.step(1 + i % 4, 3, 1_700_100_000 + 600 * i, 0)
        assert copied.hidden.tobytes() == state.hidden.tobytes()
