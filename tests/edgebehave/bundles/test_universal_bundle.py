"""The universal bundle: opened, checked, and asked; its answer is a function of the retained events alone."""

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave import BundleError, HabitWeights, MemoryHistory, Predictor, SqliteHistory
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.manifest import digested_manifest
from edgebehave.bundles.universal_bundle import SHIPPED, UniversalBundle, has_shipped_bundle, shipped_bundle

pytest.importorskip("onnxruntime")

TINY = Path(__file__).parents[1] / "tiny_universal"
START_S = 1_767_268_800


@pytest.fixture(scope="module")
def bundle() -> UniversalBundle:
    return UniversalBundle.open(TINY)


def life(num_events: int, seed: int = 0) -> list[dict]:
    """Events at distinct times, from a long tail of names that changes over time."""
    rng = np.random.default_rng(seed)
    at = START_S + rng.integers(1, 20_000, num_events).cumsum()
    names = np.minimum(rng.zipf(1.5, num_events), 60) + np.arange(num_events) // 100
    locations = rng.integers(0, 5, num_events)
    offsets = rng.choice([-300, 0, 540], num_events)
    return [
        {"event": f"n{name}", "at": int(t), "location": f"at {place}" if place else None, "utc_offset_min": int(o)}
        for name, t, place, o in zip(names, at, locations, offsets, strict=True)
    ]


def tell(predictor: Predictor, events: list[dict], user: str = "ada") -> None:
    for event in events:
        predictor.observe(user, **event)


def answer(predictor: Predictor, user: str = "ada", at: int | None = START_S + 10**7) -> tuple:
    names, probs = predictor.probabilities(user, at=at)
    return names, probs.tobytes()


def test_it_is_small_and_opens_as_what_it_is(bundle):
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 150_000
    assert Predictor.load(TINY).model == "tiny_universal"
    assert Predictor.load(TINY).providers == bundle.providers == ("CPUExecutionProvider",)
    with pytest.raises(BundleError, match="is a universal bundle"):
        Bundle.open(TINY)
    with pytest.raises(BundleError, match="is not a universal bundle"):
        UniversalBundle.open(TINY.parent / "tiny_bundle" / "int8")


