"""Finding the files of a log, the way each is written, and its columns."""

import csv
import difflib
import glob
import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from edgebehave_train.logs.reading import copies, frames
from edgebehave_train.logs.reading.arrow_schema import time_zones
from edgebehave_train.logs.reading.files import IngestError, LogFile, not_utf8, parquet_table, quoted
from edgebehave_train.logs.reading.utc_offsets import signed_sql, zone_minutes_sql

_JSON_LINES_SEARCHED = 100_000
_HEADER_SEARCHED = 100
"""Lines in which a header is looked for: tools write a title, a date or their settings above it."""
_DELIMITERS = (",", "\t", ";", "|", " ")
_NAMES_OF_DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}
_MOMENTS = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
"""Types of moments in DuckDB; the second since 2.0, of columns in nanoseconds."""
_TIME = re.compile(r"\W*(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\d{9,19}\b)")
_SUFFIXES = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings for reading the files of a log.

    columns    names that every file must hold; of JSON Lines files at least one must.
    folder     for copies in a form that can be read; a file that needs one is refused without it.
    encoding   of text files; None = UTF-8, or UTF-16 where that is plain.
    delimiter  of CSV files; None = the one that gives the columns.
    """

    columns: Sequence[str]
    folder: Path | None = None
    encoding: str | None = None
    delimiter: str | None = None

    def __post_init__(self) -> None:
        delimiter = _NAMES_OF_DELIMITERS.get(self.delimiter or "", self.delimiter)
        object.__setattr__(self, "delimiter", delimiter)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise IngestError(f"--delimiter must be one character, tab or space, got {self.delimiter!r}")


def find_log_files(log: Any, reading: Reading, con: duckdb.DuckDBPyConnection) -> list[LogFile]:
    """Files of a path, a glob, a table in memory, or a list of these, checked and in order; "-" is standard input.

    A LogFile in the list is taken as it is. Raises IngestError: no such file, not a log, or a column is missing.
    """
    entries = [log] if isinstance(log, str | Path) or frames.is_frame(log) else list(log)
    files = [file for entry in entries for file in _files_of(entry, reading, con)]
    if not files:
        raise IngestError("the log is an empty list of files")
    json_names = {name for file in files if file.kind == "jsonl" for name in file.columns}
    for file in files:
        names = sorted(json_names) if file.kind == "jsonl" else file.columns
        _check_columns(file, names, reading.columns)
    return files


def _files_of(entry: Any, reading: Reading, con: duckdb.DuckDBPyConnection) -> list[LogFile]:
    if isinstance(entry, LogFile):
        return [entry]
    if frames.is_frame(entry):
        title, copy, zones = frames.as_parquet(entry, reading.columns, _folder(Path("a table"), reading), con)
        return [_inspect_parquet(Path(title), copy, reading.columns, con, zones)]
    return [_inspect(path, reading, con) for path in _expand(entry)]


def _expand(entry: str | Path) -> list[Path]:
    path = Path(entry)
    if str(entry) == "-":
        return [path]
    if path.is_dir():
        raise IngestError(f"{path} is a folder; name its files, for example '{path}/*.csv'")
    if path.exists():
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(entry), recursive=True))]
    matches = [match for match in matches if match.is_file()]
    if not matches:
        raise IngestError(f"{entry}: no such file")
    return matches


def _inspect(path: Path, reading: Reading, con: duckdb.DuckDBPyConnection) -> LogFile:
    """Kind and columns of a file."""
    source, name = path, path.name
    if str(path) == "-" or not stat.S_ISREG(path.stat().st_mode):
        source, name = copies.copy_stream(path, _folder(path, reading)), ""
    with source.open("rb") as raw:
        magic = raw.read(16)
    if not magic:
        raise IngestError(f"{path} is empty")
    if magic.startswith(b"SQLite format 3"):
        raise IngestError(f"{path} is an SQLite database; export the table of events as CSV")
    if copies.is_packed(magic):
        source, name = copies.unpack(path, source, magic, _folder(path, reading), con)
        with source.open("rb") as raw:
            magic = raw.read(16)
    suffixes = [suffix.lower() for suffix in Path(name).suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    kind = _SUFFIXES.get(suffix)
    if magic[:4] == b"PAR1" or kind == "parquet":
        return _inspect_parquet(path, source, reading.columns, con)
    file = LogFile(path=path, kind="csv", gzipped=magic[:2] == b"\x1f\x8b", columns=(), source=source)
    head = _head(file)
    encoding = reading.encoding or copies.plain_utf16(head)
    if encoding is None and head.startswith((b"\xef\xbb\xbf[", b"\xef\xbb\xbf{")):
        encoding = "utf-8-sig"  # DuckDB reads no byte order mark before JSON
    if encoding:
        file = replace(file, source=copies.transcode(file, encoding, _folder(path, reading)), gzipped=False)
        head = _head(file)
    if not head.strip():
        raise IngestError(f"{path} is empty")
    if b"\0" in head:
        raise IngestError(
            f"{path} is binary; expected CSV, TSV, JSON Lines or Parquet: unpack an archive, save a table in one of "
            "these forms, or give --encoding, as utf-32"
        )
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if kind == "jsonl" or (kind is None and start in (b"{", b"[")):
        return _inspect_json(file, start, reading, con)
    return _inspect_csv(file, reading, "\t" if suffix in (".tsv", ".tab") else None)


def _folder(path: Path, reading: Reading) -> Path:
    assert reading.folder is not None, f"{path} needs a folder for a copy"
    return reading.folder


def _head(file: LogFile) -> bytes:
    with file.open_bytes() as stream:
        return stream.read(1 << 16)


# Parquet


def _inspect_parquet(
    path: Path,
    source: Path,
    columns: Sequence[str],
    con: duckdb.DuckDBPyConnection,
    known_zones: Mapping[str, str] | None = None,
) -> LogFile:
    """known_zones  {column: name of its time zone}; None = those of the Arrow schema in the file."""
    table = parquet_table(source, numbered=False)
    try:
        types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise IngestError(f"{path} is not a readable Parquet file: {reason}") from None
    sql = {name: _identifier(name) for name in types}
    for column in columns:
        if column not in types and "." in column:
            nested = ".".join(_identifier(part) for part in column.split("."))
            try:
                ((_, types[column], *_),) = con.execute(f"DESCRIBE SELECT {nested} FROM {table}").fetchall()
            except duckdb.Error:
                continue
            sql[column] = nested
    zones = known_zones or {}
    if known_zones is None and any(kind in _MOMENTS for kind in types.values()):
        zones = time_zones(source, con)
    return LogFile(
        path=path,
        kind="parquet",
        gzipped=False,
        columns=tuple(types),
        source=source,
        cells={name: _as_text(sql[name], kind, zones.get(name)) for name, kind in types.items()},
        short=frozenset(name for name, kind in types.items() if kind == "FLOAT"),
        row="file_row_number" if "file_row_number" not in types else "(row_number() OVER () - 1)",
    )


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _as_text(name: str, kind: str, zone: str | None) -> str:
    """SQL of a typed cell as text.

    A moment keeps the offset of the column's own time zone, independent of the session's zone; a real NaN is missing;
    a float without a fraction is written as an integer, as 101 and 101.0 name one user.
    """
    if kind in _MOMENTS:
        utc = f"epoch_us({name}::TIMESTAMPTZ)"
        if zone is None:
            return f"make_timestamp({utc})::VARCHAR || 'Z'"
        fixed = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", zone)
        minutes = f"{fixed[1]}{60 * int(fixed[2]) + int(fixed[3])}" if fixed else zone_minutes_sql(quoted(zone), utc)
        return f"make_timestamp({utc} + 60000000::BIGINT * ({minutes}))::VARCHAR || {signed_sql(minutes)}"
    if kind in ("FLOAT", "DOUBLE"):
        return (
            f"CASE WHEN isnan({name}) THEN NULL WHEN {name} = trunc({name}) AND abs({name}) < 9e18 "
            f"THEN TRY_CAST({name} AS BIGINT)::VARCHAR ELSE {name}::VARCHAR END"
        )
    return f"{name}::VARCHAR"


# JSON


def _inspect_json(file: LogFile, start: bytes, reading: Reading, con: duckdb.DuckDBPyConnection) -> LogFile:
    file = replace(file, kind="jsonl")
    names = _json_names(file, reading.columns) if start != b"[" else ()
    if reading.folder is not None and (start == b"{" or not all(column in names for column in reading.columns)):
        table = copies.json_table(file, reading.columns, reading.folder)
        if table is not None:
            file = replace(file, source=table, gzipped=False)
            names = _json_names(file, reading.columns)
    if not names and reading.folder is not None and start in (b"[", b"{"):
        file = replace(file, source=copies.json_lines(file, reading.folder, con), gzipped=False)
        names = _json_names(file, reading.columns)
    if not names:
        raise IngestError(f"{file.path} holds no JSON object; expected JSON Lines or an array of objects")
    return replace(file, columns=names)


def _json_names(file: LogFile, columns: Sequence[str]) -> tuple[str, ...]:
    """Names in the objects of a file, read until every column asked for has been seen; `data.app` for a nested one."""
    names: dict[str, None] = {}
    with file.open_text() as lines:
        for _, line in zip(range(_JSON_LINES_SEARCHED), lines, strict=False):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                names.update(dict.fromkeys(_nested_names(record)))
                if all(column in names for column in columns):
                    break
    return tuple(names)


def _nested_names(record: dict[str, object], prefix: str = "") -> Iterable[str]:
    for name, value in record.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from _nested_names(value, f"{prefix}{name}.")


# CSV


def _inspect_csv(file: LogFile, reading: Reading, delimiter: str | None) -> LogFile:
    """Lines above the header, the delimiter and the columns.

    The header is the first line that gives all columns asked for, otherwise the first one that is no comment. The
    delimiter is the one that is asked for, or that a first line `sep=;` names, or that gives all columns, or the most.
    """
    delimiter = reading.delimiter or delimiter
    lines: list[str] = []
    with file.open_text() as stream:
        for line in islice(stream, _HEADER_SEARCHED + 2):
            lines.append(line.lstrip("\ufeff").strip("\r\n"))
    number = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    if number < len(lines) and (sep := re.fullmatch(r'"?sep=(.)"?', lines[number])):
        delimiter = delimiter or sep[1]
        number += 1
    candidates = [delimiter] if delimiter else list(_DELIMITERS)
    rows = range(number, min(len(lines), _HEADER_SEARCHED))
    header = next((i for i in rows if any(_holds(lines[i], d, reading.columns) for d in candidates)), None)
    if header is None:
        header = next((i for i in rows if lines[i].strip() and not lines[i].startswith("#")), None)
    if header is None:
        raise IngestError(f"{file.path} holds no header line")
    if not_utf8(lines[header]):
        raise IngestError(
            f"{file.path} is not UTF-8; save it as UTF-8, or give --encoding (cp1252 for most of Western Europe)"
        )
    below = lines[header + 1] if header + 1 < len(lines) else ""
    try:
        names = {d: next(csv.reader([lines[header]], delimiter=d)) for d in {*_DELIMITERS, delimiter or ","}}
        cells = {d: len(next(csv.reader([below], delimiter=d), [])) for d in names}
    except csv.Error as error:
        raise IngestError(f"{file.path} has no readable header line: {error}") from None

    def fit(d: str) -> tuple[bool, bool, bool, int]:
        is_full = _holds(lines[header], d, reading.columns)
        is_exact = all(column in names[d] for column in reading.columns)
        return is_full, is_exact, len(names[d]) == cells[d], len(names[d])

    best = delimiter
    if best is None:
        full = [d for d in _DELIMITERS if fit(d)[0]]
        best = max(full, key=fit) if full else max(_DELIMITERS[:-1], key=lambda d: len(names[d]))
    # `user, time, event`: a blank after each delimiter
    is_padded = fit(best)[:2] == (True, False)
    columns = names[best]
    if is_padded:
        cells_of_header = next(csv.reader([lines[header]], delimiter=best, skipinitialspace=True))
        columns = [name.strip() for name in cells_of_header]
    return replace(file, columns=tuple(columns), delimiter=best, skip=header, is_padded=is_padded)


def _holds(line: str, delimiter: str, columns: Sequence[str]) -> bool:
    """Whether the cells of a line, without blanks around them, are all these columns and perhaps others."""
    try:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
    except csv.Error:
        return False
    return all(column in names or column.strip() in names for column in columns)


def _check_columns(file: LogFile, names: Sequence[str], columns: Iterable[str]) -> None:
    for column in columns:
        if names.count(column) == 1:
            continue
        if column in names:
            raise IngestError(f"{file.path} has {names.count(column)} columns named {column!r}")
        near = difflib.get_close_matches(column, names, n=1, cutoff=0.5)
        if file.kind == "csv" and any(map(_TIME.match, names)):
            raise IngestError(
                f"{file.path} has no column {column!r}: its first line seems to be an event and no header "
                f"({', '.join(names[:30])}); write a line with the names of the columns above it"
            )
        if file.kind == "csv" and len(names) == 1 and not near:
            raise IngestError(
                f"{file.path} has no column {column!r}: its first line is one cell, {names[0][:80]!r}; give "
                "--delimiter if it is a table, otherwise write it as CSV, TSV, JSON or Parquet (docs/logs.md)"
            )
        hint = f"; did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
        there = "its first line reads" if file.kind == "csv" else "it has"
        of_option = f"; --{column} names it" if column in ("user", "time", "event") and not near else ""
        if column == "user" and not near:
            of_option += "; --one-user me for the log of one person"
        raise IngestError(f"{file.path} has no column {column!r}{hint}{of_option} ({there}: {shown})")
