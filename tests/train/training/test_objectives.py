"""The objectives by hand: what each makes of the losses of a batch, and what it refuses."""

import copy
import math

import numpy as np
import pytest
import torch
from dro_dual import dual_value

from edgebehave_train.model.behavior_model import TargetLosses
from edgebehave_train.training.objectives import (
    OBJECTIVES,
    ClassBalanced,
    DistributionallyRobust,
    Focal,
    GroupDistributionallyRobust,
    LogitAdjusted,
    Objective,
    ObjectiveConfig,
    build_objective,
    class_risks,
)

COUNTS_V = np.array([0, 6, 3, 1])
PRIOR_V = torch.tensor([0.0, 0.6, 0.3, 0.1])
AFTER_WARM_START = 0.9


def build(name, **changes) -> Objective:
    return build_objective(ObjectiveConfig(name=name, network_weight=0.0, **changes), COUNTS_V)


def robust(**changes) -> DistributionallyRobust:
    return build("dro", **{"risk_decay": 0.9, **changes})


def losses_of(nll, log_normalizer=None) -> TargetLosses:
    """A batch whose network agrees with its mixture."""
    nll_M = torch.as_tensor(nll, dtype=torch.float32)
    log_normalizer_M = torch.zeros_like(nll_M) if log_normalizer is None else torch.tensor(log_normalizer)
    return TargetLosses(nll_M, nll_M, log_normalizer_M, log_normalizer_M, nll_M[:, None])


def feed(objective, losses, targets, progress=AFTER_WARM_START, log_normalizer=None) -> float:
    return float(objective(losses_of(losses, log_normalizer), torch.tensor(targets), progress))


def test_every_name_builds_its_objective():
    built = {name: type(build_objective(ObjectiveConfig(name=name), COUNTS_V)) for name in OBJECTIVES}
    assert built == {
        "ce": Objective,
        "dro": DistributionallyRobust,
        "logit_adjusted": LogitAdjusted,
        "balanced_softmax": LogitAdjusted,
        "focal": Focal,
        "class_balanced": ClassBalanced,
        "group_dro": GroupDistributionallyRobust,
    }


def test_cross_entropy_is_the_mean_with_the_network_beside_it():
    objective = build_objective(ObjectiveConfig(network_weight=0.5), COUNTS_V)
    zeros = torch.zeros(2)
    losses = TargetLosses(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 6.0]), zeros, zeros, zeros[:, None])
    assert float(objective(losses, torch.tensor([1, 2]), 0.5)) == 2 + 0.5 * 4


# -- losses of a target -----------------------------------------------------------------------


def test_the_adjusted_loss_by_hand():
    # p = .5, .3, .2 and r = pi^1 = .6, .3, .1: sum p r = .41, so the second of them has
    # -log(.3 .3 / .41).
    objective = build("logit_adjusted", tau=1.0)
    loss = feed(objective, [-math.log(0.3)], [2], log_normalizer=[math.log(0.41)])
    assert loss == pytest.approx(-math.log(0.09 / 0.41))
    half = build("logit_adjusted", tau=0.5)
    log_normalizer = math.log(0.5 * 0.6**0.5 + 0.3 * 0.3**0.5 + 0.2 * 0.1**0.5)
    loss = feed(half, [-math.log(0.3)], [2], log_normalizer=[log_normalizer])
    assert loss == pytest.approx(-math.log(0.3 * 0.3**0.5) + log_normalizer)


def test_the_adjusted_losses_are_those_of_a_distribution():
    probs_V = torch.tensor([0.0, 0.5, 0.3, 0.2])
    objective = build("logit_adjusted", tau=0.7)
    log_normalizer = float((probs_V * objective.log_ratio_V.exp()).sum().log())
    losses = [feed(objective, [-float(probs_V[b].log())], [b], log_normalizer=[log_normalizer]) for b in (1, 2, 3)]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1, rel=1e-5)


def test_balanced_softmax_is_logit_adjustment_with_tau_one():
    # Counts 6, 3, 1 in the place of priors: the factor 10 leaves the loss as it is.
    assert torch.equal(build("balanced_softmax", tau=0.3).log_ratio_V, build("logit_adjusted").log_ratio_V)
    with_counts = -math.log(0.3 * 3 / (0.5 * 6 + 0.3 * 3 + 0.2 * 1))
    loss = feed(build("balanced_softmax"), [-math.log(0.3)], [2], log_normalizer=[math.log(0.41)])
    assert loss == pytest.approx(with_counts)


