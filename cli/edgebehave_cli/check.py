"""`edgebehave check`: is a checkpoint, an event store, a bundle or a history file whole?"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import harmless, print_json


def check(
    paths: Annotated[list[Path], typer.Argument(help="Checkpoints, event stores, bundles and history files.")],
    deep: Annotated[
        bool, typer.Option(help="Read every byte, not only what is verified when a file is opened.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Check whether checkpoints, event stores, bundles and history files are intact; exit status 1 if one is damaged.

    A checkpoint, a store and a bundle contain the SHA-256 of their files; a history has a checksum per row. Those of
    older versions have fewer. Without --deep, weights, columns of a store and events of a history are not read: the
    check is the one that is made whenever the file is opened.

    Example: [bold]edgebehave check runs/store runs/edge runs/bundle history.db --deep[/bold]
    """
    report = []
    for path in paths:
        kind = _kind(path)
        try:
            _open(kind, path, deep)
            says = "whole" if deep else "opens"
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)) and type(error).__name__ not in _OURS:
                raise
            says = f"error: {error}"
        report.append({"path": str(path), "kind": kind, "says": says})
    if json:
        print_json(report)
    else:
        for line in report:
            print(harmless(f"{line['path']}: {line['kind']}, {line['says']}"))
    sys.exit(any(line["says"].startswith("error") for line in report))


_OURS = ("BundleError", "DamagedHistoryError", "HistoryBusyError", "HistoryError")


def _kind(path: Path) -> str:
    if path.is_dir():
        files = {"manifest.json": "bundle", "statistics.json": "event store", "config.json": "checkpoint"}
        return next((kind for name, kind in files.items() if (path / name).is_file()), "unknown")
    return "history" if path.is_file() and path.stat().st_size else "unknown"


def _open(kind: str, path: Path, deep: bool) -> None:
    """Raises what an opening raises, and ValueError for anything unknown."""
    if kind == "history":
        from edgebehave import SqliteHistory

        with SqliteHistory(path, reads_only=True) as history:
            if deep:
                history.check()
    elif kind == "bundle":
        from edgebehave.bundles.bundle import open_bundle

        open_bundle(path, None)
    elif kind == "event store":
        from edgebehave_train.logs.event_store import EventStore

        store = EventStore.open(path)
        if deep:
            store.check()
    elif kind == "checkpoint":
        from edgebehave_train.training.checkpoint import Checkpoint

        checkpoint = Checkpoint.open(path)
        if deep:
            checkpoint.check()
    else:
        what = "an empty file" if path.is_file() else "no such file or folder" if not path.exists() else ""
        expected = "expected a checkpoint, an event store, a bundle or a history file"
        raise ValueError(f"{what}; {expected}" if what else expected)
