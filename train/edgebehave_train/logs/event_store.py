"""The event store: one log, cleaned, sorted by user and time, memory-mapped for training.

A folder of plain columns , the events of a user adjacent and in time order:

    time_s.npy          (N,) int64   UTC seconds
    utc_offset_min.npy  (N,) int16   minutes to add for local time
    event.npy           (N,) int32   ids of the store's own vocabulary
    location.npy        (N,) int32   likewise; 0 = no location
    behavior.npy        (N,) int32   likewise; -1 = the event has no behavior
    user_start.npy      (U + 1,) int64  events of user u: user_start[u] .. user_start[u + 1]
    users.json          U user names
    vocabulary.json     every name of the log, most frequent first
    statistics.json     counts, span, rejected rows with reasons, fingerprint, SHA-256 of every other file

Damage is found: names and offsets are verified when a store is opened, a column when it is first used, and `check`
verifies all. Stores of older versions without hashes are read as before; `check` verifies their fingerprint.

Users are in the order of a hash of their names, so that a range of users is a random sample.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.files import file_digest, read_json

if TYPE_CHECKING:
    from edgebehave.predictor import Predictor

FORMAT_VERSION = 1
MANY_TIES = 0.05
"""Share of events at the same time as another of the same user, above which an evaluation warns."""

COLUMNS = {
    "time_s": np.int64,
    "utc_offset_min": np.int16,
    "event": np.int32,
    "location": np.int32,
    "behavior": np.int32,
}


HASHED_FILES = (*(f"{name}.npy" for name in COLUMNS), "user_start.npy", "users.json", "vocabulary.json")

HEADER_BYTES = 128
"""Of a .npy file with one axis, whatever its length."""

_CHUNK_ROWS = 1 << 20


class NamedEvent(NamedTuple):
    """One event by the names of the log, as an app passes it to the SDK.

    location, behavior  None where the event has none.
    """

    event: str
    location: str | None
    behavior: str | None
    time_s: int
    utc_offset_min: int

    def tell(self, predictor: "Predictor", user: str) -> None:
        """Give this event to the SDK as an event of a user."""
        predictor.observe(user, self.event, at=self.time_s, location=self.location, utc_offset_min=self.utc_offset_min)


@dataclass(frozen=True, kw_only=True)
class EventStore:
    """A store opened for reading; the columns are read-only memory maps.

    columns  by name, as the top of this file says.
    whole    columns that need not be verified any more.
    """

    path: Path
    vocabulary: Vocabulary
    statistics: dict[str, Any]
    user_start: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[Any]]
    whole: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path | str) -> "EventStore":
        """Open a store. Raises ValueError if the folder is not one, not of this version, or damaged."""
        path = Path(path)
        statistics_file = path / "statistics.json"
        if not statistics_file.is_file():
            raise ValueError(f"{path} is not an event store; make one with `edgebehave ingest`")
        statistics = read_json(statistics_file, sealed_with="sha256")
        version = statistics.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{path} is an event store of version {version}, this is version {FORMAT_VERSION}; ingest the log again"
            )
        for name in ("user_start.npy", "vocabulary.json"):
            _verify(path, name, statistics)
        user_start = _load(path, "user_start", np.int64)
        if len(user_start) < 1 or user_start[0] != 0 or (np.diff(user_start) < 0).any():
            raise _damage(path, "user_start.npy", "its offsets do not ascend")
        columns = {name: _load(path, name, dtype) for name, dtype in COLUMNS.items()}
        for name, column in columns.items():
            if len(column) != user_start[-1]:
                raise _damage(path, f"{name}.npy", f"{len(column)} rows for {user_start[-1]} events")
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
            for name in HASHED_FILES:
                _verify(self.path, name, self.statistics)
        elif fingerprint(self.path) != self.fingerprint:
            raise ValueError(f"{self.path} is damaged: it does not fit its fingerprint; ingest the log again")

    def _column(self, name: str) -> npt.NDArray[Any]:
        if name not in self.whole:
            _verify(self.path, f"{name}.npy", self.statistics)
            self.whole.add(name)
        return self.columns[name]

    @property
    def time_s(self) -> npt.NDArray[np.int64]:
        return self._column("time_s")

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

    def users(self) -> list[str]:
        """Names of the users, in store order."""
        _verify(self.path, "users.json", self.statistics)
        names: list[str] = read_json(self.path / "users.json", list)
        return names

    def named_events(self, user: int) -> Iterator[NamedEvent]:
        """The events of a user by index, in time order, with names."""
        names = self.vocabulary
        events, times, offsets = self.event, self.time_s, self.utc_offset_min
        locations, behaviors = self.location, self.behavior
        for i in range(int(self.user_start[user]), int(self.user_start[user + 1])):
            location, behavior = int(locations[i]), int(behaviors[i])
            yield NamedEvent(
                event=names.events[events[i]],
                location=None if location == UNKNOWN else names.locations[location],
                behavior=None if behavior <= UNKNOWN else names.behaviors[behavior],
                time_s=int(times[i]),
                utc_offset_min=int(offsets[i]),
            )


def fingerprint(folder: Path) -> str:
    """SHA-256 of the columns (name and little-endian values), the users and the vocabulary."""
    digest = hashlib.sha256()
    for name in (*COLUMNS, "user_start"):
        digest.update(f"{name}\n".encode())
        for piece in pieces(folder / f"{name}.npy"):
            digest.update(piece.astype(piece.dtype.newbyteorder("<"), copy=False).data)
    for name in ("users.json", "vocabulary.json"):
        digest.update(f"{name}\n".encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def pieces(path: Path) -> Iterator[npt.NDArray[Any]]:
    """The values of a column, a bounded number at a time, read and not mapped."""
    dtype = np.load(path, mmap_mode="r").dtype
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while data := file.read(_CHUNK_ROWS * dtype.itemsize):
            yield np.frombuffer(data, dtype)


def _load(path: Path, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A column as a memory map. Raises ValueError if it is none of this type."""
    file = path / f"{name}.npy"
    try:
        column: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise _damage(path, file.name, str(error)) from None
    if column.ndim != 1 or column.dtype != dtype or file.stat().st_size != HEADER_BYTES + column.nbytes:
        raise _damage(path, file.name, f"{column.dtype} {column.shape}, expected a column of {np.dtype(dtype)}")
    return column


def _verify(path: Path, name: str, statistics: Mapping[str, Any]) -> None:
    """Raise ValueError unless a file has the SHA-256 that statistics.json says; older stores say none."""
    digest = statistics.get("sha256", {}).get(name)
    if digest is not None and file_digest(path / name) != digest:
        raise _damage(path, name, "it does not fit its SHA-256")


def _damage(path: Path, name: str, what: str) -> ValueError:
    return ValueError(f"{path / name} is damaged: {what}; ingest the log again")
