"""Frozen weights in the precision of the computation, converted once.

Under autocast torch converts a frozen weight again at every pass, and keeps each copy until the gradients are there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen_weights_in(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """A context in which the frozen weights of linear layers have this type; what autocast computes stays the same.

    The output layer is left alone: its weights may be those of the embeddings, which autocast does not convert. The
    weights as they were come back at the end, so memory holds both meanwhile.
    """
    kept: list[tuple[nn.Linear, Tensor]] = []
    head = getattr(model, "get_output_embeddings", lambda: None)()
    try:
        for module in model.modules():
            if type(module) is nn.Linear and module is not head and _is_frozen(module) and module.weight.dtype != dtype:
                kept.append((module, module.weight))
                module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)
        yield
    finally:
        for module, weight in kept:
            module.weight = weight


def _is_frozen(module: nn.Linear) -> bool:
    return not any(parameter.requires_grad for parameter in module.parameters())
