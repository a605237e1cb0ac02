"""Metrics against numbers worked by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, precision_score, recall_score, top_k_accuracy_score

from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.frequencies import group_of_behavior
from edgebehave_train.metrics.prediction_metrics import (
    CUTOFFS,
    evaluate_predictions,
    hit_rate_at_k,
    ndcg_at_k,
    reciprocal_rank,
)
from edgebehave_train.metrics.ranking import Predictions, rank_in_blocks

TRAIN_COUNTS = np.array([0, 900, 60, 50, 10, 9, 1])  # of 1030: head, head, medium, tail from 4 on


def make_predictions(scores: np.ndarray, behavior: np.ndarray, last: np.ndarray | None = None) -> Predictions:
    index = np.arange(len(behavior))
    last = np.ones_like(behavior) if last is None else last
    targets = Targets(
        event=index,
        row=index,
        user=index % 3,
        behavior=behavior,
        last_behavior=last,
        is_switch=behavior != last,
        is_repeat=behavior != 3,
    )
    return rank_in_blocks(targets, [(slice(0, len(behavior)), scores)])


def ranked(num_greater: list[int], num_tied: list[int]) -> Predictions:
    """Predictions with given ranks among ten candidates."""
    scores = np.full((len(num_greater), 11), -1.0)
    for row, (above, tied) in enumerate(zip(num_greater, num_tied, strict=True)):
        scores[row, 1 : 1 + tied] = 0
        scores[row, 1 + tied : 1 + tied + above] = 1
    return make_predictions(scores, np.ones(len(num_greater), int))


def test_ties_stand_at_their_expected_rank():
    # Alone at rank 2; one of three at ranks 1..3; one of four at ranks 3..6.
    predictions = ranked([1, 0, 2], [1, 3, 4])
    assert hit_rate_at_k(predictions, 1).tolist() == pytest.approx([0, 1 / 3, 0])
    assert hit_rate_at_k(predictions, 3).tolist() == pytest.approx([1, 1, 1 / 4])
    assert hit_rate_at_k(predictions, 5).tolist() == pytest.approx([1, 1, 3 / 4])
    gain = [0, *(1 / math.log2(1 + rank) for rank in range(1, 7))]
    assert ndcg_at_k(predictions, 4).tolist() == pytest.approx(
        [gain[2], (gain[1] + gain[2] + gain[3]) / 3, (gain[3] + gain[4]) / 4]
    )
    assert reciprocal_rank(predictions).tolist() == pytest.approx(
        [1 / 2, (1 + 1 / 2 + 1 / 3) / 3, (1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 4]
    )


def test_at_k_1_ndcg_is_the_hit_rate_and_with_all_candidates_every_known_target_is_hit():
    predictions = ranked([0, 0, 3, 9], [1, 10, 2, 1])
    np.testing.assert_allclose(ndcg_at_k(predictions, 1), hit_rate_at_k(predictions, 1))
    np.testing.assert_allclose(hit_rate_at_k(predictions, 10), 1)


@pytest.mark.slow
def test_tied_metrics_are_the_mean_over_random_orders_of_the_tie():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 3, (1, 8)).astype(float)
    behavior = np.array([4])
    tied = evaluate_predictions(make_predictions(scores, behavior), np.ones(8, int))
    orders = [
        evaluate_predictions(
            make_predictions(scores + 0.5 * generator.random(scores.shape), behavior),
            np.ones(8, int),
        )
        for _ in range(3000)
    ]
    for name in ("hr_at_1", "hr_at_3", "ndcg_at_5", "mrr"):
        assert np.mean([o[name] for o in orders]) == pytest.approx(tied[name], abs=0.03)


def test_classes_by_hand():
    #          hit, hit, miss, miss, hit,  spare, unknown
    targets = np.array([1, 1, 1, 3, 4, 6, 0])
    top = np.array([1, 1, 3, 1, 4, 7, 4])
    last = np.array([1, 2, 2, 3, 1, 1, 1])
    scores = np.zeros((7, 8))
    scores[np.arange(7), top] = 1
    metrics = evaluate_predictions(make_predictions(scores, targets, last), TRAIN_COUNTS)
    assert metrics["weighted_recall"] == pytest.approx(3 / 7)
    # precision_1 = 2/3, precision_3 = 0, precision_4 = 1/2, precision_6 and precision_0 = 0
    assert metrics["weighted_precision"] == pytest.approx((3 * 2 / 3 + 1 * 1 / 2) / 7)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 0 + 1 + 0) / 4)
    assert metrics["macro_precision"] == pytest.approx((2 / 3 + 0 + 1 / 2 + 0) / 4)
    assert metrics["head_accuracy"] == pytest.approx(2 / 3)
    assert metrics["medium_accuracy"] == 0
    assert metrics["tail_accuracy"] == pytest.approx(1 / 3)  # the unknown target is a tail miss
    assert metrics["head_category_accuracy"] == pytest.approx(2 / 3)
    assert metrics["medium_category_accuracy"] == 0
    assert metrics["tail_category_accuracy"] == pytest.approx((1 + 0) / 2)
    assert metrics["hr_at_1_switches"] == pytest.approx(2 / 5)
    assert metrics["hr_at_1_repeats"] == pytest.approx(3 / 6)  # all but behavior 3
    assert metrics["hr_at_1_explores"] == 0  # behavior 3


def test_groups_follow_training_frequency():
    assert group_of_behavior(TRAIN_COUNTS).tolist() == [2, 0, 0, 1, 2, 2, 2]
    # Exactly 5 % and exactly 1 % are medium.
    assert group_of_behavior(np.array([0, 94, 5, 1])).tolist() == [2, 0, 1, 1]


@pytest.fixture(scope="module")
def random_case() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(400, 9))
    behavior = generator.integers(1, 9, 400)
    scores[np.arange(400), behavior] += 0.7
    return scores, behavior


def test_precision_and_recall_equal_scikit_learn(random_case):
    scores, behavior = random_case
    behavior = np.where(behavior == 8, 0, behavior)  # 8 becomes a spare id, its targets unknown
    predictions = make_predictions(scores, behavior)
    metrics = evaluate_predictions(predictions, np.ones(8, int))
    truth, top = behavior, predictions.predicted
    for metric, score in (("precision", precision_score), ("recall", recall_score)):
        assert metrics[f"weighted_{metric}"] == pytest.approx(score(truth, top, average="weighted", zero_division=0))
        assert metrics[f"macro_{metric}"] == pytest.approx(
            score(truth, top, average="macro", labels=range(1, 8), zero_division=0)
        )


@pytest.mark.parametrize("k", CUTOFFS[:-1])
def test_ranks_equal_scikit_learn(random_case, k):
    scores, behavior = random_case
    metrics = evaluate_predictions(make_predictions(scores, behavior), np.ones(9, int), [k])
    assert metrics[f"hr_at_{k}"] == pytest.approx(
        top_k_accuracy_score(behavior, scores[:, 1:], k=k, labels=range(1, 9))
    )
    relevant = np.eye(9)[behavior][:, 1:]
    assert metrics[f"ndcg_at_{k}"] == pytest.approx(ndcg_score(relevant, scores[:, 1:], k=k))
    coarse = np.round(scores)  # scikit-learn averages the gains of a tie, too
    metrics = evaluate_predictions(make_predictions(coarse, behavior), np.ones(9, int), [k])
    assert metrics[f"ndcg_at_{k}"] == pytest.approx(ndcg_score(relevant, coarse[:, 1:], k=k))


def test_unknown_targets_are_misses_everywhere():
    scores = np.ones((4, 5))
    metrics = evaluate_predictions(make_predictions(scores, np.zeros(4, int)), np.ones(5, int))
    assert metrics["hr_at_10"] == metrics["ndcg_at_10"] == metrics["mrr"] == 0
    assert metrics["weighted_recall"] == metrics["weighted_precision"] == 0
    assert math.isnan(metrics["macro_recall"])  # no known behavior to take a mean over
