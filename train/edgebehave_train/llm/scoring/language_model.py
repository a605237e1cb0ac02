"""A pretrained causal language model, and the low-rank adapters (LoRA) that tuning gives it.

Weights are read from safetensors alone, and no code that comes with a model is run.
"""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgebehave_train.training.hardware import choose_device

PRECISIONS = ("auto", "float32", "bfloat16")

_TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json")
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

    base       a folder (then nothing is downloaded) or an id of the Hugging Face hub.
    device     auto, cpu, cuda or mps.
    precision  of the weights: float32, bfloat16, or auto: bfloat16 on CUDA, float32 elsewhere.
    Raises ValueError if base is not a causal language model with safetensors weights, or cannot
    be reached.
    """
    import transformers

    where = choose_device(device)
    source = resolve_base(base)
    dtype = weights_dtype(where, precision)
    with _one_line_errors(base):
        config = transformers.AutoConfig.from_pretrained(source, **_limits(source))
    _require_causal(config, base)
    with _one_line_errors(base):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **_limits(source))
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


def resolve_base(base: str | Path) -> str:
    """The folder of a model as an absolute path, or an id of the hub unchanged.

    An existing folder is preferred to an id of the same name. Raises ValueError for a path that is
    no model, and for a model whose weights are pickled.
    """
    folder = Path(base).expanduser()
    if not folder.is_dir():
        text = str(base)
        if isinstance(base, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise ValueError(f"there is no folder {base}; give the folder of a model or a hub id")
        return text
    if not (folder / "config.json").is_file():
        raise ValueError(f"{base} is not a language model: the folder has no config.json")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}"))
        raise ValueError(
            f"{base} holds pickled weights alone ({pickled[0]}), which are never read; convert "
            "them to safetensors with save_pretrained"
            if pickled
            else f"{base} has no weights: a file model.safetensors is missing"
        )
    return str(folder.resolve())


def base_version(base: str | Path, model: Any = None) -> str:
    """A string that identifies the state of a base.

    Returns  "sha256:..." over config, weights and tokenizer of a folder; for a hub id the commit
             that `model` was loaded from, or "" if the model does not know.
    """
    source = resolve_base(base)
    if not os.path.isabs(source):
        return str(getattr(getattr(model, "config", None), "_commit_hash", None) or "")
    return _digest(
        file
        for file in sorted(Path(source).iterdir())
        if file.suffix == ".safetensors" or file.name in ("config.json", "tokenizer.json")
    )


def template_version(base: str | Path) -> str:
    """A string that identifies how a base writes prompts, which `base_version` does not cover.

    Returns  "sha256:..." over the chat template and the tokenizer's settings of a folder; "" for a
             hub id, whose commit covers them.
    """
    source = resolve_base(base)
    if not os.path.isabs(source):
        return ""
    files = (Path(source) / name for name in _TEMPLATE_FILES)
    return _digest(file for file in files if file.is_file())


def context_length(model: Any) -> int | None:
    """Tokens that a model can read at once; None if its config does not say."""
    config = getattr(model.config, "get_text_config", lambda: model.config)()
    for name in _CONTEXT_FIELDS:
        if getattr(config, name, None):
            return int(getattr(config, name))
    return None


def add_adapter(model: Any, settings: LoraSettings, seed: int) -> Any:
    """The model with fresh adapters, which change nothing before the first step.

    All weights except the adapters are frozen; the adapters are float32 in any case. The given
    model is changed in place.
    """
    import peft

    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    config = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # PEFT takes any number
        lora_dropout=settings.dropout,
        target_modules=targets,
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
        raise ValueError(f"{folder} does not fit the base: {_first_line(error)}") from None
    return adapted if trainable else adapted.eval()


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapters of a model as PEFT does, as safetensors."""
    # "auto" would ask the hub whether the embeddings have grown; they never do here.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card is an empty form


def merge_adapter(model: Any) -> Any:
    """A plain model with W + (alpha / rank) B A in the place of W; without adapters, the model."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _limits(source: str) -> dict[str, Any]:
    """Arguments that forbid code of the model, and for a folder access to the hub."""
    return {"trust_remote_code": False, "local_files_only": os.path.isabs(source)}


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


@contextmanager
def _one_line_errors(base: str | Path) -> Iterator[None]:
    """Turns an error of the libraries about a base into a ValueError of one line."""
    try:
        yield
    except Exception as error:  # tokenizers raises the class itself
        text = str(error)
        if isinstance(error, OSError) and ("offline" in text or "connect" in text):
            raise ValueError(
                f"{base} is not on this machine and the hub cannot be reached; go online once, "
                "or give the folder of a model"
            ) from error
        raise ValueError(f"{base} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