def test_damage_is_found(tmp_path):
    for name, says in (("predict.onnx", "damaged"), ("manifest.json", "damaged")):
        copy = tmp_path / name
        shutil.copytree(TINY, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(BundleError, match=says):
            Predictor.load(copy)


@pytest.mark.parametrize("change", [{"lookback": 0}, {"lookback": 445}, {"success_columns": "x"}])
def test_a_wrong_manifest_is_explained(tmp_path, change):
    copy = tmp_path / "bundle"
    shutil.copytree(TINY, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["model"] |= change
    (copy / "manifest.json").write_bytes(digested_manifest(manifest))
    with pytest.raises(BundleError, match="missing or wrong values"):
        Predictor.load(copy)


@pytest.mark.parametrize("num_events", [1, 2, 3, 5, 63, 64, 65, 443, 445, 449, 512, 600])
def test_probabilities_sum_to_one_with_the_new_name(bundle, num_events):
    predictor = Predictor(bundle)
    tell(predictor, life(num_events))
    for at in (START_S + 10**7, None):
        names, probs = predictor.probabilities("ada", at=at)
        latest = dict.fromkeys(event["event"] for event in life(num_events)[:-445:-1])
        assert names == list(latest)
        assert probs.dtype == np.float32
        assert (probs > 0).all()
        assert 0 < probs.sum() < 1


def test_any_number_of_names_comes_first(bundle):
    """The arrays of a thread fit whatever is asked first."""
    for num_names in range(1, 40):
        predictor = Predictor(bundle)
        tell(predictor, [{"event": f"n{name}", "at": START_S + name} for name in range(num_names)])
        assert len(predictor.probabilities("ada", at=START_S + 1000)[1]) == num_names


def test_a_user_without_events_gets_no_candidates(bundle):
    predictor = Predictor(bundle)
    assert predictor.predict("ada") == []
    assert predictor.prediction_set("ada") == []
    predictor.observe("ada", "coffee", at=START_S)
    (only,) = predictor.predict("ada", at=START_S + 60)
    assert only.behavior == "coffee"
    assert 0 < only.probability < 1
    assert predictor.predict("ada", at=START_S + 60, min_confidence=only.probability + 0.01) == []


@pytest.mark.parametrize("num_events", [1, 2, 64, 65, 512, 513, 700])
def test_when_predictions_are_asked_for_changes_nothing(bundle, num_events):
    busy, idle = Predictor(bundle), Predictor(bundle)
    for event in life(num_events):
        tell(busy, [event])
        if event["at"] % 3 or num_events < 70:
            busy.predict("ada", at=event["at"])
    tell(idle, life(num_events))
    assert answer(busy) == answer(idle)
    assert answer(busy, at=None) == answer(idle, at=None)


def steps() -> st.SearchStrategy:
    event = st.tuples(st.just("observe"), st.integers(0, 60 * 86400), st.sampled_from("abcdefgh"), st.integers(0, 3))
    forget = st.tuples(st.just("forget"), st.sampled_from("abcdefgh"))
    ask = st.tuples(st.just("ask"), st.booleans())
    return st.lists(st.one_of(event, event, event, ask, forget), max_size=60)


@pytest.mark.parametrize("model", ["universal", "habits"])
@settings(deadline=None, max_examples=40)
@given(steps=steps(), max_age=st.sampled_from([None, timedelta(days=20)]))
def test_late_events_forgetting_and_age_leave_the_answer_of_a_new_start(model, steps, max_age):
    """A predictor that lived through all this answers as one that was told what is retained."""
    given = {"bundle": UniversalBundle.open(TINY)} if model == "universal" else {"model": "habits"}
    history = MemoryHistory(max_age=max_age)
    lived, cramped = Predictor(history=history, **given), Predictor(history=history, state_mb=1e-6, **given)
    for step, *values in steps:
        if step == "observe":
            second, name, place = values
            lived.observe("ada", name, at=START_S + second, location=f"at {place}" if place else None)
        elif step == "forget":
            lived.forget_event("ada", event=values[0])
        else:
            answer(lived, at=START_S + 61 * 86400 if values[0] else None)
    found = history.latest("ada", 512)
    anew = Predictor(**given)
    for event, location, time_s, offset in found[1].rows() if found else ():
        anew.observe("ada", event, at=time_s, location=location, utc_offset_min=offset)
    for at in (START_S + 61 * 86400, None):
        assert answer(lived, at=at) == answer(anew, at=at) == answer(cramped, at=at)


@pytest.mark.parametrize("model", ["universal", "habits"])
def test_eviction_and_a_restart_leave_the_answer_of_the_retained_events(tmp_path, bundle, model):
    given = {"bundle": bundle} if model == "universal" else {"model": "habits"}
    events = life(700)
    with SqliteHistory(tmp_path / "history.db", survives_power_loss=False) as history:
        first = Predictor(history=history, **given)
        for number, event in enumerate(events):
            tell(first, [event])
            if number % 7 == 0:
                first.predict("ada", at=event["at"])
        before = answer(first)
    with SqliteHistory(tmp_path / "history.db", survives_power_loss=False) as history:
        assert answer(Predictor(history=history, **given)) == before
    only_retained = Predictor(**given)
    tell(only_retained, events[-512:])
    if model == "universal":  # the leader leaves events out in steps that depend on the number of all events
        assert answer(only_retained) == before


def test_the_future_and_other_users_change_nothing(bundle):
    predictor = Predictor(bundle)
    early = []
    for number, event in enumerate(life(40)):
        early.append(answer(predictor))
        tell(predictor, [event])
        tell(predictor, life(1, seed=number), "bob")
    for cut in (0, 1, 17, 39):
        prefix = Predictor(bundle)
        tell(prefix, life(40)[:cut])
        assert answer(prefix) == early[cut]


def test_the_identity_of_names_is_all_that_matters(bundle):
    one, other = Predictor(bundle), Predictor(bundle)
    tell(one, life(80))
    tell(other, [event | {"event": f"renamed {event['event'][::-1]}"} for event in life(80)])
    np.testing.assert_array_equal(one.probabilities("ada")[1], other.probabilities("ada")[1])


def test_many_users_and_threads_answer_as_one(bundle):
    predictor = Predictor(bundle)
    users = [f"user {number}" for number in range(12)]
    for number, user in enumerate(users):
        tell(predictor, life(5 + 9 * number, seed=number), user)
    predictor.advance(users, threads=3)
    many = predictor.predict_many(users, 3, at=START_S + 10**7, threads=4)
    assert many == [predictor.predict(user, 3, at=START_S + 10**7) for user in users]


def test_a_prediction_set_holds_its_share_of_the_probability(bundle):
    predictor = Predictor(bundle)
    tell(predictor, life(100))
    names, probs = predictor.probabilities("ada", at=START_S + 10**7)
    for coverage in (0.0, 0.3, 0.5):
        chosen = predictor.prediction_set("ada", coverage, at=START_S + 10**7)
        total = sum(prediction.probability for prediction in chosen)
        assert total >= coverage - 1e-6
        assert total - chosen[-1].probability <= coverage + 1e-6
    assert len(predictor.prediction_set("ada", 1.0, at=START_S + 10**7)) == len(names) == len(probs)


def test_what_needs_a_vocabulary_is_refused(bundle):
    predictor = Predictor(bundle)
    tell(predictor, life(5))
    for arguments, says in (
        ({"tail": 0.5}, "tail needs the class priors of a bundle"),
        ({"within": timedelta(hours=1)}, "within needs a bundle that knows waiting times"),
        ({"habits": False}, "without a bundle"),
        ({"location": "home"}, "'no bundle'"),
    ):
        with pytest.raises(ValueError, match=says):
            predictor.predict("ada", **arguments)
    with pytest.raises(ValueError, match="generate needs a bundle"):
        predictor.generate("ada")


def test_the_shipped_bundle_answers_by_default(monkeypatch):
    assert has_shipped_bundle()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1_000_000
    predictor = Predictor()
    assert predictor.model == "universal"
    predictor.observe("ada", "coffee", at=START_S)
    (only,) = predictor.predict("ada", at=START_S + 60)
    assert 0 < only.probability < 1
    assert Predictor()._opened_universal().bundle is shipped_bundle() is predictor._opened_universal().bundle
    assert Predictor(model="universal").model == "universal"
    assert Predictor(model="habits").model == Predictor(habit_weights=HabitWeights()).model == "habits"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert Predictor().model == "habits"


def test_models_that_exclude_each_other_are_explained(bundle):
    for arguments, says in (
        ({"model": "network"}, "model must be 'universal' or 'habits', got 'network'"),
        ({"bundle": bundle, "model": "habits"}, "a bundle brings its own model"),
        ({"bundle": bundle, "habit_weights": HabitWeights()}, "a bundle brings its own model"),
        ({"model": "universal", "habit_weights": HabitWeights()}, "habit_weights belong to the model 'habits'"),
    ):
        with pytest.raises(ValueError, match=says):
            Predictor(**arguments)
