import json
import shutil

import pytest
import torch

from edgebehave_train.llm.scoring.bases import base_version, resolve_base, template_version
from edgebehave_train.llm.scoring.language_model import (
    LoraSettings,
    add_adapter,
    context_length,
    load_adapter,
    load_language_model,
    merge_adapter,
    save_adapter,
)


@pytest.fixture(params=["tiny_llama", "tiny_qwen2"])
def base(request):
    return request.getfixturevalue(request.param)


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 40)[None]).logits


def nudged(model):
    """Adapters that do something."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert "lora_" in name
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def test_a_folder_gives_a_model_in_evaluation_mode_and_its_tokenizer(base):
    model, tokenizer = load_language_model(base, device="cpu")
    assert not model.training
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "sdpa"
    assert tokenizer.chat_template is not None
    assert context_length(model) == 2048
    half, _ = load_language_model(str(base), device="cpu", precision="bfloat16")
    assert half.dtype == torch.bfloat16


def test_fresh_adapters_compute_nothing_and_train_alone(base):
    model, _ = load_language_model(base, device="cpu")
    plain = logits(model)
    adapted = add_adapter(model, LoraSettings(rank=2), seed=0)
    assert torch.equal(logits(adapted), plain)
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name for name in trained)
    # Seven linear layers in each of two blocks, A and B of each.
    assert len(trained) == 2 * 7 * 2


def test_adapters_survive_saving_and_merging(base, tmp_path):
    model, _ = load_language_model(base, device="cpu")
    plain = logits(model)
    adapted = nudged(add_adapter(model, LoraSettings(rank=2, alpha=3), seed=0))
    wanted = logits(adapted)
    assert not torch.allclose(wanted, plain, atol=1e-3)
    save_adapter(adapted, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    again = load_adapter(load_language_model(base, device="cpu")[0], tmp_path)
    assert torch.equal(logits(again), wanted)
    assert not any(p.requires_grad for p in again.parameters())
    merged = merge_adapter(again)
    assert type(merged) is type(load_language_model(base, device="cpu")[0])
    assert torch.allclose(logits(merged), wanted, atol=1e-5)
    assert merge_adapter(merged) is merged


def test_adapters_of_another_shape_are_refused(tiny_llama, tmp_path):
    model, _ = load_language_model(tiny_llama, device="cpu")
    save_adapter(add_adapter(model, LoraSettings(rank=2), seed=0), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["r"] = 3
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit the base"):
        load_adapter(load_language_model(tiny_llama, device="cpu")[0], tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is missing"):
        load_adapter(model, tmp_path)


def test_the_version_of_a_base_follows_its_weights(tiny_llama, tiny_qwen2, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    assert base_version(copy) == base_version(tiny_llama)
    assert base_version(tiny_llama).startswith("sha256:")
    assert base_version(tiny_llama) != base_version(tiny_qwen2)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert base_version(copy) != base_version(tiny_llama)


def test_the_version_of_a_template_follows_it_alone(tiny_llama, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    before = template_version(copy)
    assert before == template_version(tiny_llama)
    (copy / "model.safetensors").write_bytes(b"")
    assert template_version(copy) == before
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (copy / name).write_text("other")
        assert template_version(copy) != before
        before = template_version(copy)
    assert template_version("someone/model") == ""


def refusal(base):
    with pytest.raises(ValueError, match=str(base)) as error:
        load_language_model(base, device="cpu")
    message = str(error.value)
    assert "\n" not in message
    return message


def test_what_is_no_model_is_refused_in_one_line(tiny_llama, tmp_path, monkeypatch):
    assert "there is no folder /nowhere/model" in refusal("/nowhere/model")
    assert "there is no folder" in refusal(tmp_path / "nothing")
    assert "no config.json" in refusal(tmp_path)
    shutil.copy(tiny_llama / "config.json", tmp_path)
    assert "has no weights" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert "pickled weights alone (pytorch_model.bin)" in refusal(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 16)
    assert "cannot be loaded" in refusal(tmp_path)
    with pytest.raises(ValueError, match="precision must be one of"):
        load_language_model(tiny_llama, precision="float16")


def test_a_hub_id_needs_the_hub(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert resolve_base("someone/some-model") == "someone/some-model"
    message = refusal("someone/some-model")
    assert "not on this machine and the hub cannot be reached" in message


def test_a_model_that_does_not_continue_text_is_refused(tiny_llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "config.json").read_text())
    for changes, what in (
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ({"model_type": "vit", "architectures": None}, "vit"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        assert f"is not a causal language model but {what}" in refusal(folder)
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "unheard-of"}))
    assert "cannot be loaded" in refusal(folder)


@pytest.mark.parametrize("settings", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}], ids=lambda s: next(iter(s)))
def test_settings_of_adapters_are_checked(settings):
    with pytest.raises(ValueError, match=f"lora: {next(iter(settings))} must"):
        LoraSettings(**settings)
