"""The learning rate, the weight decay, and the moving average of the weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def learning_rate_at(step: int, num_steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over a share `warmup` of the steps, then a cosine to zero."""
    num_warmup = max(1, round(warmup * num_steps))
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * done))


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average that forgets the untrained weights quickly at the start.

    decay_n = min(decay, (1 + n) / (10 + n)) after n updates
    """

    def update(average: Tensor, value: Tensor, num_updates: Tensor | int) -> Tensor:
        n = float(num_updates)
        return torch.lerp(average, value, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and embeddings, not biases and norms; frozen parameters are left out."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
