"""Logits at chosen positions only.

A prompt is hundreds of tokens and an answer a few: logits of all positions would be most of the
memory, and with a large vocabulary most of the time.
"""

# M positions, W tokens of the vocabulary

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


@contextmanager
def head_at(model: Any, where_M: Tensor) -> Iterator[None]:
    """A context in which the model computes logits (1, M, W) at M positions of the flattened batch only.

    The rows are chosen where hidden states enter the output layer, so that later changes of the
    logits (scale, soft cap) stay as they are: this works for any causal model. Raises ValueError
    for a model without an output layer.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{type(model).__name__} has no output layer; take a causal model")

    def choose(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].flatten(0, 1)[where_M][None], *args[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
