"""Answers for whole logs: windows equal to one query at a time, rankings, and calibration errors."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k
from edgebehave_train.metrics.ranking import OUT_OF_REACH
from edgebehave_train.universal.answers import (
    READ_EVENTS,
    LogAnswers,
    answer_log,
    expected_calibration_error,
    predict_targets,
)
from edgebehave_train.universal.sequences import Sequences


@pytest.mark.parametrize("is_timed", [True, False])
def test_windows_answer_as_one_query_at_a_time(model, make_user, is_timed):
    users = [make_user(700), make_user(2, seed=1), make_user(1, seed=1), make_user(150, seed=2)]
    answers = answer_log(model, users, is_timed=is_timed)
    assert answers.user.tolist() == [0] * 699 + [1] + [3] * 149
    assert answers.position.tolist() == [*range(1, 700), 1, *range(1, 150)]
    for index in (0, 1, 127, 128, 130, 511, 512, 513, 600, 698, 699, 705, 848):
        name, location, local_s = users[answers.user[index]]
        position = answers.position[index]
        read = slice(max(0, position - READ_EVENTS), position + 1)
        with torch.no_grad():
            timed = None if is_timed else torch.tensor([[False]])
            alone = model(
                Sequences.of_arrays([(name[read], location[read], local_s[read])]),
                torch.tensor([read.stop - read.start - 1]),
                timed,
            )
        probs = alone.logits[0, 0].softmax(-1)
        target = int(alone.target)
        assert answers.is_new[index] == (target == len(probs) - 1)
        assert answers.probability[index] == pytest.approx(float(probs[target]), rel=1e-3)
        assert answers.novelty[index] == pytest.approx(float(probs[-1]), rel=1e-3)
        assert answers.confidence[index] == pytest.approx(float(probs[:-1].max()), rel=1e-3)
        if not answers.is_new[index]:
            assert answers.is_right[index] == (int(alone.logits[0, 0, :-1].argmax()) == target)


def test_users_do_not_depend_on_each_other(model, make_user):
    users = [make_user(60, seed=seed) for seed in range(5)]
    together, alone = answer_log(model, users, 10), answer_log(model, users[3:4], 10)
    own = together.take(together.user == 3)
    assert own.position.tolist() == alone.position.tolist() == list(range(10, 60))
    np.testing.assert_allclose(own.probability, alone.probability, rtol=1e-4)


def test_no_query_is_one_line(model, make_user):
    with pytest.raises(ValueError, match="no user has more than 20 behaviors"):
        answer_log(model, [make_user(20)], 20)


def test_hits_share_a_tie_and_a_new_name_is_a_miss():
    columns = {f.name: np.zeros(4) for f in fields(LogAnswers)}
    columns |= {
        "num_greater": np.array([0, 1, 2, 0]),
        "num_tied": np.array([1, 1, 4, 1]),
        "is_new": np.array([False, False, False, True]),
    }
    answers = LogAnswers(**columns)
    assert answers.hits(1).tolist() == [1, 0, 0, 0]
    assert answers.hits(3).tolist() == [1, 1, 0.25, 0]


def test_calibration_error_by_hand():
    probability = np.array([0.1, 0.3, 0.6, 0.8])
    came = np.array([False, False, True, True])
    # Bins (.1, .3) and (.6, .8): gaps |.2 - 0| and |.7 - 1|, each half of the queries.
    assert expected_calibration_error(probability, came, bins=2) == pytest.approx(0.25)
    assert expected_calibration_error(probability[::-1], came[::-1], bins=2) == pytest.approx(0.25)
    assert expected_calibration_error(probability, came, bins=15) == pytest.approx((0.1 + 0.3 + 0.4 + 0.2) / 4)
    assert np.isnan(expected_calibration_error(probability[:0], came[:0]))


def log_of(users, num_behaviors, early_s=0) -> tuple[BehaviorLog, np.ndarray]:
    """A log of users with names 1, 2, ...; those from `num_behaviors` on are spare ids. First third: training."""
    sizes = [len(name) for name, *_ in users]
    name, location, local_s = (np.concatenate(column) for column in zip(*users, strict=True))
    is_train = np.concatenate([np.arange(size) < size // 3 for size in sizes])
    log = BehaviorLog.of_columns(
        user_start=np.concatenate([[0], np.cumsum(sizes)]),
        mapped_behavior=name + 1,
        location=location + 1,
        time_s=local_s - 3600,
        utc_offset_min=np.full(len(name), 60),
        is_train=is_train,
        num_behaviors=num_behaviors,
        num_spare=max(0, int(name.max()) + 2 - num_behaviors),
        ask_early_s=early_s,
    )
    return log, ~is_train


@pytest.mark.parametrize("early_s", [0, None])
def test_targets_of_an_evaluation_have_the_same_ranks(model, make_user, early_s):
    users = [make_user(300), make_user(90, seed=3)]
    log, in_part = log_of(users, num_behaviors=4, early_s=early_s)
    targets = log.targets(in_part)
    predictions = predict_targets(model, log, targets)
    answers = answer_log(model, users, is_timed=early_s == 0)
    first = np.array([len(name) // 3 for name, *_ in users])
    of_part = answers.take(answers.position >= first[answers.user])
    assert len(targets) == len(of_part.user)
    known = targets.behavior > 0
    ranked = known & ~of_part.is_new
    assert ranked.sum() > 50
    np.testing.assert_array_equal(predictions.num_greater[ranked], of_part.num_greater[ranked])
    assert (predictions.num_greater[~known] == OUT_OF_REACH).all()
    np.testing.assert_allclose(hit_rate_at_k(predictions, 3)[ranked], of_part.hits(3)[ranked])


def test_a_name_that_comes_later_is_as_unknown_as_any_other(model):
    name, local_s = np.array([0, 1, 0, 1, 0, 2, 3]), np.arange(7) * 1000
    log, _ = log_of([(name, np.full(7, -1), local_s)], num_behaviors=8)
    targets = log.targets(np.arange(7) == 5)
    together = predict_targets(model, log, log.targets(np.arange(7) >= 5))
    alone = predict_targets(model, log, targets)
    assert alone.num_greater[0] == together.num_greater[0] == 2
    assert alone.num_tied[0] == together.num_tied[0] == 5  # ids 3 to 7


def test_asking_early_is_refused(model, make_user):
    log, in_part = log_of([make_user(30)], 5, early_s=600)
    with pytest.raises(ValueError, match="on time or without a time here"):
        predict_targets(model, log, log.targets(in_part))
    half = log.query_time_s.copy()
    half[20] = NO_TIME
    with pytest.raises(ValueError, match="on time or without a time here"):
        predict_targets(model, replace(log, query_time_s=half), log.targets(in_part))
