"""Ranks of targets among scores, ties and unknown targets included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.metrics.ranking import OUT_OF_REACH, rank_in_blocks, rank_targets


def make_targets(behavior: list[int]) -> Targets:
    behavior_T = np.array(behavior)
    index = np.arange(len(behavior_T))
    return Targets(
        event=index,
        row=index,
        user=index,
        behavior=behavior_T,
        last_behavior=np.ones_like(behavior_T),
        is_switch=behavior_T != 1,
        is_repeat=behavior_T > 1,
    )


def test_ranks_by_hand():
    scores = np.array([[9.0, 3, 1, 3, 0], [9.0, 3, 1, 3, 0], [9.0, 0, 0, 0, 0], [9.0, -np.inf, 2, 1, 2]])
    num_greater, num_tied, predicted = rank_targets(scores, np.array([3, 2, 4, 1]))
    assert num_greater.tolist() == [0, 2, 0, 3]
    assert num_tied.tolist() == [2, 1, 4, 1]
    assert predicted.tolist() == [1, 1, 1, 2]  # ties: the lowest id


def test_unknown_target_is_out_of_reach_and_column_0_is_no_candidate():
    num_greater, num_tied, predicted = rank_targets(np.array([[np.nan, 1.0, 2.0]]), np.array([0]))
    assert (num_greater[0], num_tied[0], predicted[0]) == (OUT_OF_REACH, 1, 2)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        rank_targets(np.array([[0.0, np.nan, 1.0]]), np.array([1]))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.data())
def test_ranks_do_not_depend_on_the_order_of_candidates(scores, data):
    order = data.draw(st.permutations(range(len(scores))))
    target = data.draw(st.integers(0, len(scores) - 1))
    plain = np.array([[0, *scores]])
    permuted = np.array([[0, *(scores[i] for i in order)]])
    greater, tied, predicted = rank_targets(plain, np.array([target + 1]))
    greater_too, tied_too, _ = rank_targets(permuted, np.array([order.index(target) + 1]))
    assert greater[0] == greater_too[0] == sum(s > scores[target] for s in scores)
    assert tied[0] == tied_too[0] == scores.count(scores[target])
    assert predicted[0] == 1 + scores.index(max(scores))


def test_blocks_give_what_one_matrix_gives():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 4, (9, 6))
    targets = make_targets(generator.integers(0, 6, 9).tolist())
    whole = rank_in_blocks(targets, [(slice(0, 9), scores)])
    pieces = [
        (np.array([3, 1]), scores[[3, 1]]),
        (slice(4, 9), scores[4:]),
        ([0, 2], scores[[0, 2]]),
    ]
    split = rank_in_blocks(targets, pieces)
    for name in ("num_greater", "num_tied", "predicted"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(split, name))


@pytest.mark.parametrize("rows", [[[0, 1]], [[0, 1], [1, 2]]])
def test_every_target_must_be_scored_once(rows):
    targets = make_targets([1, 1, 1])
    with pytest.raises(ValueError, match="1 of 3 targets"):
        rank_in_blocks(targets, [(np.array(r), np.ones((len(r), 3))) for r in rows])
