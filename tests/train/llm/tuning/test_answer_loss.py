from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import transformers

from edgebehave_train.llm.prompts.encoding import TokenizedSample
from edgebehave_train.llm.scoring.behavior_tokens import add_behavior_tokens, behavior_tokens
from edgebehave_train.llm.scoring.head_positions import head_at
from edgebehave_train.llm.scoring.language_model import LoraSettings, add_adapter, load_language_model
from edgebehave_train.llm.scoring.shared_prefix import SharedPrefix
from edgebehave_train.llm.tuning.answer_loss import AnswerBatch, answer_nll

SAMPLES = [
    TokenizedSample(prompt_ids=[5, 6, 7, 8, 9], answer_ids=[10, 2]),
    TokenizedSample(prompt_ids=[11], answer_ids=[12, 13, 14, 2]),
    TokenizedSample(prompt_ids=list(range(20, 60)), answer_ids=[2]),
]


def plain_nll(model, sample):
    """One sample alone, logits everywhere, a loop over the answer."""
    ids = [*sample.prompt_ids, *sample.answer_ids]
    logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    losses = [F.cross_entropy(logits[i - 1], torch.tensor(ids[i])) for i in range(len(sample.prompt_ids), len(ids))]
    return torch.stack(losses).mean()


def gpt2():
    config = transformers.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1)
    return transformers.GPT2LMHeadModel(config).eval()


def gemma2():
    """Scales embeddings, caps logits, and slides windows."""
    config = transformers.Gemma2Config(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=0.05,
        sliding_window=4,
        attn_implementation="eager",
    )
    return transformers.Gemma2ForCausalLM(config).eval()


@pytest.fixture(params=["tiny_llama", "tiny_qwen2", gpt2, gemma2], ids=["llama", "qwen2", "gpt2", "gemma2"])
def model(request):
    torch.manual_seed(0)
    if callable(request.param):
        return request.param()
    return load_language_model(request.getfixturevalue(request.param), device="cpu")[0]


def test_a_batch_says_where_each_answer_token_is_predicted():
    batch = AnswerBatch.of(SAMPLES[:2], torch.device("cpu"))
    assert batch.token_ST.tolist() == [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0]]
    assert batch.where.tolist() == [4, 5, 6, 7, 8, 9]
    assert batch.target.tolist() == [10, 2, 12, 13, 14, 2]
    assert batch.sample.tolist() == [0, 0, 1, 1, 1, 1]


def test_padded_and_cut_short_it_is_the_plain_loss(model):
    nll = answer_nll(model, AnswerBatch.of(SAMPLES, torch.device("cpu")))
    wanted = torch.stack([plain_nll(model, sample) for sample in SAMPLES])
    torch.testing.assert_close(nll, wanted, atol=2e-5, rtol=1e-5)


def test_gradients_of_adapters_are_the_plain_ones(model):
    adapted = add_adapter(model, LoraSettings(rank=2), seed=0).eval()
    trained = [p for p in adapted.parameters() if p.requires_grad]
    answer_nll(adapted, AnswerBatch.of(SAMPLES, torch.device("cpu"))).sum().backward()
    gradients = [p.grad.clone() for p in trained]
    adapted.zero_grad()
    sum(plain_nll(adapted, sample) for sample in SAMPLES).backward()
    for gradient, parameter in zip(gradients, trained, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


def test_a_prefix_that_runs_once_gives_the_plain_loss_and_gradients(model):
    """Tokens that all samples share; their gradients go back through the prefix once."""
    prefix_tokens = [21, 22, 23, 24, 25]
    samples = [replace(one, prompt_ids=[*prefix_tokens, *one.prompt_ids]) for one in SAMPLES]
    adapted = add_adapter(model, LoraSettings(rank=2), seed=0).double().eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.1
    trained = [p for p in adapted.parameters() if p.requires_grad]
    whole = answer_nll(adapted, AnswerBatch.of(samples, torch.device("cpu")))
    whole.sum().backward()
    gradients = [p.grad.clone() for p in trained]
    adapted.zero_grad()
    prefix = SharedPrefix.of(adapted, prefix_tokens)
    leaves = prefix.detached()
    for part in (samples[:1], samples[1:]):
        nll = answer_nll(adapted, AnswerBatch.of(part, torch.device("cpu"), len(prefix_tokens)), leaves)
        torch.testing.assert_close(nll, whole[:1] if part == samples[:1] else whole[1:], atol=2e-5, rtol=1e-5)
        nll.sum().backward()
    prefix.backward(leaves)
    for gradient, parameter in zip(gradients, trained, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-6)


def test_a_token_of_a_behavior_is_compared_with_those_of_behaviors_alone(tiny_llama):
    model, _ = load_language_model(tiny_llama, device="cpu")
    add_behavior_tokens(model, [[40, 41], [50], [60]])
    tokens = behavior_tokens(model)
    asked = TokenizedSample(prompt_ids=[5, 6, 7], answer_ids=[tokens[1]])
    of_behavior, of_words = answer_nll(model, AnswerBatch.of([asked, SAMPLES[0]], torch.device("cpu")))
    logits_3 = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1, tokens].float()
    torch.testing.assert_close(of_behavior, -logits_3.log_softmax(0)[1])
    torch.testing.assert_close(of_words, plain_nll(model, SAMPLES[0]))


def test_the_head_is_whole_again_afterwards(tiny_llama):
    model, _ = load_language_model(tiny_llama, device="cpu")
    ids = torch.arange(8).reshape(2, 4)
    whole = model(input_ids=ids).logits
    with head_at(model, torch.tensor([6, 1])):
        some = model(input_ids=ids).logits
    torch.testing.assert_close(some, whole.flatten(0, 1)[[6, 1]][None])
    with pytest.raises(RuntimeError), head_at(model, torch.tensor([99])):
        raise RuntimeError
    assert torch.equal(model(input_ids=ids).logits, whole)


def test_a_pass_keeps_one_copy_of_the_prefix_and_none_of_the_tokens_after_it(tiny_llama):
    model, _ = load_language_model(tiny_llama, device="cpu")
    prefix = SharedPrefix.of(model, list(range(5, 25)))
    cache = prefix.cache(6, grows=False)
    new = torch.zeros(6, *prefix.pairs[0][0].shape[1:])
    keys, _ = cache.update(new, new, 0)
    assert keys.shape[2] == 40
    assert cache.layers[0].keys.shape == new.shape
    for layer, (before, _) in zip(cache.layers, prefix.pairs, strict=True):
        assert layer.keys.untyped_storage().nbytes() == before.untyped_storage().nbytes()
