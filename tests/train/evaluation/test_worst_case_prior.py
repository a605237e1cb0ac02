"""The game over the prior: optimal against a grid, and what it does at its limits."""

import numpy as np
import pytest
import torch

from edgebehave_train.evaluation.worst_case_prior import PriorShiftConfig, worst_case_ratio
from edgebehave_train.training.dro import epsilon_of_capacity, heterogeneous_epsilon

COUNTS_V = np.array([0, 700, 300])


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
    config = PriorShiftConfig(capacity=capacity, kappa=0.0, rounds=300, shrinkage=1e-3)
    ratio_C = worst_case_ratio(probs_TC, target_T, COUNTS_V, config)
    found = 0.7 * ratio_C[1]
    assert found + 0.3 * ratio_C[2] == pytest.approx(1)
    # q_b <= C p_b and both add up to 1.
    grid = np.linspace(1 - capacity * 0.3, min(0.999, capacity * 0.7), 400)
    best = max(value(q, probs_TC, target_T) for q in grid)
    assert value(found, probs_TC, target_T) == pytest.approx(best, abs=1e-3)


def test_capacity_one_moves_nothing():
    probs_TC, target_T = two_classes(200)
    ratio_C = worst_case_ratio(probs_TC, target_T, COUNTS_V, PriorShiftConfig(capacity=1.0))
    np.testing.assert_allclose(ratio_C[1:3], 1, rtol=1e-5)


def test_what_training_never_saw_is_lifted_like_the_rarest():
    rng = np.random.default_rng(1)
    counts_V = np.array([0, 500, 100, 2, 0])
    probs_TC = rng.dirichlet(np.ones(6), 300)
    target_T = rng.choice([0, 1, 2, 3], 300, p=[0.1, 0.5, 0.3, 0.1])
    config = PriorShiftConfig(capacity=1.3)
    ratio_C = worst_case_ratio(probs_TC, target_T, counts_V, config)
    assert ratio_C[[0, 4, 5]] == pytest.approx(ratio_C[3])
    assert ratio_C[3] > ratio_C[1]
    known = target_T > 0
    same = worst_case_ratio(probs_TC[known], target_T[known], counts_V, config)
    np.testing.assert_array_equal(ratio_C, same)


def test_no_behavior_is_lifted_beyond_its_limit():
    probs_TC, target_T = two_classes(300)
    config = PriorShiftConfig(capacity=1.5)
    ratio_C = worst_case_ratio(probs_TC, target_T, COUNTS_V, config)
    prior_V = torch.from_numpy(COUNTS_V / COUNTS_V.sum())
    epsilon_max = epsilon_of_capacity(prior_V, 1.5, config.epsilon_min, config.kappa)
    epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max, config.epsilon_min, config.kappa)
    assert np.all(ratio_C[1:3] <= 1 / epsilon_V[1:].numpy() + 1e-9)
