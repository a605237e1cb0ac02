"""The DRO prior: optimal against a grid, its limits, and its use on a checkpoint."""

import numpy as np
import pytest
import torch

from edgebehave_train.evaluation.dro_prior import DroPriorConfig, dro_priors, worst_case_ratio
from edgebehave_train.evaluation.part_predictions import checkpoint_targets
from edgebehave_train.training.dro import epsilon_of_capacity, heterogeneous_epsilon

COUNTS_V = np.array([0, 700, 300])
CAPACITY = 1.2


def two_classes(num_targets=4000, seed=0):
    """Calibrated predictions of two behaviors, .7 and .3 on average; candidate 3 is private."""
    rng = np.random.default_rng(seed)
    rare_T = rng.beta(0.6, 1.4, num_targets)
    probs_TC = np.stack([np.zeros(num_targets), 1 - rare_T, rare_T, np.zeros(num_targets)], 1)
    return probs_TC, np.where(rng.random(num_targets) < rare_T, 2, 1)


def value(q, probs_TC, target_T):
    """sum_b q_b R_b of the model under the prior q = (q, 1 - q)."""
    ratio = np.array([0, q / 0.7, (1 - q) / 0.3, 0])
    shifted = probs_TC * ratio
    loss_T = -np.log((shifted / shifted.sum(1, keepdims=True))[np.arange(len(target_T)), target_T])
    return q * loss_T[target_T == 1].mean() + (1 - q) * loss_T[target_T == 2].mean()


@pytest.mark.parametrize("capacity", [1.1, 1.25, 1.6])
def test_the_prior_is_the_worst_of_a_grid(capacity):
    probs_TC, target_T = two_classes()
    config = DroPriorConfig(capacity=capacity, kappa=0.0, rounds=300, shrinkage=1e-3)
    ratio_C = worst_case_ratio(probs_TC, target_T, COUNTS_V, config)
    found = 0.7 * ratio_C[1]
    assert found + 0.3 * ratio_C[2] == pytest.approx(1)
    # q_b <= C p_b and both add up to 1.
    grid = np.linspace(1 - capacity * 0.3, min(0.999, capacity * 0.7), 400)
    best = max(value(q, probs_TC, target_T) for q in grid)
    assert value(found, probs_TC, target_T) == pytest.approx(best, abs=1e-3)


def test_capacity_one_moves_nothing():
    probs_TC, target_T = two_classes(200)
    ratio_C = worst_case_ratio(probs_TC, target_T, COUNTS_V, DroPriorConfig(capacity=1.0))
    np.testing.assert_allclose(ratio_C[1:3], 1, rtol=1e-5)


def test_what_training_never_saw_is_lifted_like_the_rarest():
    rng = np.random.default_rng(1)
    counts_V = np.array([0, 500, 100, 2, 0])
    probs_TC = rng.dirichlet(np.ones(6), 300)
    target_T = rng.choice([0, 1, 2, 3], 300, p=[0.1, 0.5, 0.3, 0.1])
    config = DroPriorConfig(capacity=1.3)
    ratio_C = worst_case_ratio(probs_TC, target_T, counts_V, config)
    assert ratio_C[[0, 4, 5]] == pytest.approx(ratio_C[3])
    assert ratio_C[3] > ratio_C[1]
    known = target_T > 0
    same = worst_case_ratio(probs_TC[known], target_T[known], counts_V, config)
    np.testing.assert_array_equal(ratio_C, same)


def test_no_behavior_is_lifted_beyond_its_limit():
    probs_TC, target_T = two_classes(300)
    config = DroPriorConfig(capacity=1.5)
    ratio_C = worst_case_ratio(probs_TC, target_T, COUNTS_V, config)
    prior_V = torch.from_numpy(COUNTS_V / COUNTS_V.sum())
    epsilon_max = epsilon_of_capacity(prior_V, 1.5, config.epsilon_min, config.kappa)
    epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max, config.epsilon_min, config.kappa)
    assert np.all(ratio_C[1:3] <= 1 / epsilon_V[1:].numpy() + 1e-9)


@pytest.fixture(scope="module")
def asked(tiny_store, tiny_checkpoint):
    return checkpoint_targets(tiny_store, tiny_checkpoint, "validation")


def ratios(checkpoint, asked, is_measured):
    """(T, C) r of every target."""
    scorer = dro_priors(checkpoint, asked, [CAPACITY], is_measured)[CAPACITY]
    num_targets = len(asked.targets)
    ones = np.ones((num_targets, asked.behaviors.num_candidates), np.float32)
    return scorer(np.arange(num_targets), ones)


def test_a_prior_is_found_on_the_other_half_of_the_users(tiny_checkpoint, asked):
    ratio_TC = ratios(tiny_checkpoint, asked, is_measured=True)
    _, first, kind = np.unique(ratio_TC, axis=0, return_index=True, return_inverse=True)
    assert len(first) == 2
    assert all(len(np.unique(kind[asked.targets.user == u])) == 1 for u in asked.targets.user)


def test_all_users_share_a_prior_where_another_part_is_measured(tiny_checkpoint, asked):
    ratio_TC = ratios(tiny_checkpoint, asked, is_measured=False)
    assert len(np.unique(ratio_TC, axis=0)) == 1


def test_no_capacity_reads_nothing(asked):
    assert dro_priors(None, asked, [], is_measured=True) == {}
