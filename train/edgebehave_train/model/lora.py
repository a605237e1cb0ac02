"""Low-rank adapters (LoRA, Hu et al. 2021) inside a behavior model, by PEFT.

    W x  becomes  W x + (alpha / rank) B A x      W frozen, A and B trained, B = 0 at the start

The adapters live in the training model alone: what is saved is a plain model with W + (alpha / rank) B A in the place
of W, so a checkpoint never shows how it was trained.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgebehave_train.model.behavior_model import BehaviorModel

BLOCK_LAYERS = ("qkv", "attention_out", "mlp_in", "mlp_out")
"""Names of the linear layers of a transformer block."""


def inject_lora(
    model: BehaviorModel,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] = BLOCK_LAYERS,
    trained: Sequence[str] = (),
) -> None:
    """Put adapters into a model, in place, and freeze everything else but what is named.

    rank     of each adapter, at least 1.
    alpha    the adapter counts alpha / rank.
    targets  layers that get an adapter: linear layers or embeddings, by full name ("blocks.0.qkv") or its last part
             ("qkv", in every block).
    trained  names or prefixes of parameters that train as they are ("norm", "head_out.weight").
    Raises ValueError if a name fits nothing, or a layer would have an adapter and train itself.

    A model with adapters computes what it did before until the first step. A copy of it (the moving average) is a
    model with adapters, too.
    """
    # Imported here because PEFT imports transformers, which is slow.
    from peft import LoraConfig, inject_adapter_in_model

    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    _require_names(targets, [name for name, _ in model.named_modules()], last_part=True)
    _require_names(trained, [name for name, _ in model.named_parameters()], last_part=False)
    # Looked up before the adapters move the weights to other names.
    trained_parameters = [p for name, p in model.named_parameters() if _is_below(name, trained)]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT takes any number
        target_modules=list(targets),
    )
    with warnings.catch_warnings():
        # PEFT warns that it does not know our architecture.
        warnings.simplefilter("ignore", UserWarning)
        inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    adapted = {id(p) for layer in _adapters(model).values() for p in layer.base_layer.parameters()}
    for parameter in trained_parameters:
        if id(parameter) in adapted:
            raise ValueError("a layer with an adapter does not train itself; name it in one list")
        parameter.requires_grad_(True)


@torch.no_grad()
def merged_state(model: BehaviorModel) -> dict[str, Tensor]:
    """State of the plain model that computes what a model with adapters computes.

    The model stays as it is; without adapters, this is its own state.
    """
    state = {
        name: value
        for name, value in model.state_dict().items()
        if ".lora_" not in name and not name.startswith("lora_")
    }
    for name, layer in _adapters(model).items():
        for part in ("weight", "bias"):
            if f"{name}.base_layer.{part}" in state:
                state[f"{name}.{part}"] = state.pop(f"{name}.base_layer.{part}")
        weight = state[f"{name}.weight"]
        for adapter in layer.active_adapters:
            weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
        state[f"{name}.weight"] = weight
    return state


def _adapters(model: BehaviorModel) -> dict[str, Any]:
    """The layers of a model that hold an adapter, by name; PEFT has a class for every kind."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


def _is_below(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _require_names(wanted: Sequence[str], there: Sequence[str], last_part: bool) -> None:
    for name in wanted:
        fits = any(_is_below(one, [name]) or (last_part and one.endswith(f".{name}")) for one in there)
        if not fits:
            raise ValueError(f"the model has no {name!r}; it has {', '.join(there)}")
