"""Rows of a log on disk between reading and sorting: names as codes, users in buckets by the hash of their name.

The buckets are ranges of the hash by which a store orders its users, so that bucket after bucket, each sorted in
memory, is the order of the store. A row is a record of fixed size. The rows of one batch stand in the file bucket by
bucket; where each bucket begins in each batch is kept in memory.
"""

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from edgebehave.arguments import MAX_NAME_BYTES
from edgebehave_train.logs.in_order import in_order
from edgebehave_train.logs.reading.files import quoted
from edgebehave_train.logs.reading.time_units import TIME_UNITS

ROLES = ("user", "event", "location", "behavior")
KINDS = (None, *TIME_UNITS, "unreadable", "implausible")
"""Values of `time_kind`."""
ROW = np.dtype(
    [
        ("row", "<i8"),
        ("time_us", "<i8"),
        *((role, "<u4") for role in ROLES),
        ("utc_offset_min", "<i2"),
        ("state", "<u2"),
    ]
)
"""A staged row; a code of 0 is no name, `state` is what decides whether the row is good."""

_MALFORMED, _NO_USER, _NO_EVENT, _NO_OFFSET, _KIND = 1, 2, 4, 8, 16
NUM_STATES = _KIND * len(KINDS)
_NUM_BUCKETS = 1024
_BATCH_ROWS = 1 << 18
_COARSE_US = 10_000_000


