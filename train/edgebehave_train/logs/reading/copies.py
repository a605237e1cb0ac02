"""Copies of log files in a form that the readers know: unpacked, in UTF-8, one JSON object per line."""

import bz2
import csv
import json
import lzma
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import duckdb

from edgebehave_train.logs.reading.files import IngestError, LogFile, literal_path, quoted

_ZSTD, _BZ2, _XZ, _ZIP = b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_BATCH = 10_000
_ROWS_LOOKED_AT = 1_000
"""Rows of a list in which the columns are looked for: the first ones may lack some."""


def is_packed(magic: bytes) -> bool:
    """Whether a file that begins so must be unpacked first; gzip is read as it is."""
    return magic.startswith((_ZSTD, _BZ2, _XZ, _ZIP, _OLD_EXCEL))


def copy_stream(path: Path, folder: Path) -> Path:
    """All that comes out of a pipe, or of standard input for "-"."""
    copy = _new(folder)
    with copy.open("wb") as out:
        if str(path) == "-":
            if sys.stdin.isatty():
                raise IngestError("standard input is a terminal; name a file, or send one into the command")
            shutil.copyfileobj(sys.stdin.buffer, out)
        else:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, out)
    return copy


def unpack(path: Path, source: Path, magic: bytes, folder: Path, con: duckdb.DuckDBPyConnection) -> tuple[Path, str]:
    """The content of a compressed file or a workbook, and its name.

    path  name for messages.
    """
    copy = _new(folder)
    name = path.stem
    try:
        if magic.startswith(_ZIP):
            return _unzip(path, source, copy)
        if magic.startswith(_OLD_EXCEL):
            raise IngestError(f"{path} is an old Excel workbook; save it as CSV or .xlsx")
        if magic.startswith(_ZSTD):
            _unpack_zstd(source, copy, con)
        else:
            opener: Any = bz2.open if magic.startswith(_BZ2) else lzma.open
            with opener(source) as stream, copy.open("wb") as out:
                shutil.copyfileobj(stream, out)
    except (EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile, duckdb.Error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise IngestError(f"{path} is damaged or cut short: {str(error).splitlines()[0]}") from None
    return copy, name


def _unzip(path: Path, source: Path, copy: Path) -> tuple[Path, str]:
    with zipfile.ZipFile(source) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
        names = [n for n in names if not Path(n).name.startswith(".")] or names
        if "xl/workbook.xml" in names:
            return workbook(path, source, copy), "sheet.csv"
        if len(names) != 1:
            shown = ", ".join(names[:5])
            raise IngestError(f"{path} holds {len(names)} files ({shown}); unpack it and name the ones of the log")
        try:
            with archive.open(names[0]) as stream, copy.open("wb") as out:
                shutil.copyfileobj(stream, out)
        except (RuntimeError, NotImplementedError) as error:
            raise IngestError(f"{path} cannot be unpacked: {error}") from None
    return copy, Path(names[0]).name


def _unpack_zstd(source: Path, copy: Path, con: duckdb.DuckDBPyConnection) -> None:
    _check_zstd(source)
    # Lines of any text; DuckDB has zstd built in, Python before 3.14 has not.
    sql = (
        f"SELECT c FROM read_csv({literal_path(source)}, auto_detect=false, header=false, delim='\x01', quote='', "
        "escape='', nullstr='', compression='zstd', columns={c: 'VARCHAR'}, max_line_size=8388608)"
    )
    con.execute("SET preserve_insertion_order = true")
    rows = con.cursor().execute(sql)
    with copy.open("w", encoding="utf-8", newline="") as out:
        while batch := rows.fetchmany(_BATCH):
            out.writelines((line or "") + "\n" for (line,) in batch)


def _check_zstd(source: Path) -> None:
    """Raise EOFError if a zstd file ends too early; DuckDB 2.0.0 reads what is there without a word.

    The frames and blocks of RFC 8878 are walked by their sizes.
    """
    size = source.stat().st_size
    with source.open("rb") as file:
        while file.tell() < size:
            magic = file.read(4)
            if magic[1:] == b"\x2a\x4d\x18":  # a frame to skip
                file.seek(int.from_bytes(file.read(4), "little"), 1)
            else:
                if magic != _ZSTD:
                    raise EOFError("no zstd frame")
                flags = (file.read(1) or b"\0")[0]
                single, checksum = flags >> 5 & 1, flags >> 2 & 1
                content = (single, 2, 4, 8)[flags >> 6]
                file.seek((0 if single else 1) + (0, 1, 2, 4)[flags & 3] + content, 1)
                is_last = False
                while not is_last and file.tell() < size:
                    block = int.from_bytes(file.read(3), "little")
                    is_last = bool(block & 1)
                    file.seek(1 if block >> 1 & 3 == 1 else block >> 3, 1)
                file.seek(4 * checksum, 1)
                if not is_last:
                    raise EOFError("it ends within a frame")
        if file.tell() > size:
            raise EOFError("it ends within a frame")


def workbook(path: Path, source: Path, copy: Path) -> Path:
    """The first sheet of an Excel workbook as CSV."""
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise IngestError(
            f"{path} is an Excel workbook; save it as CSV, or pip install 'edgebehave[xlsx]' to read it"
        ) from None
    book = openpyxl.load_workbook(source, read_only=True, data_only=True)
    with copy.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        for row in book.worksheets[0].iter_rows(values_only=True):
            if any(cell is not None for cell in row):
                writer.writerow(["" if cell is None else cell for cell in row])
    return copy


def plain_utf16(head: bytes) -> str | None:
    """The encoding of a text in UTF-16, with or without a byte order mark; None if it is not one."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    half = len(head) // 2
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if half >= 4 and zeros.count(0) > 0.8 * half and head.count(0) < 1.2 * half:
            return name
    return None


def transcode(file: LogFile, encoding: str, folder: Path) -> Path:
    """A text in UTF-8."""
    copy = _new(folder)
    try:
        with _text(file, encoding) as stream, copy.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(stream, out)
    except LookupError:
        raise IngestError(f"--encoding {encoding!r} is unknown; expected one as latin-1, cp1252 or utf-16") from None
    except UnicodeError as error:
        raise IngestError(f"{file.path} is not {encoding}: {error}") from None
    return copy


@contextmanager
def _text(file: LogFile, encoding: str) -> Iterator[IO[str]]:
    import io

    with file.open_bytes() as stream, io.TextIOWrapper(stream, encoding=encoding, newline="") as text:
        yield text


def json_lines(file: LogFile, folder: Path, con: duckdb.DuckDBPyConnection) -> Path:
    """The objects of a JSON array, or of a text of several objects over many lines, one per line."""
    copy = _new(folder)
    try:
        con.execute(
            f"COPY (SELECT json(json)::VARCHAR FROM read_json({literal_path(file.bytes_path)}, records='false', "
            "columns={json: 'JSON'}, maximum_object_size=67108864, "
            f"compression={quoted('gzip' if file.gzipped else 'none')})) "
            f"TO {quoted(str(copy))} (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01')"
        )
    except duckdb.Error as error:
        raise IngestError(f"{file.path} is no readable JSON: {str(error).splitlines()[0]}") from None
    return copy


def json_table(file: LogFile, columns: Sequence[str], folder: Path) -> Path | None:
    """The rows of a JSON text that wraps them or keeps them in another form, one per line; None if it is none of these.

    The forms: `{"data": [{...}, ...]}`, at any depth, also in each of several parts, as `{"days": [{"rows": [...]}]}`;
    `{"user": [...], "time": [...], ...}`; `{"0": {...}, ...}`;
    `[["user", "time", ...], [...], ...]`.
    """
    with file.open_bytes() as stream:
        if not _START_OF_TABLE.match(stream.read(1 << 12)):
            return None
    with file.open_text() as lines:
        next(lines, "")
        if _is_json(next(lines, "")):  # JSON Lines
            return None
    try:
        with file.open_bytes() as stream:
            rows = _rows_of(json.load(stream), columns)
    except (ValueError, RecursionError):
        return None
    if rows is None:
        return None
    copy = _new(folder)
    with copy.open("w", encoding="ascii") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return copy


_START_OF_TABLE = re.compile(rb'\s*(\[\s*\[|\{\s*"(?:[^"\\]|\\.)*"\s*:)')


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _rows_of(content: Any, columns: Sequence[str]) -> Iterable[dict[str, Any]] | None:
    """Rows in a JSON value that have the columns, if they are in one place."""

    def are_rows(items: Iterable[Any]) -> bool:
        first = (item for item in islice(items, _ROWS_LOOKED_AT) if isinstance(item, dict))
        return any(all(_has(item, column) for column in columns) for item in first)

    if isinstance(content, list):
        if are_rows(content):
            return content
        if len(content) > 1 and isinstance(content[0], list) and all(column in content[0] for column in columns):
            return (dict(zip(content[0], row, strict=False)) for row in content[1:] if isinstance(row, list))
        return _rows_of_parts([item for item in content if isinstance(item, dict)], columns)
    if not isinstance(content, dict):
        return None
    lists = [content[column] for column in columns if isinstance(content.get(column), list)]
    if len(lists) == len(columns) and len(set(map(len, lists))) == 1:
        return (dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True))
    if len(content) > 1 and are_rows(content.values()):
        return content.values()
    found = [rows for value in content.values() if (rows := _rows_of(value, columns)) is not None]
    return found[0] if len(found) == 1 else None


def _rows_of_parts(parts: Sequence[dict[str, Any]], columns: Sequence[str]) -> Iterable[dict[str, Any]] | None:
    """Rows of several parts, if one of them has rows with the columns.

    Of a part whose rows lack a column, the list of the same name is taken, so that its rows are rejected and not lost.
    """
    found = [_rows_of(part, columns) for part in parts]
    if all(rows is None for rows in found):
        return None
    names = {
        name
        for part, rows in zip(parts, found, strict=True)
        for name, value in part.items()
        if rows is not None and value is rows
    }
    lists: list[Iterable[dict[str, Any]]] = []
    for part, rows in zip(parts, found, strict=True):
        if rows is not None:
            lists.append(rows)
        else:
            lists += [value for name, value in part.items() if name in names and isinstance(value, list)]
    return chain.from_iterable(lists)


def _has(row: dict[str, Any], column: str) -> bool:
    """Whether a row has a column, `data.app` being a nested one."""
    if column in row:
        return True
    name, dot, rest = column.partition(".")
    return bool(dot) and isinstance(row.get(name), dict) and _has(row[name], rest)


def _new(folder: Path) -> Path:
    return folder / f"copy{len(list(folder.iterdir()))}"
