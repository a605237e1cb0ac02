"""Counted baselines against numbers worked by hand, slow references and a changed future."""

from collections import Counter

import numpy as np
import pytest

from edgebehave_train.evaluation.baselines import (
    BASELINES,
    markov,
    most_frequently_used,
    most_popular,
    most_recently_used,
)
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.metrics.ranking import rank_targets

NUM_BEHAVIORS, NUM_SPARE = 6, 3  # known ids 1..5, spare ids 6..8


def make_log(histories: list[list[int]], num_train: list[int]) -> BehaviorLog:
    """Users with given behaviors, the first of which train."""
    sizes = [len(history) for history in histories]
    is_train = [np.arange(size) < train for size, train in zip(sizes, num_train, strict=True)]
    return BehaviorLog.of_columns(
        user_start=np.concatenate([[0], np.cumsum(sizes)]),
        mapped_behavior=np.concatenate(histories),
        location=np.zeros(sum(sizes), int),
        time_s=np.arange(sum(sizes)),
        utc_offset_min=np.zeros(sum(sizes), int),
        is_train=np.concatenate(is_train),
        num_behaviors=NUM_BEHAVIORS,
        num_spare=NUM_SPARE,
    )


def random_log(seed: int) -> tuple[list[list[int]], list[int]]:
    """Histories whose training parts know no spare ids, and the lengths of these parts."""
    generator = np.random.default_rng(seed)
    histories, num_train = [], []
    for size in (0, 1, 7, 25, 60):
        train = int(0.6 * size)
        history = generator.integers(1, NUM_BEHAVIORS - 1, size)  # id 5: never in training
        history[train:] = generator.integers(-1, NUM_BEHAVIORS + NUM_SPARE, size - train)
        histories.append(history.tolist())
        num_train.append(train)
    return histories, num_train


def held_out(log: BehaviorLog) -> Targets:
    in_part = np.ones(int(log.event.max()) + 1, bool)
    in_part[log.event[log.is_train]] = False
    return log.targets(in_part)


def slow_scores(name: str, shared: list[list[int]], past: list[int], num_own: int) -> np.ndarray:
    """Scores of one target; `shared` are the training parts, `num_own` of `past` is in them."""
    known = range(1, NUM_BEHAVIORS)
    scores = np.full(NUM_BEHAVIORS + NUM_SPARE, -np.inf)
    scores[1:NUM_BEHAVIORS] = 0
    if name == "most_popular":
        for b in known:
            scores[b] = sum(history.count(b) for history in shared)
    elif name == "most_frequently_used":
        for b in past:
            scores[b] = past.count(b)
    elif name == "most_recently_used":
        for position, b in enumerate(past):
            scores[b] = 1 + position
    else:
        scores[:] = 0
        scores[1:NUM_BEHAVIORS] = 1 / len(known)
        for length in range(int(name[-1]) + 1):
            if length > len(past):
                break
            context = past[len(past) - length :]
            counts: Counter[int] = Counter()
            for history, first in [*((h, 0) for h in shared), (past, num_own)]:
                for j in range(max(first, length), len(history)):
                    if history[j - length : j] == context and history[j] != 0:
                        counts[history[j]] += 1
            total, distinct = counts.total(), len(counts)
            if total:
                smoothed = np.array([counts[b] for b in range(len(scores))]) + distinct * scores
                scores = smoothed / (total + distinct)
    return scores


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_slow_definition(name, seed):
    histories, num_train = random_log(seed)
    log = make_log(histories, num_train)
    targets = held_out(log)
    assert len(targets) > 20
    fast = BASELINES[name](log, targets)
    shared = [history[:train] for history, train in zip(histories, num_train, strict=True)]
    start = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    for i, (event, user) in enumerate(zip(targets.event, targets.user, strict=True)):
        past = [b for b in histories[user][: event - start[user]] if b >= 0]
        scores = slow_scores(name, shared, past, num_train[user])
        above, tied, top = rank_targets(scores[None], targets.behavior[i : i + 1])
        assert (fast.num_greater[i], fast.num_tied[i]) == (above[0], tied[0])
        assert fast.predicted[i] == top[0]


def test_recency_and_frequency_by_hand():
    log = make_log([[1, 2, 2, 3, 1, 6, 4]], [5])
    targets = held_out(log)  # behaviors 6 (unknown) and 4
    recent = most_recently_used(log, targets)
    assert recent.predicted.tolist() == [1, 6]
    assert recent.num_greater[1] == 4  # 6, 1, 3, 2 were done; 4 and 5 never
    assert recent.num_tied[1] == 2
    frequent = most_frequently_used(log, targets)
    assert frequent.predicted.tolist() == [1, 1]  # 1 and 2 were done twice: the lowest id
    assert frequent.num_greater[1] == 4
    popular = most_popular(log, targets)
    assert (popular.num_greater[1], popular.num_tied[1]) == (3, 2)


def test_markov_backs_off_from_what_never_happened():
    # After 1 always came 2; after 3 nothing yet, so frequencies decide: 1 and 2 four times each.
    log = make_log([[1, 2, 1, 2, 1, 2, 4, 3], [1, 2], [2, 3, 4]], [8, 1, 2])
    targets = held_out(log)
    predictions = markov(log, targets, 1)
    assert predictions.predicted.tolist() == [2, 1]
    assert predictions.num_greater.tolist() == [0, 3]  # 1, 2 and 3 are more frequent than 4
    with pytest.raises(ValueError, match="order 1 or 2"):
        markov(log, targets, 3)


@pytest.mark.parametrize("name", BASELINES)
def test_the_future_and_the_other_users_since_training_change_nothing(name):
    histories, num_train = random_log(0)
    targets = held_out(make_log(histories, num_train))
    before = BASELINES[name](make_log(histories, num_train), targets)
    start = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    changed = [list(history) for history in histories]
    now = start[4] + 45
    # Same events with a behavior, so that rows stay: only what they are is different.
    changed[4][45:] = [b if b < 0 else 1 + (b + 1) % 5 for b in changed[4][45:]]
    changed[3][num_train[3] :] = [b if b < 0 else 1 for b in changed[3][num_train[3] :]]
    after = BASELINES[name](make_log(changed, num_train), targets)
    unaffected = (targets.user != 3) & (targets.event <= now)
    assert unaffected.sum() > 5
    for field in ("num_greater", "num_tied", "predicted"):
        np.testing.assert_array_equal(getattr(before, field)[unaffected], getattr(after, field)[unaffected])


@pytest.mark.parametrize("name", BASELINES)
def test_targets_in_the_training_part_are_refused(name):
    log = make_log([[1, 2, 3, 4]], [3])
    with pytest.raises(ValueError, match="training part"):
        BASELINES[name](log, log.targets(np.ones(4, bool)))
