"""The fixtures themselves: both tiny models load offline from their folders and speak."""

import pytest


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2"])
def test_a_tiny_model_loads_from_its_folder(name, request):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = request.getfixturevalue(name)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    text = "Behavior: déjà vu?\n"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    logits = model(torch.tensor([ids])).logits
    assert logits.shape == (1, len(ids), len(tokenizer))
    assert logits.isfinite().all()
    assert "<|im_start|>user" in tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
