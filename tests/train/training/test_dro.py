"""Eq. 4 by hand, at its limits, and against its dual."""

import pytest
import torch
from dro_dual import dual_value
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave_train.training.dro import (
    capacity,
    epsilon_of_capacity,
    heterogeneous_epsilon,
    worst_case_weights,
)

PRIOR_V = torch.tensor([0.5, 0.3, 0.2])
untimed = settings(deadline=None)  # torch's first operations take long


@st.composite
def problems(draw):
    """Risks, priors and epsilons of up to ten behaviors, one of them perhaps without a prior."""
    num_behaviors = draw(st.integers(1, 10))

    def numbers(low, high):
        exact = st.floats(low, high, width=32)
        drawn = draw(st.lists(exact, min_size=num_behaviors, max_size=num_behaviors))
        return torch.tensor(drawn, dtype=torch.float32)

    prior_V = numbers(0.015625, 1)
    if num_behaviors > 1 and draw(st.booleans()):
        prior_V[0] = 0
    return numbers(-4, 16), prior_V / prior_V.sum(), numbers(0.03125, 1)


def test_mass_goes_to_the_highest_risks_up_to_their_limits():
    # Limits p / eps are 1.0, 0.6, 0.4: the third is filled, the second gets what is left.
    q_V = worst_case_weights(torch.tensor([1.0, 2.0, 3.0]), PRIOR_V, torch.full((3,), 0.5))
    assert q_V.tolist() == pytest.approx([0, 0.6, 0.4])
    # Limits 0.5, 0.75, 1.0: the first is full, the second takes the rest, the third nothing.
    q_V = worst_case_weights(torch.tensor([5.0, 4.0, -1.0]), PRIOR_V, torch.tensor([1, 0.4, 0.2]))
    assert q_V.tolist() == pytest.approx([0.5, 0.5, 0])


def test_the_dual_by_hand():
    # l = 2 is the risk at which the mass runs out: 2 + 0.4 (3 - 2) = 0.6 * 2 + 0.4 * 3.
    risk_V = torch.tensor([1.0, 2.0, 3.0])
    assert dual_value(risk_V, PRIOR_V, torch.full((3,), 0.5)) == pytest.approx(2.4)


@untimed
@given(problems())
def test_weights_are_feasible_and_reach_the_dual(problem):
    risk_V, prior_V, epsilon_V = problem
    q_V = worst_case_weights(risk_V, prior_V, epsilon_V)
    assert float(q_V.min()) >= 0
    assert torch.all(q_V <= prior_V / epsilon_V + 1e-6)
    assert float(q_V.sum()) == pytest.approx(1, abs=1e-5)
    # By weak duality no feasible q exceeds the dual value, so equality is optimality.
    assert float(q_V @ risk_V) == pytest.approx(dual_value(*problem), abs=1e-4)


@untimed
@given(problems())
def test_epsilon_one_is_plain_training(problem):
    risk_V, prior_V, _ = problem
    q_V = worst_case_weights(risk_V, prior_V, torch.ones_like(prior_V))
    torch.testing.assert_close(q_V, prior_V, atol=1e-6, rtol=0)


@untimed
@given(problems())
def test_epsilon_up_to_the_prior_is_the_worst_behavior_alone(problem):
    risk_V, prior_V, _ = problem
    prior_V = (prior_V + 0.01) / (prior_V + 0.01).sum()
    q_V = worst_case_weights(risk_V, prior_V, prior_V * 0.999)
    assert q_V[risk_V.argmax()] == 1
    assert float(q_V.sum()) == 1


def test_a_behavior_without_a_prior_gets_no_weight():
    q_V = worst_case_weights(torch.tensor([99.0, 1.0, 2.0]), torch.tensor([0.0, 0.5, 0.5]), torch.full((3,), 0.1))
    assert q_V.tolist() == [0, 0, 1]


def test_an_empty_uncertainty_set_is_refused():
    with pytest.raises(ValueError, match=r"sum of prior / epsilon is 0\.8000, below 1"):
        worst_case_weights(torch.zeros(2), torch.tensor([0.4, 0.4]), torch.ones(2))


def test_capacity_by_hand():
    assert capacity(PRIOR_V, torch.ones(3)) == pytest.approx(1)
    assert capacity(PRIOR_V, torch.tensor([1.0, 0.5, 0.1])) == pytest.approx(0.5 + 0.6 + 2)


@pytest.mark.parametrize("kappa", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("wanted", [1.0, 1.05, 2.5, 10.0])
def test_a_capacity_and_its_epsilon_belong_together(kappa, wanted):
    prior_V = torch.tensor([0.0, 0.7, 0.2, 0.0999, 1e-4])
    epsilon_max = epsilon_of_capacity(prior_V, wanted, epsilon_min=0.1, kappa=kappa)
    epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max, 0.1, kappa)
    assert capacity(prior_V, epsilon_V) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("wanted", [0.9, 10.1])
def test_a_capacity_out_of_reach_is_named(wanted):
    with pytest.raises(ValueError, match=r"capacity must lie in \[1, 1 / epsilon_min = 10\]"):
        epsilon_of_capacity(PRIOR_V, wanted, epsilon_min=0.1, kappa=0.5)


def test_heterogeneous_epsilon_by_hand():
    # p / p_max = 1, 1/4, 1/100; kappa 1/2 gives 1, 1/2, 1/10 of epsilon_max.
    prior_V = torch.tensor([0.8, 0.2, 0.008])
    epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max=0.9, epsilon_min=0.2, kappa=0.5)
    assert epsilon_V.tolist() == pytest.approx([0.9, 0.45, 0.2])
    clipped_above = heterogeneous_epsilon(prior_V, epsilon_max=4.0, epsilon_min=0.2, kappa=0.5)
    assert clipped_above.tolist() == pytest.approx([1, 1, 0.4])
    assert heterogeneous_epsilon(prior_V, 0.7, 0.2, kappa=0.0).tolist() == pytest.approx([0.7] * 3)


@untimed
@given(problems(), st.floats(0.01, 1), st.floats(0.01, 3), st.floats(0, 2))
def test_no_sample_weighs_more_than_the_smallest_epsilon_allows(problem, epsilon_min, epsilon_max, kappa):
    risk_V, prior_V, _ = problem
    epsilon_V = heterogeneous_epsilon(prior_V, epsilon_max, epsilon_min, kappa)
    assert float(epsilon_V.max()) <= 1
    by_frequency = epsilon_V[prior_V.argsort()]
    assert torch.all(by_frequency.diff() >= 0), "the rarer, the larger the set"
    q_V = worst_case_weights(risk_V, prior_V, epsilon_V)
    assert torch.all(q_V <= prior_V / epsilon_min * (1 + 1e-5))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1.0, 0.0, 0.5), r"epsilon_min must lie in \(0, 1\], got 0\.0"),
        ((1.0, 1.5, 0.5), r"epsilon_min must lie in \(0, 1\], got 1\.5"),
        ((0.0, 0.1, 0.5), "epsilon_max must be positive"),
        ((1.0, 0.1, -1.0), "kappa not negative, got 1.0 and -1.0"),
    ],
)
def test_impossible_settings_are_named(numbers, message):
    with pytest.raises(ValueError, match=message):
        heterogeneous_epsilon(PRIOR_V, *numbers)
