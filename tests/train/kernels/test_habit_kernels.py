"""The kernels of a whole log at once, equal to the runtime's kernels asked one query at a time."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.habits import (
    HABIT_EVENTS,
    KERNELS,
    TIMED_KERNELS,
    HabitHistory,
    habit_probs,
    kernel_weights,
)
from edgebehave_train.kernels import habit_kernels as habit_features
from edgebehave_train.kernels import pairs as pairs_module
from edgebehave_train.kernels.habit_kernels import kernel_blocks, target_numbers
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog, UserBehaviors

NUM_BEHAVIORS = 5
RATIO_V = np.array([0.1, 1.0, 0.5, 0.02, 0.3])


@dataclass(frozen=True)
class Events:
    """All events of one user, those without a behavior included, and when each is asked for."""

    behavior: np.ndarray
    location: np.ndarray
    time_s: np.ndarray
    query_time_s: np.ndarray
    utc_offset_min: np.ndarray

    @classmethod
    def random(cls, num_events: int, seed: int) -> "Events":
        rng = np.random.default_rng(seed)
        time_s = 1_700_000_000 + rng.integers(0, 40_000, num_events).cumsum()
        asked = time_s - rng.integers(0, 4_000, num_events)
        return cls(
            behavior=rng.integers(-1, NUM_BEHAVIORS, num_events),
            location=rng.integers(0, 3, num_events),
            time_s=time_s,
            query_time_s=np.where(rng.random(num_events) < 0.2, NO_TIME, asked),
            utc_offset_min=rng.choice([-480, 0, 330], num_events),
        )

    def behaviors(self) -> UserBehaviors:
        index = np.flatnonzero(self.behavior >= 0)
        columns = {name: column[index] for name, column in vars(self).items()}
        return UserBehaviors(event_index=index, **columns)

    def history_before(self, event: int, history_events: int) -> HabitHistory:
        """What a device holds when it is asked for an event."""
        kept = slice(max(0, event - history_events), event)
        return HabitHistory.of_events(
            self.behavior[kept], self.location[kept], self.time_s[kept], self.utc_offset_min[kept]
        )

    def query(self, event: int) -> tuple[int | None, int]:
        time_s = int(self.query_time_s[event])
        return None if time_s == NO_TIME else time_s, int(self.utc_offset_min[event])


def numbers_of(user: UserBehaviors, history_events: int = HABIT_EVENTS):
    """`target_numbers` of all behaviors of a user: p_k(y), E_k and A_k under RATIO_V."""
    num = len(user.behavior)
    log = BehaviorLog(
        user_start=np.array([0, num]),
        event=user.event_index,
        target=user.behavior,
        is_train=np.ones(num, bool),
        num_behaviors=NUM_BEHAVIORS,
        num_spare=0,
        **vars(user),
    )
    past = PastBehaviors.of_log(log, torch.device("cpu"), history_events)
    past = replace(past, ratio=torch.from_numpy(RATIO_V[user.behavior]).float())
    blocks = past.blocks(torch.arange(num), torch.from_numpy(user.query_time_s != NO_TIME))
    return [one.numpy() for one in target_numbers(blocks, past.behavior, shifts_prior=True)]


def assert_equal_to_the_runtime(events: Events, history_events: int, every: int = 1) -> None:
    user = events.behaviors()
    num_behaviors = len(user.behavior)
    scattered = np.zeros((num_behaviors, len(KERNELS), num_behaviors), np.float32)
    for block in kernel_blocks(user, history_events=history_events):
        scattered[block.rows, :, block.columns] = block.weights_KRC.transpose(1, 0, 2)
    target_probs, evidence, normalizers = numbers_of(user, history_events)
    for numbers in (target_probs, evidence, normalizers):
        assert not numbers[:1].any()
    for row in range(1, num_behaviors, every):
        event = int(user.event_index[row])
        history = events.history_before(event, history_events)
        query = events.query(event)
        expected = kernel_weights(history, *query)
        seen = slice(row - expected.shape[1], row)
        np.testing.assert_allclose(scattered[row, :, seen], expected, rtol=2e-5, atol=1e-7)
        assert np.count_nonzero(scattered[row]) == np.count_nonzero(expected)
        probs_KV, evidence_K = habit_probs(history, NUM_BEHAVIORS, *query)
        np.testing.assert_allclose(evidence[row], evidence_K, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(target_probs[row], probs_KV[:, user.behavior[row]], rtol=5e-5, atol=1e-6)
        np.testing.assert_allclose(normalizers[row], probs_KV @ RATIO_V, rtol=5e-5, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 2**32), st.sampled_from([1, 2, 3, 10, 50]))
def test_every_query_of_a_short_log(num_events, seed, history_events):
    assert_equal_to_the_runtime(Events.random(num_events, seed), history_events)


@pytest.mark.parametrize("block_rows", [1, 7, 256])
def test_the_size_of_a_block_changes_nothing(block_rows, monkeypatch):
    monkeypatch.setattr(habit_features, "_BLOCK_ROWS", block_rows)
    monkeypatch.setitem(pairs_module._PAIRS_AT_ONCE, "cpu", 40 * block_rows)
    assert_equal_to_the_runtime(Events.random(120, seed=1), history_events=30)


def test_the_default_history_on_a_long_log():
    assert_equal_to_the_runtime(Events.random(1500, seed=2), HABIT_EVENTS, every=97)


def test_a_history_of_input_only_events_says_nothing():
    events = Events.random(30, seed=3)
    events.behavior[:] = -1
    events.behavior[[0, 29]] = 1
    user = events.behaviors()
    target_probs, evidence, _ = numbers_of(user, history_events=20)
    assert not target_probs.any()
    assert not evidence.any()
    _, evidence, _ = numbers_of(user, history_events=29)
    assert evidence[1, KERNELS.index("frequency")] == 1


def test_a_query_without_a_time_has_no_timed_evidence():
    events = Events.random(60, seed=4)
    user = events.behaviors()
    _, evidence, _ = numbers_of(user)
    timed = [KERNELS.index(name) for name in TIMED_KERNELS]
    is_timed = user.query_time_s != NO_TIME
    assert not evidence[np.ix_(~is_timed, timed)].any()
    assert evidence[np.ix_(is_timed, timed)].any()


def test_the_future_changes_no_earlier_number():
    events = Events.random(80, seed=5)
    before = numbers_of(events.behaviors(), history_events=20)
    now = 50
    other = Events.random(80, seed=6)
    for name in ("behavior", "location"):
        column = getattr(events, name)
        column[now:] = np.where(events.behavior[now:] >= 0, getattr(other, name)[now:], column[now:])
    row = int(np.searchsorted(events.behaviors().event_index, now))
    after = numbers_of(events.behaviors(), history_events=20)
    for earlier, later in zip(before, after, strict=True):
        # The last bit of a power depends on its place in memory.
        np.testing.assert_allclose(earlier[:row], later[:row], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("first", "stop"), [(1, 2), (5, 30), (29, 40)])
def test_a_range_of_targets_is_a_part_of_the_whole(first, stop):
    user = Events.random(70, seed=7).behaviors()
    whole = {}
    for block in kernel_blocks(user, history_events=15):
        for i, row in enumerate(range(block.rows.start, block.rows.stop)):
            whole[row] = block.weights_KRC[:, i].sum(1)
    rows = []
    for block in kernel_blocks(user, first, stop, history_events=15):
        for i, row in enumerate(range(block.rows.start, block.rows.stop)):
            rows.append(row)
            np.testing.assert_allclose(block.weights_KRC[:, i].sum(1), whole[row], rtol=1e-5)
    assert rows == list(range(first, stop))
