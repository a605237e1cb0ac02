"""The schedule, what decays, and the average that is kept, by hand."""

import pytest
import torch
from torch import nn

from edgebehave_train.training.optimization import learning_rate_at, moving_average, parameter_groups


def test_the_learning_rate_rises_in_a_line_and_falls_as_a_cosine():
    rates = [learning_rate_at(step, 100, 2.0, 0.2) for step in (0, 9, 19, 20, 60, 100)]
    assert rates == pytest.approx([0.1, 1.0, 2.0, 2.0, 1.0, 0.0])


def test_an_extended_run_warms_up_to_the_rate_of_the_longer_one():
    # Extended at step 100 to 200: 20 steps of a second warm-up, from a twentieth of the cosine's rate.
    plain = [learning_rate_at(step, 200, 2.0, 0.2) for step in (100, 109, 119, 150)]
    rates = [learning_rate_at(step, 200, 2.0, 0.2, extended_at=100) for step in (100, 109, 119, 150)]
    assert rates == pytest.approx([plain[0] / 20, plain[1] / 2, plain[2], plain[3]])


def test_the_average_forgets_the_start_quickly():
    update = moving_average(0.9)
    # decays 1/10 and 11/20 after 0 and 10 updates, then 0.9 at most
    for num_updates, expected in ((0, 0.9), (10, 0.45), (1000, 0.1)):
        averages = [torch.zeros(1), torch.zeros(2, 2)]
        update(averages, [torch.ones(1), torch.ones(2, 2)], num_updates)
        assert torch.cat([average.flatten() for average in averages]).tolist() == pytest.approx([expected] * 5)


def test_biases_and_norms_do_not_decay_and_what_is_frozen_is_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[2].requires_grad_(False)
    matrices, vectors = parameter_groups(model, 0.1)
    assert [tuple(p.shape) for p in matrices["params"]] == [(3, 2)]
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert [tuple(p.shape) for p in vectors["params"]] == [(3,), (3,), (3,)]