def test_what_training_never_saw_counts_as_seen_once():
    objective = build("logit_adjusted", tau=1.0)
    assert objective.candidate_ratio(6) == pytest.approx([0.1, 0.6, 0.3, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(objective.log_ratio_V.exp(), [0.1, 0.6, 0.3, 0.1], rtol=1e-6)
    assert build("ce").candidate_ratio(6) is None
    assert build("ce").log_ratio_V is None


def test_the_focal_loss_by_hand():
    # p = .9: (.1)^2 * .105361; p = .25: (.75)^2 * 1.386294
    loss = feed(build("focal", gamma=2.0), [-math.log(0.9), -math.log(0.25)], [1, 2])
    assert loss == pytest.approx((0.01 * 0.105361 + 0.5625 * 1.386294) / 2, rel=1e-5)
    assert feed(build("focal", gamma=0.0), [1.0, 2.0], [1, 2]) == 1.5


def test_a_certain_target_has_a_finite_focal_gradient():
    nll_M = torch.tensor([0.0, 1.0], requires_grad=True)
    build("focal", gamma=0.5)(losses_of(nll_M), torch.tensor([1, 2]), 0.5).backward()
    assert torch.isfinite(nll_M.grad).all()


# -- weights of a behavior --------------------------------------------------------------------


def test_class_balanced_weights_by_hand():
    # beta = .5: E = 2 (1 - .5^n) = 1.96875, 1.75, 1 for n = 6, 3, 1. The mean of 1 / E over the
    # ten samples is (6 / 1.96875 + 3 / 1.75 + 1 / 1) / 10.
    weight_V = build("class_balanced", beta=0.5).weight_V
    inverse = np.array([1 / 1.96875, 1 / 1.75, 1.0])
    mean = (6 * inverse[0] + 3 * inverse[1] + inverse[2]) / 10
    np.testing.assert_allclose(weight_V[1:], inverse / mean, rtol=1e-6)
    assert feed(build("class_balanced", beta=0.5), [2.0, 4.0], [1, 3]) == pytest.approx(
        (2 * inverse[0] + 4 * inverse[2]) / mean / 2
    )


def test_class_balanced_lies_between_plain_and_inverse_frequency():
    np.testing.assert_allclose(build("class_balanced", beta=0.0).weight_V[1:], 1)
    near_one = build("class_balanced", beta=0.999999).weight_V[1:]
    np.testing.assert_allclose(near_one, 1 / (3 * PRIOR_V[1:]), rtol=1e-4)


def test_group_weights_rise_with_the_risk_by_hand():
    # Batch of the shares .5, .25, .25 with losses 1, 2, 4: the estimates of the risks are
    # (1 + 1) / (4 .6), 2 / (4 .3), 4 / (4 .1).
    objective = build("group_dro", groups="behavior", group_step=0.1, mixing=0.5)
    loss = feed(objective, [1.0, 1.0, 2.0, 4.0], [1, 1, 2, 3])
    raw = np.array([0.6, 0.3, 0.1]) * np.exp(0.1 * np.array([2 / 2.4, 2 / 1.2, 4 / 0.4]))
    q = raw / raw.sum()
    assert objective.worst_case().tolist() == pytest.approx([0, *q])
    weight = 0.5 + 0.5 * q / [0.6, 0.3, 0.1]
    assert loss == pytest.approx((2 * weight[0] + 2 * weight[1] + 4 * weight[2]) / 4, rel=1e-5)


def test_group_dro_waits_for_the_end_of_the_warm_start():
    objective = build("group_dro", groups="behavior", warm_start=0.3)
    assert feed(objective, [1.0, 2.0, 6.0], [1, 2, 3], progress=0.29) == pytest.approx(3)
    assert objective.worst_case().tolist() == pytest.approx(PRIOR_V.tolist())


def test_groups_by_frequency_are_head_medium_and_tail():
    objective = build_objective(ObjectiveConfig(name="group_dro"), np.array([0, 900, 60, 30, 5, 5]))
    assert objective.group_V.tolist() == [2, 0, 0, 1, 2, 2]
    assert objective.prior_G.tolist() == pytest.approx([0.96, 0.03, 0.01])


def test_the_weights_of_the_groups_travel_with_the_state_dict():
    objective, copy = build("group_dro"), build("group_dro")
    feed(objective, [1.0, 2.0], [1, 3])
    copy.load_state_dict(objective.state_dict())
    assert feed(objective, [3.0, 1.0], [1, 2]) == feed(copy, [3.0, 1.0], [1, 2])


# -- dro --------------------------------------------------------------------------------------


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


def test_a_shift_puts_the_adjusted_loss_in_the_place_of_the_plain_one():
    # p = .5, .3, .2 and r = .6, .3, .1, as above: losses -log(.3 / .41) and -log(.02 / .41).
    losses, normalizers = [-math.log(0.5), -math.log(0.2)], [math.log(0.41)] * 2
    first, third = -math.log(0.3 / 0.41), -math.log(0.02 / 0.41)
    objective = robust(shift=1.0, epsilon_max=0.5, kappa=0.0, mixing=1.0, warm_start=0.1)
    plain = feed(objective, losses, [1, 3], progress=0.05, log_normalizer=normalizers)
    assert plain == pytest.approx((first + third) / 2)
    np.testing.assert_allclose(objective.risk_V, [0, first, 0, third], rtol=1e-6)
    # A behavior not seen yet has the mean risk, between the two. q may be 1.2, .6, .2, so it is
    # .2 of the third, .6 of the second and .2 of the first: weights 2 and 1 / 3.
    weighted = feed(objective, losses, [1, 3], progress=0.5, log_normalizer=normalizers)
    assert weighted == pytest.approx((first / 3 + 2 * third) / 2)
    assert objective.candidate_ratio(5) == pytest.approx([0.1, 0.6, 0.3, 0.1, 0.1])


def test_with_a_shift_and_no_uncertainty_dro_is_logit_adjustment():
    losses, targets, normalizers = [1.0, 2.0, 3.0], [1, 2, 3], [-0.5, -0.7, -0.9]
    shifted = feed(robust(shift=0.5, mixing=0.0), losses, targets, log_normalizer=normalizers)
    adjusted = feed(build("logit_adjusted", tau=0.5), losses, targets, log_normalizer=normalizers)
    assert shifted == pytest.approx(adjusted)
    assert robust().log_ratio_V is None


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
        return float(objective(losses_of(nll_M), target_M, AFTER_WARM_START))

    assert loss(torch.ones(100), target_N) == pytest.approx(1, rel=1e-5)
    order = torch.randperm(100, generator=generator).view(20, 5)
    batches = [loss(nll_N[batch], target_N[batch]) for batch in order]
    class_mean_V = torch.stack([nll_N[target_N == b].mean() for b in (1, 2, 3)])
    mixed_V = (1 - mixing) * PRIOR_V[1:] + mixing * q_V[1:]
    assert sum(batches) / 20 == pytest.approx(float(mixed_V @ class_mean_V), rel=1e-5)


@pytest.mark.parametrize("name", ["ce", "dro", "group_dro", "class_balanced"])
def test_the_parts_of_two_processes_give_the_loss_and_the_weights_of_the_whole(name):
    rng = np.random.default_rng(0)
    whole, parts = build(name, warm_start=0.0), [build(name, warm_start=0.0) for _ in range(2)]
    for _ in range(3):
        nll_M, target_M = torch.tensor(rng.random(7) * 4).float(), torch.tensor(rng.integers(1, 4, 7))
        shares, said = (slice(0, 3), slice(3, 7)), []
        for objective, share in zip(parts, shares, strict=True):  # each says its sums, which the other would add
            objective.all_sum = lambda part, said=said: said.append(part.clone()) or part
            copy.deepcopy(objective)(losses_of(nll_M[share]), target_M[share], AFTER_WARM_START, 7)
        total = 0.0
        for objective, share in zip(parts, shares, strict=True):
            objective.all_sum = lambda part, said=said: sum(said)
            total += float(objective(losses_of(nll_M[share]), target_M[share], AFTER_WARM_START, 7))
        assert total == pytest.approx(feed(whole, nll_M, target_M.tolist()), rel=1e-5)
        for key, value in whole.state_dict().items():
            torch.testing.assert_close(parts[1].state_dict()[key], value)


def test_gradients_flow_through_the_losses_and_not_through_q():
    objective = robust(epsilon_max=0.5, kappa=0.0, mixing=0.5)
    nll_M = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    objective(losses_of(nll_M), torch.tensor([1, 2, 3]), AFTER_WARM_START).backward()
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


@pytest.mark.parametrize("kappa", [0.0, 0.25, 1.0])
def test_a_capacity_sets_epsilon(kappa):
    objective = robust(capacity=1.3, kappa=kappa, epsilon_max=0.01)
    assert objective.capacity == pytest.approx(1.3, rel=1e-5)
    if kappa == 0:
        assert objective.epsilon_V[1:].tolist() == pytest.approx([1 / 1.3] * 3)
    assert "C = 1.30" in objective.summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": "users"}, "groups must be frequency or behavior, got 'users'"),
        ({"capacity": 0.5}, "capacity must be at least 1"),
        ({"capacity": 11.0}, r"capacity must lie in \[1, 1 / epsilon_min = 10\], got 11"),
        ({"epsilon_min": 0.0}, r"epsilon_min must lie in \(0, 1\], got 0"),
        ({"epsilon_max": 0.0}, "epsilon_max must be positive"),
        ({"kappa": -1.0}, "kappa not negative"),
        ({"network_weight": -0.5}, "network_weight must lie in"),
        ({"warm_start": 1.0}, r"warm_start must lie in \[0, 0\.999\], got 1\.0"),
        ({"mixing": -0.1}, "mixing must lie in"),
        ({"risk_decay": 1.0}, "risk_decay must lie in"),
        ({"tau": -1.0}, "tau must lie in"),
        ({"gamma": -1.0}, "gamma must lie in"),
        ({"beta": 1.0}, "beta must lie in"),
    ],
)
def test_a_bad_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**change)