class Names:
    """The names of one role in the order of their first row; code = position + 1."""

    def __init__(self) -> None:
        self.codes: defaultdict[Any, int] = defaultdict()  # of names, and 0 of None
        self.codes[None] = 0
        self.codes.default_factory = self.codes.__len__
        self.buckets = bytearray(2)  # int16 of every code
        self.long_codes: list[int] = []

    def __len__(self) -> int:
        return len(self.codes) - 1

    def __iter__(self) -> Iterator[str]:
        """The names by code, from code 1 on."""
        return islice(self.codes, 1, None)

    def codes_of(self, names: Sequence[str | None], are_users: bool) -> npt.NDArray[np.uint32]:
        """Codes of names, new ones included."""
        before = len(self.codes)
        codes = np.fromiter(map(self.codes.__getitem__, names), np.uint32, len(names))
        new = len(self.codes) - before
        for name in reversed(list(islice(reversed(self.codes), new))):
            assert name is not None
            if len(name) * 4 > MAX_NAME_BYTES and len(name.encode()) > MAX_NAME_BYTES:
                self.long_codes.append(self.codes[name])
            if are_users:
                self.buckets += bucket_of(name).to_bytes(2, "little")
        return codes

    def buckets_of(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
        return np.frombuffer(self.buckets, "<u2")[codes]

    def shorten(self, num_codes: int) -> None:
        """Forget the names beyond the first ones."""
        while len(self.codes) > num_codes:
            self.codes.popitem()
        del self.buckets[2 * num_codes :]
        self.long_codes = [code for code in self.long_codes if code < num_codes]


def user_key(name: str) -> tuple[bytes, str]:
    """The key by which users stand in a store."""
    return hashlib.sha256(name.encode()).digest(), name


def bucket_of(name: str) -> int:
    """Bucket of a user: the first bits of the hash, so that buckets are ranges of the order of users."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") * _NUM_BUCKETS >> 16


@dataclass
class KindOfTime:
    """Rows of one kind of time: their number, first and last microsecond, and whether all are coarse."""

    rows: int
    first_us: int
    last_us: int
    are_coarse: bool


@dataclass(frozen=True, kw_only=True)
class _Batch:
    rows: npt.NDArray[np.void]
    starts: npt.NDArray[np.uint32]  # of each bucket, and the end
    states: npt.NDArray[np.int64]
    kinds: dict[str, tuple[int, int, bool]]
    odd_offsets: bool
    has_offsets: bool


@dataclass(frozen=True, kw_only=True)
class _Mark:
    num_rows: int
    num_batches: int
    states: npt.NDArray[np.int64]
    kinds: dict[str, KindOfTime]
    has_odd_offsets: bool
    has_offsets: bool
    codes: dict[str, int]


class Staging:
    """A file of rows in buckets, and what is known of them as a whole.

    folder   of the file, private and with room for it: 36 bytes a row.
    workers  threads that encode rows.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.path, self.workers = folder / "rows.bin", workers
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.path.write_bytes(b"")
        self.num_rows = 0
        self.names = {role: Names() for role in ROLES}
        self.starts: list[npt.NDArray[np.uint32]] = []
        self.states = np.zeros(NUM_STATES, np.int64)
        self.kinds: dict[str, KindOfTime] = {}
        self.has_odd_offsets = self.has_offsets = False  # the latter: one that is not 0

    def add(self, con: duckdb.DuckDBPyConnection, parsed: str) -> tuple[int, int, int]:
        """Add the rows of a query of parsed rows; if it fails, none of them.

        Returns the number of rows, of those with a time, and of those whose time can be read.
        Raises duckdb.Error if the query fails.
        """
        before = self.mark()
        try:
            with self.path.open("ab", buffering=0) as file:
                for batch in in_order(self._encode, self._numbered(con, parsed), self.workers):
                    _write(file, batch.rows)
                    self._count(batch)
        except BaseException:
            self.back_to(before)
            raise
        added = (self.states - before.states).reshape(len(KINDS), _KIND).sum(1)
        return int(added.sum()), int(added[1:].sum()), int(added[1 : 1 + len(TIME_UNITS)].sum())

    def mark(self) -> "_Mark":
        """The state to go back to."""
        return _Mark(
            num_rows=self.num_rows,
            num_batches=len(self.starts),
            states=self.states.copy(),
            kinds={kind: KindOfTime(**vars(found)) for kind, found in self.kinds.items()},
            has_odd_offsets=self.has_odd_offsets,
            has_offsets=self.has_offsets,
            codes={role: len(names.codes) for role, names in self.names.items()},
        )

    def back_to(self, mark: "_Mark") -> None:
        """Forget the rows that were added since."""
        self.num_rows, self.states, self.kinds = mark.num_rows, mark.states, mark.kinds
        self.has_odd_offsets, self.has_offsets = mark.has_odd_offsets, mark.has_offsets
        del self.starts[mark.num_batches :]
        for role, names in self.names.items():
            names.shorten(mark.codes[role])
        os.truncate(self.path, self.num_rows * ROW.itemsize)

    def _numbered(self, con: duckdb.DuckDBPyConnection, parsed: str) -> Iterator[tuple[int, pa.RecordBatch]]:
        columns = ", ".join(f"{role}_name" for role in ROLES)
        row = self.num_rows
        try:
            with con.cursor() as own:
                query = own.sql(f"SELECT malformed, time_kind, time_us, offset_min, {columns} FROM ({parsed})")
                reader = query.to_arrow_reader if hasattr(query, "to_arrow_reader") else query.fetch_arrow_reader
                for batch in reader(_BATCH_ROWS):
                    yield row, batch
                    row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _duckdb_error(error) from None

    def _encode(self, numbered: tuple[int, pa.RecordBatch]) -> _Batch:
        """Rows of a batch as records, bucket by bucket."""
        first, batch = numbered
        rows = np.empty(batch.num_rows, ROW)
        rows["row"] = np.arange(first, first + batch.num_rows)
        time_us, offset = batch["time_us"], batch["offset_min"]
        rows["time_us"] = filled(time_us)
        rows["utc_offset_min"] = filled(offset)
        state = np.where(filled(batch["malformed"]), _MALFORMED, 0).astype(np.uint16)
        if offset.null_count:
            state |= np.where(np.asarray(offset.is_null()), _NO_OFFSET, 0).astype(np.uint16)
        bucket = np.zeros(0, np.uint16)
        for role in ROLES:
            encoded = batch[f"{role}_name"].dictionary_encode(null_encoding="encode")
            texts, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
            with self.lock:
                codes = self.names[role].codes_of(texts, role == "user")
                if role == "user":
                    bucket = self.names[role].buckets_of(codes)[indices]
            rows[role] = codes[indices]
        state |= np.where(rows["user"] == 0, _NO_USER, 0).astype(np.uint16)
        state |= np.where(rows["event"] == 0, _NO_EVENT, 0).astype(np.uint16)
        kinds: dict[str, tuple[int, int, bool]] = {}
        encoded = batch["time_kind"].dictionary_encode(null_encoding="encode")
        kind_of_row = encoded.indices.to_numpy(zero_copy_only=False)
        present = encoded.dictionary.to_pylist()
        state |= (np.array([KINDS.index(kind) for kind in present], np.uint16) * _KIND)[kind_of_row]
        for number, kind in enumerate(present):
            if kind in TIME_UNITS:
                times = rows["time_us"] if len(present) == 1 else rows["time_us"][kind_of_row == number]
                first_us = int(times.min())
                are_coarse = first_us % _COARSE_US == 0 and not (times % _COARSE_US).any()
                kinds[kind] = (first_us, int(times.max()), are_coarse)
        rows["state"] = state
        is_read = (state & _MALFORMED) == 0
        odd = is_read & (((state & _NO_OFFSET) > 0) | (rows["utc_offset_min"] % 15 != 0))
        if np.any(bucket[1:] < bucket[:-1]):
            rows = rows[np.argsort(bucket, kind="stable")]
        return _Batch(
            rows=rows,
            starts=_starts(bucket),
            states=np.bincount(state, minlength=NUM_STATES),
            kinds=kinds,
            odd_offsets=bool(odd.any()),
            has_offsets=bool(rows["utc_offset_min"].any()),
        )

    def _count(self, batch: _Batch) -> None:
        self.num_rows += len(batch.rows)
        self.starts.append(batch.starts)
        self.states += batch.states
        self.has_odd_offsets |= batch.odd_offsets
        self.has_offsets |= batch.has_offsets
        of_kind = batch.states.reshape(len(KINDS), _KIND).sum(1)
        for kind, (first_us, last_us, are_coarse) in batch.kinds.items():
            found = self.kinds.setdefault(kind, KindOfTime(0, first_us, last_us, True))
            found.rows += int(of_kind[KINDS.index(kind)])
            found.first_us, found.last_us = min(found.first_us, first_us), max(found.last_us, last_us)
            found.are_coarse &= are_coarse

    def groups(self, max_rows: int) -> list[tuple[range, int]]:
        """Ranges of buckets that hold at most so many rows, or one bucket each; and the rows of each."""
        sizes = np.zeros(_NUM_BUCKETS, np.int64)
        for starts in self.starts:
            sizes += starts[1:].astype(np.int64) - starts[:-1]
        groups, first, total = [], 0, 0
        for bucket, size in enumerate(sizes.tolist()):
            if total and total + size > max_rows:
                groups.append((range(first, bucket), total))
                first, total = bucket, 0
            total += size
        return [*groups, (range(first, _NUM_BUCKETS), total)] if total else groups

    def read(self, buckets: range) -> npt.NDArray[np.void]:
        """The rows of some buckets, those of each user in the order of the log."""
        return _read_spans(self.path, self._spans(buckets))

    def parts(self, buckets: range) -> Iterator[npt.NDArray[np.void]]:
        """The rows of some buckets as in `read`, some at a time."""
        for span in self._spans(buckets):
            yield _read_spans(self.path, [span])

    def _spans(self, buckets: range) -> list[tuple[int, int]]:
        """The places of the rows of some buckets: first row and number of rows of each piece."""
        at, spans = 0, []
        for starts in self.starts:
            start, stop = int(starts[buckets.start]), int(starts[buckets.stop])
            if stop > start:
                spans.append((at + start, stop - start))
            at += int(starts[-1])
        return spans

    def rename(self, renamed: Mapping[str, Mapping[str, str]]) -> None:
        """Give names another name, {role: {name: new name}}; rows of two names that become one stay in order."""
        code_of = {}
        for role, new_names in renamed.items():
            names = self.names[role]
            codes = names.codes_of(list(new_names.values()), role == "user")
            code_of[role] = np.arange(len(names.codes), dtype=np.uint32)
            code_of[role][[names.codes[name] for name in new_names]] = codes
        at = 0
        with self.path.open("r+b", buffering=0) as file:
            for number, starts in enumerate(self.starts):
                rows = _read(file, at, int(starts[-1]))
                for role, codes in code_of.items():
                    rows[role] = codes[rows[role]]
                bucket = self.names["user"].buckets_of(rows["user"])
                rows = rows[np.lexsort((rows["row"], bucket))]
                self.starts[number] = _starts(bucket)
                file.seek(at * ROW.itemsize)
                _write(file, rows)
                at += len(rows)


class SplitRows:
    """Rows by range of a key, in a file of their own: what is too large to be sorted at once.

    path    of the file; 36 bytes a row.
    cuts    (R - 1,) first keys of all ranges but the first, ascending.
    """

    def __init__(self, path: Path, cuts: npt.NDArray[np.int64]) -> None:
        self.path, self.cuts = path, cuts
        self.spans: list[list[tuple[int, int]]] = [[] for _ in range(len(cuts) + 1)]
        self.num_rows = 0
        path.write_bytes(b"")

    def add(self, rows: npt.NDArray[np.void], key: npt.NDArray[np.int64]) -> None:
        """Add rows by their keys."""
        number = np.searchsorted(self.cuts, key, side="right")
        with self.path.open("ab", buffering=0) as file:
            _write(file, rows[np.argsort(number, kind="stable")])
        for spans, size in zip(self.spans, np.bincount(number, minlength=len(self.spans)).tolist(), strict=True):
            if size:
                spans.append((self.num_rows, size))
            self.num_rows += size

    def read(self, number: int) -> npt.NDArray[np.void]:
        """The rows of a range in the order in which they came."""
        return _read_spans(self.path, self.spans[number])


def reasons_of_states(con: duckdb.DuckDBPyConnection, judged: Callable[[str], str]) -> list[str | None]:
    """Why a row of each state is rejected, None for a good one.

    judged  makes a query that adds `reason` to a query of parsed rows.
    """
    values = ", ".join(
        f"({_KIND * number + flags}, {'NULL' if kind is None else quoted(kind)}, {flags})"
        for number, kind in enumerate(KINDS)
        for flags in range(_KIND)
    )
    rows = f"""(
        SELECT state, time_kind, 0::BIGINT AS time_us, flags & {_MALFORMED} > 0 AS malformed,
            CASE WHEN flags & {_NO_USER} = 0 THEN '' END AS user_name,
            CASE WHEN flags & {_NO_EVENT} = 0 THEN '' END AS event_name,
            NULL::VARCHAR AS location_name, NULL::VARCHAR AS behavior_name,
            CASE WHEN flags & {_NO_OFFSET} = 0 THEN 0::SMALLINT END AS offset_min
        FROM (VALUES {values}) AS states(state, time_kind, flags))"""
    found = con.execute(f"SELECT reason FROM ({judged(rows)}) ORDER BY state").fetchall()
    return [reason for (reason,) in found]


def kinds_of_states() -> list[str | None]:
    """Kind of time of each state."""
    return [kind for kind in KINDS for _ in range(_KIND)]


def _starts(bucket: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint32]:
    return np.append(0, np.cumsum(np.bincount(bucket, minlength=_NUM_BUCKETS))).astype(np.uint32)


def _read(file: Any, first: int, num_rows: int) -> npt.NDArray[np.void]:
    rows = np.empty(num_rows, ROW)
    _read_into(file, first, rows)
    return rows


def _read_spans(path: Path, spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.void]:
    rows = np.empty(sum(size for _, size in spans), ROW)
    filled = 0
    with path.open("rb", buffering=0) as file:
        for start, size in spans:
            _read_into(file, start, rows[filled : filled + size])
            filled += size
    return rows


def _read_into(file: Any, first: int, rows: npt.NDArray[np.void]) -> None:
    file.seek(first * ROW.itemsize)
    view = memoryview(rows.view(np.uint8).reshape(-1).data)
    while view:
        view = view[file.readinto(view) :]


def filled(column: Any) -> npt.NDArray[Any]:
    """Values of an Arrow column, 0 where there are none."""
    values: npt.NDArray[Any] = pc.fill_null(column, 0 if column.type != pa.bool_() else False).to_numpy(
        zero_copy_only=False
    )
    return values


def _write(file: Any, rows: npt.NDArray[np.void]) -> None:
    view = memoryview(rows.view(np.uint8).reshape(-1).data)
    while view:
        view = view[file.write(view) :]


def _duckdb_error(error: Exception) -> Exception:
    """The error of DuckDB behind one that Arrow reports."""
    text = str(error)
    if "Out of Memory" in text:
        return duckdb.OutOfMemoryException(text)
    return duckdb.IOException(text) if "IO Error" in text else duckdb.InvalidInputException(text)
