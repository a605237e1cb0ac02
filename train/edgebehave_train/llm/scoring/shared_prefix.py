"""The tokens with which all prompts begin, run once: their keys and values are lent to every prompt.

A token's keys and values depend on the tokens before it alone, so they are the same after any prompt that begins
alike. In tuning the gradients of all samples of a step arrive at the keys and values, and go back through the prefix
once.
"""

# P tokens of the prefix

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LEAST_SHARED = 16
"""Fewer shared tokens are not worth a pass of their own."""


@dataclass(frozen=True, kw_only=True)
class SharedPrefix:
    """Keys and values of P tokens.

    pairs  of each layer: keys and values, (1, heads, P, width).
    """

    pairs: Sequence[tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, model: Any, tokens: Sequence[int]) -> "SharedPrefix":
        """Run the tokens; with gradients if they are enabled."""
        from transformers import DynamicCache

        cache = DynamicCache()
        device = model.get_input_embeddings().weight.device
        ids_1P = torch.tensor([list(tokens)], device=device)
        few_logits = {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}
        model(input_ids=ids_1P, use_cache=True, **cache_argument(model, cache), **few_logits)
        pairs: list[Any] = [(layer.keys, layer.values) for layer in cache.layers]
        return cls(pairs=pairs)

    def __len__(self) -> int:
        return int(self.pairs[0][0].shape[2])

    def cache(self, rows: int, *, grows: bool = True) -> Any:
        """A cache of as many rows, which all look at one copy of the prefix; the prefix itself never changes.

        grows  keep the tokens that run after the prefix. A single pass does not need them later: in tuning they would
               fill memory while the pass saves its activations.
        """
        from transformers import DynamicCache

        class OnePassCache(DynamicCache):
            """A cache that forgets the tokens of a pass: a layer attends to them and keeps the prefix alone."""

            def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **named: Any) -> Any:
                layer = self.layers[layer_idx]
                before = layer.keys, layer.values
                both = super().update(key_states, value_states, layer_idx, *args, **named)
                layer.keys, layer.values = before
                return both

        filled = DynamicCache()
        for number, (keys, values) in enumerate(self.pairs):
            filled.update(keys, values, number)
            layer: Any = filled.layers[number]
            layer.keys, layer.values = (one.expand(rows, -1, -1, -1) for one in (layer.keys, layer.values))
        if grows:
            return filled
        cache = OnePassCache()
        cache.layers = filled.layers
        return cache

    def detached(self) -> "SharedPrefix":
        """The same numbers as leaves, which collect the gradients of what is computed from them."""

        def leaf(made: Tensor) -> Tensor:
            return made.detach().requires_grad_(made.requires_grad)

        return SharedPrefix(pairs=[(leaf(keys), leaf(values)) for keys, values in self.pairs])

    def backward(self, leaves: "SharedPrefix") -> None:
        """Send the gradients that `detached` leaves collected on to what the prefix was computed from."""
        made = [tensor for pair in self.pairs for tensor in pair]
        collected = [tensor.grad for pair in leaves.pairs for tensor in pair]
        both = [(tensor, grad) for tensor, grad in zip(made, collected, strict=True) if grad is not None]
        if both:
            torch.autograd.backward([tensor for tensor, _ in both], [grad for _, grad in both])


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens with which all prompts begin, the last one of each left out; 0 if they are few."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # all others lie between them
    limit = min(map(len, prompts)) - 1
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), limit)
    shared = min(shared, limit)
    return shared if shared >= LEAST_SHARED else 0


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The argument that holds the cache: transformers 5.24 calls it `cache`, earlier versions `past_key_values`."""
    return {"cache" if takes(model, "cache") else "past_key_values": cache}


def takes(model: Any, argument: str) -> bool:
    """True if the language model, adapters taken off, has an argument of this name."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in inspect.signature(base.forward).parameters
