"""Llama blocks: equal to those of transformers, and nobody sees who must not be seen."""

import functools
import math

import pytest
import torch

from edgebehave_export.graphs.onnx_export import export_observe
from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import BLOCKS, ModelConfig
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain
from llama_blocks import LlamaBlock, LlamaBlocks, LlamaShape

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SHAPE = LlamaShape(num_kv_heads=2, head_width=6, mlp_width=40, rotary_base=5000.0)


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
@torch.no_grad()
def test_blocks_compute_what_those_of_a_language_model_do(family):
    config = getattr(transformers, f"{family}Config")(
        vocab_size=10,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_theta=10_000.0,
    )
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{family}Model")(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    shape = LlamaShape(
        num_kv_heads=2,
        head_width=6,
        mlp_width=40,
        norm_epsilon=config.rms_norm_eps,
        qkv_bias=family == "Qwen2",
    )
    ours = LlamaBlock(24, 4, shape)
    ours.load_state_dict(theirs.layers[0].state_dict())
    x = torch.randn(2, 30, 24)
    cos, sin = (table[:30, None] for table in shape.rotary_table())
    plan = plan_attention(torch.zeros(2, 30, dtype=torch.long), 30, "blockwise")
    expected = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(theirs.norm(ours(x, cos, sin, plan)), expected, atol=1e-5, rtol=1e-4)


def test_a_window_ends_what_an_event_sees():
    torch.manual_seed(0)
    block = LlamaBlock(24, 4, SHAPE)
    cos, sin = (table[:20, None] for table in SHAPE.rotary_table())
    segment = torch.repeat_interleave(torch.arange(2), torch.tensor([3, 17]))[None]
    x = torch.randn(1, 20, 24, requires_grad=True)
    block(x, cos, sin, plan_attention(segment, 5, "blockwise"))[0, 4].sum().backward()
    assert x.grad[0].abs().sum(1).nonzero()[:, 0].tolist() == [3, 4]
    x.grad = None
    block(x, cos, sin, plan_attention(segment, 5, "blockwise"))[0, 12].sum().backward()
    assert x.grad[0].abs().sum(1).nonzero()[:, 0].tolist() == [8, 9, 10, 11, 12]


def test_a_checkpoint_trains_is_opened_and_scored_but_not_exported(tiny_store, recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(BLOCKS, "llama", functools.partial(LlamaBlocks, shape=SHAPE))
    config = recipe(attention="llama", width=24, num_heads=4)
    checkpoint = pretrain(tiny_store, config, tmp_path / "llama", device="cpu")
    losses = checkpoint.training.validation_nll
    assert losses[-1] < losses[0] < math.log(checkpoint.vocabulary.num_behaviors) + 0.5
    opened = Checkpoint.open(tmp_path / "llama")
    assert opened.config == config
    monkeypatch.delitem(BLOCKS, "llama")
    with pytest.raises(ValueError, match=r"attention must be softmax.*, got 'llama'"):
        Checkpoint.open(tmp_path / "llama")
    monkeypatch.setitem(BLOCKS, "llama", functools.partial(LlamaBlocks, shape=SHAPE))
    assert len(predict_part(tiny_store, opened)) > 100
    with pytest.raises(ValueError, match="attention llama runs in training and evaluation alone"):
        export_observe(opened.load_model())


def test_shapes_that_do_not_fit_are_refused():
    config = ModelConfig(num_events=5, num_locations=3, num_behaviors=4, width=24, num_heads=3)
    with pytest.raises(ValueError, match="num_kv_heads must divide num_heads, got 2 and 3"):
        LlamaBlocks(config, SHAPE)
    with pytest.raises(ValueError, match="head_width must be even, got 5"):
        LlamaShape(num_kv_heads=1, head_width=5, mlp_width=8)
