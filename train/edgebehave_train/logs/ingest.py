"""From an event log to an event store, out of core: the same log gives the same bytes.

    files -> text cells -> parsed rows -> buckets of users on disk -> each judged and sorted in memory -> columns

Rows may come in any order and from any number of files. Their order, the files and the number of threads change no
byte of the store; only `rejected.jsonl`, which gives file and line of the first bad rows, depends on the files.
"""

import errno
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from edgebehave_train.files import replaced_folder
from edgebehave_train.logs.account import account
from edgebehave_train.logs.appending import append_store
from edgebehave_train.logs.bucketed import BucketedLog, bucketed_files
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.exports.conversion import COLUMNS, AskZone, convert_exports
from edgebehave_train.logs.reading.files import (
    MALFORMED,
    NUM_EXAMPLES,
    Example,
    IngestError,
    LogFile,
    Scan,
    careful_scan,
    quoted,
    scan_file,
)
from edgebehave_train.logs.reading.inspection import Reading, find_log_files
from edgebehave_train.logs.reading.rows import REASONS, judged_rows, judged_times, parsed_rows
from edgebehave_train.logs.reading.time_texts import lost_digits, plain_text, recognized_texts
from edgebehave_train.logs.reading.time_units import LOCAL_UNITS, TEXT_UNITS, TIME_UNITS, kinds_of_unit, unit_of_numbers
from edgebehave_train.logs.reading.utc_offsets import check_zone, read_offsets, zones_known
from edgebehave_train.logs.sorting import Judgment, sort_and_write
from edgebehave_train.logs.staging import Staging, reasons_of_states
from edgebehave_train.logs.store_writer import foreign_to_store, write_statistics
from edgebehave_train.wording import counted

__all__ = ["REASONS", "TIME_UNITS", "IngestConfig", "IngestError", "ingest"]

_MAX_OFFSETS = 5_000
_MOST_READERS = 8
"""Threads of DuckDB by default: each needs its share of `memory_limit`."""

_OF_PLAIN_LOGS = (
    "user", "one_user", "time", "event", "location", "utc_offset", "behavior", "date", "timezone", "time_format",
    "nulls", "delimiter", "encoding", "time_unit",
)  # fmt: skip
"""Fields that say how a log is written; a bucketed one is always written in one way."""

OnLine = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """The log to read, its columns, and the folder of the store.

    log           a file, a glob, or a list of them: CSV, TSV, JSON Lines, a JSON array or Parquet, plain or compressed;
                  "-" is standard input. With the columns below as they are by default, an export that a reader of
                  `logs/exports` recognizes. Or a table of pandas, polars or Arrow.
    out           folder of the store.
    user, time, event
                  names of the columns.
    one_user      name of the user, where the log is that of one person and has no column of users.
    location      column of locations; blank = no location.
    utc_offset    column of minutes to add for local time, -840..840. Without it the offset of an ISO time is used,
                  else 0.
    behavior      column of behaviors, a function of the event; blank = the event has none. Without it each event is a
                  behavior of its own.
    date          column of dates, where `time` holds the clock alone.
    timezone      name of the time zone of all users, as Europe/Berlin. Moments get its offset, daylight saving
                  included; local times are read by it (the later moment in the hour that comes twice).
    time_format   of the times, as strptime has it, with %z for an offset; None = recognized.
    nulls         words that mean a missing cell.
    delimiter     of CSV files; None = recognized.
    encoding      of text files; None = UTF-8, or UTF-16 where that is plain.
    days          accept a log whose times are days without a clock; equal rows are then no duplicates.
    max_bad       share of rows that may be rejected, in [0, 1].
    time_unit     "auto", or one of TIME_UNITS, which rejects whatever is not in it.
    overwrite     replace an event store that is in `out`.
    append        add the events to the store that is in `out`, if there is one; ids of its names stay.
    bucketed      the log is Parquet in the order of a store, with the columns of docs/logs.md: it is checked and not
                  sorted again. Options on how a log is written are refused; `days` keeps equal rows.
    memory_limit  of DuckDB; numpy and Python need some 150 MB beside it.
    threads       None = as many as there are cores, of DuckDB at most 8.
    """

    log: Any
    out: Path
    user: str = "user"
    time: str = "time"
    event: str = "event"
    one_user: str | None = None
    location: str | None = None
    utc_offset: str | None = None
    behavior: str | None = None
    date: str | None = None
    timezone: str | None = None
    time_format: str | None = None
    nulls: Sequence[str] = ()
    delimiter: str | None = None
    encoding: str | None = None
    days: bool = False
    max_bad: float = 0.01
    time_unit: str = "auto"
    overwrite: bool = False
    append: bool = False
    bucketed: bool = False
    memory_limit: str = "1GB"
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"ingest: max_bad must lie in [0, 1], got {self.max_bad}")
        if self.time_unit not in ("auto", *TIME_UNITS):
            raise ValueError(f"ingest: time_unit must be auto, {', '.join(TIME_UNITS)}, got {self.time_unit!r}")
        if self.timezone is not None and self.utc_offset is not None:
            raise ValueError(
                f"ingest: give timezone or utc_offset, not both, got {self.timezone!r} and {self.utc_offset!r}"
            )
        if self.one_user is not None and self.user != IngestConfig.user:
            raise ValueError(f"ingest: give user or one_user, not both, got {self.user!r} and {self.one_user!r}")
        if self.one_user is not None and not self.one_user.strip():
            raise ValueError("ingest: one_user must be a name, got a blank one")
        if self.append and self.overwrite:
            raise ValueError("ingest: give append or overwrite, not both")
        unused = [name for name in _OF_PLAIN_LOGS if getattr(self, name) != getattr(IngestConfig, name)]
        if self.bucketed and unused:
            raise ValueError(
                f"ingest: a bucketed log has the columns and times of docs/logs.md; leave out {', '.join(unused)}, or "
                "ingest it as a plain log, without bucketed"
            )
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"ingest: threads must be at least 1, got {self.threads}")

    @property
    def columns(self) -> dict[str, str]:
        """{role: name of the column} of the columns that are used."""
        of_user = ("user",) if self.one_user is None else ()
        roles = (*of_user, "date", "time", "event", "location", "utc_offset", "behavior")
        return {role: name for role in roles if (name := getattr(self, role)) is not None}

    @property
    def num_threads(self) -> int:
        return self.threads or os.cpu_count() or 1


