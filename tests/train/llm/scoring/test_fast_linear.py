"""Linear layers by oneDNN: the same numbers, for scoring alone."""

import pytest
import torch
from torch import nn

from edgebehave_train.llm.scoring import fast_linear
from edgebehave_train.llm.scoring.fast_linear import onednn_is_faster


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")
def test_layers_compute_the_same_and_are_their_own_afterwards(monkeypatch):
    monkeypatch.setattr(fast_linear, "onednn_is_faster", lambda num_threads: True)
    torch.manual_seed(0)
    half = nn.Linear(16, 4).bfloat16()
    model = nn.ModuleDict({"plain": nn.Linear(8, 16), "bare": nn.Linear(16, 4, bias=False), "short": half})
    inputs = torch.randn(2, 3, 8)
    with torch.no_grad():
        wanted = model["bare"](model["plain"](inputs))
        with fast_linear.fast_linear(model):
            assert "forward" in vars(model["plain"])
            assert "forward" not in vars(half)
            torch.testing.assert_close(model["bare"](model["plain"](inputs)), wanted)
    assert not any("forward" in vars(module) for module in model.modules())


def test_the_choice_is_measured_once():
    assert onednn_is_faster(1) is onednn_is_faster(1)
    assert isinstance(onednn_is_faster(1), bool)
