"""Exports as a log that ingest reads: recognized files become JSON Lines of one user."""

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader
from edgebehave_train.logs.exports.registry import reader_of
from edgebehave_train.logs.reading.files import IngestError, LogFile
from edgebehave_train.logs.reading.frames import is_frame

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
    on_line: Callable[[str], None],
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
    written = [_write(*item, folder, on_line) for item in exports]
    zones = {converted.zone for converted in written}
    if timezone is None and "utc" in zones and ask_zone is not None:
        path = next(converted.file.path for converted in written if converted.zone == "utc")
        timezone = ask_zone(f"{path} has times in UTC.")
    if timezone is None and len(zones) > 1:
        raise IngestError("some of the exports know their local time and others do not; give --timezone")
    has_offsets = timezone is None and zones == {"offsets"}
    columns = (*COLUMNS, "utc_offset") if has_offsets else COLUMNS
    return ConvertedLog(
        log=[replace(converted.file, columns=columns) for converted in written],
        has_offsets=has_offsets,
        time_unit="us" if {converted.kind for converted in written} == {int} else "auto",
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
    if is_frame(log):  # what it yields, if anything, are names of columns or rows
        return []
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


@dataclass(frozen=True, kw_only=True)
class _Converted:
    """The log of an export.

    kind  the type of its times.
    zone  "offsets": each row has the column utc_offset; "texts": clocks of the place, or texts with their zone; "utc":
          moments whose local time is not known.
    """

    file: LogFile
    kind: type
    zone: str


def _write(
    file: ExportFile, reader: LogReader, export: Export, folder: Path, on_line: Callable[[str], None]
) -> _Converted:
    copy = folder / f"converted{len(list(folder.iterdir()))}.jsonl"
    encode = json.JSONEncoder().encode
    num_events, kinds = 0, set()
    offsets: set[int] = set()
    first_offset, offset, num_before = None, None, 0  # rows before the first one whose offset is known
    with copy.open("w", encoding="ascii") as out:
        for event in _events(file, reader, export):
            row: dict[str, Any] = {"user": export.user, "time": str(event.time), "event": event.event}
            if event.utc_offset_min is not None:
                offset = event.utc_offset_min
                first_offset = offset if first_offset is None else first_offset
                offsets.add(offset)
            if offset is None:
                num_before += 1
            else:
                row["utc_offset"] = offset
            num_events += 1
            kinds.add(type(event.time))
            out.write(encode(row) + "\n")
    left_out = (
        "; left out: " + ", ".join(f"{n:,} {why}" for why, n in export.left_out.most_common())
        if export.left_out
        else ""
    )
    if not num_events:
        raise IngestError(f"{file.path} is {reader.title}, but holds no event that can be used{left_out}")
    on_line(
        f"{file.path} is recognized as {reader.title}: {num_events:,} events of one user, {export.user!r}, "
        f"{export.used}{left_out}"
    )
    (kind,) = kinds if len(kinds) == 1 else (str,)
    zone = "texts" if str in kinds else "utc"
    if offsets and (export.zone == "own" or offsets != {0}):
        zone = "offsets"
        if num_before:
            copy = _with_offset(copy, first_offset, num_before)
    return _Converted(
        file=LogFile(path=file.path, kind="jsonl", gzipped=False, columns=COLUMNS, source=copy), kind=kind, zone=zone
    )


def _with_offset(log: Path, utc_offset_min: int | None, num_rows: int) -> Path:
    """A copy of a written log whose first rows have an offset too."""
    copy = log.with_name(f"{log.stem}_offsets.jsonl")
    with log.open(encoding="ascii") as rows, copy.open("w", encoding="ascii") as out:
        for number, row in enumerate(rows):
            out.write(f'{row[:-2]}, "utc_offset": {utc_offset_min}}}\n' if number < num_rows else row)
    log.unlink()
    return copy
