"""Linear layers in float32 by oneDNN, where it multiplies faster than the library that torch is built with.

On AMD processors torch's own float32 product (MKL) takes twice the time of oneDNN's. Both are float32: results
differ by rounding alone. Torch offers oneDNN for this by an operator without gradients, so this is for scoring.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

_ROWS, _IN, _OUT = 512, 576, 1536  # of the matrices on which both are timed: those of a small language model
_GAIN = 1.15  # a smaller one may be noise


@contextmanager
def fast_linear(model: nn.Module) -> Iterator[None]:
    """A context without gradients in which the model's float32 layers on a CPU take the faster product."""
    replaced: list[nn.Linear] = []
    try:
        if any(_can_be_faster(module) for module in model.modules()) and onednn_is_faster(torch.get_num_threads()):
            for module in model.modules():
                if isinstance(module, nn.Linear) and _can_be_faster(module):
                    module.forward = _onednn(module)  # type: ignore[method-assign, assignment]  # undone below
                    replaced.append(module)
        yield
    finally:
        for module in replaced:
            del module.forward  # the class's own again


@cache
def onednn_is_faster(num_threads: int) -> bool:
    """Whether oneDNN multiplies faster here, by the quickest of some products of each."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    layer = nn.Linear(_IN, _OUT, bias=False)
    inputs = torch.randn(_ROWS, _IN)
    with torch.no_grad():
        return _quickest_s(_onednn(layer), inputs) * _GAIN < _quickest_s(layer, inputs)


def _can_be_faster(module: nn.Module) -> bool:
    # Layers of other classes, such as those with adapters, compute something else.
    return type(module) is nn.Linear and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu"


def _onednn(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(inputs: Tensor) -> Tensor:
        made: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, layer.weight, layer.bias, "none", [], "")
        return made

    return forward


def _quickest_s(multiply: Callable[[Tensor], Any], inputs: Tensor) -> float:
    times = []
    for _ in range(8):
        started = time.perf_counter()
        multiply(inputs)
        times.append(time.perf_counter() - started)
    return min(times[2:])
