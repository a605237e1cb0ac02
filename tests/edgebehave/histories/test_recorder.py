"""Recording events of users with any name; mistakes are explained and change nothing."""

from datetime import UTC, datetime

import pytest
from lives import BUNDLES, START_S, TINY, answer, load, random_life, tell

from edgebehave import MemoryHistory, Predictor
from edgebehave.arguments import bounded_name
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request) -> Bundle:
    return Bundle.open(TINY / request.param)


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
    assert len(user.own_behaviors) <= 2 * user.events.capacity
    assert len(user.own_locations) <= 2 * user.events.capacity
    known = {name.behavior for name in predictor.predict("ada", 512, at=None)}
    assert "event 4999" in known
    assert known <= {f"event {i}" for i in range(5000 - 512, 5000)}
    habits = Predictor(history=history, model="habits")
    assert habits.predict("ada", 1, at=None)[0].behavior == "event 4999"


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


@pytest.mark.parametrize("name", ["<unknown>", "🦊", "e\u0301", "\ud800", "a\nb", "a\0b", "\0", " ", "x" * 1024])
def test_any_name_works(bundle, name):
    for predictor in (load(bundle), Predictor()):
        for i in range(9):
            predictor.observe(name, name, at=START_S + i, location=name)
        assert predictor.predict(name, 1, at=START_S + 9)[0].behavior == name
        assert predictor.users == [name]


def test_a_long_name_is_one_name_wherever_it_is_given():
    user, event, place = "x" * 10**6, "\ud800" * 342, "🦊" * 257
    one, many = Predictor(), Predictor()
    for i in range(3):
        one.observe(user, event, at=START_S + i, location=place)
    many.observe_many([user] * 3, [event] * 3, at=[START_S + i for i in range(3)], location=place)
    assert one.users == many.users == [bounded_name(user)]
    assert one.num_events(user) == one.num_events(bounded_name(user)) == 3
    assert one.predict(user, 1, at=START_S + 9)[0].behavior == bounded_name(event)
    assert one.export_user(user) == many.export_user(user)
    assert one.forget_event(user, event, location=place, at=START_S) == 1
    many.forget(user)
    many.import_user(user, one.export_user(user))
    assert many.num_events(user) == 2


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"user": ""}, ValueError, "user must not be empty"),
        ({"user": 7}, TypeError, "user must be a str, got int"),
        ({"event": ""}, ValueError, "event must not be empty"),
        ({"event": None}, TypeError, "event must be a str, got NoneType"),
        ({"event": b"x"}, TypeError, "event must be a str, got bytes"),
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
def test_a_mistake_is_explained_and_nothing_is_recorded(change, error, says):
    predictor = Predictor()
    given_arguments = {"user": "ada", "event": "x", "at": START_S, **change}
    with pytest.raises(error, match=says):
        predictor.observe(**given_arguments)
    assert predictor.users == []
