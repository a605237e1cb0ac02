"""Files and folders that commands write: replaced whole or not at all, and never over anything else.

Reads and writes JSON, text and tensors, and holds the one rule for the folder that a command writes into.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


_SEAL = "content_sha256"
"""The field of a sealed JSON file and of the metadata of tensors."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically."""
    with replaced_file(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A file to write, which then takes the place of `path`; nothing of it is left if that fails."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically; UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any, indent: int = 2, *, seal: bool = False) -> None:
    """Replace a JSON file atomically.

    seal  add the SHA-256 of the content to it, an object, so that `read_json` finds any damage.
    """
    if seal:
        content = {**content, _SEAL: content_digest(content)}
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: Path, kind: type = dict, *, sealed_with: str = "") -> Any:
    """An object or, with `list`, an array from a JSON file, without its seal.

    sealed_with  a field that is written in sealed files alone: with it, there must be a seal.
    Raises ValueError that names the file if it is damaged.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not (isinstance(content, list) if kind is list else isinstance(content, dict)):
        raise ValueError(f"{path} is damaged: it holds no {'object' if kind is dict else 'array'}")
    if kind is not dict or (_SEAL not in content and sealed_with not in content):
        return content
    if content.pop(_SEAL, None) != content_digest(content):
        raise ValueError(f"{path} is damaged: its content does not fit its SHA-256")
    return content


def content_digest(content: Any) -> str:
    """SHA-256 of the content of a JSON file, whatever its spaces and the order of its fields."""
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None) -> None:
    """Replace a safetensors file atomically; its metadata get the SHA-256 of all that it holds.

    Raises OSError if it cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # brings torch along, which logs do not need

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    texts = dict(metadata or {})
    with replaced_file(path) as partial:
        try:
            save_file(contiguous, partial, metadata={**texts, _SEAL: _tensors_digest(contiguous, texts)})
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from None


def read_tensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Tensors and metadata of a safetensors file, without its seal. Raises ValueError if it is damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = dict(file.metadata() or {})
    except Exception as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if _SEAL in metadata and metadata.pop(_SEAL) != _tensors_digest(tensors, metadata):
        raise ValueError(f"{path} is damaged: its tensors do not fit their SHA-256")
    return tensors, metadata


def _tensors_digest(tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, kinds, shapes and bytes of contiguous tensors on the CPU, and of metadata."""
    import torch

    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(folder: Path) -> set[str]:
    """Names of all entries of a folder."""
    return {entry.name for entry in folder.iterdir()}


def require_writable(
    out: Path, kind: str, foreign: Callable[[Path], set[str]] = names_in, *, instead: str = ""
) -> None:
    """The rule for a folder to write into: it is new, empty, or holds nothing that could be lost.

    kind     noun for messages, with its article: "a checkpoint".
    foreign  the names in a folder that do not belong to this kind of content; default: all.
    instead  advice if a folder without foreign names must stay as it is; empty = it may be replaced or added to.
    Raises ValueError for everything else.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder for {kind}")
    if not out.exists() or not names_in(out):
        return
    if names := foreign(out):
        raise ValueError(f"{out} holds {min(names)!r}, which is not part of {kind}; name another folder")
    if instead:
        raise ValueError(f"{out} already holds {kind}; {instead}, or another folder")


@contextmanager
def _locked(path: Path, out: Path, patience_s: float = 0, advice: str = "") -> Iterator[None]:
    """Hold the lock in a file, which belongs to the work on `out`; the caller deletes the file before this ends.

    The system releases the lock of a process that ends, however it ends.
    Raises ValueError if another process holds it for longer than `patience_s`.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience_s)
        # Another process, at its end, may have deleted the file, or its folder, before it was locked here.
        path.stat()
    except (Timeout, FileNotFoundError):
        lock.release()
        raise ValueError(f"another process is writing {out}; wait for its end{advice}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def one_writer(out: Path, patience_s: float = 0) -> Iterator[None]:
    """Keep the folder of a run for this process alone, by a lock in a hidden file beside it.

    patience_s  wait this long for another process; processes that a killed run had started need seconds to end.
    Raises ValueError if another process is writing the folder.
    """
    place = out.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    file = place.with_name(f".{place.name}.lock")
    with _locked(file, out, patience_s, ", or name another folder"):
        try:
            yield
        finally:
            with suppress(OSError):  # a system that deletes no open file leaves it
                file.unlink()


@contextmanager
def replaced_folder(
    out: Path, kind: str, foreign: Callable[[Path], set[str]] = names_in, *, instead: str = ""
) -> Iterator[Path]:
    """A new, empty folder that takes the place of `out` at the end, whole; arguments as in `require_writable`.

    It is in a hidden folder beside `out`, which nobody else can read, is locked, and has room for scratch files. If the
    work ends early, that folder is deleted and `out` stays as it was. The next run clears the remains of a killed one,
    and puts back the folder that the killed run was about to replace.
    Raises ValueError if `out` may not be replaced, or if another process is writing it.
    """
    place = out.resolve()  # messages have the path as it was given
    work = place.with_name(f".{place.name}.partial")
    new, old = work / "new", work / "old"

    def clean() -> None:
        """Put back what a run was about to replace, and delete all but the lock."""
        if old.exists() and not place.exists():
            old.rename(place)
        for remains in work.iterdir():
            if remains.is_dir():
                shutil.rmtree(remains)
            elif remains.name != "lock":
                remains.unlink()

    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # another process, at its end, has deleted it: the lock finds that
        work.chmod(0o700)
    with _locked(work / "lock", out):
        try:
            clean()
            require_writable(out, kind, foreign, instead=instead)
            new.mkdir()
            yield new
            require_writable(out, kind, foreign, instead=instead)
            if place.exists():
                place.rename(old)
            new.rename(place)
        finally:
            # The lock is deleted last and released after that: no other process works in the folder meanwhile.
            with suppress(OSError):
                clean()
                shutil.rmtree(work)
