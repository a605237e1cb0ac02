"""The robust objective: its running risks, its weights, and what it adds up to."""

import pytest
import torch

from edgebehave_train.objectives import (
    CrossEntropy,
    DistributionallyRobust,
    ObjectiveConfig,
    build_objective,
)

PRIOR_V = torch.tensor([0.0, 0.6, 0.3, 0.1])
AFTER_WARM_START = 0.9


def robust(**changes) -> DistributionallyRobust:
    settings = {"network_weight": 0.0, "risk_decay": 0.9, "baseline": False, **changes}
    return DistributionallyRobust(ObjectiveConfig(name="dro", **settings), PRIOR_V)


def feed(objective, losses, targets, progress=AFTER_WARM_START) -> float:
    nll_M = torch.tensor(losses, dtype=torch.float32)
    return float(objective(nll_M, torch.zeros_like(nll_M), torch.tensor(targets), progress))


def test_cross_entropy_is_the_mean_with_the_network_beside_it():
    objective = build_objective(ObjectiveConfig(network_weight=0.5), PRIOR_V)
    assert isinstance(objective, CrossEntropy)
    nll_M, network_nll_M = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 6.0])
    assert float(objective(nll_M, network_nll_M, torch.tensor([1, 2]), 0.5)) == 2 + 0.5 * 4


def test_the_first_sample_replaces_the_zero_of_the_running_mean():
    objective = robust()
    feed(objective, [4.0], [3])
    assert objective.risk_V.tolist() == [0, 0, 0, 4]
    feed(objective, [2.0], [3])  # the plain mean so far, which moves faster than the decay
    assert objective.risk_V[3] == pytest.approx(3)


def test_later_samples_count_once_each_whatever_the_batch():
    one_by_one, at_once = robust(), robust()
    for objective in (one_by_one, at_once):
        for _ in range(50):
            feed(objective, [1.0], [1])
    for _ in range(4):
        feed(one_by_one, [5.0], [1])
    feed(at_once, [5.0] * 4 + [2.0], [1] * 4 + [2])
    # Each sample leaves 0.9 of the distance: 5 - 4 * 0.9^4.
    expected = 5 - 4 * 0.9**4
    assert one_by_one.risk_V[1] == pytest.approx(expected, rel=1e-5)
    assert at_once.risk_V[1] == pytest.approx(expected, rel=1e-5)
    assert at_once.risk_V[2] == 2
    assert at_once.num_seen_V.tolist() == [0, 54, 1, 0]


def test_a_behavior_that_was_never_seen_is_neither_worst_nor_best():
    objective = robust(epsilon_max=0.9, kappa=0.0)
    feed(objective, [2.0, 2.0, 0.1], [1, 1, 2])
    # Limits are 2/3, 1/3, 1/9. Behavior 3 was not seen: were its risk 0, it would get nothing.
    assert objective.worst_case().tolist() == pytest.approx([0, 2 / 3, 2 / 9, 1 / 9])


def test_before_the_warm_start_ends_it_is_the_plain_mean():
    objective = robust(warm_start=0.3, mixing=1.0)
    assert feed(objective, [1.0, 2.0, 6.0], [1, 2, 3], progress=0.29) == pytest.approx(3)
    assert objective.risk_V.tolist() == [0, 1, 2, 6], "risks are measured from the start"
    assert feed(objective, [1.0, 2.0, 6.0], [1, 2, 3], progress=0.3) != pytest.approx(3)


def test_the_weighted_mean_by_hand():
    # eps 0.5: limits 1.2, 0.6, 0.2. Risks rise with the id, so q = 0.2, 0.6, 0.2 and
    # q / p = 1/3, 2, 2; half mixed with 1: 2/3, 3/2, 3/2.
    objective = robust(epsilon_max=0.5, kappa=0.0, mixing=0.5)
    loss = feed(objective, [1.0, 2.0, 6.0], [1, 2, 3])
    assert objective.worst_case().tolist() == pytest.approx([0, 0.2, 0.6, 0.2])
    assert loss == pytest.approx((2 / 3 * 1 + 3 / 2 * 2 + 3 / 2 * 6) / 3)


def test_the_baseline_is_the_risk_at_the_end_of_the_warm_start():
    objective = robust(epsilon_max=0.2, kappa=0.0, warm_start=0.5, baseline=True)
    feed(objective, [1.0, 2.0, 6.0], [1, 2, 3], progress=0.4)
    assert torch.equal(objective.baseline_V, objective.risk_V)
    for _ in range(30):
        feed(objective, [3.0, 2.0, 6.0], [1, 2, 3], progress=0.6)
    assert objective.baseline_V.tolist() == [0, 1, 2, 6]
    # Behavior 3 has the highest risk, but 1 is the one that got worse: it takes all it may.
    assert objective.worst_case()[1] == pytest.approx(1)


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
def test_for_a_fixed_q_the_weights_average_to_one_and_the_estimate_is_unbiased(mixing, monkeypatch):
    # 60, 30 and 10 samples: the data has exactly the priors.
    generator = torch.Generator().manual_seed(0)
    target_N = torch.repeat_interleave(torch.tensor([1, 2, 3]), torch.tensor([60, 30, 10]))
    nll_N = torch.rand(100, generator=generator) * 5
    q_V = torch.tensor([0.0, 0.1, 0.4, 0.5])
    objective = robust(mixing=mixing)
    monkeypatch.setattr(objective, "worst_case", lambda: q_V)

    def loss(nll_M, target_M):
        return float(objective(nll_M, torch.zeros_like(nll_M), target_M, AFTER_WARM_START))

    assert loss(torch.ones(100), target_N) == pytest.approx(1, rel=1e-5)
    order = torch.randperm(100, generator=generator).view(20, 5)
    batches = [loss(nll_N[batch], target_N[batch]) for batch in order]
    class_mean_V = torch.stack([nll_N[target_N == b].mean() for b in (1, 2, 3)])
    mixed_V = (1 - mixing) * PRIOR_V[1:] + mixing * q_V[1:]
    assert sum(batches) / 20 == pytest.approx(float(mixed_V @ class_mean_V), rel=1e-5)


def test_gradients_flow_through_the_losses_and_not_through_q():
    objective = robust(epsilon_max=0.5, kappa=0.0, mixing=0.5)
    nll_M = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    objective(nll_M, torch.zeros(3), torch.tensor([1, 2, 3]), AFTER_WARM_START).backward()
    assert nll_M.grad.tolist() == pytest.approx([2 / 9, 1 / 2, 1 / 2])


def test_the_running_risks_travel_with_the_state_dict():
    objective, copy = robust(baseline=True), robust(baseline=True)
    feed(objective, [1.0, 2.0], [1, 3], progress=0.1)
    copy.load_state_dict(objective.state_dict())
    for batch in (([3.0, 1.0, 4.0], [1, 2, 3]), ([0.5], [2])):
        assert feed(objective, *batch) == feed(copy, *batch)
    assert torch.equal(objective.worst_case(), copy.worst_case())


def test_capacity_follows_the_config():
    assert robust(epsilon_max=1.0, kappa=0.0).capacity == pytest.approx(1)
    assert robust(epsilon_max=0.5, kappa=0.0).capacity == pytest.approx(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "focal"}, "objective must be ce or dro, got 'focal'"),
        ({"warm_start": 1.0}, r"warm_start must lie in \[0, 0\.999\], got 1\.0"),
        ({"mixing": -0.1}, "mixing must lie in"),
        ({"risk_decay": 1.0}, "risk_decay must lie in"),
    ],
)
def test_a_bad_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**change)
