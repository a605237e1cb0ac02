"""The verbs of the command line as steps of a table: printed, timed, and resumed when killed."""

import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path

from edgebehave_cli.app import app

_SECONDS = "seconds.txt"


def run(*arguments: str) -> str:
    """Run a verb of the command line; its standard output."""
    print("$ edgebehave", " ".join(arguments), file=sys.stderr, flush=True)
    # In this process: the imports of a new one take longer than a run on a percent of a log.
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = app(arguments, prog_name="edgebehave", standalone_mode=False)
    if code:
        raise SystemExit(code)
    return out.getvalue()


def finish(checkpoint: Path, command: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Run a verb that trains a checkpoint unless it is there; go on with one that is half done.

    command   the verb and what it reads, given again with --resume.
    settings  its other options, which a half-done run has kept.
    """
    started = time.monotonic()
    if is_finished(checkpoint):
        return
    is_begun = (checkpoint / "config.json").exists()
    run(*command, "-o", str(checkpoint), *(("--resume",) if is_begun else settings))
    seconds = seconds_of(checkpoint) + time.monotonic() - started
    (checkpoint / _SECONDS).write_text(f"{seconds:.1f}\n")
    print(f"# {checkpoint}: {seconds:.0f} s", file=sys.stderr)


def train(store: Path, checkpoint: Path, preset: str, seed: int, split: str, options: tuple[str, ...]) -> None:
    """`edgebehave train`, finished."""
    settings = ("--preset", preset, "--seed", str(seed), "--split", split, *options)
    finish(checkpoint, ("train", str(store)), settings)


def is_finished(checkpoint: Path) -> bool:
    described = checkpoint / "training.json"
    return described.exists() and json.loads(described.read_text())["finished"]


def seconds_of(checkpoint: Path) -> float:
    """Wall time of what `finish` ran for a checkpoint."""
    file = checkpoint / _SECONDS
    return float(file.read_text()) if file.exists() else 0.0


def commit() -> str:
    """The commit that a table was made with."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def peak_bytes() -> int:
    """Most memory that this process has held; getrusage would begin with that of its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
