"""Probabilities of the known behaviors by a language model: exact scores of all candidate answers.

    log p(answer | prompt) = sum_t log p(answer_t | prompt, answer_<t), the turn's end included
    p(behavior) = softmax of that over the candidates

A beginning that all prompts share (task and list of behaviors, see `wording.py`) runs once for all of them.
The rest of a prompt runs once and leaves its keys and values in a cache. All candidates then run in one more
forward pass, as a tree of their shared beginnings (`candidate_trie.py`) in which a token attends to
the prompt and to its own ancestors. This equals the plain forward passes over prompt + candidate if
the model takes a 4D attention mask, positions and a cache, and attends back without limit. The tree
of each model is first compared with its plain passes. Where they differ, or a sliding window is
shorter than the prompt, the plain passes are used, which are slower, with a warning.
Where every candidate is one token (`behavior_tokens.py`), there is no tree: the pass over the prompt gives all scores.
"""

# B prompts of a batch, L tokens of its longest prompt, N nodes, C candidates, V = C + 1 behaviors, P shared tokens

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave_train.llm.scoring.behavior_tokens import num_output_tokens
from edgebehave_train.llm.scoring.candidate_trie import CandidateTrie, candidate_tries
from edgebehave_train.llm.scoring.fast_linear import fast_linear
from edgebehave_train.llm.scoring.head_positions import head_at
from edgebehave_train.llm.scoring.language_model import context_length
from edgebehave_train.llm.scoring.shared_prefix import SharedPrefix, cache_argument, shared_length, takes

FloatArray = npt.NDArray[np.float32]
TokenLists = Sequence[Sequence[int]]
OnProgress = Callable[[int, int], None]

_MAX_NODES = 512  # of one forward pass over a tree; bounds memory at hundreds of candidates
_NUM_CHECKED = 4  # candidates on which tree and plain passes are compared
# Largest difference between the log-probabilities of tree and plain passes, in nats.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_LOW_PRECISION_TOLERANCE = 0.5

# The longest sequence on which the scores were found equal to plain passes, by model: with a tree (True) and without
# one, where candidates are one token.
_checked_length: WeakKeyDictionary[torch.nn.Module, dict[bool, int]] = WeakKeyDictionary()


def score_candidates(
    model: Any,
    prompts: TokenLists,
    candidate_ids: TokenLists,
    *,
    max_batch_tokens: int = 4096,
    on_progress: OnProgress = lambda done, total: None,
) -> FloatArray:
    """Probabilities of the behaviors after each prompt.

    model             any Hugging Face causal language model, with or without adapters.
    prompts           N lists of token ids, special tokens included; any lengths, in any order.
    candidate_ids     candidate c is the answer for behavior c + 1, its turn-ending token included.
    max_batch_tokens  prompt tokens, padding included, that run at once; one prompt always does.
    on_progress       called with the prompts done and their number after each batch.
    Returns           (N, V) float32, rows sum to 1, column 0 ("unknown") is 0.
    Raises ValueError for an empty prompt or candidate, a candidate that occurs twice, a token that
    the model does not know, and a prompt that with its answer exceeds the model's context.
    """
    logprobs = candidate_logprobs(
        model, prompts, candidate_ids, max_batch_tokens=max_batch_tokens, on_progress=on_progress
    ).astype(np.float64)
    probs = np.exp(logprobs - logprobs.max(axis=1, keepdims=True))
    return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)


def candidate_logprobs(
    model: Any,
    prompts: TokenLists,
    candidate_ids: TokenLists,
    *,
    max_batch_tokens: int = 4096,
    on_progress: OnProgress = lambda done, total: None,
) -> FloatArray:
    """log p(answer | prompt) of each candidate: as `score_candidates`, before the softmax.

    Returns (N, V) float32 in nats; column 0 is -inf. The probabilities of a row do not sum to 1: a
    model may also write text that is no behavior.
    """
    _check_tokens(model, prompts, candidate_ids)
    logprobs = np.full((len(prompts), len(candidate_ids) + 1), -np.inf, np.float32)
    if not len(prompts):
        return logprobs
    with _measuring(model):
        reason = _why_not_tree(model, max(prompts, key=len), candidate_ids)
        if reason:
            warnings.warn(f"candidates are scored one by one: {reason}", stacklevel=2)
        prefix = None
        if not reason and len(prompts) > 1 and (shared := shared_length(prompts)):
            prefix = SharedPrefix.of(model, prompts[0][:shared])
        done = 0
        for batch in _prompt_batches(model, prompts, max_batch_tokens, len(prefix) if prefix else 0):
            asked = [prompts[i] for i in batch]
            if reason:
                scores_BC = torch.stack([_plain_logprobs(model, prompt, candidate_ids) for prompt in asked])
            else:
                scores_BC = _shared_logprobs(model, asked, candidate_ids, prefix)
            logprobs[batch, 1:] = scores_BC.cpu().numpy()
            done += len(batch)
            on_progress(done, len(prompts))
    return logprobs


