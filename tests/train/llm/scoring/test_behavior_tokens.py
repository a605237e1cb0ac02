"""Tokens of behaviors: their rows against the matrices that they become part of."""

import inspect
import json

import numpy as np
import pytest
import torch

from edgebehave_train.llm.scoring.behavior_tokens import (
    add_behavior_tokens,
    behavior_tokens,
    merge_behavior_tokens,
    num_output_tokens,
)
from edgebehave_train.llm.scoring.candidates import candidate_logprobs
from edgebehave_train.llm.scoring.language_model import (
    LoraSettings,
    add_adapter,
    load_adapter,
    load_language_model,
    merge_adapter,
    save_adapter,
)

NAMES = [[40, 41], [50], [40, 60, 61]]


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request, tiny_llama, tmp_path):
    """A folder of a model whose output layer shares the input embeddings, or does not."""
    model, tokenizer = load_language_model(tiny_llama, device="cpu")
    folder = tmp_path / "base"
    model.config.tie_word_embeddings = request.param
    if request.param:
        model.tie_weights()
    else:
        torch.manual_seed(3)
        weight = model.get_input_embeddings().weight
        model.get_output_embeddings().weight = torch.nn.Parameter(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is request.param
    return folder


def opened(base):
    model, _ = load_language_model(base, device="cpu")
    number = num_output_tokens(model)
    add_behavior_tokens(model, NAMES)
    assert behavior_tokens(model) == [number, number + 1, number + 2]
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 40)[None]).logits


def test_a_row_begins_as_the_mean_of_its_name(base):
    plain, _ = load_language_model(base, device="cpu")
    wanted = logits(plain)
    found = logits(opened(base))
    number = wanted.shape[-1]
    torch.testing.assert_close(found[..., :number], wanted)
    for c, name in enumerate(NAMES):
        torch.testing.assert_close(found[..., number + c], wanted[..., name].mean(-1), atol=1e-5, rtol=1e-4)


def test_rows_train_with_the_adapters_and_survive_saving_loading_and_merging(base, tmp_path):
    model = add_adapter(opened(base), LoraSettings(rank=2), seed=0)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = [p for name, p in trained.items() if "behavior_rows" in name]
    assert len(rows) == 1
    assert all("lora_" in name or "behavior_rows" in name for name in trained)
    before = logits(model)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in trained.values():
            parameter += torch.randn_like(parameter) * 0.1
    wanted = logits(model.eval())
    assert not torch.allclose(wanted[..., -3:], before[..., -3:], atol=1e-3)
    save_adapter(model, tmp_path / "adapter")
    again = load_adapter(opened(base), tmp_path / "adapter")
    assert torch.equal(logits(again), wanted)
    assert not any(p.requires_grad for p in again.parameters())
    further = load_adapter(opened(base), tmp_path / "adapter", trainable=True)
    assert {name for name, p in further.named_parameters() if p.requires_grad} == set(trained)

    state = torch.random.get_rng_state()
    merged = merge_adapter(again)
    assert torch.equal(torch.random.get_rng_state(), state)
    plain, _ = load_language_model(base, device="cpu")
    assert type(merged.get_output_embeddings()) is torch.nn.Linear
    assert merged.config.vocab_size == num_output_tokens(merged) == wanted.shape[-1]
    is_tied = merged.get_input_embeddings().weight is merged.get_output_embeddings().weight
    assert is_tied == plain.config.tie_word_embeddings
    torch.testing.assert_close(logits(merged), wanted, atol=1e-5, rtol=1e-4)
    assert merge_behavior_tokens(merged) is merged

    merged.save_pretrained(tmp_path / "merged")
    read, _ = load_language_model_of(tmp_path / "merged", base)
    torch.testing.assert_close(logits(read), wanted, atol=1e-5, rtol=1e-4)
    assert behavior_tokens(read) == behavior_tokens(merged) == [wanted.shape[-1] - 3 + c for c in range(3)]


def load_language_model_of(folder, base):
    load_language_model(base, device="cpu")[1].save_pretrained(folder)
    return load_language_model(folder, device="cpu")


def test_one_pass_gives_the_scores(base, monkeypatch):
    model = opened(base)
    generator = np.random.default_rng(0)
    shared = list(range(4, 24))
    prompts = [[*shared, *generator.integers(4, 100, length).tolist()] for length in (9, 1, 30, 30)]
    found = candidate_logprobs(model, prompts, [[token] for token in behavior_tokens(model)])
    with torch.no_grad():
        wanted = [model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[-3:] for prompt in prompts]
    np.testing.assert_allclose(found[:, 1:], torch.stack(wanted).numpy(), atol=1e-4)

    passes, forward = [], model.forward

    def noted(**arguments):
        passes.append(tuple(arguments["input_ids"].shape))
        return forward(**arguments)

    noted.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(model, "forward", noted)
    candidate_logprobs(model, prompts, [[token] for token in behavior_tokens(model)])
    assert passes == [(1, len(shared)), (4, 30)]


def test_models_without_tokens_of_behaviors_are_told_apart(base):
    model, _ = load_language_model(base, device="cpu")
    with pytest.raises(ValueError, match="has no tokens of behaviors"):
        behavior_tokens(model)
    add_behavior_tokens(model, NAMES)
    with pytest.raises(ValueError, match="output layer BehaviorHead"):
        add_behavior_tokens(model, NAMES)


def test_rows_stay_float32_beside_a_base_in_bfloat16(base):
    model, _ = load_language_model(base, device="cpu", precision="bfloat16")
    add_behavior_tokens(model, NAMES)
    adapted = add_adapter(model, LoraSettings(rank=2), seed=0)
    rows = next(p for name, p in adapted.named_parameters() if p.requires_grad and "behavior_rows" in name)
    assert rows.dtype == torch.float32
    assert logits(adapted).dtype == torch.bfloat16


def test_a_name_or_a_prompt_with_a_token_that_the_model_lacks_is_one_clear_line(base):
    model, _ = load_language_model(base, device="cpu")
    number = num_output_tokens(model)
    with pytest.raises(ValueError, match="do not belong together"):
        add_behavior_tokens(model, [[40], [number]])
    add_behavior_tokens(model, NAMES)
    with pytest.raises(ValueError, match=f"token {number} is not among"):
        candidate_logprobs(model, [[5, number]], [[token] for token in behavior_tokens(model)])


def test_adapters_of_the_output_layer_are_refused_beside_its_rows(base):
    with pytest.raises(ValueError, match="may not name the output layer 'lm_head'"):
        add_adapter(opened(base), LoraSettings(targets=("q_proj", "lm_head")), 0)