def ingest(config: IngestConfig, on_line: OnLine | None = None, *, ask_zone: AskZone | None = None) -> dict[str, Any]:
    """Write the event store of a log to `config.out` and return its statistics.

    on_line   is called with each line about what was found; default: the log of Python.
    ask_zone  is asked for the time zone of an export with times in UTC; None = UTC is taken for local time, as said.
    Raises IngestError, with a message of one line, if the log cannot be read, its time is ambiguous, or more than
    `max_bad` of its rows are bad, and ValueError if `out` holds anything that must not be replaced. Then, as after any
    interruption, `out` stays as it was.
    """
    on_line = on_line or logging.getLogger("edgebehave.ingest").info
    instead = "" if config.overwrite or config.append else "use --overwrite, or --append to add to it"
    with (
        _disk_errors(config.out),
        replaced_folder(config.out, "an event store", foreign_to_store, instead=instead) as new,
    ):
        old = EventStore.open(config.out) if config.append and (config.out / "statistics.json").exists() else None
        scratch = new.parent
        store = new if old is None else scratch / "added"
        store.mkdir(exist_ok=True)
        copies = scratch / "copies"
        copies.mkdir()
        config = _of_exports(config, copies, on_line, ask_zone)
        with _database(config, scratch) as con:
            if config.bucketed:
                statistics, has_zone = _take_over(config, con, store, on_line), True
            else:
                statistics, has_zone = _read_and_sort(config, con, store, on_line)
            statistics = write_statistics(store, statistics)
            if old is not None:
                (scratch / "rows.bin").unlink(missing_ok=True)
                statistics = append_store(con, old, EventStore.open(store), new, on_line, keep_duplicates=config.days)
                old = None  # its files are closed before they are replaced
                statistics = write_statistics(new, statistics)
        lines = account(new, statistics, days_allowed=config.days, has_zone=has_zone)
    on_line(
        f"{counted(statistics['num_events'], 'event')} of {counted(statistics['num_users'], 'user')}, "
        f"{counted(statistics['num_event_names'], 'event name')}, "
        f"{counted(statistics['num_behavior_names'], 'behavior')}, "
        f"{counted(statistics['num_location_names'], 'location')} -> {config.out}"
    )
    for line in lines:
        on_line(line)
    return statistics


def _of_exports(config: IngestConfig, copies: Path, on_line: OnLine, ask_zone: AskZone | None) -> IngestConfig:
    """The config for the converted files, if the log is an export; otherwise as it is."""
    if config.bucketed or {"user": config.user} | config.columns != dict(zip(COLUMNS, COLUMNS, strict=True)):
        return config
    found = convert_exports(config.log, copies, on_line, timezone=config.timezone, ask_zone=ask_zone)
    if found is None:
        return config
    return replace(
        config,
        log=found.log,
        timezone=found.timezone,
        utc_offset="utc_offset" if found.has_offsets else None,
        time_unit=found.time_unit if config.time_unit == "auto" else config.time_unit,
        delimiter=None,
        encoding=None,
    )


