"""A reader of exports: what it is called, how it knows a file, and the events it takes from it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from edgebehave_train.logs.exports.export_file import ExportFile

Y2001_S = 978_307_200
"""Unix second of 2001-01-01, where Apple's times begin."""

_ADDRESS = re.compile(r"(?:https?|ftp)://(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^/?#:\[\]\s\\]+)", re.IGNORECASE)


class ExportEvent(NamedTuple):
    """An event of an export.

    time           unix microseconds, or the text of a date and clock, which ingest reads as in any log.
    event          its name.
    utc_offset_min where the export knows it.
    """

    time: int | str
    event: str
    utc_offset_min: int | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """The events of a file.

    events    in the order of the file, or in time order.
    zone      "utc": moments whose local time is not known; "own": the export has the local time of each event;
              "local": clocks of the place where the events happened.
    user      the one whose events they are.
    used      the part of the file that is taken, for the screen.
    left_out  {reason: rows}, complete when `events` is read.
    """

    events: Iterable[ExportEvent]
    zone: Literal["utc", "own", "local"]
    user: str = "me"
    used: str
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class LogReader:
    """A kind of export.

    name        registered name.
    title       as in "FILE is ...".
    recognizes  whether a file is of this kind, told from its head, its columns or its tables.
    read        its events. Raises IngestError, with the reason, if it holds nothing that can be used.
    """

    name: str
    title: str
    recognizes: Callable[[ExportFile], bool]
    read: Callable[[ExportFile], Export]


def microseconds(seconds: float) -> int:
    """Unix microseconds of unix seconds."""
    return round(seconds * 1_000_000)


def microseconds_of_iso(text: str) -> int | None:
    """Unix microseconds of an ISO 8601 time, UTC where it names no zone; None if it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def domain_of(url: object) -> str | None:
    """The host of a web address; None for files, pages of the browser and what is no address."""
    found = _ADDRESS.match(url) if isinstance(url, str) else None
    return found[1].lower().strip("[]") or None if found else None
