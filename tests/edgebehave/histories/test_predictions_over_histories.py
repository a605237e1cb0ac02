"""Predictions over kept histories: restart, sharing, forgetting and moving change no bit."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave import MemoryHistory, Predictor, SqliteHistory
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")

TINY = Path(__file__).parents[1] / "tiny_bundle"
START_S = 1_767_268_800
CAPACITY = 30


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_bundle()


def small_bundle() -> Bundle:
    """A history of 30 events, so that tests reach its end; the network looks back on fewer."""
    bundle = Bundle.open(TINY / "int8")
    assert bundle.shape.receptive_field < CAPACITY
    shape = replace(bundle.shape, history_events=CAPACITY, habit_events=CAPACITY)
    return replace(bundle, shape=shape)


def small_history() -> MemoryHistory:
    return MemoryHistory(max_events=1)


def random_life(num_events: int, seed: int = 0) -> list[dict]:
    """Arguments of `observe`, at distinct times; some names the vocabulary does not hold."""
    names = Bundle.open(TINY / "int8").vocabulary
    draw, at, life = random.Random(seed), START_S, []
    for _ in range(num_events):
        at += draw.randint(1, 20_000)
        own = draw.random() < 0.2
        life.append(
            {
                "event": f"new.{draw.randint(0, 9)}" if own else draw.choice(names.events[1:]),
                "at": at,
                "location": draw.choice([None, "my place", *names.locations[1:]]),
                "utc_offset_min": draw.choice([-300, 0, 540]),
            }
        )
    return life


def tell(predictor: Predictor, life: list[dict], user: str = "ada") -> None:
    for happened in life:
        predictor.observe(user, **happened)


def answer(predictor: Predictor, user: str = "ada") -> tuple:
    names, probs = predictor.probabilities(user, at=START_S + 10**7)
    return names, probs.tobytes(), predictor.num_events(user)


# --- a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_events", [1, 12, 200])
def test_a_restart_changes_no_bit(bundle, tmp_path, num_events):
    in_memory = Predictor(bundle)
    life = random_life(num_events + 1)
    random.Random(1).shuffle(life)
    path = tmp_path / "h.db"
    with SqliteHistory(path, survives_power_loss=False) as history:
        on_disk = Predictor(bundle, history=history)
        for i, happened in enumerate(life[:-1]):
            for predictor in (in_memory, on_disk):
                tell(predictor, [happened])
                if i % 7 == 0:
                    predictor.predict("ada")
        assert answer(on_disk) == answer(in_memory)
    with SqliteHistory(path) as history:
        restarted = Predictor(bundle, history=history)
        assert restarted.users == ["ada"]
        assert answer(restarted) == answer(in_memory)
        for predictor in (in_memory, restarted):
            tell(predictor, life[-1:])
        assert answer(restarted) == answer(in_memory)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_predictors_that_share_a_history_agree(bundle, tmp_path, kind):
    if kind == "memory":
        one = other = MemoryHistory(max_events=1)
    else:
        one, other = (SqliteHistory(tmp_path / "h.db", max_events=1) for _ in range(2))
    pair = Predictor(bundle, history=one), Predictor(bundle, history=other)
    alone = Predictor(bundle, history=small_history())
    draw = random.Random(3)
    life = random_life(80)
    for i in range(0, 80, 4):
        late = life[i : i + 4]
        if draw.random() < 0.3:
            draw.shuffle(late)
        for happened in late:
            tell(draw.choice(pair), [happened])
        tell(alone, late)
        if draw.random() < 0.2:
            gone = {"at": late[0]["at"]}
            assert draw.choice(pair).forget_event("ada", **gone) == 1
            alone.forget_event("ada", **gone)
        if i == 40:
            assert draw.choice(pair).forget("ada")
            alone.forget("ada")
        assert answer(pair[0]) == answer(pair[1]) == answer(alone)


def test_another_vocabulary_reads_the_same_file(bundle, tmp_path):
    life = random_life(60)
    history = SqliteHistory(tmp_path / "h.db")
    without, with_bundle = Predictor(history=history), Predictor(bundle, history=history)
    tell(without, life)
    fresh = Predictor(bundle)
    tell(fresh, life)
    assert answer(with_bundle) == answer(fresh)
    habits = Predictor()
    tell(habits, life)
    assert answer(without) == answer(habits)


# --- age -----------------------------------------------------------------------------------------


def test_what_has_aged_is_out_of_every_prediction(bundle, tmp_path):
    """The answers are equal if the predictor was asked all along and if it starts anew."""
    age = timedelta(hours=24)
    path = tmp_path / "h.db"
    history = SqliteHistory(path, max_age=age)
    busy = Predictor(bundle, history=history)
    in_memory = Predictor(bundle, history=MemoryHistory(max_age=age))
    for happened in random_life(40):
        for predictor in (busy, in_memory):
            tell(predictor, [happened])
        assert answer(busy) == answer(in_memory)
        restarted = Predictor(bundle, history=SqliteHistory(path, max_age=age))
        assert answer(busy) == answer(restarted)
    assert busy.num_events("ada") == 40
    assert len(busy._users.get("ada").events) < 20


# --- forgetting ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    num_events=st.integers(2, CAPACITY),
    num_more=st.integers(0, CAPACITY),
    gone=st.sets(st.integers(0, CAPACITY - 1)),
    seed=st.integers(0, 3),
    when_asked=st.randoms(use_true_random=False),
)
def test_a_forgotten_event_was_never_observed(num_events, num_more, gone, seed, when_asked):
    bundle = small_bundle()
    life = random_life(num_events + num_more, seed)
    forgetful, fresh = (Predictor(bundle, history=small_history()) for _ in range(2))
    for happened in life[:num_events]:
        tell(forgetful, [happened])
        if when_asked.random() < 0.3:
            forgetful.predict("ada")
    gone = {i for i in gone if i < num_events}
    for i in gone:
        assert forgetful.forget_event("ada", life[i]["event"], at=life[i]["at"]) == 1
    tell(fresh, [happened for i, happened in enumerate(life[:num_events]) if i not in gone])
    assert answer(forgetful) == answer(fresh)
    assert forgetful.users == fresh.users
    for happened in life[num_events:]:
        for predictor in (forgetful, fresh):
            tell(predictor, [happened])
        assert answer(forgetful) == answer(fresh)


@settings(deadline=None, max_examples=30)
@given(
    num_events=st.integers(CAPACITY + 1, 2 * CAPACITY),
    num_more=st.integers(1, CAPACITY),
    ages=st.sets(st.integers(1, CAPACITY), min_size=1, max_size=CAPACITY - 1),
)
def test_what_forgotten_events_displaced_does_not_come_back(num_events, num_more, ages):
    """It is as if the history had retained so many fewer until then."""
    bundle = small_bundle()
    life = random_life(num_events + num_more)
    past, future = life[:num_events], life[num_events:]
    forgetful = Predictor(bundle, history=small_history())
    tell(forgetful, past)
    for age in ages:
        assert forgetful.forget_event("ada", at=past[-age]["at"]) == 1
    shorter = MemoryHistory(max_events=CAPACITY - len(ages))
    for age in range(num_events, 0, -1):
        if age not in ages:
            event, at, location, offset = past[-age].values()
            shorter.append("ada", event, location, at, offset)
    never_had_it = Predictor(bundle, history=shorter)
    assert answer(forgetful) == answer(never_had_it)
    for happened in future:
        for predictor in (forgetful, never_had_it):
            tell(predictor, [happened])
        assert answer(forgetful) == answer(never_had_it)


def test_what_to_forget_is_all_that_is_given():
    predictor = Predictor()

    def left() -> list[str]:
        events = predictor._history.latest("ada", 99)
        return [] if events is None else events[1].event.rows()

    for i in range(8):
        location = ["home", "work"][i % 2]
        predictor.observe("ada", f"e{i % 3}", at=START_S + 60 * i, location=location)
    assert left() == ["e0", "e1", "e2", "e0", "e1", "e2", "e0", "e1"]
    assert predictor.forget_event("ada", "e0", location="work") == 1
    assert predictor.forget_event("ada", at=START_S + 120, until=START_S + 240) == 2
    assert left() == ["e0", "e1", "e2", "e0", "e1"]
    assert predictor.forget_event("ada", "e1", until=datetime.fromtimestamp(START_S + 60, UTC)) == 1
    assert predictor.forget_event("ada", "e2", at=START_S + 61) == 0
    assert predictor.forget_event("ada", location="home") == 2
    assert left() == ["e2", "e1"]
    assert predictor.num_events("ada") == 2
    assert predictor.forget_event("bob", "e2") == 0
    assert predictor.forget_event("ada", until=START_S + 10**6) == 2
    assert (predictor.users, predictor.num_events("ada")) == ([], 0)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({}, ValueError, "needs an event, a location, at or until"),
        ({"event": ""}, ValueError, "event must not be empty"),
        ({"location": 5}, TypeError, "location must be a str"),
        ({"at": float("nan")}, ValueError, "at must be finite"),
        ({"until": datetime(2026, 1, 1)}, ValueError, "no time zone"),
        ({"at": START_S, "until": START_S - 5}, ValueError, "until lies 5 s before at"),
    ],
)
def test_a_mistake_forgets_nothing(arguments, error, says):
    predictor = Predictor()
    predictor.observe("ada", "x", at=START_S)
    with pytest.raises(error, match=says):
        predictor.forget_event("ada", **arguments)
    assert predictor.num_events("ada") == 1


# --- local time ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "change"),
    [("2026-03-29T00:30+01:00", +1), ("2026-10-25T01:30+02:00", -1)],
    ids=["into summer time", "out of it"],
)
def test_local_time_may_jump(bundle, tmp_path, first, change):
    """Instants keep their order; the hour that happens twice is two hours."""
    first = datetime.fromisoformat(first)
    before = first.tzinfo
    after = timezone(before.utcoffset(None) + timedelta(hours=change))
    clocks_change = datetime(first.year, first.month, first.day, 1, tzinfo=UTC)  # in all of Europe
    hours = [first + timedelta(hours=i) for i in range(4)]
    instants = [at.astimezone(before if at < clocks_change else after) for at in hours]
    offsets = [int(at.utcoffset().total_seconds()) // 60 for at in instants]
    assert len(set(offsets)) == 2
    with SqliteHistory(tmp_path / "h.db") as history:
        predictor, by_seconds = Predictor(bundle, history=history), Predictor(bundle)
        for i, (at, offset) in enumerate(zip(instants, offsets, strict=True)):
            predictor.observe("ada", f"e{i}", at=at)
            by_seconds.observe("ada", f"e{i}", at=at.timestamp(), utc_offset_min=offset)
        events = history.latest("ada", 9)[1]
        assert events.event.rows() == ["e0", "e1", "e2", "e3"]
        assert set((events.time_s[1:] - events.time_s[:-1]).tolist()) == {3600}
        assert events.utc_offset_min.tolist() == offsets
        assert answer(predictor) == answer(by_seconds)
