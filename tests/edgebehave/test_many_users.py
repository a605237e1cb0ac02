"""Many users on many threads: the same answers as one after the other."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave import HistoryError, Predictor, SqliteHistory

TINY = Path(__file__).parent / "tiny_bundle" / "int8"
START_S = 1_772_000_000
USERS = [f"user {i}" for i in range(12)]


def life(predictor: Predictor, num_rows: int = 240):
    rng = np.random.default_rng(3)
    names = predictor._vocabulary.events[1:]
    users = [USERS[i] for i in rng.integers(0, len(USERS), num_rows)]
    events = [names[i] for i in rng.integers(0, len(names), num_rows)]
    return users, events, START_S + 600 * np.arange(num_rows)


def answers(predictor: Predictor, **options):
    many = predictor.predict_many(USERS, 3, at=START_S + 10**6, utc_offset_min=0, **options)
    return [[(one.behavior, one.probability) for one in best] for best in many]


@pytest.fixture
def told():
    predictor = Predictor.load(TINY)
    users, events, at = life(predictor)
    for user, event, moment in zip(users, events, at, strict=True):
        predictor.observe(user, event, at=int(moment), utc_offset_min=60)
    return predictor


def test_many_are_the_same_as_one_by_one(told):
    many = Predictor.load(TINY)
    users, events, at = life(many)
    many.observe_many(users, events, at=at, utc_offset_min=60)
    assert many.users == told.users
    one_by_one = [told.predict(user, 3, at=START_S + 10**6, utc_offset_min=0) for user in USERS]
    assert many.predict_many(USERS, 3, at=START_S + 10**6, utc_offset_min=0) == one_by_one


@pytest.mark.parametrize("threads", [2, 5, 40])
def test_threads_change_nothing(told, threads):
    many = Predictor.load(TINY, state_mb=0.01)  # room for few users: states are dropped all the time
    users, events, at = life(many)
    many.observe_many(users, events, at=at, utc_offset_min=60)
    many.advance(USERS * 3, threads=threads)
    assert answers(many, threads=threads) == answers(told)


@pytest.mark.parametrize("kept", ["memory", "sqlite"])
def test_observing_and_predicting_at_once_loses_nothing(tmp_path, told, kept):
    history = SqliteHistory(tmp_path / "events.db") if kept == "sqlite" else None
    shared = Predictor.load(TINY, history=history, state_mb=0.01)
    users, events, at = life(shared)
    errors = []

    def work(part: int) -> None:
        try:
            for i, user in enumerate(users):
                if USERS.index(user) % 3 == part:
                    shared.observe(user, events[i], at=int(at[i]), utc_offset_min=60)
                    shared.predict(USERS[i % len(USERS)], at=int(at[i]))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert answers(shared) == answers(told)


@pytest.mark.parametrize(
    ("users", "events", "says"),
    [
        (["a", "b", "c"], ["x", "", "y"], "event must not be empty"),
        (["a", "", "c"], ["x", "y", "z"], "user must not be empty"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_recorded(users, events, says):
    predictor = Predictor()
    with pytest.raises(ValueError, match=says) as caught:
        predictor.observe_many(users, events, at=[START_S, START_S, START_S])
    assert caught.value.__notes__ == ["in row 1 of 3; nothing is recorded"]
    assert predictor.users == []


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(0, 5),
            st.sampled_from([None, None, -300, 0, 540]),
        ),
        max_size=12,
    ),
    num_before=st.integers(0, 12),
)
def test_a_batch_is_its_rows_one_after_the_other(rows, num_before):
    """Also where a number for `at` takes the local time of the event before, late or not."""
    one_by_one, batch = Predictor(), Predictor()
    for user, hour, offset in rows:
        one_by_one.observe(user, f"e{hour}", at=START_S + 3600 * hour, utc_offset_min=offset)
    for user, hour, offset in rows[:num_before]:
        batch.observe(user, f"e{hour}", at=START_S + 3600 * hour, utc_offset_min=offset)
    rest = rows[num_before:]
    batch.observe_many(
        [user for user, _, _ in rest],
        [f"e{hour}" for _, hour, _ in rest],
        at=[START_S + 3600 * hour for _, hour, _ in rest],
        utc_offset_min=[offset for _, _, offset in rest],
    )
    assert batch.users == one_by_one.users
    for user in batch.users:
        assert batch.export_user(user) == one_by_one.export_user(user)


def test_a_batch_that_fails_on_the_disk_leaves_nothing(tmp_path):
    """The file refuses the second event: the first one is not there either."""
    with SqliteHistory(tmp_path / "h.db") as history:
        history._file.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.event = 'bad'"
            " BEGIN SELECT raise(ABORT, 'no more'); END"
        )
        predictor = Predictor(history=history)
        predictor.observe("a", "good", at=START_S)
        before = predictor.predict("a", at=START_S)
        with pytest.raises(HistoryError, match="no more"):
            predictor.observe_many(["a", "b", "a"], ["good", "good", "bad"], at=START_S + 60)
        assert predictor.users == ["a"]
        assert predictor.num_events("a") == 1
        assert predictor.predict("a", at=START_S) == before


def test_columns_must_fit():
    predictor = Predictor()
    with pytest.raises(ValueError, match="events has 1 entries for 2 users"):
        predictor.observe_many(["a", "b"], ["x"])
    with pytest.raises(ValueError, match="at has 3 entries for 2 users"):
        predictor.predict_many(["a", "b"], at=[1, 2, 3])
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        predictor.predict_many(["a"], threads=0)


def test_without_a_bundle_there_is_nothing_to_advance():
    predictor = Predictor()
    predictor.observe("a", "coffee", at=START_S)
    predictor.advance(["a", "nobody"])
    assert predictor.predict_many(["a", "nobody"])[0][0].behavior == "coffee"


def test_a_single_name_is_no_list_of_users():
    predictor = Predictor()
    for call in (predictor.predict_many, predictor.advance):
        with pytest.raises(TypeError, match="users must be a list of names, got one: 'alice'"):
            call("alice")


def test_a_number_of_numpy_is_one_value_for_all():
    predictor = Predictor()
    predictor.observe_many(np.array(["a", "b"]), ["x", "y"], at=np.array(START_S))
    assert predictor.users == ["a", "b"]


def test_memory_must_be_finite():
    with pytest.raises(ValueError, match="state_mb must be above 0 and finite, got inf"):
        Predictor(state_mb=float("inf"))
