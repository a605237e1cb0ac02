"""Writing of an event store from sorted rows, in one pass and little memory.

Rows name their event and location by rank, the position among all names in alphabetical order. Ids by frequency are
known only at the end, when the two columns are rewritten in place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, UNKNOWN_NAME, Vocabulary
from edgebehave_train.files import file_digest, names_in, read_json, write_json
from edgebehave_train.logs.event_store import (
    COLUMNS,
    FORMAT_VERSION,
    HASHED_FILES,
    HEADER_BYTES,
    fingerprint,
    pieces,
)

STORE_FILES = frozenset(
    {f"{name}.npy" for name in COLUMNS}
    | {"user_start.npy", "users.json", "vocabulary.json", "statistics.json", "rejected.jsonl"}
)
"""Every file that a store may hold."""

MICROSECONDS = 1_000_000
_QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "max": 1}


@dataclass(frozen=True, kw_only=True)
class SortedRows:
    """A run of rows in the order of user, time, and the order of events at one time; arrays of shape (n,).

    user            position in the list of users.
    time_us         UTC microseconds; the store keeps whole seconds, the order all of them.
    utc_offset_min  minutes.
    event           rank of its name, from 0.
    location        rank of its name, from 0; -1 = no location.
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
    behavior_of_event: Mapping[str, str | None] | None,
    keep_duplicates: bool = False,
) -> dict[str, Any]:
    """Write the columns, names and vocabulary of a store; drop exact duplicates.

    folder             exists and is empty.
    users              names in store order; each has a row.
    events, locations  names in the order of their ranks, sorted.
    behavior_of_event  None: each event is a behavior of its own.
    keep_duplicates    the times are too coarse to tell a repeated row from a second event.
    Returns            the statistics that follow from the rows, for `write_statistics`.
    """
    num_events_of_user = np.zeros(len(users), np.int64)
    count_of_event = np.zeros(len(events), np.int64)
    count_of_location = np.zeros(len(locations) + 1, np.int64)
    num_duplicates = num_tied = 0
    first_s, last_s = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    with (
        column_writer(folder / "time_s.npy", np.int64) as append_time,
        column_writer(folder / "utc_offset_min.npy", np.int16) as append_offset,
        column_writer(folder / "event.npy", np.int32) as append_event,
        column_writer(folder / "location.npy", np.int32) as append_location,
    ):
        for run, num_dropped in _without_duplicates(rows, keep_duplicates):
            num_duplicates += num_dropped
            num_tied += int(_is_tied(run).sum())
            time_s = run.time_us // MICROSECONDS
            append_time(time_s)
            append_offset(run.utc_offset_min)
            append_event(run.event)
            append_location(run.location + 1)
            present, counts = np.unique(run.user, return_counts=True)
            num_events_of_user[present] += counts
            count_of_event += np.bincount(run.event, minlength=len(events))
            count_of_location += np.bincount(run.location + 1, minlength=len(locations) + 1)
            first_s, last_s = min(first_s, int(time_s.min())), max(last_s, int(time_s.max()))
    user_start = np.concatenate([[0], np.cumsum(num_events_of_user)])
    np.save(folder / "user_start.npy", user_start)
    write_json(folder / "users.json", list(users), indent=1)

    vocabulary, event_ids = _vocabulary(events, count_of_event, locations, count_of_location[1:], behavior_of_event)
    location_ids = np.concatenate([[UNKNOWN], 1 + _position_by_count(count_of_location[1:])])
    vocabulary.save(folder / "vocabulary.json")
    behavior_of_id = np.array(vocabulary.event_to_behavior, np.int32)
    _rewrite(folder / "location.npy", location_ids)
    _rewrite(folder / "event.npy", event_ids)
    with column_writer(folder / "behavior.npy", np.int32) as append_behavior:
        for piece in pieces(folder / "event.npy"):
            append_behavior(behavior_of_id[piece])

    count_of_event_id = np.zeros(vocabulary.num_events, np.int64)
    count_of_event_id[event_ids] = count_of_event
    count_of_behavior = np.zeros(vocabulary.num_behaviors, np.int64)
    has_behavior = behavior_of_id >= 0
    np.add.at(count_of_behavior, behavior_of_id[has_behavior], count_of_event_id[has_behavior])
    quantiles = np.quantile(num_events_of_user, list(_QUANTILES.values()), method="inverted_cdf").astype(int)
    return {
        "num_events": int(user_start[-1]),
        "num_users": len(users),
        "num_event_names": vocabulary.num_events - 1,
        "num_location_names": vocabulary.num_locations - 1,
        "num_behavior_names": vocabulary.num_behaviors - 1,
        "num_without_location": int(count_of_location[0]),
        "num_without_behavior": int(count_of_event_id[~has_behavior].sum()),
        "first_time_s": int(first_s),
        "last_time_s": int(last_s),
        "duplicates": num_duplicates,
        "tied_events": num_tied,
        "events_per_user": dict(zip(_QUANTILES, quantiles.tolist(), strict=True)),
        "behavior_counts": _named_counts(vocabulary.behaviors, count_of_behavior),
        "event_counts": _named_counts(vocabulary.events, count_of_event_id),
    }


