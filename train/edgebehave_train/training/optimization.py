"""The learning rate, the weight decay, and the moving average of the weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST


def learning_rate_at(step: int, num_steps: int, peak: float, warmup: float, extended_at: int = 0) -> float:
    """Linear warm-up over a share `warmup` of the steps, then a cosine to zero.

    extended_at  the step at which a run that had come to its end was extended to num_steps; 0 = never. The rate is
                 that of a run of num_steps from the beginning, times a second warm-up over a share `warmup` of the new
                 steps.
    """
    num_warmup = max(1, round(warmup * num_steps))
    if step < num_warmup:
        rate = peak * (step + 1) / num_warmup
    else:
        done = (step - num_warmup) / max(1, num_steps - num_warmup)
        rate = peak * 0.5 * (1 + math.cos(math.pi * done))
    num_again = max(1, round(warmup * (num_steps - extended_at)))
    return rate * min(1.0, (step - extended_at + 1) / num_again) if extended_at else rate


def moving_average(decay: float) -> Callable[[PARAM_LIST, PARAM_LIST, Tensor | int], None]:
    """Exponential moving average of many tensors, in place, that forgets the untrained weights quickly at the start.

    decay_n = min(decay, (1 + n) / (10 + n)) after n updates
    """

    @torch.no_grad()
    def update(averages: PARAM_LIST, values: PARAM_LIST, num_updates: Tensor | int) -> None:
        n = float(num_updates)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and embeddings, not biases and norms; frozen parameters are left out."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
