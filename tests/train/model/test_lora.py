"""Adapters in a behavior model: invisible at the start and in what is kept."""

import copy

import pytest
import torch

from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig

pytest.importorskip("peft", reason="adapters need PEFT: pip install 'edgebehave[train]'")

from edgebehave_train.model.lora import BLOCK_LAYERS, inject_lora, merged_state


@pytest.fixture
def model() -> BehaviorModel:
    torch.manual_seed(0)
    config = ModelConfig(
        num_events=9,
        num_locations=5,
        num_behaviors=6,
        width=16,
        num_layers=2,
        num_heads=2,
        window=4,
    )
    return BehaviorModel(config).eval()


def logits(model: BehaviorModel) -> torch.Tensor:
    event = torch.tensor([[1, 2, 3, 4, 5, 6]])
    zeros = torch.zeros_like(event)
    plan = plan_attention(zeros, model.config.window, "dense")
    hidden = model.hidden(event, zeros, zeros, zeros, plan)
    return model.logits(model.query(hidden, zeros, zeros))


def take_steps(model: BehaviorModel, num_steps: int = 3) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(num_steps):
        optimizer.zero_grad()
        logits(model)[..., 2].sum().neg().backward()
        optimizer.step()


def test_adapters_change_nothing_before_the_first_step(model):
    before = logits(model)
    inject_lora(model, rank=2)
    torch.testing.assert_close(logits(model), before)


def test_only_adapters_and_what_is_named_train(model):
    plain = copy.deepcopy(model).state_dict()
    inject_lora(model, rank=2, trained=("norm", "head_out.weight"))
    take_steps(model)
    state = model.state_dict()
    for name, value in plain.items():
        here = name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
        kept = state[here] if here in state else state[name]
        trains = name in ("norm.weight", "norm.bias", "head_out.weight")
        assert torch.equal(kept, value) != trains, name


@pytest.mark.parametrize("targets", [BLOCK_LAYERS, ("event", "head_in", "blocks.1.qkv")])
def test_the_merged_state_is_a_plain_model_that_computes_the_same(model, targets):
    config = model.config
    inject_lora(model, rank=2, alpha=6, targets=targets, trained=("head_out",))
    take_steps(model)
    average = torch.optim.swa_utils.AveragedModel(model).module
    for trained in (model, average):
        before = {name: value.clone() for name, value in trained.state_dict().items()}
        plain = BehaviorModel(config).eval()
        plain.load_state_dict(merged_state(trained))
        torch.testing.assert_close(logits(plain), logits(trained))
        assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def test_a_model_without_adapters_is_its_own_merged_state(model):
    assert merged_state(model).keys() == model.state_dict().keys()


def test_names_that_fit_nothing_are_refused(model):
    with pytest.raises(ValueError, match="no 'qvk'"):
        inject_lora(model, targets=("qvk",))
    with pytest.raises(ValueError, match="no 'head'"):
        inject_lora(model, trained=("head",))
    with pytest.raises(ValueError, match="rank"):
        inject_lora(model, rank=0)
    with pytest.raises(ValueError, match="one list"):
        inject_lora(model, targets=("head_out",), trained=("head_out",))
