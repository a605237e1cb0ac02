"""A file that may be an export: its head, and its content as text, JSON, rows of a table or tables of SQLite."""

import bz2
import csv
import gzip
import json
import lzma
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from edgebehave_train.logs.reading.copies import workbook
from edgebehave_train.logs.reading.files import IngestError

_HEAD_BYTES = 1 << 16
_SQLITE = b"SQLite format 3\x00"


class ExportFile:
    """The content of a file in the forms that exports have; nothing is read before it is asked for.

    folder  for copies: of a compressed file, and of a database that another program may be writing.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder

    @cached_property
    def source(self) -> Path:
        """The file, or a copy of what was compressed in it."""
        with self.path.open("rb") as file:
            magic = file.read(6)
        openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
        opener = next((opener for start, opener in openers.items() if magic.startswith(start)), None)
        if opener is None and magic[:4] != b"PK\x03\x04":
            return self.path
        copy = self.folder / f"export{len(list(self.folder.iterdir()))}"
        try:
            if opener is not None:
                with opener(self.path) as stream, copy.open("wb") as out:
                    shutil.copyfileobj(stream, out)
                return copy
            with zipfile.ZipFile(self.path) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
                if "xl/workbook.xml" in names:
                    return workbook(self.path, self.path, copy)
                if len(names) != 1:
                    return self.path
                with archive.open(names[0]) as stream, copy.open("wb") as out:
                    shutil.copyfileobj(stream, out)
                return copy
        except IngestError:  # a workbook, without the library that reads it
            return self.path
        except (EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            return self.path  # the message about damage is that of any log

    @cached_property
    def head(self) -> bytes:
        with self.source.open("rb") as file:
            return file.read(_HEAD_BYTES)

    @cached_property
    def head_text(self) -> str:
        """The beginning as text, empty for a binary file."""
        return "" if b"\0" in self.head else self.head.decode("utf-8-sig", "replace")

    def open_text(self) -> TextIO:
        return self.source.open(encoding="utf-8-sig", errors="replace", newline="")

    # JSON

    @cached_property
    def json_head(self) -> Any:
        """The value that the beginning of a JSON text holds, cut where the beginning ends; None if it is no JSON."""
        text = self.head_text.lstrip()
        return _value_of_beginning(text) if text[:1] in ("{", "[") else None

    def json(self) -> Any:
        try:
            with self.open_text() as file:
                return json.load(file)
        except (ValueError, RecursionError) as error:
            raise IngestError(f"{self.path} is no readable JSON: {error}") from None

    # Tables of text

    @cached_property
    def header(self) -> tuple[str, ...]:
        """The cells of the first line of a CSV, as they are; empty if it is none."""
        text = self.head_text.lstrip("\r\n")
        if not text or text[0] in "{[<":
            return ()
        try:
            return tuple(next(csv.reader(text.splitlines(keepends=True), delimiter=self.delimiter), ()))
        except csv.Error:
            return ()

    @cached_property
    def columns(self) -> dict[str, str]:
        """{name in lower case without blanks and underscores: name} of the columns of a CSV."""
        return {plain_name(name): name for name in self.header}

    @cached_property
    def delimiter(self) -> str:
        line = self.head_text.lstrip("\r\n").partition("\n")[0]
        return max((",", ";", "\t"), key=line.count)

    def records(self) -> Iterator[list[str]]:
        """Every line of a CSV as cells, the first too."""
        with self.open_text() as file:
            try:
                yield from (row for row in csv.reader(file, delimiter=self.delimiter) if row)
            except csv.Error as error:
                raise IngestError(f"{self.path} is no readable CSV: {error}") from None

    def rows(self) -> Iterator[dict[str, str]]:
        """Rows of a CSV below its header: {plain name of the column: cell}."""
        records = self.records()
        names = [plain_name(name) for name in next(records, [])]
        for record in records:
            yield dict(zip(names, record, strict=False))

    # Tables of SQLite

    @cached_property
    def tables(self) -> dict[str, frozenset[str]]:
        """{table: its columns}, both in lower case; empty if it is no database."""
        if not self.head.startswith(_SQLITE):
            return {}
        with closing(self._open_database()) as con:
            try:
                names = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return {
                    name.lower(): frozenset(
                        row[1].lower() for row in con.execute("SELECT * FROM pragma_table_info(?)", (name,)).fetchall()
                    )
                    for name in names
                }
            except sqlite3.Error as error:
                raise self._unreadable(error) from None

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with closing(self._open_database()) as con:
            try:
                yield from con.execute(sql)
            except sqlite3.Error as error:
                raise self._unreadable(error) from None

    @cached_property
    def _database(self) -> Path:
        """The database, or a copy of it and its journal, if another program may be writing it.

        Events that are in the journal alone would be missing without it, and to open the database itself with its
        journal would change it.
        """
        journals = [self.source.with_name(self.source.name + end) for end in ("-wal", "-journal")]
        journals = [journal for journal in journals if journal.exists() and journal.stat().st_size]
        if not journals:
            return self.source
        copy = self.folder / f"export{len(list(self.folder.iterdir()))}.db"
        for file in (self.source, *journals):
            shutil.copyfile(file, copy.with_name(copy.name + file.name.removeprefix(self.source.name)))
        return copy

    def _open_database(self) -> sqlite3.Connection:
        """A connection that changes nothing and takes no lock of another program."""
        is_copy = self._database != self.source
        mode = "rw" if is_copy else "ro&immutable=1"
        try:
            con = sqlite3.connect(f"{self._database.absolute().as_uri()}?mode={mode}", uri=True)
            con.text_factory = lambda text: text.decode("utf-8", "replace")
            con.execute("PRAGMA trusted_schema = OFF")
            return con
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: sqlite3.Error) -> IngestError:
        return IngestError(
            f"{self.path} cannot be read as an SQLite database: {error}; close the program "
            "that writes it, and try again"
        )


def plain_name(name: str) -> str:
    """`App name` and `app_name` as `appname`."""
    return re.sub(r"[\s_]+", "", name).lower()


def _value_of_beginning(text: str) -> Any:
    """The first value of a JSON text that may be cut: what is complete up to the last comma is kept."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        pass
    closers: list[str] = []
    in_string = escaped = False
    cut, closing_text = 0, ""
    for i, char in enumerate(text):
        if in_string:
            in_string = escaped or char != '"'
            escaped = not escaped and char == "\\"
        elif char == '"':
            in_string = True
        elif char in "{[":
            closers.append("}" if char == "{" else "]")
        elif char in "}]":
            if not closers or closers.pop() != char:
                return None
        elif char == ",":
            cut, closing_text = i, "".join(reversed(closers))
    try:
        return json.loads(text[:cut] + closing_text) if cut else None
    except (ValueError, RecursionError):
        return None
