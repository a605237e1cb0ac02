"""The file of a `SqliteHistory`: its schema and checks, its transactions, and the erasure of deleted rows."""

import contextlib
import os
import sqlite3
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebehave.histories.checksums import SettingsRow, checksum_of, is_whole
from edgebehave.histories.history import DamagedHistoryError, HistoryBusyError, HistoryError

SCHEMA_VERSION = 2
"""PRAGMA user_version of the files that this runtime writes. It reads version 1, without checksums, by adding them."""

_APPLICATION_ID = 0x45446248
"""PRAGMA application_id, "EDbH": tells our files from other databases."""

_WAL_IS_SAFE_FROM = (3, 51, 3)
"""Before this version, two connections in WAL mode could lose a commit (a reset of the log in a race)."""

# Names are TEXT, or BLOB if they hold lone surrogates, which UTF-8 cannot encode. Times are UTC seconds.
# Events of the same second differ by `arrival`. checksums.py says what the sums and checksums are of.
_TABLES = (
    """CREATE TABLE settings (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 0),
  max_events INTEGER NOT NULL,
  next_life INTEGER NOT NULL,
  erase_pending INTEGER NOT NULL,
  num_users INTEGER NOT NULL,
  names_sum INTEGER NOT NULL,
  checksum INTEGER NOT NULL
)""",
    """CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  changes INTEGER NOT NULL,
  num_events INTEGER NOT NULL,
  num_retained INTEGER NOT NULL,
  events_sum INTEGER NOT NULL,
  checksum INTEGER NOT NULL
)""",
    """CREATE TABLE events (
  user INTEGER NOT NULL,
  time_s INTEGER NOT NULL,
  arrival INTEGER NOT NULL,
  utc_offset_min INTEGER NOT NULL,
  event BLOB NOT NULL,
  location BLOB,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (user, time_s, arrival)
) WITHOUT ROWID""",
)

_TABLES_1 = (
    """CREATE TABLE settings (only_row INTEGER PRIMARY KEY CHECK (only_row = 0), max_events INTEGER NOT NULL,
  next_life INTEGER NOT NULL, erase_pending INTEGER NOT NULL)""",
    """CREATE TABLE users (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, changes INTEGER NOT NULL,
  num_events INTEGER NOT NULL)""",
    """CREATE TABLE events (user INTEGER NOT NULL REFERENCES users, time_s INTEGER NOT NULL, arrival INTEGER NOT NULL,
  utc_offset_min INTEGER NOT NULL, event BLOB NOT NULL, location BLOB, PRIMARY KEY (user, time_s, arrival)
) WITHOUT ROWID""",
)
"""Those of version 1, but for blanks."""

# From version 1 to 2.
_RENAME = tuple(f"ALTER TABLE {table} RENAME TO old_{table}" for table in ("settings", "users", "events"))
_COPY = (
    """INSERT INTO events SELECT user, time_s, arrival, utc_offset_min, event, location,
  checksum_of(user, time_s, arrival, utc_offset_min, event, location) FROM old_events""",
    """INSERT INTO users SELECT id, name, changes, num_events, n, total,
  checksum_of(id, name, changes, num_events, n, total)
  FROM old_users JOIN (SELECT user, count(*) AS n, sum(checksum) AS total FROM events GROUP BY user) ON user = id""",
    """INSERT INTO settings SELECT 0, max_events, next_life, erase_pending, n, total,
  checksum_of(max_events, next_life, erase_pending, n, total)
  FROM old_settings, (SELECT count(*) AS n, coalesce(sum(checksum_of(id, name)), 0) AS total FROM users)""",
    "DROP TABLE old_events",
    "DROP TABLE old_users",
    "DROP TABLE old_settings",
)

