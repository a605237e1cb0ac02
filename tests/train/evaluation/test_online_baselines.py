"""Online baselines: the rankings of `FollowTheLeader` as scores, prequential, with ties behind."""

import numpy as np
import pytest

from edgebehave.follow_the_leader import FollowTheLeader
from edgebehave_train.evaluation.online_baselines import ONLINE_BASELINES, online_baselines
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets
from edgebehave_train.metrics.ranking import OUT_OF_REACH

NUM_BEHAVIORS, NUM_SPARE = 6, 3  # known ids 1..5, spare ids 6..8


def make_log(histories: list[list[int]], num_train: int = 0) -> BehaviorLog:
    """Users with given behaviors; the first ones of each train."""
    sizes = [len(history) for history in histories]
    return BehaviorLog.of_columns(
        user_start=np.concatenate([[0], np.cumsum(sizes)]),
        mapped_behavior=np.concatenate(histories),
        location=np.zeros(sum(sizes), int),
        time_s=np.arange(sum(sizes)),
        utc_offset_min=np.zeros(sum(sizes), int),
        is_train=np.concatenate([np.arange(size) < num_train for size in sizes]),
        num_behaviors=NUM_BEHAVIORS,
        num_spare=NUM_SPARE,
    )


def held_out(log: BehaviorLog) -> Targets:
    in_part = np.ones(int(log.event.max()) + 1, bool)
    in_part[log.event[log.is_train]] = False
    return log.targets(in_part)


def test_ranks_and_ties_by_hand():
    log = make_log([[1, 2, 1, 2, 1, 4]], 4)
    predictions = online_baselines(log, held_out(log))
    # 1, after 2: the only one that has followed. 4, never done: behind 1 and 2, tied with 3 and 5; spare ids are none.
    for name in ONLINE_BASELINES:
        assert predictions[name].num_greater.tolist() == [0, 2]
        assert predictions[name].num_tied.tolist() == [1, 3]
        assert predictions[name].predicted.tolist() == [1, 2]


def test_a_spare_id_is_a_candidate_once_it_was_used():
    log = make_log([[1, 7, 1, 7, 1, 7, 1]], 3)
    predicted = online_baselines(log, held_out(log))["online_markov_1"]
    assert predicted.predicted.tolist() == [7, 1, 7, 1]
    assert predicted.num_greater.tolist() == [OUT_OF_REACH, 0, OUT_OF_REACH, 0]  # a miss: no known behavior


@pytest.mark.parametrize("name", ONLINE_BASELINES)
def test_every_target_is_predicted_from_the_whole_past_of_its_user(name):
    generator = np.random.default_rng(0)
    histories = [generator.integers(1, NUM_BEHAVIORS, size).tolist() for size in (40, 2, 600)]  # over two blocks
    log = make_log(histories, 1)
    targets = held_out(log)
    found = online_baselines(log, targets, [name])[name]
    for i, (row, user) in enumerate(zip(targets.row, targets.user, strict=True)):
        past = histories[user][: row - log.user_start[user]]
        ranked = FollowTheLeader(past).ranking(ONLINE_BASELINES[name])
        target = histories[user][len(past)]
        assert found.predicted[i] == ranked[0]
        if target in ranked:
            assert (found.num_greater[i], found.num_tied[i]) == (ranked.index(target), 1)
        else:
            assert (found.num_greater[i], found.num_tied[i]) == (len(ranked), NUM_BEHAVIORS - 1 - len(ranked))


def test_the_future_and_other_users_change_nothing():
    generator = np.random.default_rng(1)
    first, second = (generator.integers(1, NUM_BEHAVIORS, 60).tolist() for _ in range(2))
    log = make_log([first, second], 5)
    targets = held_out(log)
    changed = make_log([[1] * 60, second[:40] + [b % 5 + 1 for b in second[40:]]], 5)
    unaffected = (targets.user == 1) & (targets.row < 60 + 40)
    assert unaffected.sum() == 35
    before, after = online_baselines(log, targets), online_baselines(changed, targets)
    for name in ONLINE_BASELINES:
        np.testing.assert_array_equal(before[name].predicted[unaffected], after[name].predicted[unaffected])
        np.testing.assert_array_equal(before[name].num_greater[unaffected], after[name].num_greater[unaffected])


def test_targets_in_the_training_part_are_refused():
    log = make_log([[1, 2, 3, 4]], 3)
    with pytest.raises(ValueError, match="training part"):
        online_baselines(log, log.targets(np.ones(4, bool)))
