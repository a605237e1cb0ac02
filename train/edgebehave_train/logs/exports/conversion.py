"""Exports as a log that ingest reads: recognized files become JSON Lines of one user."""

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader
from edgebehave_train.logs.exports.registry import reader_of
from edgebehave_train.logs.reading.files import IngestError, LogFile

COLUMNS = ("user", "time", "event")
"""Columns of the log that is written, and those of any log by default. A file that has them is no export."""

AskZone = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True)
class ConvertedLog:
    """Exports that were recognized, as files for ingest.

    log          one for each file, with the columns of COLUMNS and, if `has_offsets`, utc_offset.
    time_unit    of their times: microseconds, or to be recognized.
    timezone     as given, or as answered.
    """

    log: list[LogFile]
    has_offsets: bool
    time_unit: str
    timezone: str | None


def convert_exports(
    log: str | Path | Sequence[Any],
    folder: Path,
    say: Callable[[str], None],
    *,
    timezone: str | None = None,
    ask_zone: AskZone | None = None,
) -> ConvertedLog | None:
    """The files of a log converted, if they are exports; None if they are an ordinary log.

    folder    for the converted files and copies.
    timezone  of the user; it overrules the offsets that an export has.
    ask_zone  is asked for the time zone of moments in UTC, with a sentence that says why; None = nobody is there.
    Raises IngestError if some files are exports and others are not, or an export cannot be used.
    """
    paths = _files(log)
    files = [ExportFile(path, folder) for path in paths]
    found = [(file, None if _is_table(file) else reader_of(file)) for file in files]
    known = [(file, reader) for file, reader in found if reader is not None]
    if not known:
        return None
    if len(known) < len(found):
        other = next(file.path for file, reader in found if reader is None)
        raise IngestError(f"{known[0][0].path} is {known[0][1].title}, {other} is not; ingest them one at a time")
    exports = []
    for file, reader in known:
        with _named(file, reader):
            exports.append((file, reader, reader.read(file)))
    zones = {export.zone for *_, export in exports}
    if timezone is None and "utc" in zones and ask_zone is not None:
        timezone = ask_zone(f"{known[0][0].path} has times in UTC.")
    if timezone is None and len(zones) > 1:
        raise IngestError("some of the exports know their local time and others do not; give --timezone")
    has_offsets = timezone is None and zones == {"own"}
    written = [_write(*item, folder, say, with_offsets=has_offsets) for item in exports]
    kinds = {kind for _, kind, _ in written}
    has_offsets = has_offsets and all(with_offsets for *_, with_offsets in written)
    return ConvertedLog(
        log=[file for file, *_ in written],
        has_offsets=has_offsets,
        time_unit="us" if kinds == {int} else "auto",
        timezone=timezone,
    )


@contextmanager
def _named(file: ExportFile, reader: LogReader) -> Iterator[None]:
    """Errors over an entry in an unexpected form, as one line that names the file."""
    try:
        yield
    except IngestError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise IngestError(
            f"{file.path} looks like {reader.title}, but an entry has another form: {type(error).__name__}, {error}"
        ) from error


def _events(file: ExportFile, reader: LogReader, export: Export) -> Iterator[ExportEvent]:
    with _named(file, reader):
        yield from export.events


def _files(log: Any) -> list[Path]:
    """The regular files of a log, none if one of its entries is something else."""
    paths: list[Path] = []
    for entry in [log] if isinstance(log, str | Path) else log:
        if not isinstance(entry, str | Path):
            return []
        here = (
            [Path(entry)] if Path(entry).exists() else [Path(p) for p in sorted(glob.glob(str(entry), recursive=True))]
        )
        if not here or not all(path.is_file() for path in here):
            return []
        paths += here
    return paths


def _is_table(file: ExportFile) -> bool:
    """Whether a file has the columns of a log."""
    head = file.json_head
    if isinstance(head, list):
        head = head[0] if head else None
    names = head.keys() if isinstance(head, dict) else set(file.header)
    return names >= set(COLUMNS) or file.head[:4] == b"PAR1" or not file.head


def _write(
    file: ExportFile, reader: LogReader, export: Export, folder: Path, say: Callable[[str], None], *, with_offsets: bool
) -> tuple[LogFile, type, bool]:
    """The log of an export, the type of its times, and whether it has offsets."""
    copy = folder / f"converted{len(list(folder.iterdir()))}.jsonl"
    encode = json.JSONEncoder().encode
    num_events, kinds = 0, set()
    with copy.open("w", encoding="ascii") as out:
        for event in _events(file, reader, export):
            row: dict[str, Any] = {"user": export.user, "time": str(event.time), "event": event.event}
            if with_offsets and event.utc_offset_min is not None:
                row["utc_offset"] = event.utc_offset_min
            num_events += 1
            kinds.add(type(event.time))
            with_offsets = with_offsets and "utc_offset" in row
            out.write(encode(row) + "\n")
    left_out = (
        "; left out: " + ", ".join(f"{n:,} {why}" for why, n in export.left_out.most_common())
        if export.left_out
        else ""
    )
    if not num_events:
        raise IngestError(f"{file.path} is {reader.title}, but holds no event that can be used{left_out}")
    say(
        f"{file.path} is recognized as {reader.title}: {num_events:,} events of one user, {export.user!r}, "
        f"{export.used}{left_out}"
    )
    columns = (*COLUMNS, *(["utc_offset"] if with_offsets else []))
    (kind,) = kinds if len(kinds) == 1 else (str,)
    return LogFile(path=file.path, kind="jsonl", gzipped=False, columns=columns, source=copy), kind, with_offsets
