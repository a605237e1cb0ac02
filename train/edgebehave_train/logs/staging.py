"""A folder beside the output that becomes it at the end, whole, or leaves no trace."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted either way
    fcntl = None  # type: ignore[assignment]  # stands for "no such locks here"

from edgebehave_train.logs.files import IngestError
from edgebehave_train.logs.store_writer import STORE_FILES


@contextmanager
def staging_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Work in `.<name>.ingest` beside `out`; its subfolder `store` becomes `out` at the end.

    Whatever ends the work early, the folder goes and `out` stays as it was. What a killed run
    left behind is cleared by the next one, which also puts back a store that the killed run was
    about to replace. Raises IngestError if `out` holds something that may not be replaced, or
    another run is at work on it.
    """
    out = out.resolve()
    staging = out.with_name(f".{out.name}.ingest")
    _clear_stale(staging, out)
    check_replaceable(out, overwrite=overwrite)
    staging.mkdir(parents=True)
    try:
        with (staging / "lock").open("w") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield staging
            check_replaceable(out, overwrite=overwrite)
            if out.exists():
                out.rename(staging / "replaced")
            (staging / "store").rename(out)
    except BaseException:
        _put_back(staging, out)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_replaceable(out: Path, *, overwrite: bool) -> None:
    """Raise IngestError unless `out` is free, an empty folder, or a store to be overwritten."""
    if not out.exists():
        return
    if not out.is_dir():
        raise IngestError(f"{out} is a file; name a folder for the event store")
    names = {entry.name for entry in out.iterdir()}
    if not names:
        return
    if not _is_store(out):
        raise IngestError(f"{out} is not empty and not an event store; name another folder")
    if not overwrite:
        raise IngestError(f"{out} is an event store already; --overwrite replaces it")
    if others := sorted(names - STORE_FILES):
        raise IngestError(f"{out} also holds {others[0]!r}, which is not part of an event store")


def _is_store(folder: Path) -> bool:
    try:
        statistics = json.loads((folder / "statistics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(statistics, dict) and "format_version" in statistics


def _clear_stale(staging: Path, out: Path) -> None:
    if not staging.exists():
        return
    lock = staging / "lock"
    if fcntl is not None and lock.exists():
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise IngestError(f"another ingest is writing {out}") from None
    _put_back(staging, out)
    shutil.rmtree(staging)


def _put_back(staging: Path, out: Path) -> None:
    """Undo the first half of a replacement whose second half did not happen."""
    replaced = staging / "replaced"
    if replaced.exists() and not out.exists():
        os.replace(replaced, out)
