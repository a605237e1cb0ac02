"""Logs that another engine has put in order: Parquet in the order of a store, taken over without sorting it again.

docs/logs.md has the contract. The rows are checked as they pass; the first one that breaks it ends the ingest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import numpy as np
import numpy.typing as npt

from edgebehave.arguments import MAX_NAME_BYTES
from edgebehave.moments import EARLIEST_S, LATEST_S, MAX_OFFSET_MIN
from edgebehave.vocabulary import UNKNOWN_NAME
from edgebehave_train.logs.reading.files import IngestError, parquet_table
from edgebehave_train.logs.sorting import Facts, rows_of_pairs
from edgebehave_train.logs.staging import Names, filled, user_key
from edgebehave_train.logs.store_writer import MICROSECONDS, SortedRows, write_store

COLUMNS = {
    "user": ("VARCHAR",),
    "time_us": ("BIGINT",),
    "utc_offset_min": ("SMALLINT", "INTEGER", "BIGINT"),
    "event": ("VARCHAR",),
    "location": ("VARCHAR",),
    "behavior": ("VARCHAR",),
}
"""Columns of a bucketed log and the types that they may have."""

_NEEDED = ("user", "time_us", "event")
_BATCH_ROWS = 1 << 18


def bucketed_files(log: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files of a bucketed log, in the order of their names: those of a folder, or a list."""
    entries = [Path(entry) for entry in ([log] if isinstance(log, str | Path) else log)]
    files = []
    for entry in entries:
        found = sorted(path for path in entry.glob("*.parquet") if path.is_file()) if entry.is_dir() else [entry]
        files += [path for path in found if not path.name.startswith((".", "_"))]
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None or not files:
        raise IngestError(f"{missing or entries[0]}: no such file, or a folder without Parquet")
    return files


