"""Generation against the plainest greedy decoding, and what counts as a behavior."""

import numpy as np
import pytest
import torch

from edgebehave_train.llm.scoring.answer_generation import generate_behaviors

END = 2


@pytest.fixture(scope="module", params=["tiny_llama", "tiny_qwen2"])
def model(request):
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(request.param)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 8  # so that it does not say the same to everything
    return model


def greedy(model, prompt, num_tokens, end=None):
    """One token at a time, everything read anew each time; what comes before the end."""
    ids = list(prompt)
    for _ in range(num_tokens):
        with torch.no_grad():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == end:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_the_written_behavior_is_found(model, tokenizer):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, 400, length).tolist() for length in (30, 4, 1, 11, 30)]
    said = greedy(model, prompts[0], 8)
    # Whatever it says first anew shall be the end; the behavior's name is what came before.
    length = next(n for n in range(1, 8) if said[n] not in said[:n])
    name, end = said[:length], said[length]
    candidates = [[7, 8, 9, end], [*name, end], [7, end]]
    expected = [2 if greedy(model, prompt, max(4, length + 1), end) == name else 0 for prompt in prompts]
    assert expected[0] == 2
    assert 0 in expected
    for max_batch_tokens in (30, 64, 1000):
        found = generate_behaviors(model, tokenizer, prompts, candidates, max_batch_tokens=max_batch_tokens)
        assert found.tolist() == expected


def test_case_and_blanks_do_not_count_and_other_text_is_a_miss(tokenizer, monkeypatch):
    from edgebehave_train.llm.scoring import answer_generation

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    monkeypatch.setattr(answer_generation, "check_tokens", lambda *_: None)
    said = [ids(text) for text in (" Gym", "SHOP\n", "gym shop", "", "gymn")]
    monkeypatch.setattr(answer_generation, "_greedy", lambda *_: said)
    candidates = [[*ids("shop"), END], [*ids("gym"), END]]
    model = torch.nn.Linear(1, 1)
    found = generate_behaviors(model, tokenizer, [[5]] * 5, candidates)
    assert found.tolist() == [2, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="behaviors 1 and 2 both read 'gym'"):
        generate_behaviors(model, tokenizer, [[5]], [[*ids("gym"), END], [*ids(" GYM"), END]])


def test_progress_counts_prompts(model, tokenizer):
    seen = []
    generate_behaviors(
        model,
        tokenizer,
        [[5] * 10] * 3,
        [[7, END]],
        max_batch_tokens=20,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 3), (3, 3)]
