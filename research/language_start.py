"""A behavior network whose blocks begin as those of a language model.

BehaveGPT (arXiv 2505.17631, Fig. 7) compares a transformer that starts from the weights of a
language model with the same transformer started from noise. Blocks and final norm are copied;
embeddings and prediction layer know names of another kind and begin anew, the embeddings as widely
spread as the language model's own, which is what its first block is used to.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgebehave_train.llm.scoring.language_model import load_language_model
from edgebehave_train.model.behavior_model import BLOCKS, BehaviorModel
from edgebehave_train.training.recipes import TrainConfig
from edgebehave_train.training.training_run import Start
from llama_blocks import LlamaBlocks, LlamaShape

ARCHITECTURES = ("llama", "mistral", "qwen2")
"""Model types whose decoder layers are those of `llama_blocks`."""

_EMBEDDINGS = ("event", "location", "weekday", "slot")


def language_start(config: TrainConfig, base: str, fresh: bool = False) -> tuple[TrainConfig, Start]:
    """A recipe with the blocks of a language model, and the start of its run.

    Adds blocks of the model's shape to `BLOCKS` as attention "llama"; do so again before a checkpoint is opened.

    base   folder or hub id of a causal language model, one of ARCHITECTURES.
    fresh  the same shape, but blocks of noise: what the language model's weights are compared with.
    Raises ValueError for another architecture, rotary angles that are not the plain ones, and
    biases or an activation that `llama_blocks` has not.
    """
    model, _ = load_language_model(base, device="cpu", precision="float32")
    shape = _shape(model.config)
    BLOCKS["llama"] = partial(LlamaBlocks, shape=shape)
    config = replace(
        config,
        attention="llama",
        width=model.config.hidden_size,
        num_layers=model.config.num_hidden_layers,
        num_heads=model.config.num_attention_heads,
    )
    origin = {"blocks": "fresh" if fresh else "copied", "shape": model.config.model_type}
    if fresh:
        return config, Start(origin=origin)
    state = model.get_decoder().state_dict()
    spread = float(model.get_input_embeddings().weight.detach().std())
    origin["weights_sha256"] = _digest(state)

    @torch.no_grad()
    def prepare(network: BehaviorModel) -> None:
        own = network.state_dict()
        for name, value in state.items():
            if name.startswith("layers."):
                own["blocks." + name.removeprefix("layers.")].copy_(value)
        own["norm.weight"].copy_(state["norm.weight"])
        for name in _EMBEDDINGS:
            torch.nn.init.normal_(network.get_parameter(f"{name}.weight"), std=spread)

    return config, Start(origin=origin, prepare=prepare)


def _shape(language: Any) -> LlamaShape:
    """The shape of a language model's blocks."""
    if language.model_type not in ARCHITECTURES:
        raise ValueError(
            f"blocks can be taken from {', '.join(ARCHITECTURES)} models, this one is {language.model_type}"
        )
    # transformers 5 keeps the angles in one dict, 4 in two fields.
    rope: Mapping[str, Any] = getattr(language, "rope_parameters", None) or {}
    scaling = getattr(language, "rope_scaling", None) or rope
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise ValueError(f"rotary angles of type {kind} are not supported; take a model without")
    # Qwen2 has biases on queries, keys and values alone; what else may have some has them all over.
    biased = [name for name in ("attention_bias", "mlp_bias") if getattr(language, name, False) is True]
    if biased or language.hidden_act != "silu":
        odd = biased[0] if biased else f"hidden_act {language.hidden_act}"
        raise ValueError(f"blocks with {odd} are not supported; take a model without")
    return LlamaShape(
        num_kv_heads=language.num_key_value_heads,
        head_width=getattr(language, "head_dim", None) or language.hidden_size // language.num_attention_heads,
        mlp_width=language.intermediate_size,
        rotary_base=float(rope.get("rope_theta") or language.rope_theta),
        norm_epsilon=language.rms_norm_eps,
        qkv_bias=language.model_type == "qwen2",
    )


def _digest(state: Mapping[str, Tensor]) -> str:
    """Of names, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(json.dumps([name, list(value.shape)]).encode())
        digest.update(value.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