class BucketedLog:
    """The rows of a bucketed log, checked against the contract as they are read."""

    def __init__(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
        self.con, self.files = con, files
        self.columns = self._columns()
        self.names = {role: Names() for role in ("event", "location", "behavior")}
        self.users: list[str] = []
        self.num_rows = 0
        self.facts = Facts(self.names)
        self._last_key = (b"", "")
        self._last_time_us = 0

    def write(self, store: Path, *, keep_duplicates: bool) -> dict[str, Any]:
        """Write the columns of a store; returns its statistics. Arguments as in `write_store`."""
        has_behaviors = "behavior" in self.columns
        statistics = write_store(
            store,
            self.runs(),
            users=self.users,
            events=_Texts(self.names["event"]),
            locations=_Texts(self.names["location"]),
            behavior_of_event=self.facts.behavior_of_event if has_behaviors else None,
            keep_duplicates=keep_duplicates,
        )
        return statistics | {
            "order_of_ties": "file" if statistics["tied_events"] else "none",
            "rows_in_time_order": True,
        }

    def _columns(self) -> list[str]:
        """Columns that the files have, checked."""
        columns: list[str] = []
        for number, path in enumerate(self.files):
            try:
                rows = self.con.execute(f"DESCRIBE SELECT * FROM {parquet_table(path, numbered=False)}").fetchall()
            except duckdb.Error as error:
                raise IngestError(f"{path} is not readable as Parquet: {str(error).splitlines()[0]}") from None
            types = {name: kind for name, kind, *_ in rows}
            for name in _NEEDED:
                if name not in types:
                    raise IngestError(f"{path} has no column {name!r}; a bucketed log has {', '.join(_NEEDED)}")
            for name, kinds in COLUMNS.items():
                if types.get(name, kinds[0]) not in kinds:
                    raise IngestError(f"{path}: column {name!r} is {types[name]}, expected {' or '.join(kinds)}")
            found = [name for name in COLUMNS if name in types]
            if number and found != columns:
                raise IngestError(f"{path} has the columns {', '.join(found)}, other files {', '.join(columns)}")
            columns = found
        return columns

    def runs(self) -> Iterator[SortedRows]:
        """The rows as they stand. Raises IngestError at the first one that breaks the contract."""
        for path in self.files:
            row = 0
            sql = ", ".join(
                f"nullif({name}, '') AS {name}" if COLUMNS[name] == ("VARCHAR",) else name for name in self.columns
            )
            with self.con.cursor() as own:
                query = own.sql(f"SELECT {sql} FROM {parquet_table(path, numbered=False)}")
                reader = query.to_arrow_reader if hasattr(query, "to_arrow_reader") else query.fetch_arrow_reader
                for batch in reader(_BATCH_ROWS):
                    if batch.num_rows:
                        yield self._run(batch, path, row)
                    row += batch.num_rows
            self.num_rows += row
        if not self.num_rows:
            raise IngestError(f"{self.files[0]}: no rows")

    def _run(self, batch: Any, path: Path, first_row: int) -> SortedRows:
        def stop(bad: npt.NDArray[np.bool_], what: str) -> NoReturn:
            raise IngestError(f"{path} row {first_row + int(np.argmax(bad)) + 1:,}: {what} (docs/logs.md)")

        for name in _NEEDED:
            if batch[name].null_count:
                stop(np.asarray(batch[name].is_null()), f"no {name}")
        time_us = filled(batch["time_us"]).astype(np.int64)
        is_bad = (time_us < EARLIEST_S * MICROSECONDS) | (time_us >= LATEST_S * MICROSECONDS)
        if is_bad.any():
            stop(is_bad, f"time_us is {int(time_us[np.argmax(is_bad)])}, expected unix microseconds")
        offset_min = np.zeros(len(time_us), np.int64)
        if "utc_offset_min" in self.columns:
            offset_min = filled(batch["utc_offset_min"]).astype(np.int64)
        is_bad = np.abs(offset_min) > MAX_OFFSET_MIN
        if is_bad.any():
            stop(is_bad, f"utc_offset_min is {int(offset_min[np.argmax(is_bad)])}, expected minutes")

        codes = {}
        for role, names in self.names.items():
            if role not in self.columns:
                codes[role] = np.zeros(len(time_us), np.uint32)
                continue
            encoded = batch[role].dictionary_encode(null_encoding="encode")
            texts = [None if text == UNKNOWN_NAME else text for text in encoded.dictionary.to_pylist()]
            codes[role] = names.codes_of(texts, False)[encoded.indices.to_numpy(zero_copy_only=False)]
            if names.long_codes:
                stop(np.isin(codes[role], names.long_codes), f"{role} is longer than {MAX_NAME_BYTES} bytes")
        if not codes["event"].all():
            stop(codes["event"] == 0, "no event")
        for pair, rows in rows_of_pairs(
            codes["event"], codes["behavior"], len(self.names["event"]), len(self.names["behavior"])
        ).items():
            self.facts.rows_of_pair[pair] = self.facts.rows_of_pair.get(pair, 0) + rows
        user = self._ranks(batch["user"], time_us, stop)
        return SortedRows(
            user=user,
            time_us=time_us,
            utc_offset_min=offset_min,
            event=codes["event"].astype(np.int32) - np.int32(1),
            location=codes["location"].astype(np.int32) - np.int32(1),
        )

    def _ranks(self, names: Any, time_us: npt.NDArray[np.int64], stop: Any) -> npt.NDArray[np.int64]:
        """Position of the user of each row; users and times must ascend."""
        encoded = names.dictionary_encode()
        texts, index = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
        starts = np.append(True, index[1:] != index[:-1])
        if texts[index[0]] == self._last_key[1]:
            starts[0] = False
        for position in np.flatnonzero(starts).tolist():
            name = texts[index[position]]
            key = user_key(name)
            may_be_bad = key <= self._last_key or len(name) > MAX_NAME_BYTES // 4
            here = np.arange(len(index)) == position if may_be_bad else None
            if here is not None and key <= self._last_key:
                stop(here, f"user {name!r} after {self._last_key[1]!r}: expected users in the order of sha256(user)")
            if here is not None and len(name.encode()) > MAX_NAME_BYTES:
                stop(here, f"user is longer than {MAX_NAME_BYTES} bytes")
            self._last_key = key
            self.users.append(name)
        before = np.append(self._last_time_us, time_us[:-1])
        is_back = ~starts & (time_us < before)
        if is_back.any():
            stop(is_back, "time_us is smaller than in the row before, of the same user")
        self._last_time_us = int(time_us[-1])
        return len(self.users) - 1 - (int(starts.sum()) - np.cumsum(starts))


class _Texts(Sequence[str]):
    """Names by position, as many as there are by now."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, position: Any) -> Any:
        return list(self.names)[position]
