"""A pretrained causal language model, and the low-rank adapters (LoRA) that tuning gives it.

Weights are read from safetensors alone, and no code that comes with a model is run.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgebehave_train.llm.scoring.bases import (
    ADAPTER,
    INDEX,
    first_line,
    local_base,
    one_line_errors,
    require_safetensors,
)
from edgebehave_train.llm.scoring.behavior_tokens import ROWS_MODULE, BehaviorHead, merge_behavior_tokens
from edgebehave_train.training.hardware import choose_device

PRECISIONS = ("auto", "float32", "bfloat16")

_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """The adapters beside the frozen weights: W x becomes W x + (alpha / rank) B A x.

    rank     of each adapter, at least 1.
    alpha    the weight of the adapter is alpha / rank.
    dropout  on the input of the adapters, in [0, 1).
    targets  "all-linear" (every linear layer but the head), or names of layers as PEFT takes them.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora: rank must be at least 1, got {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"lora: alpha must be positive, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora: dropout must lie in [0, 1), got {self.dropout}")
        if not isinstance(self.targets, str):  # JSON has lists, a frozen config has not
            object.__setattr__(self, "targets", tuple(self.targets))


def load_language_model(base: str | Path, *, device: str = "auto", precision: str = "auto") -> tuple[Any, Any]:
    """A causal language model in evaluation mode and its tokenizer.

    base       see `bases.py`; nothing is downloaded but for an id of the Hugging Face hub.
    device     auto, cpu, cuda or mps.
    precision  of the weights: float32, bfloat16, or auto: bfloat16 on CUDA, float32 elsewhere.
    Raises ValueError if base is not a causal language model with safetensors weights, or cannot
    be reached.
    """
    import transformers

    where = choose_device(device)
    source = local_base(base)
    dtype = weights_dtype(where, precision)
    with one_line_errors(base):
        config = transformers.AutoConfig.from_pretrained(source, **_limits(source))
    _require_causal(config, base)
    with one_line_errors(base):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **_limits(source))
        _require_safetensors_of_hub(source)
        model = _load_weights(source, config, dtype)
    return model.to(where).eval(), tokenizer


def weights_dtype(device: torch.device, precision: str) -> torch.dtype:
    """The type of the frozen weights. Raises ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "auto":
        is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if is_fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def context_length(model: Any) -> int | None:
    """Tokens that a model can read at once; None if its config does not say."""
    config = getattr(model.config, "get_text_config", lambda: model.config)()
    for name in _CONTEXT_FIELDS:
        if getattr(config, name, None):
            return int(getattr(config, name))
    return None


def add_adapter(model: Any, settings: LoraSettings, seed: int) -> Any:
    """The model with fresh adapters, which change nothing before the first step.

    All weights except the adapters, and the rows of behaviors if there are any, are frozen; both are float32 in
    any case. The given model is changed in place. Raises ValueError for targets that cannot have adapters.
    """
    import peft

    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    has_rows = isinstance(head := model.get_output_embeddings(), BehaviorHead)
    if has_rows and not isinstance(targets, str):
        name_of_head = next(name for name, module in model.named_modules() if module is head)
        if name_of_head.rpartition(".")[2] in {target.rpartition(".")[2] for target in targets}:
            raise ValueError(
                f"lora: targets may not name the output layer {name_of_head!r} with prompt.answers=tokens, whose rows "
                "train already; leave it out"
            )
    config = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # PEFT takes any number
        lora_dropout=settings.dropout,
        target_modules=targets,
        modules_to_save=[ROWS_MODULE] if has_rows else None,
    )
    torch.manual_seed(seed)
    return peft.get_peft_model(model, config)


def load_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """The model with the adapters of a folder. Raises ValueError if they do not fit."""
    import peft

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no adapter: {name} is missing")
    try:
        # A folder that lacks the file would otherwise be looked up on the hub, so: checked above.
        adapted = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} does not fit the base: {first_line(error)}") from None
    return adapted if trainable else adapted.eval()


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapters of a model as PEFT does, as safetensors."""
    # "auto" would ask the hub whether the embeddings have grown; rows of behaviors are kept beside them.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card is an empty form


def merge_adapter(model: Any) -> Any:
    """A plain model with W + (alpha / rank) B A in the place of W, and the rows of behaviors in its matrices.

    Without adapters, the model.
    """
    return merge_behavior_tokens(model.merge_and_unload()) if hasattr(model, "merge_and_unload") else model


def merge_to_score(model: Any) -> Any:
    """The model merged if its weights are float32: plain layers are faster, see `fast_linear.py`.

    In bfloat16 the sum would be rounded, and much of an adapter lost.
    """
    return merge_adapter(model) if model.dtype == torch.float32 else model


def _limits(source: str) -> dict[str, Any]:
    """Arguments that forbid code of the model, and for a folder access to the hub."""
    return {"trust_remote_code": False, "local_files_only": os.path.isabs(source)}


def _require_safetensors_of_hub(source: str) -> None:
    """Raises ValueError if a hub id has an index of weights that names other files, or adapters of another base."""
    from transformers.utils.hub import cached_file

    if os.path.isabs(source):
        return  # `resolve_base` has checked the folder
    quietly = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
    if index := cached_file(source, INDEX, **quietly):
        require_safetensors(Path(index), source)
    if cached_file(source, ADAPTER, **quietly):
        raise ValueError(f"{source} holds adapters of another model; give that model, or merge them")


def _load_weights(source: str, config: Any, dtype: torch.dtype) -> Any:
    import transformers

    def load(attention: str) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=dtype, attn_implementation=attention, use_safetensors=True, **_limits(source)
        )

    try:
        return load("sdpa")
    except ValueError as error:
        if "scaled_dot_product" not in str(error) and "sdpa" not in str(error).lower():
            raise
        warnings.warn(f"{config.model_type} has no fused attention (sdpa); the slow one is used", stacklevel=3)
        return load("eager")


def _require_causal(config: Any, base: str | Path) -> None:
    import transformers

    named = list(config.architectures or ())
    is_causal = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and all(
        name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in named
    )
    if not is_causal or getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{base} is not a causal language model but {', '.join(named) or config.model_type}; "
            "take one that continues text (...ForCausalLM)"
        )
