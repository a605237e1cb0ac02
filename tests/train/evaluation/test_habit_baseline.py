"""The mixture of habit kernels against the runtime's kernels, query by query."""

import numpy as np
import pytest

from edgebehave.habits import (
    HABIT_EVENTS,
    KERNELS,
    HabitHistory,
    HabitWeights,
    habit_probs,
)
from edgebehave_train.evaluation.habit_baseline import habit_scores, habits
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets

NUM_BEHAVIORS, NUM_SPARE = 7, 2
WEIGHTS = HabitWeights(
    weight=(0.2, 0.1, 0.15, 0.1, 0.05, 0.15, 0.1, 0.15),
    shrinkage=(1, 2, 3, 4, 5, 6, 7, 8),
    popularity=0.1,
)


def make_log(seed: int = 0, future_seed: int | None = None, now: int = 0) -> BehaviorLog:
    """Three users; with a future seed, everything of user 2 from event `now` on is redrawn."""
    sizes = np.array([2, 90, 700])
    start = np.concatenate([[0], np.cumsum(sizes)])
    generator = np.random.default_rng(seed)
    columns = {
        "mapped_behavior": generator.integers(1, NUM_BEHAVIORS, sizes.sum()),
        "location": generator.integers(0, 4, sizes.sum()),
        "time_s": np.sort(generator.integers(0, 10**7, sizes.sum())),
    }
    index = np.arange(sizes.sum()) - np.repeat(start[:-1], sizes)
    is_train = index < 0.5 * np.repeat(sizes, sizes)
    spare = ~is_train & (generator.random(len(index)) < 0.1)
    columns["mapped_behavior"][spare] = NUM_BEHAVIORS + index[spare] % NUM_SPARE
    if future_seed is not None:
        other = np.random.default_rng(future_seed)
        columns["mapped_behavior"][now:] = other.integers(1, 8, sizes.sum() - now)
        columns["location"][now:] = 9
        columns["time_s"][now + 1 :] += 5 * 3600  # the target's own time is the query's
    return BehaviorLog.of_columns(
        **columns,
        user_start=start,
        utc_offset_min=np.full(sizes.sum(), 120),
        is_train=is_train,
        num_behaviors=NUM_BEHAVIORS,
        num_spare=NUM_SPARE,
    )


def held_out(log: BehaviorLog) -> Targets:
    return log.targets(~log.is_train)  # every event has a behavior


def test_scores_equal_the_formula_on_the_runtime_kernels():
    log = make_log()
    targets = held_out(log)
    scores = np.concatenate([scores for _, scores in habit_scores(log, targets, WEIGHTS)])
    assert scores.shape == (len(targets), NUM_BEHAVIORS + NUM_SPARE)
    popularity = np.pad(log.train_counts / log.train_counts.sum(), (0, NUM_SPARE))
    for i in range(0, len(targets), 7):
        user = log.user(int(targets.user[i]))
        row = int(targets.row[i] - log.user_start[targets.user[i]])
        kept = slice(max(0, row - HABIT_EVENTS), row)
        history = HabitHistory(
            behavior=user.behavior[kept],
            location=user.location[kept],
            time_s=user.time_s[kept],
            utc_offset_min=user.utc_offset_min[kept],
        )
        asked_at, offset = int(user.query_time_s[row]), int(user.utc_offset_min[row])
        probs_KC, evidence_K = habit_probs(history, len(popularity), asked_at, offset)
        expected = WEIGHTS.popularity * popularity
        for k in range(len(KERNELS)):
            voice = evidence_K[k] / (evidence_K[k] + WEIGHTS.shrinkage[k])
            expected = expected + WEIGHTS.weight[k] * voice * probs_KC[k]
        np.testing.assert_allclose(scores[i], expected, rtol=1e-5)


def test_the_future_changes_nothing():
    log, now = make_log(), 92 + 600
    changed = make_log(future_seed=5, now=now)
    targets = held_out(log)
    before, after = habits(log, targets, WEIGHTS), habits(changed, targets, WEIGHTS)
    unaffected = targets.event <= now
    for field in ("num_greater", "num_tied", "predicted"):
        np.testing.assert_array_equal(getattr(before, field)[unaffected], getattr(after, field)[unaffected])
    assert np.any(before.predicted[~unaffected] != after.predicted[~unaffected])


def test_any_subset_of_targets_gets_the_same_scores():
    log = make_log()
    targets = held_out(log)
    chosen = np.flatnonzero(np.random.default_rng(0).random(len(targets)) < 0.2)
    whole = habits(log, targets)
    some = habits(log, targets.take(chosen))
    np.testing.assert_array_equal(some.predicted, whole.predicted[chosen])
    np.testing.assert_array_equal(some.num_greater, whole.num_greater[chosen])


def test_a_history_of_input_only_events_leaves_popularity():
    behavior = np.full(HABIT_EVENTS + 3, -1)
    behavior[[0, -1]] = [2, 1]
    log = BehaviorLog.of_columns(
        user_start=np.array([0, len(behavior)]),
        mapped_behavior=behavior,
        location=np.zeros(len(behavior), int),
        time_s=np.arange(len(behavior)),
        utc_offset_min=np.zeros(len(behavior), int),
        is_train=np.arange(len(behavior)) == 0,
        num_behaviors=3,
    )
    predictions = habits(log, log.targets(behavior == 1))
    assert predictions.predicted.tolist() == [2]


def test_weights_are_checked_and_survive_the_vector():
    with pytest.raises(ValueError, match="one number per kernel"):
        HabitWeights(weight=(1.0, 2.0))
    with pytest.raises(ValueError, match="negative"):
        HabitWeights(popularity=-0.1)
    with pytest.raises(ValueError, match="positive"):
        HabitWeights(shrinkage=(0.0,) * len(KERNELS))
    back = HabitWeights.from_vector(WEIGHTS.to_vector())
    assert back.weight == pytest.approx(WEIGHTS.weight)
    assert back.shrinkage == pytest.approx(WEIGHTS.shrinkage)
    assert back.popularity == pytest.approx(WEIGHTS.popularity)