def _shared_logprobs(model: Any, prompts: TokenLists, candidate_ids: TokenLists, prefix: SharedPrefix | None) -> Tensor:
    """(B, C): the prompts once for all candidates.

    prefix  tokens with which all prompts begin, and which ran already.
    """
    if all(len(tokens) == 1 for tokens in candidate_ids):
        return _one_token_logprobs(model, prompts, [tokens[0] for tokens in candidate_ids], prefix)
    return _tree_logprobs(model, prompts, candidate_ids, prefix)


def _one_token_logprobs(model: Any, prompts: TokenLists, token_C: Sequence[int], prefix: SharedPrefix | None) -> Tensor:
    """(B, C): one pass over the prompts, with logits at their last tokens alone."""
    num_shared = len(prefix) if prefix else 0
    longest = max(map(len, prompts)) - num_shared
    # Padding comes last, where no token of the prompt looks.
    padded = [[*prompt[num_shared:], *[0] * (longest + num_shared - len(prompt))] for prompt in prompts]
    ids_BL = torch.tensor(padded, device=_device(model))
    last_B = [row * longest + len(prompt) - num_shared - 1 for row, prompt in enumerate(prompts)]
    seen: dict[str, Any] = {"use_cache": False}
    if prefix:
        mask = ids_BL.new_ones(len(prompts), num_shared + longest)
        cache = prefix.cache(len(prompts), grows=False)
        seen = {"attention_mask": mask, "use_cache": True, **cache_argument(model, cache)}
    with head_at(model, torch.tensor(last_B, device=ids_BL.device)):
        logits_1BW = model(input_ids=ids_BL, **seen).logits
    logprobs_BC: Tensor = logits_1BW[0].float().log_softmax(-1)[:, list(token_C)]
    return logprobs_BC


def _tree_logprobs(model: Any, prompts: TokenLists, candidate_ids: TokenLists, prefix: SharedPrefix | None) -> Tensor:
    """(B, C): the prompts once, but for their last tokens, which are the roots of the trees."""
    from transformers import DynamicCache

    device = _device(model)
    rows = len(prompts)
    length_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
    num_cached = int(length_B.max()) - 1
    num_shared = len(prefix) if prefix else 0
    # Without the model's config every layer keeps all it saw; a window would drop what trees share.
    cache = prefix.cache(rows) if prefix else DynamicCache()
    if num_cached > num_shared:
        # Padding comes last, where no token of the prompt looks; the trees' mask hides it.
        padded = [[*prompt[num_shared:-1], *[0] * (num_cached + 1 - len(prompt))] for prompt in prompts]
        ids_BL = torch.tensor(padded, device=device)
        model(
            input_ids=ids_BL,
            attention_mask=ids_BL.new_ones(rows, num_cached),
            use_cache=True,
            **cache_argument(model, cache),
            **_keep_logits(model, 1),
        )
    is_cached_BL = torch.arange(num_cached, device=device) < (length_B - 1)[:, None]
    last_B = torch.tensor([prompt[-1] for prompt in prompts], device=device)
    scores_BC = torch.zeros(rows, len(candidate_ids), dtype=torch.float64, device=device)
    for trie in candidate_tries(candidate_ids, _max_nodes(model, rows, num_cached)):
        nodes = trie.num_nodes
        token_BN = torch.from_numpy(trie.token_N).to(device).repeat(rows, 1)
        token_BN[:, 0] = last_B
        position_BN = length_B[:, None] - 1 + torch.from_numpy(trie.depth_N).to(device)
        logits_BNW = model(
            input_ids=token_BN,
            attention_mask=_tree_mask(trie, is_cached_BL, model.dtype),
            position_ids=position_BN,
            use_cache=True,
            **cache_argument(model, cache),
        ).logits
        cache.crop(-nodes)
        node_S, next_S, candidate_S = (
            torch.from_numpy(steps).to(device) for steps in (trie.node_S, trie.next_S, trie.candidate_S)
        )
        assert logits_BNW.shape[:2] == (rows, nodes)
        # Row by row: the log-probabilities of one tree fit into the processor's cache, those of all do not.
        step_BS = torch.stack([logits_NW.float().log_softmax(-1)[node_S, next_S] for logits_NW in logits_BNW])
        scores_BC.index_add_(1, candidate_S, step_BS.double())
    return scores_BC.float()


