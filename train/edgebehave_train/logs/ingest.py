"""From an event log to an event store, out of core: the same log gives the same bytes.

    files -> text cells -> parsed and judged rows -> DuckDB's sort on disk -> columns

Rows may come in any order and from any number of files. Their order, the files and the number of threads change no
byte of the store; only `rejected.jsonl`, which gives file and line of the first bad rows, depends on the files.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from edgebehave.moments import MAX_OFFSET_MIN
from edgebehave_train.files import replaced_folder
from edgebehave_train.logs.files import (
    NUM_EXAMPLES,
    Example,
    IngestError,
    LogFile,
    Scan,
    careful_scan,
    find_log_files,
    quoted,
    scan_file,
)
from edgebehave_train.logs.rows import REASONS, TIME_UNITS, judged_rows, parsed_rows
from edgebehave_train.logs.store_writer import SortedRows, foreign_to_store, write_statistics, write_store

__all__ = ["REASONS", "TIME_UNITS", "IngestConfig", "IngestError", "ingest"]

_SLICE_ROWS = 1 << 20

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """The log to read, its columns, and the folder of the store.

    log           a file, a glob, or a list of them: CSV, TSV, JSON Lines or Parquet, plain or gzip.
    out           folder of the store.
    user, time, event
                  names of the columns.
    location      column of locations; blank = no location.
    utc_offset    column of minutes to add for local time, -840..840. Without it the offset of an ISO time is used,
                  else 0.
    behavior      column of behaviors, a function of the event; blank = the event has none. Without it each event is a
                  behavior of its own.
    max_bad       share of rows that may be rejected, in [0, 1].
    time_unit     "auto", or one of TIME_UNITS, which rejects whatever is not in it.
    overwrite     replace an event store that is in `out`.
    memory_limit  of DuckDB; numpy and Python need some 150 MB beside it.
    threads       of DuckDB; None = as many as there are cores, at most 4.
    """

    log: str | Path | Sequence[str | Path]
    out: Path
    user: str
    time: str
    event: str
    location: str | None = None
    utc_offset: str | None = None
    behavior: str | None = None
    max_bad: float = 0.01
    time_unit: str = "auto"
    overwrite: bool = False
    memory_limit: str = "1GB"
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"ingest: max_bad must lie in [0, 1], got {self.max_bad}")
        if self.time_unit not in ("auto", *TIME_UNITS):
            raise ValueError(f"ingest: time_unit must be auto, {', '.join(TIME_UNITS)}, got {self.time_unit!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"ingest: threads must be at least 1, got {self.threads}")

    @property
    def columns(self) -> dict[str, str]:
        """{role: name of the column} of the columns that are used."""
        roles = ("user", "time", "event", "location", "utc_offset", "behavior")
        return {role: name for role in roles if (name := getattr(self, role)) is not None}


def ingest(config: IngestConfig, report: Report | None = None) -> dict[str, Any]:
    """Write the event store of a log to `config.out` and return its statistics.

    report  is called with one line at a time about what was found; default: the log of Python.
    Raises IngestError, with a message of one line, if the log cannot be read, its time is ambiguous, or more than
    `max_bad` of its rows are bad, and ValueError if `out` holds anything
    that must not be replaced. Then, as after any interruption, `out` stays as it was.
    """
    say = report or logging.getLogger("edgebehave.ingest").info
    instead = "" if config.overwrite else "use --overwrite"
    with replaced_folder(config.out, "an event store", foreign_to_store, instead=instead) as store:
        scratch = store.parent
        copies = scratch / "copies"
        copies.mkdir()
        with _database(config, scratch) as con:
            run = _Run(config, con, say)
            run.read(copies)
            unit = run.settle_time_unit()
            rejected = run.reject(unit, store / "rejected.jsonl")
            statistics = run.write(unit, store)
        statistics = write_statistics(
            store, {"time_unit": unit, "rejected": rejected, "columns": config.columns} | statistics
        )
    say(
        f"{statistics['num_events']:,} events of {statistics['num_users']:,} users, "
        f"{statistics['num_event_names']:,} event names, "
        f"{statistics['num_behavior_names']:,} behaviors, "
        f"{statistics['num_location_names']:,} locations -> {config.out}"
    )
    return statistics


@contextmanager
def _database(config: IngestConfig, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    threads = config.threads or min(4, os.cpu_count() or 1)
    try:
        con = duckdb.connect(
            scratch / "staging.duckdb",
            config={
                "memory_limit": config.memory_limit,
                "threads": threads,
                "temp_directory": str(scratch / "spill"),
                # Nothing is fetched from the network while a log is read.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    except duckdb.Error as error:
        raise IngestError(f"memory_limit {config.memory_limit!r}: {_first_line(error)}") from None
    try:
        con.execute("SET enable_progress_bar = false")
        yield con
    except duckdb.OutOfMemoryException as error:
        raise IngestError(
            f"memory_limit {config.memory_limit} is too small for this log with {threads} "
            f"threads; raise it in IngestConfig, or use fewer threads ({_first_line(error)})"
        ) from None
    finally:
        con.close()


class _Run:
    """One ingest: the files and their scans, and the rows as they stand in the database."""

    def __init__(self, config: IngestConfig, con: duckdb.DuckDBPyConnection, say: Report) -> None:
        self.config = config
        self.con = con
        self.say = say
        self.columns = {f"raw_{role}": name for role, name in config.columns.items()}
        self.scans: list[tuple[LogFile, Scan]] = []
        self.num_rows = 0

    def read(self, copies: Path) -> None:
        """Stage the parsed rows of every file in the table `staged`."""
        con = self.con
        files = find_log_files(self.config.log, list(self.config.columns.values()), con)
        con.execute("SET preserve_insertion_order = false")
        con.execute(
            "CREATE TABLE staged (malformed BOOLEAN, user_name VARCHAR, event_name VARCHAR, "
            "location_name VARCHAR, behavior_name VARCHAR, time_kind VARCHAR, time_us BIGINT, "
            "offset_min SMALLINT)"
        )
        for file in files:
            scan = scan_file(file, self.columns, copies)
            if not self._stage(scan):
                if file.kind == "parquet":
                    raise IngestError(f"{file.path} is damaged, or not Parquet after all")
                scan = careful_scan(file, self.columns, copies)
                if not self._stage(scan):
                    raise AssertionError(f"the clean copy of {file.path} came back different")
            self.scans.append((file, scan))
        (staged,) = con.execute("SELECT count(*) FROM staged").fetchone() or (0,)
        self.num_rows = staged + sum(sum(scan.refused.values()) for _, scan in self.scans)
        if self.num_rows == 0:
            raise IngestError(f"{self._names_of_files()}: no rows below the header")
        self.say(f"read {self.num_rows:,} rows from {self._names_of_files()}")

    def _stage(self, scan: Scan) -> bool:
        """Add a scan to the staged rows. Returns False and adds nothing if some rows of the file are missing."""
        con = self.con
        con.execute("BEGIN")
        try:
            (num_rows,) = con.execute(
                "INSERT INTO staged SELECT malformed, user_name, event_name, location_name, "
                "behavior_name, time_kind, time_us, offset_min "
                f"FROM ({parsed_rows(scan.sql, self.columns)})"
            ).fetchone() or (0,)
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException):
            con.execute("ROLLBACK")
            return False
        if scan.num_rows is not None and num_rows != scan.num_rows:
            con.execute("ROLLBACK")
            return False
        con.execute("COMMIT")
        return True

    def settle_time_unit(self) -> str | None:
        """The one unit of all plausible times, as asked for or as found; None if there are none."""
        counts = dict(self.con.execute("SELECT time_kind, count(*) FROM staged GROUP BY ALL").fetchall())
        found = {kind: counts[kind] for kind in TIME_UNITS if counts.get(kind)}
        unit: str | None = self.config.time_unit
        if unit == "auto":
            if len(found) > 1:
                raise IngestError(self._mixture(found))
            unit = next(iter(found), None)
        if unit is not None:
            how = "found in" if self.config.time_unit == "auto" else "as asked for:"
            rows = f"{found.get(unit, 0):,} rows"
            self.say(f"time: {TIME_UNITS[unit]}, {how} {rows}{self._offset_rule(unit)}")
        return unit

    def _offset_rule(self, unit: str) -> str:
        if self.config.utc_offset is not None:
            taken = "taken as UTC, " if unit == "iso_local" else ""
            return f"; {taken}local time by column {self.config.utc_offset!r}"
        return {
            "iso": "; local time by its own time zone",
            "iso_local": "; taken as local time, stored as UTC with offset 0",
        }.get(unit, "; no offset: UTC is taken for local time")

    def _mixture(self, found: Mapping[str, int]) -> str:
        examples = self._first_rows("time_kind", Counter(dict.fromkeys(found, 1)))
        where = {example.reason: str(example) for example in examples}
        kinds = ", ".join(
            f"{count:,} rows of {TIME_UNITS[kind]} ({where.get(kind, '?')})" for kind, count in found.items()
        )
        return (
            f"column {self.config.time!r} mixes {kinds}; make it one, or give --time-unit "
            f"({' or '.join(found)}) to reject the others"
        )

    def reject(self, unit: str | None, examples_file: Path) -> dict[str, int]:
        """Count bad rows by reason, keep the first ones, stop if they are too many."""
        self._judged = judged_rows("staged", unit)
        counts: Counter[str] = Counter()
        for _, scan in self.scans:
            counts.update(scan.refused)
        sql = f"SELECT reason, count(*) FROM ({self._judged}) GROUP BY ALL"
        for reason, count in self.con.execute(sql).fetchall():
            if reason is not None:
                counts[reason] += count
        rejected = {reason: counts[reason] for reason in REASONS if counts[reason]}
        examples = self._first_rows("reason", counts, unit)
        num_bad = sum(rejected.values())
        if num_bad:
            summary = "; ".join(
                f"{reason} {count:,} (first: {_first_examples(examples, reason)})" for reason, count in rejected.items()
            )
            share = f"{num_bad:,} of {self.num_rows:,} rows ({num_bad / self.num_rows:.2%})"
            if num_bad == self.num_rows:
                raise IngestError(f"every row is bad, {num_bad:,} in all: {summary}")
            if num_bad > self.config.max_bad * self.num_rows:
                raise IngestError(f"{share} are bad, more than max_bad {self.config.max_bad:.2%}: {summary}")
            self.say(f"rejected {share}: {summary}")
        with examples_file.open("w", encoding="utf-8") as out:
            for example in examples:
                out.write(json.dumps(vars(example), ensure_ascii=False) + "\n")
        return rejected

    def _first_rows(self, label: str, counts: Mapping[str, int], unit: str | None = None) -> list[Example]:
        """The first rows of each label, `time_kind` or `reason`: files in order, then lines."""
        wanted = {name: min(NUM_EXAMPLES, count) for name, count in counts.items() if count}
        found: dict[str, list[Example]] = {name: [] for name in wanted}
        value = """CASE reason WHEN 'bad offset' THEN raw_utc_offset
            WHEN 'unreadable time' THEN raw_time WHEN 'implausible time' THEN raw_time END"""
        if label == "time_kind":
            value = "raw_time"
        # Lines are counted as rows arrive, so they must arrive in order.
        self.con.execute("SET preserve_insertion_order = true")
        for file, scan in self.scans:
            if all(len(found[name]) >= number for name, number in wanted.items()):
                break
            for example in scan.examples if label == "reason" else ():
                found[example.reason].append(example)
            columns = self.columns
            if "raw_utc_offset" not in columns:
                value = value.replace("raw_utc_offset", "raw_time")
            rows = judged_rows(f"({parsed_rows(scan.sql, columns)})", unit)
            labels = ", ".join(map(quoted, wanted))
            sql = f"""
                SELECT {label}, line, {value} FROM ({rows}) WHERE {label} IN ({labels})
                QUALIFY row_number() OVER (PARTITION BY {label} ORDER BY line) <= {NUM_EXAMPLES}
                ORDER BY line"""
            for name, line, text in self.con.execute(sql).fetchall():
                found[name].append(
                    Example(
                        reason=name, file=str(file.path), line=line, value=None if text is None else text.strip()[:80]
                    )
                )
        return [e for name in found for e in found[name][: wanted[name]]]

    def write(self, unit: str | None, store: Path) -> dict[str, Any]:
        """Sort the good rows and write them as columns."""
        con = self.con
        con.execute(f"CREATE VIEW good AS SELECT * FROM ({self._judged}) WHERE reason IS NULL")
        self._check_offsets()
        users = self._ranked_names("user", "sha256(name), name")
        events = self._ranked_names("event", "name")
        locations = self._ranked_names("location", "name")
        behavior_of_event, conflicts = self._behaviors()
        con.execute("SET preserve_insertion_order = true")
        con.execute(
            """
            CREATE TABLE sorted AS
            SELECT users.rank AS user_rank, time_us, events.rank AS event_rank,
                coalesce(locations.rank, -1) AS location_rank, offset_min
            FROM good JOIN user_names users ON good.user_name = users.name
                JOIN event_names events ON good.event_name = events.name
                LEFT JOIN location_names locations ON good.location_name = locations.name
            ORDER BY ALL"""
        )
        statistics = write_store(
            store,
            self._sorted_rows(),
            users=users,
            events=events,
            locations=locations,
            behavior_of_event=behavior_of_event,
        )
        if statistics["duplicates"]:
            self.say(f"dropped {statistics['duplicates']:,} exact duplicates")
        return {"num_rows": self.num_rows} | statistics | {"conflicts": conflicts}

    def _sorted_rows(self) -> Iterator[SortedRows]:
        (num_rows,) = self.con.execute("SELECT count(*) FROM sorted").fetchone() or (0,)
        for start in range(0, num_rows, _SLICE_ROWS):
            columns = self.con.execute(
                "SELECT * FROM sorted WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [start, start + _SLICE_ROWS]
            ).fetchnumpy()
            yield SortedRows(
                user=np.asarray(columns["user_rank"]),
                time_us=np.asarray(columns["time_us"]),
                utc_offset_min=np.asarray(columns["offset_min"]),
                event=np.asarray(columns["event_rank"]),
                location=np.asarray(columns["location_rank"]),
            )

    def _ranked_names(self, kind: str, order: str) -> list[str]:
        """Distinct names in an order, also as table `<kind>_names` (name, rank)."""
        self.con.execute(
            f"""
            CREATE TABLE {kind}_names AS
            SELECT name, (row_number() OVER (ORDER BY {order}) - 1)::INTEGER AS rank
            FROM (SELECT DISTINCT {kind}_name AS name FROM good
                WHERE {kind}_name IS NOT NULL)"""
        )
        rows = self.con.execute(f"SELECT name FROM {kind}_names ORDER BY rank").fetchall()
        return [name for (name,) in rows]

    def _check_offsets(self) -> None:
        if self.config.utc_offset is None:
            return
        (widest,) = self.con.execute("SELECT max(abs(offset_min)) FROM good").fetchone() or (0,)
        if 0 < widest <= MAX_OFFSET_MIN // 60:
            raise IngestError(
                f"column {self.config.utc_offset!r} never exceeds {widest}: it looks like hours, "
                "expected minutes to add for local time (-300 for New York in winter)"
            )

    def _behaviors(self) -> tuple[dict[str, str | None] | None, dict[str, Any]]:
        """Behavior of each event by majority, ties by name, none last; and where rows disagree."""
        if self.config.behavior is None:
            return None, {"events": 0, "rows": 0, "first": []}
        counts: dict[str, dict[str | None, int]] = {}
        for event, behavior, count in self.con.execute(
            "SELECT event_name, behavior_name, count(*) FROM good GROUP BY ALL "
            "ORDER BY event_name, count(*) DESC, behavior_name NULLS LAST"
        ).fetchall():
            counts.setdefault(event, {})[behavior] = count
        behavior_of_event = {event: next(iter(behaviors)) for event, behaviors in counts.items()}
        torn = {event: behaviors for event, behaviors in counts.items() if len(behaviors) > 1}
        conflicts = {
            "events": len(torn),
            "rows": sum(sum(list(behaviors.values())[1:]) for behaviors in torn.values()),
            "first": [
                {"event": event, "rows_of_behavior": [[name, n] for name, n in behaviors.items()]}
                for event, behaviors in list(torn.items())[:NUM_EXAMPLES]
            ],
        }
        if torn:
            shown = "; ".join(
                f"{event!r}: " + ", ".join(f"{name!r} {n:,}" for name, n in behaviors.items())
                for event, behaviors in list(torn.items())[:NUM_EXAMPLES]
            )
            self.say(f"{len(torn):,} events have more than one behavior, majority kept: {shown}")
        return behavior_of_event, conflicts

    def _names_of_files(self) -> str:
        if len(self.scans) == 1:
            return str(self.scans[0][0].path)
        return f"{len(self.scans)} files"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _first_examples(examples: Sequence[Example], reason: str) -> str:
    """Files and lines of the examples of a reason, each file named once: `log.csv:3 'x', 9 'y'`."""
    shown: list[str] = []
    file = None
    for example in examples:
        if example.reason == reason:
            shown.append(str(example).removeprefix(f"{file}:"))
            file = example.file
    return ", ".join(shown)
