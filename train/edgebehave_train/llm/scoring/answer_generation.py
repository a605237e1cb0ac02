"""What a language model writes when it is left to write: for comparison with candidate scoring.

Greedy decoding. An answer counts if, without case and outer blanks, it is the text of a candidate;
anything else is a miss. There is no ranking and no probability.
"""

# B prompts of a batch, L tokens, N prompts

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgebehave_train.llm.scoring.candidates import (
    OnProgress,
    TokenLists,
    check_tokens,
    length_batches,
    measuring,
)


def generate_behaviors(
    model: Any,
    tokenizer: Any,
    prompts: TokenLists,
    candidate_ids: TokenLists,
    *,
    max_batch_tokens: int = 4096,
    on_progress: OnProgress = lambda done, total: None,
) -> npt.NDArray[np.int64]:
    """The behavior that the model names after each prompt.

    tokenizer  of the model; it only decodes.
    The rest   as in `candidates.score_candidates`: candidate c is the answer for behavior c + 1 and
               ends with the token that ends a turn, where writing stops. It also stops once the
               longest candidate would be complete.
    Returns    (N,) int64: a behavior, 1..V-1, or 0 for text that is none of them.
    Raises ValueError as `score_candidates` does, and if two candidates have the same text.
    """
    check_tokens(model, prompts, candidate_ids)
    behavior_of = _behaviors_by_text(tokenizer, candidate_ids)
    ends = {tokens[-1] for tokens in candidate_ids}
    longest = max(len(tokens) for tokens in candidate_ids)
    behaviors, done = np.zeros(len(prompts), np.int64), 0
    with measuring(model):
        for batch in length_batches(prompts, max_batch_tokens):
            written = _greedy(model, [prompts[i] for i in batch], ends, longest)
            texts = [_plain_text(tokenizer, tokens) for tokens in written]
            behaviors[batch] = [behavior_of.get(text, 0) for text in texts]
            done += len(batch)
            on_progress(done, len(prompts))
    return behaviors


def _greedy(model: Any, prompts: TokenLists, ends: set[int], num_tokens: int) -> list[list[int]]:
    """The most likely token again and again, up to an end: what each row wrote before it."""
    device = model.get_input_embeddings().weight.device
    length = max(len(prompt) for prompt in prompts)
    padding = [length - len(prompt) for prompt in prompts]
    rows = [[*[0] * pad, *prompt] for pad, prompt in zip(padding, prompts, strict=True)]
    ids_BL = torch.tensor(rows, device=device)
    is_real_BL = torch.arange(length, device=device) >= torch.tensor(padding, device=device)[:, None]
    is_real_BL = is_real_BL.long()
    written: list[list[int]] = [[] for _ in prompts]
    writing, cache = set(range(len(prompts))), None
    for _ in range(num_tokens):
        position_BL = (is_real_BL.cumsum(1) - 1).clamp(min=0)
        out = model(
            input_ids=ids_BL,
            attention_mask=is_real_BL,
            position_ids=position_BL[:, -ids_BL.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        ids_BL = out.logits[:, -1:].argmax(-1)
        is_real_BL = torch.cat([is_real_BL, torch.ones_like(ids_BL)], 1)
        for row, token in enumerate(ids_BL[:, 0].tolist()):
            if token in ends:
                writing.discard(row)
            elif row in writing:
                written[row].append(token)
        if not writing:
            break
    return written


def _behaviors_by_text(tokenizer: Any, candidate_ids: TokenLists) -> dict[str, int]:
    behavior_of: dict[str, int] = {}
    for behavior, tokens in enumerate(candidate_ids, start=1):
        text = _plain_text(tokenizer, tokens[:-1])
        other = behavior_of.setdefault(text, behavior)
        if other != behavior:
            raise ValueError(f"behaviors {other} and {behavior} both read {text!r}; give them other names")
    return behavior_of


def _plain_text(tokenizer: Any, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip().casefold()
