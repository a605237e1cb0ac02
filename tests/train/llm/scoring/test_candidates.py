"""Candidate scoring against brute force: one forward pass per prompt and candidate."""

import functools
import warnings
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave_train.llm.scoring import candidates as scoring
from edgebehave_train.llm.scoring.candidate_trie import candidate_tries
from edgebehave_train.llm.scoring.candidates import candidate_logprobs, score_candidates
from edgebehave_train.llm.scoring.shared_prefix import SharedPrefix, shared_length

END = 2
# Shared beginnings, an answer that begins another, one of a single token, one of the end only.
ANSWERS = [
    [40, 41, END],
    [40, 41, 42, END],
    [40, END],
    [77, 40, 41, 42, 99, END],
    [77, END],
    [350],
    [END],
]


def sharpened(model):
    """Random weights whose attention matters: at the usual scale a wrong mask changes little."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 8
    return model.eval()


@pytest.fixture(scope="module", params=["tiny_llama", "tiny_qwen2"])
def model(request):
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(request.param)
    return sharpened(AutoModelForCausalLM.from_pretrained(folder, local_files_only=True))


@functools.cache
def tiny(architecture, **changes):
    """A tiny model of any architecture, for those that have no folder."""
    import transformers

    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=500,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return sharpened(getattr(transformers, f"{architecture}ForCausalLM")(config))


def prompts_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 400, length).tolist() for length in lengths]


def brute_force(model, prompts, answers):
    """(N, V) log-probabilities, in float64 where that is cheap; column 0 is -inf."""
    out = np.full((len(prompts), len(answers) + 1), -np.inf)
    for i, prompt in enumerate(prompts):
        for c, answer in enumerate(answers):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *answer]])).logits[0].double()
            logprobs = logits.log_softmax(-1)
            out[i, c + 1] = sum(float(logprobs[len(prompt) - 1 + t, token]) for t, token in enumerate(answer))
    return out


def test_scores_equal_brute_force(model):
    prompts = prompts_of([30, 1, 7, 120, 30, 2])
    expected = brute_force(model, prompts, ANSWERS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the slow way would warn
        logprobs = candidate_logprobs(model, prompts, ANSWERS)
        probs = score_candidates(model, prompts, ANSWERS)
    assert logprobs.dtype == probs.dtype == np.float32
    assert logprobs.shape == probs.shape == (6, len(ANSWERS) + 1)
    np.testing.assert_allclose(logprobs[:, 1:], expected[:, 1:], atol=1e-4)
    assert (logprobs[:, 0] == -np.inf).all()
    assert np.ptp(expected[:, 1:]) > 1  # there is something to tell apart
    softmax = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs, softmax, atol=1e-4)
    assert (probs[:, 0] == 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    answers=st.lists(
        st.lists(st.integers(4, 8), max_size=4).map(lambda tokens: (*tokens, END)),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    max_batch_tokens=st.integers(1, 100),
    max_nodes=st.integers(1, 8),
)
def test_any_candidates_in_any_batches_equal_brute_force(lengths, answers, max_batch_tokens, max_nodes):
    model = tiny("Llama")
    prompts = prompts_of(lengths)
    before = scoring._MAX_NODES
    try:
        scoring._MAX_NODES = max_nodes
        logprobs = candidate_logprobs(model, prompts, answers, max_batch_tokens=max_batch_tokens)
    finally:
        scoring._MAX_NODES = before
    expected = brute_force(model, prompts, answers)
    np.testing.assert_allclose(logprobs[:, 1:], expected[:, 1:], atol=1e-4)


def test_adapters_take_part():
    from peft import LoraConfig, get_peft_model

    base = tiny("Llama", attention_bias=True)  # its own, since adapters stay in it
    tuned = get_peft_model(base, LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear"))
    prompts = prompts_of([12, 20])
    tuned.train()
    logprobs = candidate_logprobs(tuned, prompts, ANSWERS)
    assert tuned.training  # left as it was
    tuned.eval()
    np.testing.assert_allclose(logprobs[:, 1:], brute_force(tuned, prompts, ANSWERS)[:, 1:], atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [("Mistral", "eager"), ("Mistral", "sdpa"), ("GPTNeoX", "sdpa"), ("Gemma2", "eager")],
)
def test_other_architectures_equal_brute_force(architecture, attention):
    # The windows of Mistral and Gemma are wider than these prompts.
    model = tiny(architecture, attn_implementation=attention)
    prompts = prompts_of([9, 40])
    np.testing.assert_allclose(
        candidate_logprobs(model, prompts, ANSWERS)[:, 1:],
        brute_force(model, prompts, ANSWERS)[:, 1:],
        atol=2e-4,
    )


@pytest.mark.parametrize("architecture", ["Mistral", "Gemma2"])
def test_a_binding_window_is_scored_right_with_a_warning(architecture):
    model = tiny(architecture, sliding_window=16)
    prompts = prompts_of([40, 10])
    with pytest.warns(UserWarning, match="sliding_window of 16"):
        logprobs = candidate_logprobs(model, prompts, ANSWERS)
    np.testing.assert_allclose(logprobs[:, 1:], brute_force(model, prompts, ANSWERS)[:, 1:], atol=2e-4)


def test_a_model_that_ignores_positions_and_masks_is_scored_right_with_a_warning():
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    # Bloom knows positions by the order of tokens alone: as a tree it would be wrong.
    model = sharpened(BloomForCausalLM(BloomConfig(vocab_size=500, hidden_size=32, n_layer=2, n_head=4)))
    prompts = prompts_of([12, 5])
    with pytest.warns(UserWarning, match="one by one: Bloom"):
        logprobs = candidate_logprobs(model, prompts, ANSWERS)
    np.testing.assert_allclose(logprobs[:, 1:], brute_force(model, prompts, ANSWERS)[:, 1:], atol=2e-4)


def test_five_hundred_candidates_in_bounded_trees(model, monkeypatch):
    rng = np.random.default_rng(0)
    answers = [[*row, END] for row in np.unique(rng.integers(4, 30, (600, 3)), axis=0).tolist()[:500]]
    assert len(answers) == 500
    sizes = []
    monkeypatch.setattr(model, "forward", _noting(model.forward, sizes), raising=True)
    monkeypatch.setattr(scoring, "_MAX_NODES", 100)
    prompts = prompts_of([25])
    logprobs = candidate_logprobs(model, prompts, answers)
    monkeypatch.undo()
    assert max(sizes) <= 100
    some = [0, 13, 250, 499]
    expected = brute_force(model, prompts, [answers[c] for c in some])
    np.testing.assert_allclose(logprobs[:, [c + 1 for c in some]], expected[:, 1:], atol=1e-4)


def _noting(forward, sizes):
    @functools.wraps(forward)
    def noted(**arguments):
        if arguments["use_cache"]:
            sizes.append(arguments["input_ids"].shape[1])
        return forward(**arguments)

    return noted


def test_progress_counts_prompts(model):
    seen = []
    candidate_logprobs(
        model,
        prompts_of([10] * 5),
        ANSWERS,
        max_batch_tokens=20,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_nothing_asked_nothing_answered(model):
    assert score_candidates(model, [], ANSWERS).shape == (0, len(ANSWERS) + 1)


@pytest.mark.parametrize(
    ("prompts", "answers", "message"),
    [
        ([[5]], [], "at least one token"),
        ([[5]], [[6, END], []], "at least one token"),
        ([[5]], [[6, END], [7, END], [6, END]], "behaviors 1 and 3 have the same answer"),
        ([[5], []], [[6, END]], "prompt 1 is empty"),
        ([[5, 5000]], [[6, END]], "token 5000 .* model and tokenizer do not fit"),
        ([[5] * 2047], [[6, END]], "2047 tokens and an answer of 2 exceed the model's context of"),
    ],
)
def test_what_cannot_be_scored_is_refused(model, prompts, answers, message):
    with pytest.raises(ValueError, match=message):
        score_candidates(model, prompts, answers)


def test_a_trie_by_hand():
    #   root - 7 - 8     candidates: [7, 8, 2], [7, 2], [9]
    (trie,) = candidate_tries([[7, 8, 2], [7, 2], [9]])
    assert trie.token_N.tolist() == [0, 7, 8]
    assert trie.depth_N.tolist() == [0, 1, 2]
    assert trie.sees_NN.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    steps = sorted(zip(trie.candidate_S, trie.node_S, trie.next_S, strict=True))
    assert steps == [(0, 0, 7), (0, 1, 8), (0, 2, 2), (1, 0, 7), (1, 1, 2), (2, 0, 9)]


@given(
    answers=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, unique=True),
    max_nodes=st.integers(1, 10),
)
def test_tries_hold_every_candidate_once(answers, max_nodes):
    tries = candidate_tries(answers, max_nodes)
    rebuilt = {}
    for trie in tries:
        assert trie.num_nodes <= max(max_nodes, *map(len, answers))
        for candidate in np.unique(trie.candidate_S):
            assert candidate not in rebuilt
            of_it = trie.candidate_S == candidate
            nodes, tokens = trie.node_S[of_it], trie.next_S[of_it]
            assert trie.token_N[nodes[1:]].tolist() == tokens[:-1].tolist()
            for n, node in enumerate(nodes):
                assert set(np.flatnonzero(trie.sees_NN[node])) == set(nodes[: n + 1])
            rebuilt[candidate] = tuple(tokens)
    assert [rebuilt[c] for c in range(len(answers))] == answers


def test_a_beginning_that_prompts_share_runs_once_and_changes_nothing(model, monkeypatch):
    beginning = prompts_of([40])[0]
    prompts = [beginning + rest for rest in prompts_of([3, 11, 1, 30], seed=2)]
    ran = []
    monkeypatch.setattr(
        SharedPrefix, "cache", lambda self, rows, plain=SharedPrefix.cache: ran.append(rows) or plain(self, rows)
    )
    monkeypatch.setattr(scoring, "_checked_length", WeakKeyDictionary())  # whatever other tests asked this model
    found = candidate_logprobs(model, prompts, ANSWERS)
    np.testing.assert_allclose(found[:, 1:], brute_force(model, prompts, ANSWERS)[:, 1:], atol=1e-3)
    assert ran == [1, 4]  # once to compare tree and plain passes, once for all prompts
    in_parts = candidate_logprobs(model, prompts, ANSWERS, max_batch_tokens=12)
    np.testing.assert_allclose(in_parts[:, 1:], found[:, 1:], atol=1e-4)


def test_the_shared_length_leaves_a_token_of_each_prompt():
    long = list(range(10, 60))
    assert shared_length([long, [*long, 3], [*long[:30], 4]]) == 30
    assert shared_length([long, long]) == 49
    assert shared_length([long, long[:20]]) == 19
    assert shared_length([long, long[:10]]) == 0  # too few to be worth a pass
