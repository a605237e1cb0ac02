"""Fine-tuning of the universal model: which behaviors are predicted, what it learns, and that it repeats itself."""

import numpy as np
import pytest
import torch

from edgebehave_train.universal.answers import answer_log
from edgebehave_train.universal.fine_tuning import FineTuneConfig, _batches, fine_tune

FEW = FineTuneConfig(least_passes=2, most_passes=4, least_steps=12, learning_rate=6e-3)


def rounds(num_events, names=4):
    """A user who goes round some names, every hour."""
    number = np.arange(num_events)
    return number % names, number % 2, 1_700_000_000 + 3600 * number


def test_every_asked_behavior_but_the_first_is_in_one_window():
    asked = [np.arange(700) < 500, np.ones(30, bool), np.zeros(9, bool), np.ones(1, bool)]
    asked[1][[3, 7]] = False
    counts = [np.zeros(len(mask), int) for mask in asked]
    for batch in _batches(asked, np.random.default_rng(0)):
        assert len({window.query - window.first for window in batch}) == 1
        for window in batch:
            counts[window.user][window.query : window.stop] += 1
            assert window.stop - window.query <= 64
    for mask, count in zip(asked, counts, strict=True):
        assert (count[1:][mask[1:]] == 1).all()
        assert not count[:1].any()
    assert counts[0][500:].max() == 0


def test_it_learns_how_users_repeat_themselves_and_leaves_the_model_as_it_was(model):
    users = [rounds(90, names) for names in (3, 4, 5)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    asked = [np.arange(90) < 60] * 3
    losses = []
    tuned = fine_tune(model, users, asked, FEW, lambda step, steps, loss: losses.append((step, steps, loss)))
    assert [step for step, *_ in losses] == list(range(1, losses[0][1] + 1))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    later = [(user[0][:90], *user[1:]) for user in users]
    nll = [-np.log(answer_log(one, later, 60).probability).mean() for one in (model, tuned)]
    assert nll[1] < 0.6 * nll[0]


def test_the_same_seed_gives_the_same_weights_and_what_is_not_asked_says_nothing(model):
    users = [rounds(60)]
    asked = [np.arange(60) < 40]
    changed = [tuple(np.concatenate([column[:40], column[40:][::-1]]) for column in users[0])]
    one, same, other = (
        fine_tune(model, *of).state_dict()
        for of in ((users, asked, FEW), (changed, asked, FEW), (users, asked, FineTuneConfig(seed=1, least_steps=12)))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_nothing_to_ask_for_leaves_the_model(model):
    tuned = fine_tune(model, [rounds(5)], [np.zeros(5, bool)], FEW)
    assert tuned.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(tuned.power.weight, model.power.weight)
    assert tuned is not model


@pytest.mark.parametrize("num_events", [2, 3])
def test_the_shortest_users(model, num_events):
    tuned = fine_tune(model, [rounds(num_events)], [np.ones(num_events, bool)], FEW)
    assert all(torch.isfinite(tensor).all() for tensor in tuned.state_dict().values())
