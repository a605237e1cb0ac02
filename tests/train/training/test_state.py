"""The state of a training loop: saved, restored, and in the file format of before."""

import copy

import pytest
import torch
from torch import nn

from edgebehave_train.files import read_tensors
from edgebehave_train.saved_state import SavedState, save_state


def make_loop():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def step(model, optimizer):
    """One step whose data is drawn from torch's generator."""
    optimizer.zero_grad()
    model(torch.randn(4, 2)).square().mean().backward()
    optimizer.step()


def test_a_restored_loop_takes_the_same_next_step(tmp_path):
    model, optimizer = make_loop()
    step(model, optimizer)
    save_state(tmp_path / "state", {"model": model.state_dict()}, optimizer, position={"step": 1})
    at_save = copy.deepcopy(model.state_dict())
    step(model, optimizer)

    other, other_optimizer = make_loop()
    saved = SavedState.read(tmp_path / "state")
    other.load_state_dict(saved.parts["model"])
    assert torch.equal(other.weight, at_save["weight"])
    saved.restore(other_optimizer)
    assert saved.metadata == {"position": {"step": 1}}
    step(other, other_optimizer)
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(other.bias, model.bias)


def test_names_in_the_file(tmp_path):
    model, optimizer = make_loop()
    step(model, optimizer)
    save_state(tmp_path / "state", {"now": model.state_dict(), "best": {}}, optimizer, position=2, run={"lr": 0.1})
    tensors, metadata = read_tensors(tmp_path / "state")
    moments = {f"optimizer.{i}.{name}" for i in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert set(tensors) == {"now.weight", "now.bias", "rng.cpu"} | moments
    # One step of Adam from zero: exp_avg is (1 - beta_1) times the gradient, here of the bias.
    torch.testing.assert_close(tensors["optimizer.1.exp_avg"], 0.1 * model.bias.grad)
    assert metadata == {"position": "2", "run": '{"lr": 0.1}'}
    assert "best" not in SavedState.read(tmp_path / "state").parts


def test_an_optimizer_that_took_no_step_comes_back_fresh(tmp_path):
    model, optimizer = make_loop()
    save_state(tmp_path / "state", {"model": model.state_dict()}, optimizer)
    SavedState.read(tmp_path / "state").restore(optimizer)
    assert optimizer.state_dict()["state"] == {}


def test_a_cut_file_is_refused(tmp_path):
    model, optimizer = make_loop()
    save_state(tmp_path / "state", {"model": model.state_dict()}, optimizer)
    data = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        SavedState.read(tmp_path / "state")