def test_an_unknown_name_is_refused_when_the_objective_is_built():
    config = ObjectiveConfig(name="best")
    with pytest.raises(ValueError, match=r"objective must be one of ce, dro, logit_adjusted, .*, got 'best'"):
        build_objective(config, COUNTS_V)


# -- the loss that chooses the weights --------------------------------------------------------


def validation_loss(objective, losses, targets, progress=AFTER_WARM_START) -> float:
    return objective.validation_loss(torch.tensor(losses), torch.tensor(targets), progress)


@pytest.mark.parametrize("name", ["ce", "focal", "logit_adjusted", "balanced_softmax"])
def test_without_weights_the_validation_loss_is_the_mean(name):
    assert validation_loss(build(name), [1.0, 2.0, 6.0], [1, 1, 3]) == 3


def test_the_class_balanced_validation_loss_by_hand():
    # Weights as 1 / 1.96875 and 1, see above.
    objective, weight = build("class_balanced", beta=0.5), 1 / 1.96875
    assert validation_loss(objective, [2.0, 5.0], [1, 3]) == pytest.approx((weight * 2 + 5) / (weight + 1))


def test_the_validation_loss_of_dro_by_hand():
    # Shares of the validation part .5, .25, .25, eps .5: q may be 1, .5, .5. Risks 1, 2, 5: q is
    # 0, .5, .5, so the worst is 3.5 and the mean 2.25.
    losses, targets = [1.0, 1.0, 2.0, 5.0], [1, 1, 2, 3]
    objective = robust(epsilon_max=0.5, kappa=0.0, mixing=1.0)
    assert validation_loss(objective, losses, targets) == pytest.approx(3.5)
    half = robust(epsilon_max=0.5, kappa=0.0, mixing=0.5)
    assert validation_loss(half, losses, targets) == pytest.approx((2.25 + 3.5) / 2)


