"""Writing of an event store from sorted rows, in one pass and little memory.

Rows name their event and location by the position in lists of names that may still grow. Ids by frequency are known
only at the end, when the columns of ids are written from those of positions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, UNKNOWN_NAME, Vocabulary
from edgebehave_train.files import file_digest, names_in, read_json, write_json
from edgebehave_train.logs.event_store import FORMAT_VERSION
from edgebehave_train.logs.stored_columns import COLUMNS, FRACTIONS, HEADER_BYTES, fingerprint, narrow_type, pieces

STORE_FILES = frozenset(
    {f"{name}.npy" for name in COLUMNS}
    | {FRACTIONS, "user_start.npy", "users.json", "vocabulary.json", "statistics.json", "rejected.jsonl"}
)
"""Every file that a store may hold."""

MICROSECONDS = 1_000_000
_ZEROS = 1 << 20
_QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "max": 1}


@dataclass(frozen=True, kw_only=True)
class SortedRows:
    """A run of rows in the order of user, time, and the order of events at one time; arrays of shape (n,).

    user            position in the list of users.
    time_us         UTC microseconds; the store keeps the fractions of a second apart, for the order.
    utc_offset_min  minutes.
    event           position in the list of events.
    location        position in the list of locations; -1 = no location.
    """

    user: npt.NDArray[np.integer]
    time_us: npt.NDArray[np.integer]
    utc_offset_min: npt.NDArray[np.integer]
    event: npt.NDArray[np.integer]
    location: npt.NDArray[np.integer]


@contextmanager
def column_writer(path: Path, dtype: npt.DTypeLike) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """A function that appends values to a .npy file with one axis."""
    dtype, num_rows = np.dtype(dtype), 0
    with path.open("wb") as file:
        file.write(bytes(HEADER_BYTES))

        def append(values: npt.NDArray[Any]) -> None:
            nonlocal num_rows
            file.write(np.ascontiguousarray(values, dtype).data)
            num_rows += len(values)

        yield append
        file.seek(0)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (num_rows,)}
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == HEADER_BYTES


def write_store(
    folder: Path,
    rows: Iterable[SortedRows],
    *,
    users: Sequence[str],
    events: Sequence[str],
    locations: Sequence[str],
    behavior_of_event: Mapping[str, str | None] | Callable[[], Mapping[str, str | None]] | None,
    keep_duplicates: bool = False,
    known: Vocabulary | None = None,
) -> dict[str, Any]:
    """Write the columns, names and vocabulary of a store; drop rows that equal another one in all that it keeps.

    folder             exists and is empty.
    rows               by position of the user, ascending.
    users              names in store order; one without a row is left out.
    events, locations  names that no row has are left out. The lists may grow while rows are read.
    behavior_of_event  None: each event is a behavior of its own. A function is called after the last row.
    keep_duplicates    the times are too coarse to tell a repeated row from a second event.
    known              vocabulary whose names keep their ids, with or without a row; new ones follow.
    Returns            the statistics that follow from the rows, for `write_statistics`.
    """
    written = PositionColumns(folder)
    written.write(_without_duplicates(rows, keep_duplicates))
    if callable(behavior_of_event):
        behavior_of_event = behavior_of_event()
    of_user = written.of_user.of(len(users))
    user_start = np.concatenate([[0], np.cumsum(of_user[of_user > 0])])
    with column_writer(folder / "user_start.npy", np.int64) as append_start:
        append_start(user_start)
    write_json(folder / "users.json", [name for name, n in zip(users, of_user.tolist(), strict=True) if n], indent=1)

    of_event, of_location = written.of_event.of(len(events)), written.of_location.of(len(locations) + 1)
    vocabulary = _vocabulary(events, of_event, locations, of_location[1:], behavior_of_event, known)
    vocabulary.save(folder / "vocabulary.json")
    event_ids = np.array([vocabulary.event_id(name) for name in events], np.int64)
    location_ids = np.array([UNKNOWN, *(vocabulary.location_id(name) for name in locations)], np.int64)
    behavior_of_id = np.array(vocabulary.event_to_behavior, np.int64)
    behavior_is_event = np.array_equal(behavior_of_id, np.arange(len(behavior_of_id)))
    written.write_ids("event", "event", event_ids, vocabulary.num_events)
    if not behavior_is_event:
        written.write_ids("behavior", "event", behavior_of_id[event_ids], vocabulary.num_behaviors)
    constants = written.drop_constant_offset()
    if of_location[0] == user_start[-1]:
        constants["location"] = UNKNOWN
    else:
        written.write_ids("location", "location", np.roll(location_ids, -1), vocabulary.num_locations)
    written.finish()

    of_event_id = np.zeros(vocabulary.num_events, np.int64)
    np.add.at(of_event_id, event_ids[of_event > 0], of_event[of_event > 0])
    of_behavior = np.zeros(vocabulary.num_behaviors, np.int64)
    has_behavior = behavior_of_id >= 0
    np.add.at(of_behavior, behavior_of_id[has_behavior], of_event_id[has_behavior])
    quantiles = np.quantile(of_user[of_user > 0], list(_QUANTILES.values()), method="inverted_cdf").astype(int)
    return {
        "constants": constants,
        "behavior_is_event": behavior_is_event,
        "num_events": int(user_start[-1]),
        "num_users": len(user_start) - 1,
        "num_event_names": vocabulary.num_events - 1,
        "num_location_names": vocabulary.num_locations - 1,
        "num_behavior_names": vocabulary.num_behaviors - 1,
        "num_without_location": int(of_location[0]),
        "num_without_behavior": int(of_event_id[~has_behavior].sum()),
        "first_time_s": written.first_s,
        "last_time_s": written.last_s,
        "duplicates": written.num_duplicates,
        "tied_events": written.num_tied,
        "has_fractions": written.has_fractions,
        "events_per_user": dict(zip(_QUANTILES, quantiles.tolist(), strict=True)),
        "behavior_counts": _named_counts(vocabulary.behaviors, of_behavior),
        "event_counts": _named_counts(vocabulary.events, of_event_id),
    }


class PositionColumns:
    """The columns of a store while rows come in: times and offsets as they stay, names by their positions.

    of_user, of_event, of_location  counts by position; that of "no location" comes first.
    first_s, last_s                 seconds of the earliest and the latest row.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._positions = {name: folder / f"{name}.positions" for name in ("event", "location", "fraction")}
        self.of_user, self.of_event, self.of_location = _Counts(), _Counts(), _Counts()
        self.num_duplicates = self.num_tied = 0
        self.first_s, self.last_s = int(np.iinfo(np.int64).max), int(np.iinfo(np.int64).min)
        self._least_offset, self._largest_offset = self.first_s, self.last_s
        self.has_fractions, self._are_millis = False, True

    def write(self, runs: Iterable[tuple[SortedRows, int]]) -> None:
        """Append runs of rows, each with the number of duplicates that were dropped from it."""
        num_rows = 0
        with (
            column_writer(self._folder / "time_s.npy", np.uint32) as append_time,
            column_writer(self._folder / "utc_offset_min.npy", np.int16) as append_offset,
            column_writer(self._positions["event"], np.int32) as append_event,
            column_writer(self._positions["location"], np.int32) as append_location,
            column_writer(self._positions["fraction"], np.uint32) as append_fraction,
        ):
            for run, num_dropped in runs:
                self.num_duplicates += num_dropped
                self.num_tied += int(is_tied(run).sum())
                time_s = run.time_us // MICROSECONDS
                self._append_fractions(append_fraction, run.time_us - time_s * MICROSECONDS, num_rows)
                num_rows += len(time_s)
                self._count(run, time_s)
                append_time(time_s)
                append_offset(run.utc_offset_min)
                append_event(run.event)
                append_location(run.location)

    def _append_fractions(
        self, append: Callable[[npt.NDArray[Any]], None], fraction_us: npt.NDArray[np.integer], num_before: int
    ) -> None:
        """Fractions are written from the first run on that has one; the rows before it get zeros."""
        if not self.has_fractions and not fraction_us.any():
            return
        if not self.has_fractions:
            for start in range(0, num_before, _ZEROS):
                append(np.zeros(min(_ZEROS, num_before - start), np.uint32))
        self.has_fractions = True
        self._are_millis = self._are_millis and not (fraction_us % 1000).any()
        append(fraction_us)

    def _count(self, run: SortedRows, time_s: npt.NDArray[np.integer]) -> None:
        """Raises ValueError for a time that a store cannot hold."""
        self.first_s, self.last_s = min(self.first_s, int(time_s.min())), max(self.last_s, int(time_s.max()))
        if not 0 <= self.first_s <= self.last_s < 1 << 32:
            raise ValueError(f"a store holds times from 1970 to 2106, got {self.first_s} .. {self.last_s} unix seconds")
        self._least_offset = min(self._least_offset, int(run.utc_offset_min.min()))
        self._largest_offset = max(self._largest_offset, int(run.utc_offset_min.max()))
        first_user = int(run.user[0])
        self.of_user.add(run.user - first_user, first_user)
        self.of_event.add(run.event)
        self.of_location.add(run.location + 1)

    def write_ids(self, name: str, of: str, ids: npt.NDArray[np.int64], num_names: int) -> None:
        """A column of ids[position], as narrow as its names allow; position -1 takes the last of `ids`.

        of  "event" or "location": the positions.
        """
        dtype = narrow_type(name, num_names)
        narrow = ids.astype(dtype)
        with column_writer(self._folder / f"{name}.npy", dtype) as append:
            for piece in pieces(self._positions[of]):
                append(narrow[piece])

    def drop_constant_offset(self) -> dict[str, int]:
        """{"utc_offset_min": the offset of all rows}, and no column for it; {} if rows differ."""
        if self._least_offset != self._largest_offset:
            return {}
        (self._folder / "utc_offset_min.npy").unlink()
        return {"utc_offset_min": self._least_offset}

    def finish(self) -> None:
        """Write the fractions of a second, if there are any, and remove the positions."""
        if self.has_fractions:
            with column_writer(self._folder / FRACTIONS, np.uint16 if self._are_millis else np.uint32) as append:
                for piece in pieces(self._positions["fraction"]):
                    append(piece // 1000 if self._are_millis else piece)
        for path in self._positions.values():
            path.unlink()


class _Counts:
    """Counts of the positions in a list that may grow."""

    def __init__(self) -> None:
        self.counts = np.zeros(0, np.int64)

    def add(self, positions: npt.NDArray[np.integer], first: int = 0) -> None:
        """Count positions - first."""
        found = np.bincount(positions)
        stop = first + len(found)
        if stop > len(self.counts):
            self.counts = np.concatenate(
                [self.counts, np.zeros(max(stop, 2 * len(self.counts)) - len(self.counts), int)]
            )
        self.counts[first:stop] += found

    def of(self, num: int) -> npt.NDArray[np.int64]:
        """Counts of all `num` positions."""
        return np.concatenate([self.counts[:num], np.zeros(max(0, num - len(self.counts)), np.int64)])


def foreign_to_store(folder: Path) -> set[str]:
    """The names in a folder that are no files of an event store, whatever its version."""
    try:
        statistics = read_json(folder / "statistics.json")
    except (OSError, ValueError):
        return names_in(folder)
    return names_in(folder) - (STORE_FILES if "format_version" in statistics else set())


def write_statistics(folder: Path, statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a store: add version, fingerprint and hashes, write statistics.json, return it."""
    hashed = sorted((STORE_FILES - {"statistics.json", "rejected.jsonl"}) & names_in(folder))
    computed = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint(folder, statistics),
        "sha256": {name: file_digest(folder / name) for name in hashed},
    }
    complete = computed | dict(statistics) | computed
    write_json(folder / "statistics.json", complete, indent=1, seal=True)
    return complete


def _without_duplicates(rows: Iterable[SortedRows], keep: bool) -> Iterator[tuple[SortedRows, int]]:
    """Runs without rows that equal an earlier one, and the number of dropped rows.

    No run ends between events of one user in one second.
    """
    waiting: SortedRows | None = None
    for run in rows:
        if not len(run.user):
            continue
        if waiting is not None:
            pairs = zip(vars(waiting).items(), vars(run).values(), strict=True)
            run = SortedRows(**{name: np.concatenate([head, tail]) for (name, head), tail in pairs})
        time_s = run.time_us // MICROSECONDS
        last = (run.user == run.user[-1]) & (time_s == time_s[-1])
        cut = len(last) - int(last.sum())
        waiting = taken(run, slice(cut, None))
        if cut:
            yield _first_of_equals(taken(run, slice(cut)), keep)
    if waiting is not None:
        yield _first_of_equals(waiting, keep)


def _first_of_equals(run: SortedRows, keep: bool) -> tuple[SortedRows, int]:
    """A run without the rows that equal an earlier one in all that a store, or a history of a device, keeps of it."""
    as_kept = replace(run, time_us=run.time_us // MICROSECONDS)
    tied = np.flatnonzero(is_tied(as_kept))
    if keep or not len(tied):
        return run, 0
    columns = [column[tied] for column in reversed(vars(as_kept).values())]
    order = np.lexsort([tied, *columns])
    equal = np.ones(len(tied) - 1, bool)
    for column in columns:
        equal &= column[order[1:]] == column[order[:-1]]
    dropped = tied[order[1:][equal]]
    kept = np.ones(len(run.user), bool)
    kept[dropped] = False
    return taken(run, kept), len(dropped)


def is_tied(run: SortedRows) -> npt.NDArray[np.bool_]:
    """(n,): another event of the run has the same user and time."""
    tied = np.zeros(len(run.user), bool)
    same = (run.user[1:] == run.user[:-1]) & (run.time_us[1:] == run.time_us[:-1])
    tied[1:] |= same
    tied[:-1] |= same
    return tied


def taken(run: SortedRows, which: Any) -> SortedRows:
    """Some rows of a run, by index or mask."""
    return SortedRows(**{name: column[which] for name, column in vars(run).items()})


def _vocabulary(
    events: Sequence[str],
    count_of_event: npt.NDArray[np.int64],
    locations: Sequence[str],
    count_of_location: npt.NDArray[np.int64],
    behavior_of_event: Mapping[str, str | None] | None,
    known: Vocabulary | None,
) -> Vocabulary:
    """Names known before, then those that occur, most frequent first and ties by name."""
    of_event = dict(zip(events, count_of_event.tolist(), strict=True))
    of_location = dict(zip(locations, count_of_location.tolist(), strict=True))
    event_names = _by_count(of_event, known.events[1:] if known else ())
    location_names = _by_count(of_location, known.locations[1:] if known else ())
    if behavior_of_event is None:
        return Vocabulary.identity(event_names, location_names)
    of_behavior: dict[str, int] = {}
    for event, count in of_event.items():
        behavior = behavior_of_event[event] if count else None
        if behavior is not None:
            of_behavior[behavior] = of_behavior.get(behavior, 0) + count
    behaviors = _by_count(of_behavior, known.behaviors[1:] if known else ())
    behavior_ids: dict[str | None, int] = {name: i for i, name in enumerate(behaviors, 1)}
    behavior_ids[None] = NO_BEHAVIOR
    return Vocabulary(
        events=(UNKNOWN_NAME, *event_names),
        locations=(UNKNOWN_NAME, *location_names),
        behaviors=(UNKNOWN_NAME, *behaviors),
        event_to_behavior=(UNKNOWN, *(behavior_ids[behavior_of_event[name]] for name in event_names)),
    )


def _by_count(counts: Mapping[str, int], known: Sequence[str]) -> list[str]:
    """Known names in their order, then the others that occur, most frequent first and ties by name."""
    old = set(known)
    new = (name for name, count in counts.items() if count and name not in old)
    return [*known, *sorted(new, key=lambda name: (-counts[name], name))]


def _named_counts(names: Sequence[str], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(names[1:], counts[1:].tolist(), strict=True))
