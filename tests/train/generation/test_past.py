"""The past that a future is generated from: what it holds, what moves, what the kernels see."""

import numpy as np
import pytest

from edgebehave_train.generation.past import Past, Prompts
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary

START_S = 1_700_000_000


@pytest.fixture(scope="module")
def log(make_store):
    """Two users: a, ping, b, a; and b. "ping" has no behavior."""
    first = [(START_S, "a", "x"), (START_S + 60, "ping", None), (START_S + 600, "b", "y")]
    users = [[*first, (START_S + 900, "a", "x")], [(START_S + 30, "b", None)]]
    store = make_store(users, {"a": "a", "b": "b", "ping": None})
    return map_log(store, training_vocabulary(store, np.ones(5, bool)))


def of_users(log, *users, num_steps=1):
    start, stop = log.user_start[:-1], log.user_start[1:]
    index = np.array(users)
    prompts = Prompts(user=index, start=start[index], stop=stop[index])
    return Past.of_prompts(log, prompts, num_steps), prompts.stop - prompts.start


def test_behaviors_end_together_and_the_shorter_past_begins_later(log):
    longer = int(np.diff(log.user_start).argmax())
    past, num_seen = of_users(log, longer, 1 - longer)
    assert past.behavior.shape == (2, 5), "four events and a step"
    np.testing.assert_array_equal(past.is_there, [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(past.event_index[0, 2:], [0, 2, 3])
    np.testing.assert_array_equal(past.time_s[0, 2:] - START_S, [0, 600, 900])
    sight = past.sight(num_seen)
    np.testing.assert_array_equal(sight.seen, past.is_there)
    np.testing.assert_array_equal(sight.has_before, [[0, 0, 0, 1, 1], [0] * 5])
    np.testing.assert_array_equal(sight.has_two_before, [[0, 0, 0, 0, 1], [0] * 5])
    np.testing.assert_array_equal(sight.age, [[4, 3, 2, 1, 0]])


def test_the_newest_pushes_the_oldest_out(log):
    longer = int(np.diff(log.user_start).argmax())
    past, num_seen = of_users(log, longer)
    before = past.behavior.copy()
    past.append(
        behavior=np.array([2]),
        time_s=np.array([START_S + 1000]),
        event_index=num_seen,
        is_there=np.array([True]),
    )
    np.testing.assert_array_equal(past.behavior[:, :-1], before[:, 1:])
    assert past.behavior[0, -1] == 2
    assert past.sight(num_seen + 1).seen.sum() == 4


def test_a_user_without_a_behavior_has_no_future(log):
    longer = int(np.diff(log.user_start).argmax())
    ping = int(log.user_start[longer]) + 1
    prompts = Prompts(user=np.array([longer]), start=np.array([ping]), stop=np.array([ping + 1]))
    with pytest.raises(ValueError, match="without a behavior"):
        Past.of_prompts(log, prompts, 1)