def foreign_to_store(folder: Path) -> set[str]:
    """The names in a folder that are no files of an event store, whatever its version."""
    try:
        statistics = read_json(folder / "statistics.json")
    except (OSError, ValueError):
        return names_in(folder)
    return names_in(folder) - (STORE_FILES if "format_version" in statistics else set())


def write_statistics(folder: Path, statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a store: add version, fingerprint and hashes, write statistics.json, return it."""
    complete = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint(folder),
        "sha256": {name: file_digest(folder / name) for name in HASHED_FILES},
        **statistics,
    }
    write_json(folder / "statistics.json", complete, indent=1, seal=True)
    return complete


def _without_duplicates(rows: Iterable[SortedRows], keep: bool) -> Iterator[tuple[SortedRows, int]]:
    """Runs without rows that equal an earlier one, and the number of dropped rows.

    No run ends between events of one user at one time.
    """
    waiting: SortedRows | None = None
    for run in rows:
        if not len(run.user):
            continue
        if waiting is not None:
            pairs = zip(vars(waiting).items(), vars(run).values(), strict=True)
            run = SortedRows(**{name: np.concatenate([head, tail]) for (name, head), tail in pairs})
        last = (run.user == run.user[-1]) & (run.time_us == run.time_us[-1])
        cut = len(last) - int(last.sum())
        waiting = _taken(run, slice(cut, None))
        if cut:
            yield _first_of_equals(_taken(run, slice(cut)), keep)
    if waiting is not None:
        yield _first_of_equals(waiting, keep)


def _first_of_equals(run: SortedRows, keep: bool) -> tuple[SortedRows, int]:
    tied = np.flatnonzero(_is_tied(run))
    if keep or not len(tied):
        return run, 0
    columns = [column[tied] for column in reversed(vars(run).values())]
    order = np.lexsort([tied, *columns])
    equal = np.ones(len(tied) - 1, bool)
    for column in columns:
        equal &= column[order[1:]] == column[order[:-1]]
    dropped = tied[order[1:][equal]]
    kept = np.ones(len(run.user), bool)
    kept[dropped] = False
    return _taken(run, kept), len(dropped)


def _is_tied(run: SortedRows) -> npt.NDArray[np.bool_]:
    """(n,): another event of the run has the same user and time."""
    tied = np.zeros(len(run.user), bool)
    same = (run.user[1:] == run.user[:-1]) & (run.time_us[1:] == run.time_us[:-1])
    tied[1:] |= same
    tied[:-1] |= same
    return tied


def _taken(run: SortedRows, which: Any) -> SortedRows:
    return SortedRows(**{name: column[which] for name, column in vars(run).items()})


def _vocabulary(
    events: Sequence[str],
    count_of_event: npt.NDArray[np.int64],
    locations: Sequence[str],
    count_of_location: npt.NDArray[np.int64],
    behavior_of_event: Mapping[str, str | None] | None,
) -> tuple[Vocabulary, npt.NDArray[np.int64]]:
    """Vocabulary with the most frequent names first, and the id of each event rank."""
    event_ids = 1 + _position_by_count(count_of_event)
    event_names = _by_count(events, count_of_event)
    location_names = _by_count(locations, count_of_location)
    if behavior_of_event is None:
        return Vocabulary.identity(event_names, location_names), event_ids
    count_of_behavior: dict[str, int] = {}
    for event, count in zip(events, count_of_event.tolist(), strict=True):
        behavior = behavior_of_event[event]
        if behavior is not None:
            count_of_behavior[behavior] = count_of_behavior.get(behavior, 0) + count
    behaviors = sorted(count_of_behavior, key=lambda name: (-count_of_behavior[name], name))
    behavior_ids: dict[str | None, int] = {name: i for i, name in enumerate(behaviors, 1)}
    behavior_ids[None] = NO_BEHAVIOR
    vocabulary = Vocabulary(
        events=(UNKNOWN_NAME, *event_names),
        locations=(UNKNOWN_NAME, *location_names),
        behaviors=(UNKNOWN_NAME, *behaviors),
        event_to_behavior=(UNKNOWN, *(behavior_ids[behavior_of_event[name]] for name in event_names)),
    )
    return vocabulary, event_ids


def _by_count(names: Sequence[str], counts: npt.NDArray[np.int64]) -> list[str]:
    """Sorted names, most frequent first, ties by name."""
    return [names[rank] for rank in np.argsort(-counts, kind="stable")]


def _position_by_count(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The position of each rank in `_by_count`."""
    positions = np.empty(len(counts), np.int64)
    positions[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return positions


def _rewrite(path: Path, ids: npt.NDArray[np.int64]) -> None:
    """Replace every value of an int32 column by ids[value]."""
    with path.open("r+b") as file:
        position = HEADER_BYTES
        for piece in pieces(path):
            file.seek(position)
            position += file.write(ids[piece].astype(np.int32).data)


def _named_counts(names: Sequence[str], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(names[1:], counts[1:].tolist(), strict=True))