def _tree_mask(trie: CandidateTrie, is_cached_BL: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, N, L + N), added to attention scores: 0 where a node looks, else the lowest number."""
    rows, num_cached = is_cached_BL.shape
    nodes = trie.num_nodes
    sees = torch.empty(rows, 1, nodes, num_cached + nodes, dtype=torch.bool)
    sees = sees.to(is_cached_BL.device)
    sees[..., :num_cached] = is_cached_BL[:, None, None]
    sees[..., num_cached:] = torch.from_numpy(trie.sees_NN).to(sees.device)
    mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
    return mask.masked_fill_(~sees, torch.finfo(dtype).min)


def _plain_logprobs(model: Any, prompt: Sequence[int], candidate_ids: TokenLists) -> Tensor:
    """(C,): whole passes over prompt + candidate, without a cache or a mask.

    Candidates that differ in their last token alone share a pass: nothing reads that token.
    """
    beginnings = sorted({tuple(tokens[:-1]) for tokens in candidate_ids})
    longest = max(len(tokens) for tokens in candidate_ids)
    width = len(prompt) + longest - 1
    floats_per_row = max(longest * num_output_tokens(model), _num_heads(model) * width * width)
    at_once = max(1, _max_floats(model) // floats_per_row)
    scores: list[Tensor] = [torch.empty(0)] * len(candidate_ids)
    for first in range(0, len(beginnings), at_once):
        chunk = beginnings[first : first + at_once]
        padded = [[*prompt, *beginning, *[0] * (longest - 1 - len(beginning))] for beginning in chunk]
        ids = torch.tensor(padded, device=_device(model))
        out = model(input_ids=ids, use_cache=False, **_keep_logits(model, longest))
        logprobs = out.logits[:, -longest:].float().log_softmax(-1)
        row_of = dict(zip(chunk, logprobs, strict=True))
        for c, tokens in enumerate(candidate_ids):
            if (row := row_of.get(tuple(tokens[:-1]))) is not None:
                steps = row[torch.arange(len(tokens)), torch.tensor(tokens, device=row.device)]
                scores[c] = steps.double().sum().float()
    return torch.stack(scores)


def _why_not_tree(model: Any, prompt: Sequence[int], candidate_ids: TokenLists) -> str | None:
    """The reason why a model cannot run candidates as a tree after a prompt of this length; None: it can."""
    config = _config(model)
    length = len(prompt) + max(len(tokens) for tokens in candidate_ids) - 1
    if config._attn_implementation not in ("eager", "sdpa"):
        return f"attention {config._attn_implementation!r} takes no mask of ours; load with 'sdpa'"
    for name in ("sliding_window", "attention_chunk_size"):
        limit = getattr(config, name, None)
        if limit is not None and length > limit:
            return f"prompts of {len(prompt)} tokens exceed the model's {name} of {limit}"
    has_tree = any(len(tokens) > 1 for tokens in candidate_ids)
    checked_length = _checked_length.setdefault(model, {})
    if length <= checked_length.get(has_tree, 0):
        return None
    longest_first = sorted(candidate_ids, key=len, reverse=True)
    checked = [*longest_first[: _NUM_CHECKED - 1], longest_first[-1]]
    plain = _plain_logprobs(model, prompt, checked)
    try:
        half = len(prompt) // 2
        prefix = SharedPrefix.of(model, prompt[:half]) if half else None
        tree = _shared_logprobs(model, [prompt], checked, prefix)[0]
    except Exception as error:  # a model of unknown type may fail in any way with a mask or a cache
        return f"{type(model).__name__} does not run candidates as a tree ({error})"
    gap = float((tree - plain).abs().max())
    if not gap <= _TOLERANCE.get(model.dtype, _LOW_PRECISION_TOLERANCE):
        return f"{type(model).__name__} scores a tree otherwise than its parts, by {gap:.3g} nats"
    checked_length[has_tree] = length
    return None


def _check_tokens(model: Any, prompts: TokenLists, candidate_ids: TokenLists) -> None:
    """Raises ValueError for prompts or candidates that the model cannot score."""
    if not len(candidate_ids) or not all(len(tokens) for tokens in candidate_ids):
        raise ValueError("every behavior needs an answer of at least one token")
    first_use: dict[tuple[int, ...], int] = {}
    for c, tokens in enumerate(candidate_ids):
        other = first_use.setdefault(tuple(tokens), c)
        if other != c:
            raise ValueError(f"behaviors {other + 1} and {c + 1} have the same answer; give them other names")
    empty = next((i for i, prompt in enumerate(prompts) if not len(prompt)), None)
    if empty is not None:
        raise ValueError(f"prompt {empty} is empty")
    read, answered = model.get_input_embeddings().num_embeddings, num_output_tokens(model)
    for lists, known in ((prompts, read), (candidate_ids, answered)):
        used = {token for tokens in lists for token in tokens}
        strange = next((token for token in sorted(used) if not 0 <= token < known), None)
        if strange is not None:
            raise ValueError(f"token {strange} is not among the model's {known}: model and tokenizer do not fit")
    context = context_length(_base(model))
    answer = max(len(tokens) for tokens in candidate_ids)
    longest = max((len(prompt) for prompt in prompts), default=0)
    if context is not None and longest + answer > context:
        raise ValueError(
            f"a prompt of {longest} tokens and an answer of {answer} exceed the model's context "
            f"of {context}; shorten the history or leave such prompts out"
        )


def _prompt_batches(model: Any, prompts: TokenLists, max_batch_tokens: int, num_shared: int) -> Iterator[list[int]]:
    """Indices of prompts that run together: longest first, of similar length, so with little padding.

    num_shared  tokens that they share; these do not run, but each row keeps a copy of their keys and values.
    """
    batch: list[int] = []
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for i in order:
        rows, longest = len(batch) + 1, len(prompts[batch[0]]) if batch else 0
        too_many_tokens = rows * (longest - num_shared) > max_batch_tokens
        if batch and (too_many_tokens or rows * longest * _cache_floats(model) > _max_floats(model)):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _max_floats(model: Any) -> int:
    """Of logits, of attention scores and of the cache in one forward pass: 128 MiB each on a CPU, 512 elsewhere.

    On a CPU more is slower, too.
    """
    return 1 << (25 if _device(model).type == "cpu" else 27)


def _max_nodes(model: Any, rows: int, num_cached: int) -> int:
    """The number of nodes of a tree whose logits and attention scores fit into memory."""
    by_logits = _max_floats(model) // (rows * num_output_tokens(model))
    by_scores = _max_floats(model) // (rows * _num_heads(model) * (num_cached + _MAX_NODES))
    return max(1, min(_MAX_NODES, by_logits, by_scores))


@contextmanager
def _measuring(model: Any) -> Iterator[None]:
    """Without dropout and gradients; the model is left in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), fast_linear(model):
            yield
    finally:
        model.train(was_training)


def _base(model: Any) -> Any:
    """The language model under adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _config(model: Any) -> Any:
    return _base(model).config.get_text_config()


def _num_heads(model: Any) -> int:
    return int(getattr(_config(model), "num_attention_heads", None) or 1)


def _cache_floats(model: Any) -> int:
    """Numbers that the cache of one token holds, as far as the config tells."""
    config = _config(model)
    heads = getattr(config, "num_key_value_heads", None) or _num_heads(model)
    width = getattr(config, "head_dim", None) or int(getattr(config, "hidden_size", 0)) // _num_heads(model)
    return max(1, 2 * int(getattr(config, "num_hidden_layers", 1)) * int(heads) * int(width))


def _device(model: Any) -> torch.device:
    device = model.get_input_embeddings().weight.device
    assert isinstance(device, torch.device)
    return device


def _keep_logits(model: Any, number: int) -> dict[str, int]:
    """The argument that limits the output to the last logits, for models that take it."""
    return {"logits_to_keep": number} if takes(model, "logits_to_keep") else {}
