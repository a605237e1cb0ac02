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
    utc_offset_min minutes, where the export knows it; of an event without one, that of the event before counts.
    """

    time: int | str
    event: str
    utc_offset_min: int | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """The events of a file.

    events    in the order of the file, or in time order.
    zone      "utc": moments as ISO 8601 has them, whose offsets, if they are all 0, say nothing of the place;
              "own": the offsets, or the zones in texts, are those of the place; "local": clocks of the place.
              If no moment has an offset, the local time is not known, whatever is said here.
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
    recognizes  whether a file is of this kind, by its head, its columns or its tables.
    read        its events. Raises IngestError, with the reason, if it holds nothing that can be used.
    """

    name: str
    title: str
    recognizes: Callable[[ExportFile], bool]
    read: Callable[[ExportFile], Export]


def microseconds(seconds: float) -> int:
    """Unix microseconds of unix seconds."""
    return round(seconds * 1_000_000)


def microseconds_of_unix(number: float) -> int:
    """Unix microseconds of unix seconds, milliseconds, microseconds or nanoseconds, recognized by the magnitude."""
    for most, factor in ((1e11, 1_000_000), (1e14, 1000), (1e17, 1)):
        if abs(number) < most:
            return round(number * factor)
    return int(number) // 1000


def microseconds_of_iso(text: str) -> int | None:
    """Unix microseconds of an ISO 8601 time, UTC where it names no zone; None if it is none."""
    return moment_of_iso(text)[0]


def moment_of_iso(text: str) -> tuple[int | None, int | None]:
    """Unix microseconds of an ISO 8601 time, UTC where it names no zone, and the minutes of its offset.

    None for the first if it is none; for the second if it names no offset, as Z does not.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None, None
    offset = moment.utcoffset()
    if offset is None:
        moment = moment.replace(tzinfo=UTC)
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    time_us = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    if offset is None or text.strip()[-1] in "Zz":
        return time_us, None
    return time_us, round(offset.total_seconds() / 60)


def domain_of(url: object) -> str | None:
    """The host of a web address; None for files, pages of the browser and what is no address."""
    found = _ADDRESS.match(url) if isinstance(url, str) else None
    return found[1].lower().strip("[]") or None if found else None
