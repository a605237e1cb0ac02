"""The event store: one log, cleaned, sorted by user and time, memory-mapped for training.

A folder of plain columns, the events of a user adjacent and in time order:

    time_s.npy          (N,) uint32  UTC seconds
    utc_offset_min.npy  (N,) int16   minutes to add for local time; left out where `statistics.json` has the one value
    event.npy           (N,) ids of the store's own vocabulary
    location.npy        (N,) likewise; 0 = no location; left out where no event has one
    behavior.npy        (N,) likewise; -1 = the event has no behavior; left out where each event is its own behavior
    fraction.npy        (N,) fractions of a second, for events that are added later; left out where all are 0
    user_start.npy      (U + 1,) int64  events of user u: user_start[u] .. user_start[u + 1]
    users.json          U user names
    vocabulary.json     every name of the log, most frequent first
    statistics.json     counts, span, rejected rows with reasons, fingerprint, SHA-256 of every other file

Damage is found: names and offsets are verified when a store is opened, a column when it is first used, and `check`
verifies all. Stores of older versions without hashes are read as before; `check` verifies their fingerprint.

Ids have as many bytes as the vocabulary needs; they are read as int32, times as int64 (stored_columns.py). Users are
in the order of a hash of their names, so that a range of users is a random sample. A store of version 1 has all
columns, in the types in which they are read.
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.files import file_digest, read_json
from edgebehave_train.logs.packing import positions_of
from edgebehave_train.logs.stored_columns import (
    COLUMNS,
    FRACTIONS,
    StoredColumn,
    damage,
    fingerprint,
    open_column,
    open_fractions,
    open_wide,
)

if TYPE_CHECKING:
    from edgebehave.predictor import Predictor

__all__ = ["COLUMNS", "FORMAT_VERSION", "EventStore", "NamedEvent"]

FORMAT_VERSION = 2
_OLDEST_VERSION = 1
_PIECE = 4096
MANY_TIES = 0.05
"""Share of events at the same time as another of the same user, above which an evaluation warns."""


class NamedEvent(NamedTuple):
    """One event by the names of the log, as an app passes it to the SDK.

    location, behavior  None where the event has none.
    """

    event: str
    location: str | None
    behavior: str | None
    time_s: int
    utc_offset_min: int

    def observe_in(self, predictor: "Predictor", user: str) -> None:
        """Let a predictor of the SDK observe this event as one of a user."""
        predictor.observe(user, self.event, at=self.time_s, location=self.location, utc_offset_min=self.utc_offset_min)


@dataclass(frozen=True, kw_only=True, repr=False)
class EventStore:
    """A store opened for reading; the columns are read-only memory maps.

    columns  by name. Narrow integers on disk are a `StoredColumn`: an array of the type in which they are read, in all
             that arrays can do.
    whole    columns that need not be verified any more.
    """

    path: Path
    vocabulary: Vocabulary
    statistics: dict[str, Any]
    user_start: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[Any]]
    whole: set[str] = field(default_factory=set, repr=False, compare=False)

    def __repr__(self) -> str:
        counts = f"{self.num_events:,} events of {self.num_users:,} users"
        return f"EventStore({str(self.path)!r}: {counts}, {self.vocabulary.num_behaviors - 1:,} behaviors)"

    @classmethod
    def open(cls, path: Path | str) -> "EventStore":
        """Open a store. Raises ValueError if the folder is not one, not of this version, or damaged."""
        path = Path(path)
        statistics_file = path / "statistics.json"
        if not statistics_file.is_file():
            raise ValueError(f"{path} is not an event store; make one with `edgebehave ingest`")
        statistics = read_json(statistics_file, sealed_with="sha256")
        version = statistics.get("format_version")
        if version not in range(_OLDEST_VERSION, FORMAT_VERSION + 1):
            raise ValueError(
                f"{path} is an event store of version {version}, this is version {FORMAT_VERSION}; ingest the log again"
            )
        for name in ("user_start.npy", "vocabulary.json"):
            _verify(path, name, statistics)
        user_start = open_wide(path, "user_start", np.int64)
        if len(user_start) < 1 or user_start[0] != 0 or (np.diff(user_start) < 0).any():
            raise damage(path, "user_start.npy", "its offsets do not ascend")
        constants = statistics.get("constants", {})
        columns = {
            name: open_column(path, _file_of(name, statistics), name, constants.get(name), int(user_start[-1]))
            for name in COLUMNS
        }
        return cls(
            path=path,
            vocabulary=Vocabulary.load(path / "vocabulary.json"),
            statistics=statistics,
            user_start=np.array(user_start),
            columns=columns,
        )

    def check(self) -> None:
        """Read every file. Raises ValueError that names the first damaged one."""
        if "sha256" in self.statistics:
            for name in self.statistics["sha256"]:
                _verify(self.path, name, self.statistics)
        elif fingerprint(self.path, self.statistics) != self.fingerprint:
            raise ValueError(f"{self.path} is damaged: it does not fit its fingerprint; ingest the log again")

    def _column(self, name: str) -> npt.NDArray[Any]:
        if name not in self.whole:
            if name not in self.statistics.get("constants", {}):
                _verify(self.path, f"{_file_of(name, self.statistics)}.npy", self.statistics)
            self.whole.add(name)
        return self.columns[name]

    @property
    def time_s(self) -> npt.NDArray[np.int64]:
        return self._column("time_s")

    @property
    def fraction_us(self) -> StoredColumn | None:
        """Microseconds beyond `time_s` of each event; None where all are 0, and in stores of before."""
        if FRACTIONS not in self.whole:
            if (self.path / FRACTIONS).exists():
                _verify(self.path, FRACTIONS, self.statistics)
            self.whole.add(FRACTIONS)
        return open_fractions(self.path, self.num_events)

    @property
    def utc_offset_min(self) -> npt.NDArray[np.int16]:
        return self._column("utc_offset_min")

    @property
    def event(self) -> npt.NDArray[np.int32]:
        return self._column("event")

    @property
    def location(self) -> npt.NDArray[np.int32]:
        return self._column("location")

    @property
    def behavior(self) -> npt.NDArray[np.int32]:
        return self._column("behavior")

    @property
    def num_events(self) -> int:
        return int(self.user_start[-1])

    @property
    def num_users(self) -> int:
        return len(self.user_start) - 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the columns and names; the same log has the same fingerprint."""
        return str(self.statistics["fingerprint"])

    @property
    def warning_about_ties(self) -> str | None:
        """One line about events of a user at the same time, if many are; None for few, and for older stores."""
        tied = self.statistics.get("tied_events", 0) / max(1, self.num_events)
        if tied <= MANY_TIES:
            return None
        order = self.statistics.get("order_of_ties")
        known = "that of the log's rows" if order != "hash" else "not known, that of a hash"
        return (
            f"{tied:.0%} of the events share their time with another of the same user, and their order is {known}; "
            "predictions of the next event are worth as much as this order"
        )

    def of_users(self, first: int, stop: int) -> "EventStore":
        """The events of the users first..stop-1 alone, in memory."""
        start, end = int(self.user_start[first]), int(self.user_start[stop])
        columns = {name: np.asarray(column[start:end]) for name, column in self.columns.items()}
        return replace(self, user_start=self.user_start[first : stop + 1] - start, columns=columns)

    def read(self, name: str, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The values of a column in some ranges, end to end.

        Read from the file and not through the map, where a page brings its neighbors along: users here and there would
        fill the memory with the whole store, and cost five times as long.
        """
        column = self._column(name)
        stored = getattr(column, "stored", column)
        if not isinstance(stored, np.memmap) or not hasattr(os, "pread"):
            return np.asarray(column[positions_of(start, stop)])
        assert stored.filename is not None
        begin = (stored.offset + start * stored.itemsize).tolist()
        num_bytes = ((stop - start) * stored.itemsize).tolist()
        with open(stored.filename, "rb", buffering=0) as file:
            read = b"".join([os.pread(file.fileno(), *one) for one in zip(num_bytes, begin, strict=True)])
        if len(read) != sum(num_bytes):
            raise damage(self.path, Path(stored.filename).name, "it is shorter than it was")
        return np.frombuffer(read, stored.dtype).astype(column.dtype)

    def release(self) -> None:
        """Let the pages of the maps that were read leave the memory of this process; the system may keep them."""
        for column in self.columns.values():
            mapped = getattr(getattr(column, "stored", column), "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def users(self) -> list[str]:
        """Names of the users, in store order."""
        _verify(self.path, "users.json", self.statistics)
        names: list[str] = read_json(self.path / "users.json", list)
        return names

    def named_events(self, user: int) -> Iterator[NamedEvent]:
        """The events of a user by index, in time order, with names."""
        names = self.vocabulary
        stop = int(self.user_start[user + 1])
        for start in range(int(self.user_start[user]), stop, _PIECE):
            piece = slice(start, min(start + _PIECE, stop))
            columns = (getattr(self, name)[piece].tolist() for name in COLUMNS)
            for time_s, utc_offset_min, event, location, behavior in zip(*columns, strict=True):
                yield NamedEvent(
                    event=names.events[event],
                    location=None if location == UNKNOWN else names.locations[location],
                    behavior=None if behavior <= UNKNOWN else names.behaviors[behavior],
                    time_s=time_s,
                    utc_offset_min=utc_offset_min,
                )


def _file_of(name: str, statistics: Mapping[str, Any]) -> str:
    """The column whose file a column is read from."""
    return "event" if name == "behavior" and statistics.get("behavior_is_event") else name


def _verify(path: Path, name: str, statistics: Mapping[str, Any]) -> None:
    """Raise ValueError unless a file has the SHA-256 that statistics.json says; older stores say none."""
    digest = statistics.get("sha256", {}).get(name)
    if digest is not None and file_digest(path / name) != digest:
        raise damage(path, name, "it does not fit its SHA-256")
