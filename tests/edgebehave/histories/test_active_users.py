"""The cache of mapped histories: bounded, and equal to the history after every kind of change."""

from types import SimpleNamespace

import pytest
from history_rows import START_S, rows_at, tell

from edgebehave import MemoryHistory
from edgebehave.histories.active_users import ActiveUsers
from edgebehave.histories.history import Match, UserEvent
from edgebehave.vocabulary import Vocabulary

VOCABULARY = Vocabulary.identity([f"event {i}" for i in range(50)])


@pytest.fixture
def history() -> MemoryHistory:
    return MemoryHistory(max_events=10)


def users_of(history: MemoryHistory, max_bytes: float = 1e6) -> ActiveUsers:
    return ActiveUsers(history, VOCABULARY, capacity=10, max_bytes=max_bytes)


def behaviors(users: ActiveUsers, user: str = "ada") -> list[int]:
    return users.get(user).events.latest().behavior.tolist()


def test_an_unknown_user_has_no_history(history):
    users = users_of(history)
    assert users.get("ada") is None
    assert len(users) == 0


def test_added_events_keep_the_mapped_history_and_other_changes_make_it_anew(history):
    users = users_of(history)
    rows = rows_at([10, 20, 30, 40])
    for row in rows[:2]:
        users.append(UserEvent("ada", *row))
    first = users.get("ada")
    first.network_state = SimpleNamespace(num_bytes=100)
    users.append(UserEvent("ada", *rows[2]))  # through the cache
    tell(history, rows[3:])  # past the cache
    assert behaviors(users) == [1, 2, 3, 4]
    assert users.get("ada") is first
    tell(history, [rows[0]._replace(time_s=START_S + 15)])
    assert behaviors(users) == [1, 1, 2, 3, 4]
    assert users.get("ada").network_state is None
    history.forget_events("ada", Match("event 0", None, 0, 2**33))
    assert behaviors(users) == [2, 3, 4]
    history.forget("ada")
    assert users.get("ada") is None


def test_a_late_event_through_the_cache_is_seen(history):
    users = users_of(history)
    rows = rows_at([10, 20, 5])
    users.append_many([UserEvent("ada", *row) for row in rows[:2]])
    assert behaviors(users) == [1, 2]
    users.append_many([UserEvent("ada", *rows[2])])
    assert behaviors(users) == [3, 1, 2]


def test_the_user_not_asked_about_for_longest_is_dropped(history):
    tell(history, rows_at([1]))
    users = users_of(history, 2.5 * users_of(history).get("ada").num_bytes)
    history.forget("ada")
    for user in ("ada", "bob", "cid"):
        tell(history, rows_at([1]), user)
    ada, bob = users.get("ada"), users.get("bob")
    users.get("ada")
    users.get("cid")
    assert len(users) == 2
    assert users.get("ada") is ada
    assert users.get("bob") is not bob


def test_what_grows_after_it_was_given_out_is_measured_again(history):
    """A state is made after the user was asked for; names come with events that are only observed."""
    for user in ("ada", "bob"):
        tell(history, rows_at([1]), user)
    plain = users_of(history).get("ada").num_bytes
    users = users_of(history, 3 * plain)
    users.get("ada").network_state = SimpleNamespace(num_bytes=3 * plain)
    bob = users.get("bob")
    assert len(users) == 1
    assert users.get("bob") is bob
    ada = users.get("ada")
    assert len(users) == 2
    for number in range(20):
        users.append(UserEvent("ada", f"{number} {'x' * 1000}", "a cave", START_S + 60 + number, 0))
    assert len(users) == 1
    assert users.get("ada") is ada  # the one asked about last stays, however large
    assert ada.num_bytes > 3 * plain


def test_a_user_who_leaves_takes_its_bytes_along(history):
    tell(history, rows_at([1]))
    users = users_of(history, 0)
    for _ in range(3):
        assert users.get("ada") is users.get("ada")
        users.drop("ada")
    assert users._num_bytes == 0
