"""The loss of a language model on answers, with the head computed at answer positions only (`head_positions.py`)."""

# S samples of a batch, T tokens of the longest, M answer tokens of the batch, D width, W tokens of
# the vocabulary

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgebehave_train.llm.prompts.encoding import TokenizedSample
from edgebehave_train.llm.scoring.behavior_tokens import num_behavior_tokens
from edgebehave_train.llm.scoring.head_positions import head_at
from edgebehave_train.llm.scoring.shared_prefix import SharedPrefix, cache_argument


@dataclass(frozen=True, kw_only=True)
class AnswerBatch:
    """Samples side by side, padded on the right.

    token_ST   (S, T) int64, without the last token of each answer, behind which nothing is predicted; padding is
               token 0, which no real token can see: attention looks back.
    where      (M,) int64, positions in the flattened (S, T) from which an answer token is
               predicted: the one before it.
    target     (M,) int64, the answer tokens.
    sample     (M,) int64, the sample of each.
    num_samples  S.
    """

    token_ST: Tensor
    where: Tensor
    target: Tensor
    sample: Tensor
    num_samples: int

    @classmethod
    def of(
        cls, samples: Sequence[TokenizedSample], device: torch.device, num_shared: int = 0, least: int = 0
    ) -> "AnswerBatch":
        """The samples without their first tokens, as many as a prefix has run already; padded to `least` or more."""
        rows = [[*one.prompt_ids[num_shared:], *one.answer_ids[:-1]] for one in samples]
        length = max(least, *map(len, rows))
        token = torch.zeros((len(rows), length), dtype=torch.int64)
        where: list[int] = []
        target: list[int] = []
        sample: list[int] = []
        for i, (row, one) in enumerate(zip(rows, samples, strict=True)):
            token[i, : len(row)] = torch.tensor(row)
            first = i * length + len(one.prompt_ids) - num_shared - 1
            where += range(first, first + len(one.answer_ids))
            target += one.answer_ids
            sample += [i] * len(one.answer_ids)
        return cls(
            token_ST=token.to(device),
            where=torch.tensor(where, device=device),
            target=torch.tensor(target, device=device),
            sample=torch.tensor(sample, device=device),
            num_samples=len(rows),
        )


def answer_nll(model: Any, batch: AnswerBatch, prefix: SharedPrefix | None = None) -> Tensor:
    """(S,) float32: mean negative log-likelihood of the tokens of each answer, in nats.

    prefix  the tokens before those of the batch, the same for all samples.
    The token of a behavior (`behavior_tokens.py`) is compared with those of the other behaviors alone, as a prediction
    compares them: beside all words of the model the first hundreds of steps would only teach it not to use words.
    The mean, not the sum: a sample has the same weight whatever the length of its answer, so that the
    share of conversations in a mixture is their share of the loss.
    """
    with head_at(model, batch.where):
        if prefix is None:
            logits_1MW = model(input_ids=batch.token_ST, use_cache=False).logits
        else:
            rows, length = batch.token_ST.shape
            seen = batch.token_ST.new_ones(rows, len(prefix) + length)
            cache = cache_argument(model, prefix.cache(rows, grows=False))
            logits_1MW = model(input_ids=batch.token_ST, attention_mask=seen, use_cache=True, **cache).logits
    logits_MW = logits_1MW[0].float()
    num_words = logits_MW.shape[1] - num_behavior_tokens(model)
    if (is_behavior_M := batch.target >= num_words).any():
        is_word_W = torch.arange(logits_MW.shape[1], device=logits_MW.device) < num_words
        logits_MW = logits_MW.masked_fill(is_behavior_M[:, None] & is_word_W, -torch.inf)
    nll_M = F.cross_entropy(logits_MW, batch.target, reduction="none")
    total_S = nll_M.new_zeros(batch.num_samples).index_add(0, batch.sample, nll_M)
    return total_S / torch.bincount(batch.sample, minlength=batch.num_samples)
