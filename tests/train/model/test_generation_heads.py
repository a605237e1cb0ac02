"""Generation heads whose weights are 0, so that every number follows from counts."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgebehave_train.kernels.time_gaps import NUM_BINS, NUM_PACES, NUM_QUANTILES
from edgebehave_train.model.generation_heads import CopyGate, GenerationHeads, GenerationTargets, mixture_nll

WIDTH, NUM_EVENTS, NUM_LOCATIONS = 8, 6, 5
EVENT_TO_BEHAVIOR = torch.tensor([0, 1, 1, 2, 2, 2])
NUM_GAP_KERNELS, NUM_LOCATION_KERNELS = 7, 6


@pytest.fixture
def heads():
    made = GenerationHeads(WIDTH, NUM_EVENTS, NUM_LOCATIONS, dropout=0.0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "shrinkage" not in name:
                parameter.zero_()
    return made.eval()


def evidence_of(num_kernels, **values):
    evidence = torch.zeros(1, num_kernels)
    for name, value in values.items():
        evidence[0, int(name[1:])] = value
    return evidence


def test_a_kernel_counts_with_its_evidence_and_without_any_not_at_all():
    gate = CopyGate(WIDTH, 2)
    # A new gate scores 0: weights are 1 for the network and E / (E + 5) for a kernel.
    gates = gate(torch.zeros(1, WIDTH), torch.tensor([[5.0, 0.0]])).exp()
    torch.testing.assert_close(gates, torch.tensor([[2 / 3, 1 / 3, 0.0]]))


def test_the_loss_of_a_mixture():
    log_gates = torch.tensor([[0.5, 0.25, 0.25]]).log()
    network_nll = -torch.tensor([0.2]).log()
    nll = mixture_nll(log_gates, network_nll, torch.tensor([[0.4, 0.0]]))
    assert nll.item() == pytest.approx(-math.log(0.5 * 0.2 + 0.25 * 0.4), rel=1e-6)


def test_counts_of_the_training_part(heads):
    heads.count(np.array([0, 0, 0]), np.array([0, 0, 5]), np.array([False, False, True]))
    # Half a count more for every group of bins and every half hour.
    assert heads.pace_prior_P[0].item() == pytest.approx(3.5 / (3 + NUM_PACES / 2))
    assert heads.clock_rate_DS[0, 0].item() == pytest.approx(2.5 / (2 + 24))
    assert heads.clock_rate_DS[1, 5].item() == pytest.approx(1.5 / (1 + 24))
    torch.testing.assert_close(heads.clock_rate_DS.sum(1), torch.ones(2))
    assert heads.gap_values_BQ.shape == (NUM_BINS, NUM_QUANTILES)
    assert not heads.gap_values_BQ[0].any()


def test_an_event_is_chosen_among_those_of_its_behavior(heads):
    event = nn.Embedding(NUM_EVENTS, WIDTH // 4)
    with torch.no_grad():
        heads.event_bias.copy_(torch.tensor([9.0, 0.0, math.log(3), 0.0, 0.0, 0.0]))
    probs = heads.event_log_probs(torch.randn(2, WIDTH), torch.tensor([1, 2]), event, EVENT_TO_BEHAVIOR).exp()
    expected = torch.tensor([[0, 0.25, 0.75, 0, 0, 0], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(probs, expected)


def targets_of(gap_bin, event, gap_evidence, gap_probs, location_evidence, location_probs):
    num = len(gap_bin)
    return GenerationTargets(
        behavior=EVENT_TO_BEHAVIOR[torch.tensor(event)],
        event=torch.tensor(event),
        location=torch.ones(num, dtype=torch.int64),
        gap_bin=torch.tensor(gap_bin),
        gap_probs=gap_probs,
        gap_evidence=gap_evidence,
        pace_counts=torch.zeros(num, NUM_PACES),
        location_probs=location_probs,
        location_evidence=location_evidence,
    )


def test_losses_of_three_targets(heads):
    # Target 0: a known gap that one kernel gives 0.6; target 1: no gap; target 2: an unknown event.
    none = torch.zeros(1, NUM_GAP_KERNELS)
    gap_evidence = torch.cat([evidence_of(NUM_GAP_KERNELS, k0=5.0), none, none])
    gap_probs = torch.cat([evidence_of(NUM_GAP_KERNELS, k0=0.6), none, none])
    location_evidence = torch.cat([evidence_of(NUM_LOCATION_KERNELS, k2=5.0), torch.zeros(2, NUM_LOCATION_KERNELS)])
    location_probs = torch.cat([evidence_of(NUM_LOCATION_KERNELS, k2=0.9), torch.zeros(2, NUM_LOCATION_KERNELS)])
    targets = targets_of([4, -1, 4], [1, 3, 0], gap_evidence, gap_probs, location_evidence, location_probs)
    event, location = nn.Embedding(NUM_EVENTS, WIDTH // 4), nn.Embedding(NUM_LOCATIONS, WIDTH // 4)
    losses = heads.losses(torch.randn(3, WIDTH), torch.randn(3, WIDTH), targets, event, location, EVENT_TO_BEHAVIOR)

    bins, places = 1 / NUM_BINS, 1 / NUM_LOCATIONS
    gap = (-math.log(2 / 3 * bins + 1 / 3 * 0.6) - math.log(bins)) / 2
    location_mean = (-math.log(2 / 3 * places + 1 / 3 * 0.9) - 2 * math.log(places)) / 3
    event_mean = (math.log(2) + math.log(3)) / 2
    assert losses.gap.item() == pytest.approx(gap, rel=1e-5)
    assert losses.event.item() == pytest.approx(event_mean, rel=1e-5)
    assert losses.location.item() == pytest.approx(location_mean, rel=1e-5)
    # What is minimized holds the networks by themselves, too.
    total = gap + math.log(NUM_BINS) + event_mean + location_mean + math.log(NUM_LOCATIONS)
    assert losses.total.item() == pytest.approx(total, rel=1e-5)


def test_the_location_learns_from_an_even_choice_of_targets(heads):
    # 600 targets, every third of them: the first and every one behind it by 3, of location 1.
    num = 600
    targets = targets_of(
        [-1] * num,
        [1] * num,
        torch.zeros(num, NUM_GAP_KERNELS),
        torch.zeros(num, NUM_GAP_KERNELS),
        torch.zeros(num, NUM_LOCATION_KERNELS),
        torch.zeros(num, NUM_LOCATION_KERNELS),
    )
    with torch.no_grad():
        heads.place_bias.copy_(torch.tensor([0.0, math.log(4), 0.0, 0.0, 0.0]))
    targets.location[::3] = 2  # p = 1/8, all others 1/2
    event, location = nn.Embedding(NUM_EVENTS, WIDTH // 4), nn.Embedding(NUM_LOCATIONS, WIDTH // 4)
    arguments = (torch.zeros(num, WIDTH), torch.zeros(num, WIDTH), targets, event, location, EVENT_TO_BEHAVIOR)
    whole = heads.losses(*arguments).location.item()
    assert whole == pytest.approx((math.log(8) + 2 * math.log(2)) / 3, rel=1e-5)
    assert heads.train().losses(*arguments).location.item() == pytest.approx(math.log(8), rel=1e-5)
    assert heads.losses(*arguments).gap.item() == 0