def test_the_validation_loss_of_dro_is_the_dual_of_its_risks():
    rng = np.random.default_rng(3)
    loss_M = torch.from_numpy(rng.exponential(2, 50))
    target_M = torch.from_numpy(rng.integers(1, 4, 50))
    objective = robust(epsilon_max=0.6, kappa=0.3, mixing=1.0)
    share_V, risk_V = class_risks(loss_M, target_M, 4)
    expected = dual_value(risk_V, share_V, objective.epsilon_V)
    assert objective.validation_loss(loss_M, target_M, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize("changes", [{"mixing": 0.0}, {"epsilon_max": 1.0, "kappa": 0.0}])
def test_the_validation_loss_of_no_uncertainty_is_the_mean(changes):
    objective = robust(**{"epsilon_max": 0.2, **changes})
    assert validation_loss(objective, [1.0, 2.0, 6.0], [1, 1, 3]) == pytest.approx(3)


def test_the_validation_loss_of_dro_does_not_move_with_the_running_risks():
    objective = robust(mixing=1.0)
    before = validation_loss(objective, [1.0, 2.0, 6.0], [1, 2, 3])
    feed(objective, [9.0, 0.1], [1, 3])
    assert validation_loss(objective, [1.0, 2.0, 6.0], [1, 2, 3], 0.0) == before


def test_with_a_baseline_the_validation_loss_waits_for_it():
    objective = robust(epsilon_max=0.5, kappa=0.0, mixing=1.0, baseline=True, warm_start=0.3)
    feed(objective, [1.0, 4.0], [1, 2], progress=0.2)
    assert validation_loss(objective, [2.0, 4.5], [1, 2], 0.2) == math.inf
    # Above the baseline: 1 and .5, so q sits on the first.
    assert validation_loss(objective, [2.0, 4.5], [1, 2], 0.3) == pytest.approx(1)


def test_the_validation_loss_of_group_dro_is_the_worst_group_that_is_there():
    objective = build("group_dro", groups="behavior", mixing=0.5)
    assert validation_loss(objective, [1.0, 3.0, 5.0], [1, 1, 2]) == pytest.approx((3 + 5) / 2)


def test_only_dro_begins_after_a_warm_start():
    begins = {name: build(name, warm_start=0.4).begins_at for name in OBJECTIVES}
    assert {name for name, at in begins.items() if at == 0.4} == {"dro", "group_dro"}
    assert set(begins.values()) == {0.0, 0.4}
