"""The question for a time zone, if the command runs in a terminal."""

import sys
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import typer


def zone_question() -> Callable[[str], str | None] | None:
    """A function that asks for a time zone, with a reason before the question; None without a terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(why: str) -> str | None:
    prompt = f"{why} Which time zone did you live in, as Europe/Berlin (--timezone)"
    while True:
        name: str = typer.prompt(prompt, default=_zone_of_this_machine(), err=True).strip()
        try:
            ZoneInfo(name)
            return name
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            typer.echo(f"{name!r} is no time zone; give one as Europe/Berlin, America/New_York or UTC", err=True)


def _zone_of_this_machine() -> str:
    """Name of the system's time zone, UTC if it is not known."""
    try:
        _, found, name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")
        return name if found else "UTC"
    except OSError:
        return "UTC"
