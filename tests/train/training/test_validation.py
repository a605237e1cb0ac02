"""The mean losses of a validation part, from losses that are the ids of the targets."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgebehave_train.kernels.habit_kernels import target_numbers
from edgebehave_train.loading.batches import TrainingLog
from edgebehave_train.logs.packing import Pieces
from edgebehave_train.logs.split import VALIDATION
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import BehaviorModel, TargetLosses
from edgebehave_train.model.generation_heads import HeadLosses
from edgebehave_train.training.batch_losses import BatchLosses
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.objectives import ObjectiveConfig, build_objective
from edgebehave_train.training.validation import cut_long_ranges, validate

START_S = 1_700_000_000


class IdLosses:
    """The loss of a target is its id, in nats; the loss of the gap head is 1 more, per batch."""

    def __init__(self, objective, with_heads):
        self.objective, self.with_heads, self.num_batches = objective, with_heads, 0

    def of(self, model, batch):
        self.num_batches += 1
        assert batch.event.shape[1] % 32 == 0
        assert int(batch.segment[:, -1].min()) >= 0  # every row ends with an event, behind its padding
        nll = batch.target.float()
        zero = torch.zeros(())
        heads = HeadLosses(gap=nll.mean() + 1, event=zero, location=zero, total=zero) if self.with_heads else None
        return TargetLosses(nll, nll, torch.zeros_like(nll), torch.zeros_like(nll), nll[:, None]), heads


@pytest.fixture(scope="module")
def store(make_store):
    # Of 10 events 7 train, 1 validates: b (2), c (3) and z, which training never saw.
    users = ("aaababcbaa", "aaabaaacaa", "aabaaaazaa")
    return make_store([[(START_S + i, letter, None) for i, letter in enumerate(user)] for user in users])


@pytest.mark.parametrize("with_heads", [False, True])
def test_losses_are_means_over_the_targets_of_the_vocabulary(store, recipe, with_heads):
    config = recipe(generation_heads=with_heads)
    parts = LogParts.of(store, config)
    assert parts.vocabulary.behaviors == ("<unknown>", "a", "b", "c")
    objective = build_objective(ObjectiveConfig(), parts.behavior_counts)
    data = TrainingLog(store, parts.vocabulary, parts.bounds, torch.device("cpu"), habits=False)
    losses = IdLosses(objective, with_heads)
    model = SimpleNamespace(eval=lambda: None)
    found = validate(model, config, parts, data, losses, progress=0.5)
    assert (found.nll, found.loss) == (2.5, 2.5)
    assert found.head_nll == ({"gap": 3.5, "event": 0.0, "location": 0.0} if with_heads else {})
    assert math.isnan(found.rank)
    assert losses.num_batches == 1


def test_the_loss_is_what_the_objective_makes_of_the_targets(store, recipe):
    config = recipe()
    parts = LogParts.of(store, config)
    objective = build_objective(ObjectiveConfig(name="focal", gamma=1.0), parts.behavior_counts)
    data = TrainingLog(store, parts.vocabulary, parts.bounds, torch.device("cpu"), habits=False)
    losses = IdLosses(objective, False)
    found = validate(SimpleNamespace(eval=lambda: None), config, parts, data, losses, progress=1.0)
    assert found.nll == 2.5
    # (1 - p) nll with p = exp(-nll), at nll 2 and 3
    expected = ((1 - math.exp(-2)) * 2 + (1 - math.exp(-3)) * 3) / 2
    assert found.loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_losses_at_the_ends_of_rows_are_those_of_all_states(tiny_store, recipe, num_layers):
    config = recipe(num_layers=num_layers, window=6, precision="float32")
    parts = LogParts.of(tiny_store, config)
    objective = build_objective(ObjectiveConfig(), parts.behavior_counts)
    data = TrainingLog(tiny_store, parts.vocabulary, parts.bounds, torch.device("cpu"))
    losses = BatchLosses(config, parts.vocabulary, objective, torch.device("cpu"))
    torch.manual_seed(0)
    model = BehaviorModel(config.model_config(parts.vocabulary))
    found = validate(model, config, parts, data, losses, progress=0.5)

    # One row for each user, every state of it.
    ranges = parts.validation_ranges
    pieces = Pieces(np.arange(len(ranges)), *ranges.T)
    (batch,) = data.batches(pieces, [len(ranges)], VALIDATION, 1)
    plan = plan_attention(batch.segment, config.window, "dense")
    with torch.no_grad():
        hidden = model.hidden(batch.event, batch.location, batch.weekday, batch.slot, plan).flatten(0, 1)
        z = model.query(hidden[batch.where], batch.query_weekday, batch.query_slot)
        pairs = list(batch.past.blocks(batch.row, torch.ones_like(batch.where, dtype=torch.bool)))
        habits = target_numbers(pairs, batch.past.behavior[batch.row])
        nll = model.nll(z, batch.target, habits.probs, habits.evidence, pairs).nll
    assert found.nll == pytest.approx(float(nll.double().mean()), rel=1e-6)


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=5), st.integers(1, 300))
def test_long_ranges_are_cut_so_that_each_event_asks_once_from_a_whole_receptive_field(lengths, receptive_field):
    starts = 7 + np.cumsum([0, *lengths[:-1]]) + 3 * np.arange(len(lengths))
    ranges = np.stack([starts, starts + lengths], 1)
    cut, ask_start = cut_long_ranges(ranges, receptive_field)
    asked = np.concatenate([np.arange(a, stop) for a, (_, stop) in zip(ask_start, cut, strict=True)])
    assert asked.tolist() == [at for start, stop in ranges.tolist() for at in range(start, stop)]
    for (start, stop), first in zip(cut.tolist(), ask_start.tolist(), strict=True):
        assert start == first or first - start == receptive_field - 1
        assert start in starts or start < first or receptive_field == 1
        assert stop - start <= 4096 + receptive_field - 1
