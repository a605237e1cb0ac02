"""One new token for each behavior: a row of the output layer, with which a model answers in one token.

The rows train with the adapters, and PEFT keeps them in the same file. Prompts name the behaviors in words, so the
tokens are answered and never read: the input embeddings stay as they are until the rows are merged.
"""

# W tokens of the base without those of behaviors, C behaviors, D width

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS_MODULE = "behavior_rows"
"""The module that holds the rows, by the end of its name in any model."""

_COUNT_FIELD = "num_behavior_tokens"  # in the configuration of a model whose rows are merged


class BehaviorRows(nn.Module):
    """The rows: hidden states -> logits of the behaviors. No `nn.Linear`, so that it gets no adapter.

    weight  (C, D) float32, like adapters.
    """

    def __init__(self, weight_CD: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_CD.float())

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight.to(hidden.dtype))


class BehaviorHead(nn.Linear):
    """An output layer with the logits of the behaviors behind those of its W tokens.

    It has the same weights as the layer in whose place it stands, so that tied weights stay tied.
    """

    def __init__(self, head: nn.Linear, weight_CD: Tensor) -> None:
        super().__init__(head.in_features, head.out_features, bias=False, device="meta")
        self.weight, self.bias = head.weight, head.bias
        self.num_behaviors = len(weight_CD)
        self.behavior_rows = BehaviorRows(weight_CD)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.cat([super().forward(hidden), self.behavior_rows(hidden)], -1)


def add_behavior_tokens(model: Any, name_ids: Sequence[Sequence[int]]) -> None:
    """Give a base, in place, a token for each behavior; behavior c + 1 is token W + c.

    name_ids  the names of the C behaviors in tokens; a row begins as the mean of the rows of its name.
    Raises ValueError for a model whose output layer is not an ordinary one, and for a name in tokens that it lacks.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise ValueError(
            f"{type(model).__name__} has the output layer {type(head).__name__}, to which no tokens can be added; "
            "take prompt.answers=names"
        )
    weight_WD = head.weight.detach()
    if (highest := max(map(max, name_ids))) >= len(weight_WD):
        raise ValueError(
            f"a name holds token {highest}, the model knows {len(weight_WD)}: model and tokenizer do not belong "
            "together"
        )
    weight_CD = torch.stack([weight_WD[list(ids)].float().mean(0) for ids in name_ids])
    model.set_output_embeddings(BehaviorHead(head, weight_CD))


def behavior_tokens(model: Any) -> list[int]:
    """The tokens of behaviors 1, 2, ..., the last ones of the model.

    Raises ValueError for a model without them.
    """
    count = num_behavior_tokens(model)
    if not count:
        raise ValueError(f"{type(model).__name__} has no tokens of behaviors; only a model tuned with them has")
    number = num_output_tokens(model)
    return list(range(number - count, number))


def num_behavior_tokens(model: Any) -> int:
    """The number of behaviors that have a token of their own; 0 for an ordinary model."""
    head = model.get_output_embeddings()
    return head.num_behaviors if isinstance(head, BehaviorHead) else int(getattr(model.config, _COUNT_FIELD, 0))


def num_output_tokens(model: Any) -> int:
    """Tokens that the model gives a logit, those of behaviors included."""
    head = model.get_output_embeddings()
    return len(head.weight) + (head.num_behaviors if isinstance(head, BehaviorHead) else 0)


def merge_behavior_tokens(model: Any) -> Any:
    """The model, in place, as an ordinary one of W + C tokens; one without tokens of behaviors stays as it is."""
    head = model.get_output_embeddings()
    if not isinstance(head, BehaviorHead):
        return model
    plain = nn.Linear(head.in_features, head.out_features, bias=False, device="meta")
    plain.weight, plain.bias = head.weight, head.bias
    model.set_output_embeddings(plain)
    count, was_training = head.num_behaviors, model.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # new rows are drawn before they are set
        model.resize_token_embeddings(len(head.weight) + count, mean_resizing=False)
        read_WD, grown = model.get_input_embeddings().weight, model.get_output_embeddings()
        read_WD[-count:] = read_WD[:-count].mean(0)  # of an untied model: never read, so not random
        grown.weight[-count:] = head.behavior_rows.weight.to(grown.weight.dtype)
        if grown.bias is not None:
            grown.bias[-count:] = 0
    setattr(model.config, _COUNT_FIELD, count)
    return model.train(was_training)
