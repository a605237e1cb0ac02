"""Soft targets: the formula by hand, who is compared, and what a batch without answers adds."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgebehave_train.distillation.soft_targets import SoftTargets, divergence_of_scores, softened

BATCH_EVENTS = [4, 9, 6]  # 4 and 6 have an answer
PROBS = [[0.0, 0.64, 0.36, 0.0], [0.0, 0.25, 0.25, 0.5]]


def soft_targets(**changes):
    arguments = {"num_events": 12, "share": 0.5, "weight": 1.0, "temperature": 2.0, **changes}
    known = arguments.pop("known", [False, True, True, True])
    return SoftTargets(np.array([4, 6]), np.array(PROBS), np.array(known), **arguments)


def term(soft, logits):
    batch = SimpleNamespace(target_event=torch.tensor(BATCH_EVENTS))
    return soft(batch, SimpleNamespace(network_logits=logits))


def test_probabilities_are_softened_by_hand():
    # Square roots of .64 and .36 are .8 and .6.
    probs = softened(torch.tensor([[0.0, 0.64, 0.36]]), 2.0)
    torch.testing.assert_close(probs, torch.tensor([[0.0, 0.8 / 1.4, 0.6 / 1.4]]))
    same = torch.tensor([0.25, 0.75])
    torch.testing.assert_close(softened(same, 1.0), same)


def test_the_divergence_by_hand():
    # Scores of T log 3 and 0 are 3/4 and 1/4 at temperature T.
    logits = torch.tensor([2 * math.log(3), 0.0])
    value = divergence_of_scores(torch.tensor([0.5, 0.5]), logits, 2.0)
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert value.item() == pytest.approx(expected)
    certain = divergence_of_scores(torch.tensor([1.0, 0.0]), logits, 2.0)
    assert certain.item() == pytest.approx(-math.log(0.75))


def test_the_term_by_hand():
    # A student that finds all three alike: KL = log 3 - H(q), q at T = 2.
    logits = torch.zeros(3, 4)
    logits[:, 0] = -1e4
    q = [[0.8 / 1.4, 0.6 / 1.4], [x / (1 + math.sqrt(0.5)) for x in (0.5, 0.5, math.sqrt(0.5))]]
    divergence = sum(math.log(3) + sum(x * math.log(x) for x in row) for row in q)
    # w T^2 times the sum, over the 1.5 answers that three targets have on average.
    expected = 0.3 * 4 * divergence / 1.5
    assert term(soft_targets(weight=0.3), logits).item() == pytest.approx(expected, rel=1e-5)


def test_what_the_teacher_agrees_with_adds_nothing():
    logits = torch.full((3, 4), -1e4)
    logits[[0, 2]] = torch.tensor(PROBS, dtype=torch.float32).clamp_min(1e-30).log() + 7
    logits[:, 0] = -1e4
    assert term(soft_targets(temperature=1.0), logits).item() == pytest.approx(0, abs=1e-6)


def test_behaviors_that_the_teacher_lacks_get_no_gradient():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    probs = np.array([[0.0, 0.64, 0.36, 0.0], [0.0, 0.5, 0.5, 0.0]])
    known = np.array([False, True, True, False])
    soft = SoftTargets(np.array([4, 6]), probs, known, num_events=12, share=0.5)
    term(soft, logits).backward()
    assert logits.grad is not None
    assert logits.grad[:, [0, 3]].abs().max() == 0
    assert logits.grad[[0, 2]][:, [1, 2]].abs().min() > 0
    assert logits.grad[1].abs().max() == 0  # a target without an answer


def test_a_batch_without_answers_adds_nothing():
    batch = SimpleNamespace(target_event=torch.tensor([1, 2]))
    value = soft_targets()(batch, SimpleNamespace(network_logits=torch.randn(2, 4)))
    assert value.item() == 0


def test_the_mean_over_batches_is_that_over_answers():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(12, 4, generator=generator)
    soft = soft_targets(share=2 / 12)
    values = []
    for events in torch.arange(12).view(4, 3):
        batch = SimpleNamespace(target_event=events)
        values.append(soft(batch, SimpleNamespace(network_logits=logits[events])).item())
    known = torch.tensor([False, True, True, True])
    scores = logits[[4, 6]].masked_fill(~known, -1e4)
    each = divergence_of_scores(softened(torch.tensor(PROBS), 2.0), scores, 2.0)
    assert np.mean(values) == pytest.approx(4 * each.mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": -1.0}, "weight must not be negative, got -1"),
        ({"weight": math.nan}, "weight must not be negative"),
        ({"temperature": 0.5}, "temperature must be at least 1, got 0.5"),
        ({"share": 0.0}, "share of targets"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        soft_targets(**changes)