# The tables of version 1 as those of version 2, for a file that is only read.
_VIEWS = (
    """CREATE TEMP VIEW events AS SELECT *,
  checksum_of(user, time_s, arrival, utc_offset_min, event, location) AS checksum
  FROM main.events""",
    """CREATE TEMP VIEW users AS SELECT *,
  checksum_of(id, name, changes, num_events, num_retained, events_sum) AS checksum
  FROM (SELECT id, name, changes, num_events,
    (SELECT count(*) FROM events WHERE user = id) AS num_retained,
    (SELECT coalesce(sum(checksum), 0) FROM events WHERE user = id) AS events_sum FROM main.users)""",
    """CREATE TEMP VIEW settings AS SELECT *,
  checksum_of(max_events, next_life, erase_pending, num_users, names_sum) AS checksum
  FROM (SELECT max_events, next_life, erase_pending, n AS num_users, total AS names_sum FROM main.settings,
    (SELECT count(*) AS n, coalesce(sum(checksum_of(id, name)), 0) AS total FROM main.users))""",
)


def _make_private(path: Path) -> None:
    """Make the file if there is none, and close it to other accounts; SQLite gives its journals the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
            # Another account's file, or a file system without modes, stays as it is: SQLite says what it cannot do.
            with contextlib.suppress(OSError):
                mode = file.stat().st_mode
                if stat.S_ISREG(mode) and mode & 0o077:
                    file.chmod(mode & 0o700)
    except OSError:
        pass  # SQLite says why it cannot open the file


_OF_DAMAGE = (sqlite3.DatabaseError, sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError)
"""Errors that only a damaged file raises here, because our statements and values are valid; not their subclasses."""


class SqliteFile:
    """A connection to the file, for one process and any number of its threads.

    Statements run inside `reading`, `snapshot`, `writing` or `forgetting`; errors of SQLite become HistoryError.
    """

    def __init__(
        self, path: str | Path, timeout_s: float, survives_power_loss: bool, erases_at_once: bool, reads_only: bool
    ) -> None:
        """Open the file, or make it; arguments and errors as in `SqliteHistory`."""
        if str(path) == ":memory:":
            raise ValueError("a SqliteHistory is a file: use MemoryHistory for a history in memory")
        self.path = Path(path)
        if not self.path.name:
            raise ValueError(f"a SqliteHistory needs the name of a file, got {str(path)!r}")
        self._erases_at_once = erases_at_once
        self._timeout_s = timeout_s
        self._process = os.getpid()
        self._lock = threading.RLock()
        with self.reading():
            if not reads_only:
                _make_private(self.path)
            absolute = self.path.absolute()
            # isolation_level None: transactions begin and end by our own statements. Mode rw: no new file.
            self._sql = sqlite3.connect(
                f"{absolute.as_uri()}?mode=rw" if reads_only else absolute,
                timeout=timeout_s,
                isolation_level=None,
                check_same_thread=False,
                uri=reads_only,
            )
            try:
                if reads_only:
                    self._open_to_read()
                else:
                    self._open(survives_power_loss)
            except BaseException:
                self._sql.close()
                raise

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        return self._sql.execute(statement, values)

    def pragma(self, name: str) -> Any:
        return self._sql.execute(f"PRAGMA {name}").fetchone()[0]

    @contextmanager
    def reading(self, user: str | None = None) -> Iterator[None]:
        """One thread at a time, without a transaction; errors of SQLite become HistoryError.

        user  who is named if the file turns out to be damaged.
        """
        if self._process != os.getpid():
            raise HistoryError(f"{self.path} was opened before a fork: open a SqliteHistory anew")
        with self._lock:
            try:
                yield
            except UnicodeDecodeError as error:
                # Python's module could not read the message of an error.
                raise self.damage(user, str(error)) from error
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise HistoryBusyError(
                        f"{self.path} is kept busy by other processes for {self._timeout_s} s: "
                        "try again, or give a larger timeout_s"
                    ) from error
                is_damage = type(error) in _OF_DAMAGE or str(error).startswith("Could not decode to UTF-8")
                if is_damage and code != sqlite3.SQLITE_NOTADB:
                    raise self.damage(user, str(error)) from error
                raise HistoryError(f"{self.path}: {error}{self._why_unopened()}") from error

    def _why_unopened(self) -> str:
        """What keeps SQLite from opening the file, where the path shows it; it gives one message for all reasons."""
        # Methods of Path raise OSError for a name that is too long, or a folder that may not be searched.
        if os.path.isdir(self.path):
            return "; it is a folder, name a file"
        if not os.path.isdir(self.path.parent):
            return f"; the folder {self.path.parent} does not exist"
        return "" if os.path.exists(self.path) else "; there is no such file"

    def damage(self, user: str | bytes | None, what: str) -> DamagedHistoryError:
        """The error for damage that was found: at a user, or where all users are kept."""
        if isinstance(user, bytes):
            user = user.decode("utf-8", "surrogatepass")
        of = "" if user is None else f" in the history of {user!r:.60}"
        advice = "rescue_history copies the users who are whole" + (", forget ends this one" if user else "")
        what = " ".join(what.split())  # SQLite quotes a damaged schema with its lines
        return DamagedHistoryError(f"{self.path} is damaged{of}: {what}; {advice}", [user] if user else [])

    @contextmanager
    def snapshot(self, user: str | None = None) -> Iterator[None]:
        """Several statements that see one state of the file, even if others write meanwhile."""
        with self.reading(user):
            if self._sql.in_transaction:
                yield
                return
            self._sql.execute("BEGIN")
            try:
                yield
            finally:
                if self._sql.in_transaction:
                    self._sql.execute("COMMIT")

    @contextmanager
    def writing(self, user: str | None = None) -> Iterator[None]:
        """A transaction: all of it reaches the disk, or nothing."""
        with self.reading(user):
            # Immediate: a transaction that begins by reading could not wait for another writer.
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise

    def settings(self) -> SettingsRow:
        """Raises DamagedHistoryError if they are damaged."""
        row = self._sql.execute(
            "SELECT max_events, next_life, erase_pending, num_users, names_sum, checksum FROM settings"
        ).fetchone()
        if row is None or not is_whole(row):
            raise self.damage(None, "its settings do not fit their checksum")
        return SettingsRow(*row[:-1])

    def set(self, **values: int) -> None:
        """Change settings, inside `writing`."""
        changed = self.settings()._replace(**values)
        self._sql.execute(
            "UPDATE settings SET max_events = ?, next_life = ?, erase_pending = ?, num_users = ?, names_sum = ?,"
            " checksum = ?",
            (*changed, checksum_of(*changed)),
        )

    @contextmanager
    def forgetting(self, user: str | None = None) -> Iterator[None]:
        """A transaction that deletes rows; if it changed anything, the traces are erased afterwards."""
        with self.writing(user):
            before = self._sql.total_changes
            yield
            has_forgotten = self._sql.total_changes > before
            if has_forgotten:
                # In the same transaction: if the process ends here, the next one to open the file erases.
                self.set(erase_pending=1)
        if has_forgotten and self._erases_at_once:
            try:
                self.erase()
            except HistoryError as error:
                raise type(error)(
                    f"it is forgotten, but traces are left in the file until erase() succeeds: {error}"
                ) from error

    def erase(self) -> None:
        """Rewrite the file without the bytes of deleted rows; errors as in `SqliteHistory.erase`."""
        with self.reading():
            self._sql.execute("VACUUM")
            self._empty_log()
            with self.writing():
                self.set(erase_pending=0)
            self._empty_log()

    def _open(self, survives_power_loss: bool) -> None:
        self._sql.execute("PRAGMA secure_delete = ON")
        self._sql.execute(f"PRAGMA synchronous = {'FULL' if survives_power_loss else 'NORMAL'}")
        # It has an effect on macOS alone, where fsync does not wait for the disk.
        self._sql.execute(f"PRAGMA fullfsync = {'ON' if survives_power_loss else 'OFF'}")
        self._check_kind()
        self._choose_journal()
        with self.writing():
            self._check_kind()  # again: another process may have made or changed it meanwhile
            self._make_tables()
            self._check_tables(_TABLES)
            erase_pending = self.settings().erase_pending
        if self._erases_at_once and erase_pending:
            try:
                self.erase()
            except HistoryError as error:
                code = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF
                if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT):
                    raise
                warnings.warn(
                    f"{error}: traces of forgotten events stay in the file until there is room for a copy of it; the "
                    "next opening, forgetting or erase() takes it up",
                    RuntimeWarning,
                    stacklevel=4,
                )

    def _open_to_read(self) -> None:
        with self.snapshot():
            self._check_kind()
            if self._is_new():
                raise HistoryError(f"{self.path} is an empty file")
            if self.pragma("user_version") == 1:
                self._sql.create_function("checksum_of", -1, checksum_of, deterministic=True)
                self._check_tables(_TABLES_1)
                for statement in _VIEWS:
                    self._sql.execute(statement)
            else:
                self._check_tables(_TABLES)
        self._sql.execute("PRAGMA query_only = ON")
        self.settings()

    def _is_new(self) -> bool:
        (num_tables,) = self._sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return (num_tables, self.pragma("application_id")) == (0, 0)

    def _check_kind(self) -> None:
        if self._is_new():
            return
        if self.pragma("application_id") != _APPLICATION_ID:
            raise HistoryError(f"{self.path} is a database, but not a history of edgebehave")
        version = self.pragma("user_version")
        if version not in (1, SCHEMA_VERSION):
            raise HistoryError(
                f"{self.path} is a history of version {version}, this edgebehave reads versions up to "
                f"{SCHEMA_VERSION}: update edgebehave"
            )

    def _make_tables(self) -> None:
        """Make the tables of a new file, or give those of version 1 their checksums, inside `writing`."""
        is_new = self._is_new()
        if not is_new and self.pragma("user_version") == SCHEMA_VERSION:
            return
        if not is_new:
            self._check_tables(_TABLES_1)
        self._sql.create_function("checksum_of", -1, checksum_of, deterministic=True)
        for statement in (() if is_new else _RENAME) + _TABLES:
            self._sql.execute(statement)
        if is_new:
            nothing = SettingsRow(1, 0, 0, 0, 0)
            self._sql.execute("INSERT INTO settings VALUES (0, ?, ?, ?, ?, ?, ?)", (*nothing, checksum_of(*nothing)))
        else:
            for statement in _COPY:
                self._sql.execute(statement)
        self._sql.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_tables(self, tables: Sequence[str]) -> None:
        """A view, a trigger or a computed column of a file of another origin would run as soon as it is read."""
        found = self._sql.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        if sorted("".join(sql.split()) for (sql,) in found) != sorted("".join(sql.split()) for sql in tables):
            raise self.damage(None, "its tables are not those of a history")

    def _choose_journal(self) -> None:
        # Truncated, not kept and not only unlinked: a commit or an erasure leaves no bytes in the journal.
        wanted = "wal" if sqlite3.sqlite_version_info >= _WAL_IS_SAFE_FROM else "truncate"
        if self.pragma("journal_mode") != wanted:
            (mode,) = self._sql.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
            if mode != wanted:
                raise HistoryError(
                    f"{self.path} keeps its journal as {mode!r}, this SQLite "
                    f"({sqlite3.sqlite_version}) needs {wanted!r}: close it in other processes"
                )

    def _empty_log(self) -> None:
        """Move the content of a write-ahead log into the file, and leave no byte in the log."""
        if self.pragma("journal_mode") != "wal":
            return
        (is_busy, *_) = self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise HistoryBusyError(f"{self.path} is in use: its journal still holds forgotten events; call erase()")