def _read_and_sort(
    config: IngestConfig, con: duckdb.DuckDBPyConnection, store: Path, on_line: OnLine
) -> tuple[dict[str, Any], bool]:
    """Write the columns of a log; its statistics, and whether its offsets are known."""
    scratch = store.parent
    run = _Run(config, con, on_line, Staging(scratch, config.num_threads))
    run.read(scratch / "copies")
    unit = run.settle_time_unit()
    rejected = run.reject(unit, store / "rejected.jsonl")
    changed = judged_times(unit, config.timezone)
    judgment = Judgment(is_good=np.array([reason is None for reason in run.reasons]), changed=changed)
    statistics = sort_and_write(con, config.columns, run.staging, judgment, store, on_line, keep_duplicates=config.days)
    facts = {"time_unit": unit, "rejected": rejected, "columns": config.columns, "num_rows": run.num_rows}
    return facts | statistics, run.has_zone(unit)


def _take_over(config: IngestConfig, con: duckdb.DuckDBPyConnection, store: Path, on_line: OnLine) -> dict[str, Any]:
    """Write the columns of a bucketed log; its statistics."""
    log = BucketedLog(con, bucketed_files(config.log))
    statistics = log.write(store, keep_duplicates=config.days)
    on_line(f"took over {log.num_rows:,} rows from {len(log.files):,} files")
    conflicts = log.facts.conflicts(on_line)
    if statistics["duplicates"]:
        on_line(f"dropped {statistics['duplicates']:,} exact duplicates")
    (store / "rejected.jsonl").touch()
    roles = {"time_us": "time", "utc_offset_min": "utc_offset"}
    columns = {roles.get(name, name): name for name in log.columns}
    facts = {"time_unit": "us", "rejected": {}, "columns": columns, "num_rows": log.num_rows, "conflicts": conflicts}
    return facts | statistics


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """A full disk as one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise IngestError(
            f"no room on the disk of {out} ({error.strerror}); nothing was written. An ingest needs some "
            "50 bytes a row beside the store"
        ) from None


@contextmanager
def _database(config: IngestConfig, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    threads = config.threads or min(_MOST_READERS, config.num_threads)
    try:
        con = duckdb.connect(
            ":memory:",
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
        with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets: it has no bar to switch off
            con.execute("SET enable_progress_bar = false")
        yield con
    except duckdb.OutOfMemoryException as error:
        raise IngestError(
            f"memory_limit {config.memory_limit} is too small for this log with {threads} "
            f"threads; raise it in IngestConfig, or use fewer threads ({_first_line(error)})"
        ) from None
    except duckdb.IOException as error:  # a full disk above all
        raise IngestError(f"{_first_line(error)}; nothing was written") from None
    finally:
        con.close()


class _Run:
    """One ingest: the files and their scans, and the rows as they stand in the database."""

    def __init__(self, config: IngestConfig, con: duckdb.DuckDBPyConnection, on_line: OnLine, staging: Staging) -> None:
        self.config = config
        self.con = con
        self.on_line = on_line
        self.staging = staging
        self.columns = {f"raw_{role}": name for role, name in config.columns.items()}
        self.scans: list[tuple[LogFile, Scan]] = []
        self.times: list[str] = []  # SQL of the time of a row, of each scan
        self.is_unread: list[bool] = []  # most times of the scan are no numbers or ISO 8601
        self.offsets: dict[str, int | str] | None = None
        self.num_rows = 0

    def read(self, copies: Path) -> None:
        """Stage the parsed rows of every file."""
        con, config = self.con, self.config
        if config.timezone is not None:
            check_zone(config.timezone, con)
        reading = Reading(
            columns=list(config.columns.values()),
            folder=copies,
            encoding=config.encoding,
            delimiter=config.delimiter,
        )
        files = find_log_files(config.log, reading, con)
        self.scans = [(file, scan_file(file, self.columns, copies)) for file in files]
        text = plain_text(config.time_format, "raw_date" in self.columns, con)
        self.times = [text] * len(self.scans)
        self._stage_all(copies)
        if config.time_format is None and any(self.is_unread):
            self.times = recognized_texts(self.scans, self.is_unread, text, con, self.on_line)
            if any(time != text for time in self.times):
                self._stage_all(copies)
        if "raw_utc_offset" in self.columns and self._read_offsets():
            self._stage_all(copies)
        self.num_rows = self.staging.num_rows + sum(sum(scan.refused.values()) for _, scan in self.scans)
        if self.num_rows == 0:
            raise IngestError(f"{self._names_of_files()}: no rows below the header")
        self.on_line(f"read {counted(self.num_rows, 'row')} from {self._names_of_files()}")

    def _stage_all(self, copies: Path) -> None:
        self.staging.clear()
        self.is_unread = [False] * len(self.scans)
        for number, (file, scan) in enumerate(self.scans):
            if self._stage(number):
                continue
            if file.kind == "parquet":
                raise IngestError(f"{file.path} is damaged, or not Parquet after all")
            scan = careful_scan(file, self.columns, copies)
            self.scans[number] = file, scan
            if not self._stage(number):
                raise AssertionError(f"the clean copy of {file.path} came back different")

    def _parsed(self, number: int) -> str:
        """Query of the parsed rows of a scan."""
        _, scan = self.scans[number]
        config = self.config
        return parsed_rows(
            scan.sql,
            self.columns,
            time=self.times[number],
            offsets=self.offsets,
            nulls=config.nulls,
            one_user=config.one_user,
        )

    def _stage(self, number: int) -> bool:
        """Add a scan to the staged rows; False, and none added, if it does not come out whole."""
        _, scan = self.scans[number]
        before = self.staging.mark()
        try:
            num_rows, num_dated, num_read = self.staging.add(self.con, self._parsed(number))
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException):
            return False
        if scan.num_rows is not None and num_rows != scan.num_rows:
            self.staging.back_to(before)
            return False
        self.is_unread[number] = 2 * num_read < num_dated
        return True

    def _read_offsets(self) -> bool:
        """Whether the column of offsets is not plain minutes, and its rows must be staged again."""
        if not self.staging.has_odd_offsets:
            return False
        texts: dict[str, None] = {}
        for _, scan in self.scans:
            sql = f"SELECT DISTINCT trim(raw_utc_offset) FROM ({scan.sql}) LIMIT {_MAX_OFFSETS}"
            texts |= {text: None for (text,) in self.con.execute(sql).fetchall() if text}
        self.offsets, line = read_offsets(sorted(set(texts) - set(self.config.nulls)), zones_known(self.con))
        if line:
            self.on_line(f"{line}, column {self.config.utc_offset!r}")
        return True

    def settle_time_unit(self) -> str | None:
        """The one unit of all plausible times, as asked for or as found; None if there are none."""
        of_kind = self.staging.kinds
        spans = {kind: (found.rows, found.first_us, found.last_us) for kind, found in of_kind.items()}
        column, asked = self.config.time, self.config.time_unit
        also = ""
        if asked != "auto":
            unit: str | None = asked
        else:
            texts = [kind for kind in ("iso", "iso_local", "day") if kind in spans]
            numbers = {kind: span for kind, span in spans.items() if kind not in TEXT_UNITS}
            unit, also = unit_of_numbers(numbers, column) if numbers else (None, "")
            if texts and not set(numbers) & {"s", "ms", "us", "ns"}:
                unit = texts[0] if len(texts) == 1 else "iso_local" if "iso" not in texts else None
            elif texts:
                unit = None
            if unit is None and spans:
                raise IngestError(self._mixture({kind: rows for kind, (rows, *_) in spans.items()}))
        if unit is None:
            return None
        taken = [spans[kind] for kind in kinds_of_unit(unit) if kind in spans]
        num_rows = sum(rows for rows, *_ in taken)
        num_days = spans["day"][0] if unit in ("iso_local", "day") and "day" in spans else 0
        if 2 * num_days > num_rows and not self.config.days:
            raise IngestError(
                f"column {self.config.date or column!r} holds days without a clock in {num_days:,} of {num_rows:,} "
                "rows; give the clock too (--date DATES --time CLOCKS), or --days to keep days in the order of the file"
            )
        how = "found in" if asked == "auto" else "in"
        days = f", {num_days:,} without a clock" if num_days else ""
        self.on_line(f"time: {TIME_UNITS[unit]}, {how} {num_rows:,} rows{days}{self._offset_rule(unit)}{also}")
        are_coarse = all(of_kind[kind].are_coarse for kind in kinds_of_unit(unit) if kind in of_kind)
        step = lost_digits(self.scans, self.times, self.con) if are_coarse and unit not in TEXT_UNITS else ""
        if unit not in TEXT_UNITS and any(column in file.short for file, _ in self.scans):
            step = step or f"column {column!r} holds floats of 32 bits, which keep 7 digits and so no seconds"
        if step:
            self.on_line(f"warning: times have lost digits: {step}; write them as whole numbers or ISO 8601")
        return unit

    def has_zone(self, unit: str | None) -> bool:
        """Whether the log or the caller gave the local time."""
        by_option = self.config.timezone is not None or self.config.utc_offset is not None
        return by_option or unit in LOCAL_UNITS or (unit == "iso" and self.staging.has_offsets)

    def _offset_rule(self, unit: str) -> str:
        if self.config.timezone is not None:
            return f"; local time by {self.config.timezone}"
        if self.config.utc_offset is not None:
            taken = "taken as UTC, " if unit in LOCAL_UNITS else ""
            return f"; {taken}local time by column {self.config.utc_offset!r}"
        if unit == "iso":
            if not self.staging.has_offsets:
                return ", all of them UTC, which is taken for local time (--timezone gives one)"
            return "; local time by its own time zone"
        if unit in LOCAL_UNITS:
            return "; taken as local time, stored as UTC with offset 0"
        return "; no offset: UTC is taken for local time (--timezone gives one)"

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

    def _judge(self, parsed: str, unit: str | None) -> str:
        return judged_rows(parsed, unit, self.config.timezone, self.config.utc_offset is not None)

    def reject(self, unit: str | None, examples_file: Path) -> dict[str, int]:
        """Count bad rows by reason, keep the first ones, stop if they are too many."""
        counts: Counter[str] = Counter()
        for _, scan in self.scans:
            counts.update(scan.refused)
        self.reasons = reasons_of_states(self.con, lambda rows: self._judge(rows, unit))
        for reason, count in zip(self.reasons, self.staging.states.tolist(), strict=True):
            if reason is not None:
                counts[reason] += count
        rejected = {reason: counts[reason] for reason in REASONS if counts[reason]}
        examples = self._first_rows("reason", counts, unit)
        num_bad = sum(rejected.values())
        if num_bad:
            summary = "; ".join(
                f"{reason} {count:,} (first: {_first_examples(examples, reason)})" for reason, count in rejected.items()
            )
            advice = _advice(rejected, examples)
            share = f"{num_bad:,} of {self.num_rows:,} rows ({num_bad / self.num_rows:.2%})"
            if num_bad == self.num_rows:
                raise IngestError(f"every row is bad, {num_bad:,} in all: {summary}{advice}")
            if num_bad > self.config.max_bad * self.num_rows:
                raise IngestError(f"{share} are bad, more than max_bad {self.config.max_bad:.2%}: {summary}{advice}")
            self.on_line(f"rejected {share}: {summary}")
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
        for number, (file, scan) in enumerate(self.scans):
            if all(len(found[name]) >= number for name, number in wanted.items()):
                break
            for example in scan.examples if label == "reason" else ():
                found[example.reason].append(example)
            columns = self.columns
            if "raw_utc_offset" not in columns:
                value = value.replace("raw_utc_offset", "raw_time")
            rows = self._judge(f"({self._parsed(number)})", unit)
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

    def _names_of_files(self) -> str:
        if len(self.scans) == 1:
            return str(self.scans[0][0].path)
        return f"{len(self.scans)} files"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _advice(rejected: Mapping[str, int], examples: Sequence[Example]) -> str:
    """Options that may help against reasons."""
    times = [example.value or "" for example in examples if example.reason == "unreadable time"]
    clock = re.compile(r"\d{1,2}[:.]\d{2}([:.]\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
    are_clocks = all(clock.fullmatch(time) for time in times)
    advice = {
        MALFORMED: "a row needs as many cells as the header",
        "unreadable time": "these are times of day, and --date names the column of dates"
        if are_clocks
        else "--time-format names the form of times, as '%d.%m.%Y %H:%M'",
        "missing event": "--max-bad gives the share of rows that may be left out",
        "not UTF-8": "--encoding names the encoding, as latin-1",
    }
    found = [text for reason, text in advice.items() if reason in rejected]
    return "; " + "; ".join(found) if found else ""


def _first_examples(examples: Sequence[Example], reason: str) -> str:
    """Files and lines of the examples of a reason, each file named once: `log.csv:3 'x', 9 'y'`."""
    shown: list[str] = []
    file = None
    for example in examples:
        if example.reason == reason:
            shown.append(str(example).removeprefix(f"{file}:"))
            file = example.file
    return ", ".join(shown)
