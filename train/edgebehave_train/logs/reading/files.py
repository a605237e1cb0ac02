"""The files of an event log as queries of DuckDB that give text.

DuckDB gets every cell as text with its line number, so that a bad cell is a counted reject and not an error. There are
two readers:

plain    The file holds nothing that a line-by-line reader could misread: no quotes below the header, no blank lines,
         one kind of line end. DuckDB reads it, with all threads, and the number of rows must equal the number of lines.
careful  Anything else, and every file that DuckDB refuses. Python's csv module reads it record by record, rejects what
         is malformed with its line, and hands DuckDB a clean copy.

DuckDB 2.0.0 does not read quoted files reliably: at an opening quote that is never closed it ends the file without an
error, and its parallel reader takes quoted line breaks for rows. Either would lose or add events without a message.
"""

import csv
import glob
import gzip
import json
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

MALFORMED, NOT_UTF8 = "malformed row", "not UTF-8"
"""Reasons to refuse a record before it is a row of cells."""

NUM_EXAMPLES = 5
"""Rejected rows kept of each reason."""

_MAX_RECORD_LINES = 100  # a quote that stays open longer was never closed
_MAX_RECORD_CHARS = 1 << 20
_CHUNK_BYTES = 1 << 20
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class IngestError(ValueError):
    """The log cannot become an event store; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One file of a log.

    kind       how its records are written.
    columns    names it holds, in file order.
    delimiter  between the cells of a record, CSV only.
    source     the bytes to read, if they are a copy of `path` in another form.
    skip       lines before the header, CSV only.
    is_padded  whether blanks stand around the cells, and mean nothing, CSV only.
    cells      {column: SQL of its text}, Parquet only.
    row        SQL of the row number from 0, Parquet only.
    short      columns of floats of 32 bits, Parquet only.
    """

    path: Path
    kind: Literal["csv", "jsonl", "parquet"]
    gzipped: bool
    columns: tuple[str, ...]
    delimiter: str = ","
    source: Path | None = None
    skip: int = 0
    is_padded: bool = False
    cells: Mapping[str, str] = field(default_factory=dict)
    row: str = "file_row_number"
    short: frozenset[str] = frozenset()

    @property
    def bytes_path(self) -> Path:
        return self.source or self.path

    @contextmanager
    def open_bytes(self) -> Iterator[BinaryIO]:
        """The bytes of the file, decompressed. Raises IngestError if the compression is damaged."""
        try:
            with gzip.open(self.bytes_path) if self.gzipped else self.bytes_path.open("rb") as stream:
                yield stream  # type: ignore[misc]  # GzipFile is a BinaryIO in all but name
        except _DAMAGED as error:
            raise IngestError(f"{self.path} is damaged or cut short: {error}") from None

    @contextmanager
    def open_text(self) -> Iterator[TextIO]:
        """The lines of the file with their ends; a byte that is not UTF-8 becomes a lone surrogate."""
        opener: Callable[..., Any] = gzip.open if self.gzipped else open
        try:
            with opener(self.bytes_path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                for _ in range(self.skip):
                    stream.readline()
                yield stream
        except _DAMAGED as error:
            raise IngestError(f"{self.path} is damaged or cut short: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One rejected row: its 1-based line (row for Parquet) and the cell that is wrong."""

    reason: str
    file: str
    line: int
    value: str | None = None

    def __str__(self) -> str:
        what = "" if self.value is None else f" {self.value!r}"
        return f"{self.file}:{self.line}{what}"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A file made readable for DuckDB.

    sql       a query whose columns are `line`, `malformed` and one text per column asked for.
    num_rows  rows that it must return; None for Parquet, whose rows DuckDB counts.
    refused   records that are not among them, by reason; `examples` are the first of each.
    """

    sql: str
    num_rows: int | None
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)


# Reading them by DuckDB


def scan_file(file: LogFile, columns: Mapping[str, str], folder: Path) -> Scan:
    """The cheapest safe way to read a file.

    columns  {name in the scan: name in the file}.
    folder   where a clean copy may be put.
    """
    if file.kind == "parquet":
        return Scan(sql=_parquet_sql(file, columns), num_rows=None)
    num_lines = _lines_if_plain(file)
    if num_lines is None:
        return careful_scan(file, columns, folder)
    num_rows = num_lines - 1 - file.skip if file.kind == "csv" else num_lines
    return Scan(sql=_plain_sql(file, columns), num_rows=num_rows)


def careful_scan(file: LogFile, columns: Mapping[str, str], folder: Path) -> Scan:
    """Read a text file record by record and leave a clean copy of the columns in `folder`.

    Each line of the copy is a JSON array of line number and cells, so no cell can be taken for two.
    """
    copy = folder / f"{len(list(folder.iterdir()))}.jsonl"
    scan = Scan(sql="", num_rows=None)
    num_rows = 0
    is_csv = file.kind == "csv"
    where = [file.columns.index(column) for column in columns.values()] if is_csv else [0]
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with file.open_text() as lines, copy.open("w", encoding="utf-8", newline="") as out:
        for line, cells in _records(file, lines):
            if isinstance(cells, str):
                scan.refused[cells] += 1
                if scan.refused[cells] <= NUM_EXAMPLES:
                    scan.examples.append(Example(reason=cells, file=str(file.path), line=line + file.skip))
            else:
                record = (str(line + file.skip), *(cells[i].strip() if file.is_padded else cells[i] for i in where))
                out.write(encode(record) + "\n")
                num_rows += 1
    pointers = ", ".join(quoted(f"/{i}") for i in range(len(where) + 1))
    table = f"""(SELECT json_extract_string(c0, [{pointers}]) AS cells
        FROM {_read_lines(copy, gzipped=False)})"""
    if is_csv:
        names = ", ".join(f"cells[{i}] AS {name}" for i, name in enumerate(columns, 2))
        sql = f"SELECT cells[1]::BIGINT AS line, false AS malformed, {names} FROM {table}"
    else:
        sql = _json_sql(f"(SELECT cells[1]::BIGINT AS line, cells[2] AS c0 FROM {table})", columns)
    return Scan(sql=sql, num_rows=num_rows, refused=scan.refused, examples=scan.examples)


def _lines_if_plain(file: LogFile) -> int | None:
    """Number of lines of a file that may be read line by line, None if it may not.

    The header of a CSV is read elsewhere, so it may hold quotes.
    """
    traps = [b"\n\n", b"\n\r", b"\n ", b"\n\t"]
    num_above = 0
    if file.kind == "csv":
        traps, num_above = [b"\n\n", b"\n\r", b'"'], file.skip + 1
    newlines = returns = pairs = 0
    last = b"\n"  # so that a blank first line counts as one
    with file.open_bytes() as stream:
        for number in range(num_above):
            line = stream.readline()
            goes_on = number == file.skip and line.count(b'"') % 2  # a quoted name in the header
            if not line.strip() or goes_on:
                return None
            last = line[-1:]
            newlines += line.count(b"\n")
            returns += line.count(b"\r")
            pairs += line.count(b"\r\n")
        while chunk := stream.read(_CHUNK_BYTES):
            text = last + chunk
            if any(trap in text for trap in traps):
                return None
            newlines += chunk.count(b"\n")
            returns += chunk.count(b"\r")
            pairs += text.count(b"\r\n")
            last = chunk[-1:]
    num_lines = newlines + (last != b"\n")
    if returns and not returns == pairs == newlines:
        return None
    return num_lines


def _plain_sql(file: LogFile, columns: Mapping[str, str]) -> str:
    if file.kind == "jsonl":
        lines = _read_lines(file.bytes_path, gzipped=file.gzipped)
        return _json_sql(f"(SELECT row_number() OVER () AS line, c0 FROM {lines})", columns)
    # DuckDB skips the header as a line, whatever stands in it.
    table = _read_csv(file.bytes_path, len(file.columns), file.delimiter, gzipped=file.gzipped, skip=file.skip + 1)
    cell = "trim(c{0}, ' ')" if file.is_padded else "c{0}"
    cells = ", ".join(f"{cell.format(file.columns.index(column))} AS {name}" for name, column in columns.items())
    return f"SELECT row_number() OVER () + {1 + file.skip} AS line, false AS malformed, {cells} FROM {table}"


def _json_sql(lines: str, columns: Mapping[str, str]) -> str:
    """Cells of JSON objects; a line that is not an object is a malformed row."""
    names = list(columns.values())
    nested = [name for name in names if "." in name]  # data.app is a key of its own, or a key of the object `data`
    escaped = [name.replace("~", "~0").replace("/", "~1") for name in names]
    pointers = [f"/{name}" for name in escaped] + ["/" + e.replace(".", "/") for e in escaped if "." in e]
    paths = ", ".join(quoted(pointer) for pointer in pointers)
    cells = ", ".join(
        f"coalesce(cells[{i}], cells[{len(names) + 1 + nested.index(column)}]) AS {name}"
        if column in nested
        else f"cells[{i}] AS {name}"
        for i, (name, column) in enumerate(columns.items(), 1)
    )
    return f"""
        SELECT line, cells IS NULL AS malformed, {cells} FROM (
            SELECT line, CASE WHEN json_valid(c0) THEN
                CASE WHEN json_type(c0) = 'OBJECT' THEN json_extract_string(c0, [{paths}]) END
            END AS cells FROM {lines})"""


def _parquet_sql(file: LogFile, columns: Mapping[str, str]) -> str:
    cells = ", ".join(f"{file.cells[column]} AS {name}" for name, column in columns.items())
    return f"""
        SELECT {file.row} + 1 AS line, false AS malformed, {cells}
        FROM {parquet_table(file.bytes_path, numbered=file.row == "file_row_number")}"""


def parquet_table(path: Path, *, numbered: bool) -> str:
    """SQL of a Parquet file, its rows numbered or not."""
    number = ", file_row_number=true" if numbered else ""
    return f"read_parquet({literal_path(path)}{number}, hive_partitioning=false, binary_as_string=true)"


def _read_lines(path: Path, *, gzipped: bool) -> str:
    """The lines of a JSON Lines file as column c0."""
    # JSON holds no unescaped control character, so every line is one cell.
    return _read_csv(path, 1, "\x01", gzipped=gzipped)


def _read_csv(path: Path, num_columns: int, delimiter: str, *, gzipped: bool, skip: int = 0) -> str:
    """Cells c0, c1, ... as text; quotes mean nothing."""
    columns = ", ".join(f"c{i}: 'VARCHAR'" for i in range(num_columns))
    return (
        f"read_csv({literal_path(path)}, auto_detect=false, header=false, skip={skip}, "
        f"delim={quoted(delimiter)}, quote='', escape='', nullstr='', "
        f"compression={quoted('gzip' if gzipped else 'none')}, "
        f"max_line_size={8 * _MAX_RECORD_CHARS}, columns={{{columns}}})"
    )


def literal_path(path: Path) -> str:
    """A path as SQL literal, with the wildcards of globs escaped."""
    return quoted(glob.escape(str(path)))


def quoted(text: str) -> str:
    """SQL literal."""
    return "'" + text.replace("'", "''") + "'"


# The careful reader


def _records(file: LogFile, lines: Iterable[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Cells of each record with its first line, or the reason why there are none."""
    if file.kind == "jsonl":
        records: Iterator[tuple[int, list[str] | None]] = (
            (number, [line] if "\x01" not in line else None) for number, line in enumerate(lines, 1) if line.strip()
        )
    else:
        records = _csv_records(lines, file.delimiter, skips_blanks=file.is_padded)
        next(records, None)  # the header
    num_cells = 1 if file.kind == "jsonl" else len(file.columns)
    for number, cells in records:
        if cells is None or len(cells) != num_cells or sum(map(len, cells)) > _MAX_RECORD_CHARS:
            yield number, MALFORMED
        elif not all(map(str.isascii, cells)) and any(map(not_utf8, cells)):
            yield number, NOT_UTF8
        else:
            yield number, cells


def _csv_records(
    lines: Iterable[str], delimiter: str, *, skips_blanks: bool = False
) -> Iterator[tuple[int, list[str] | None]]:
    """Records of a CSV text with their first line; None for one that cannot be read.

    Of a record that cannot be read only the first line is lost: reading goes on at the next one, so that a quote that
    is never closed does not take the following rows with it.
    """
    source = iter(lines)
    ahead: deque[str] = deque()
    number = 1
    while True:
        if not ahead:
            line = next(source, None)
            if line is None:
                return
            ahead.append(line)
        cells: list[str] | None = None
        used = 1
        if '"' not in ahead[0]:
            cells = ahead[0].rstrip("\r\n").split(delimiter) if ahead[0].strip() else []
        else:
            reader = csv.reader(
                _look_ahead(ahead, source), delimiter=delimiter, strict=True, skipinitialspace=skips_blanks
            )
            try:
                cells = next(reader)
                used = reader.line_num
            except csv.Error:
                pass
        if cells != []:
            yield number, cells
        for _ in range(used):
            ahead.popleft()
        number += used


def _look_ahead(ahead: deque[str], source: Iterator[str]) -> Iterator[str]:
    """The lines of one record, kept in `ahead` until it is known how many belong to it."""
    for i in range(_MAX_RECORD_LINES):
        if i == len(ahead):
            line = next(source, None)
            if line is None:
                return
            ahead.append(line)
        yield ahead[i]


def not_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
