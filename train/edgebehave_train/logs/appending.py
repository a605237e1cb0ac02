"""A store and the store of new events as one: users merged in their order, old names with the ids that they had.

The old columns are read in pieces and written again in one pass, new events among them; nothing is parsed or sorted
again but what shares a piece with new events. The store that was there stays until the new one is whole.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.reading.files import IngestError
from edgebehave_train.logs.sorting import hashed_order, reordered, sorted_order
from edgebehave_train.logs.staging import user_key
from edgebehave_train.logs.store_writer import MICROSECONDS, SortedRows, is_tied, taken, write_store

_PIECE_EVENTS = 1 << 20
Integers = npt.NDArray[np.int64]


def append_store(
    con: Any, old: EventStore, added: EventStore, out: Path, on_line: Callable[[str], None], *, keep_duplicates: bool
) -> dict[str, Any]:
    """Write the events of two stores as one into an empty folder; returns its statistics.

    The values are those of one ingest of both logs, old files first; ids of old names stay, those of new names follow.
    An old event keeps its behavior whatever the new rows say. A store that was written before fractions of a second
    were kept cannot give them back: its events of one second stay before new ones, and in their order.
    Raises IngestError if one of them has a column of behaviors and the other none.
    """
    has_behaviors = ["behavior" in store.statistics.get("columns", {}) for store in (old, added)]
    if has_behaviors[0] != has_behaviors[1]:
        raise IngestError(
            f"{old.path} was made {'with' if has_behaviors[0] else 'without'} a column of behaviors, the new log is "
            f"read {'with' if has_behaviors[1] else 'without'} one; give the same columns"
        )
    merging = _Merging(con, old, added, keep_duplicates)
    behaviors = _behavior_of_event(added) | _behavior_of_event(old)
    changed = sum(behaviors[event] != behavior for event, behavior in _behavior_of_event(added).items())
    if changed:
        on_line(f"{changed:,} events have another behavior in the new log: the old one is kept")
    statistics = write_store(
        out,
        merging.runs(),
        users=merging.users,
        events=merging.events,
        locations=merging.locations,
        behavior_of_event=behaviors if has_behaviors[0] else None,
        keep_duplicates=True,
        known=old.vocabulary,
    )
    with (out / "rejected.jsonl").open("wb") as file:
        for store in (old, added):
            if (store.path / "rejected.jsonl").is_file():
                file.write((store.path / "rejected.jsonl").read_bytes())
    num_new = statistics["num_events"] - old.num_events
    on_line(
        f"appended {num_new:,} events to {old.num_events:,}; {merging.num_dropped:,} were there already; "
        f"{statistics['num_users'] - old.num_users:,} new users"
    )
    of = old.statistics, added.statistics
    rejected = [statistics_of.get("rejected", {}) for statistics_of in of]
    conflicts = [statistics_of.get("conflicts", {}) for statistics_of in of]
    return statistics | {
        "time_unit": added.statistics.get("time_unit"),
        "rejected": {name: sum(r.get(name, 0) for r in rejected) for name in rejected[0] | rejected[1]},
        "columns": added.statistics.get("columns", {}),
        "num_rows": sum(statistics_of.get("num_rows", 0) for statistics_of in of),
        "duplicates": sum(statistics_of.get("duplicates", 0) for statistics_of in of) + merging.num_dropped,
        "order_of_ties": merging.order if statistics["tied_events"] else "none",
        "rows_in_time_order": merging.forward,
        "rows_newest_first": merging.backward,
        "has_fractions": statistics["has_fractions"] or merging.lacks_fractions,
        "conflicts": {
            "events": max(c.get("events", 0) for c in conflicts),
            "rows": sum(c.get("rows", 0) for c in conflicts),
            "first": next((c["first"] for c in conflicts if c.get("first")), []),
        },
    }


def _behavior_of_event(store: EventStore) -> dict[str, str | None]:
    names = store.vocabulary
    return {
        event: None if behavior < 0 else names.behaviors[behavior]
        for event, behavior in zip(names.events[1:], names.event_to_behavior[1:], strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One of the two stores. rank: its users' positions among all; position: of its event and location names."""

    store: EventStore
    rank: Integers
    event: npt.NDArray[np.int32]
    location: npt.NDArray[np.int32]

    def span(self, first_rank: int, stop_rank: int) -> tuple[int, int]:
        """First and past-the-end row of some users, who are adjacent because both stores have one order of users."""
        first, stop = np.searchsorted(self.rank, [first_rank, stop_rank])
        return int(self.store.user_start[first]), int(self.store.user_start[stop])

    def rows(self, start: int, stop: int) -> SortedRows:
        """Its rows from start to stop."""
        rows, starts = slice(start, stop), self.store.user_start
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, stop))
        bounds: Integers = np.clip(starts[first : last + 1], start, stop)
        return SortedRows(
            user=np.repeat(self.rank[first:last], bounds[1:] - bounds[:-1]),
            time_us=self.times_us(rows),
            utc_offset_min=np.asarray(self.store.utc_offset_min[rows]),
            event=self.event[self.store.event[rows]],
            location=self.location[self.store.location[rows]],
        )

    def times_us(self, rows: Any) -> Integers:
        """Unix microseconds of some rows."""
        time_us = np.asarray(self.store.time_s[rows], np.int64) * MICROSECONDS
        fraction_us = self.store.fraction_us
        return time_us if fraction_us is None else time_us + fraction_us[rows]

    @property
    def order(self) -> str | None:
        """Order of its events at the same time."""
        order: str | None = self.store.statistics.get("order_of_ties")
        return order

    def has_order(self, fact: str, *orders: str | None) -> bool:
        """Whether the rows of its log were in an order; by the order of its ties, if an older version wrote it."""
        return bool(self.store.statistics.get(fact, self.order in orders))


class _Merging:
    """Both stores under common positions of users and names."""

    def __init__(self, con: Any, old: EventStore, added: EventStore, keep_duplicates: bool) -> None:
        self.con, self.keep_duplicates = con, keep_duplicates
        self.num_dropped = 0
        names_of = [store.users() for store in (old, added)]
        self.users = sorted({*names_of[0], *names_of[1]}, key=user_key)
        rank = {name: i for i, name in enumerate(self.users)}
        self.events = _all_names(old.vocabulary.events, added.vocabulary.events)
        self.locations = _all_names(old.vocabulary.locations, added.vocabulary.locations)
        self.parts = [
            _Part(
                store=store,
                rank=np.array([rank[name] for name in names], np.int64),
                event=_positions(self.events, store.vocabulary.events),
                location=_positions(self.locations, store.vocabulary.locations),
            )
            for store, names in zip((old, added), names_of, strict=True)
        ]
        self.lacks_fractions = any(
            store.statistics.get("has_fractions", True) and store.fraction_us is None for store in (old, added)
        )
        self.forward, self.backward = self._row_orders()
        self.order = "file" if self.forward else "file, newest first" if self.backward else "hash"

    def _row_orders(self) -> tuple[bool, bool]:
        """Whether the rows of every user, old then new, begin with the oldest, and with the newest."""
        old, new = self.parts
        _, of_old, of_new = np.intersect1d(old.rank, new.rank, assume_unique=True, return_indices=True)
        (old_first, old_last), (new_first, new_last) = (
            [part.times_us(ends[which]) for ends in (part.store.user_start[:-1], part.store.user_start[1:] - 1)]
            for part, which in ((old, of_old), (new, of_new))
        )
        forward = all(part.has_order("rows_in_time_order", None, "file", "none") for part in self.parts)
        backward = all(part.has_order("rows_newest_first", "file, newest first") for part in self.parts)
        return forward and bool((old_last <= new_first).all()), backward and bool((new_last <= old_first).all())

    def runs(self) -> Iterator[SortedRows]:
        for spans in self._pieces():
            old, new = (part.rows(*span) for part, span in zip(self.parts, spans, strict=True))
            is_settled = self.order != "hash" or self.parts[0].order in ("hash", "none")
            if len(new.user) or not is_settled:
                yield self._merged(old, new)
            else:
                yield self._in_order(old, self.parts[0])

    def _pieces(self) -> Iterator[list[tuple[int, int]]]:
        """The rows of both stores, some at a time: users, or seconds of a user with many events."""
        num_events = np.zeros(len(self.users), np.int64)
        for part in self.parts:
            num_events[part.rank] += np.diff(part.store.user_start)
        is_large = num_events > 2 * _PIECE_EVENTS
        piece = (np.cumsum(num_events) - 1) // _PIECE_EVENTS
        is_end = (np.diff(piece) > 0) | is_large[:-1] | is_large[1:]
        stops = [*(np.flatnonzero(is_end) + 1).tolist(), len(self.users)]
        for first, stop in zip([0, *stops], stops, strict=False):
            spans = [part.span(first, stop) for part in self.parts]
            if not is_large[first]:
                yield spans
                continue
            times = [part.store.time_s for part in self.parts]
            cuts = {
                int(time_s[row])
                for time_s, (start, end) in zip(times, spans, strict=True)
                for row in range(start + _PIECE_EVENTS, end, _PIECE_EVENTS)
            }
            starts = [start for start, _ in spans]
            for cut in sorted(cuts):
                ends = [bisect_left(t, cut, lo, end) for t, lo, (_, end) in zip(times, starts, spans, strict=True)]
                yield list(zip(starts, ends, strict=True))
                starts = ends
            yield [(start, end) for start, (_, end) in zip(starts, spans, strict=True)]

    def _in_order(self, run: SortedRows, part: _Part) -> SortedRows:
        """Rows of a part in the order of ties of both, if that is the order of the log from its end."""
        if self.order != "file, newest first" or part.order != "file":
            return run
        tied = np.flatnonzero(is_tied(run))
        return reordered(run, tied, tied[np.lexsort((-tied, run.time_us[tied], run.user[tied]))])

    def _merged(self, old: SortedRows, new: SortedRows) -> SortedRows:
        ordered = [self._in_order(run, part) for run, part in zip((old, new), self.parts, strict=True)]
        if self.order == "file, newest first":
            ordered.reverse()
        head, tail = ordered
        pairs = zip(vars(head).items(), vars(tail).values(), strict=True)
        run = SortedRows(**{name: np.concatenate([first, second]) for (name, first), second in pairs})
        is_second = np.arange(len(run.user)) >= len(head.user)
        order = sorted_order(run.user, run.time_us)
        if order is not None:
            run, is_second = taken(run, order), is_second[order]
        as_kept = replace(run, time_us=run.time_us // MICROSECONDS)
        same_second = np.flatnonzero(is_tied(as_kept))
        if len(same_second) and not self.keep_duplicates:
            dropped = _repeated(taken(as_kept, same_second), is_second[same_second])
            self.num_dropped += int(dropped.sum())
            kept = np.ones(len(run.user), bool)
            kept[same_second[dropped]] = False
            run = taken(run, kept)
        tied = np.flatnonzero(is_tied(run))
        if len(tied) and self.order == "hash" and not self.lacks_fractions:
            names = {"users": self.users, "events": self.events, "locations": self.locations}
            run = reordered(run, tied, hashed_order(self.con, run, tied, **names))
        return run


def _repeated(run: SortedRows, is_second: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(n,): rows to drop, as both parts have them. Of k equal rows in one part and m in the other, the first max(k, m)
    stay. A row equals another as one ingest sees it: in all columns, with time_us in whole seconds."""
    columns = list(vars(run).values())
    order = np.lexsort(list(reversed(columns)))  # stable: equal rows stay in the order of the log
    starts = np.ones(len(order), bool)
    starts[1:] = np.any([column[order][1:] != column[order][:-1] for column in columns], axis=0)
    first = np.flatnonzero(starts)
    group = np.cumsum(starts) - 1
    num_second = np.add.reduceat(is_second[order], first, dtype=np.int64)
    num_rows = np.diff(first, append=len(order))
    stay = np.maximum(num_second, num_rows - num_second)[group]
    repeated = np.zeros(len(order), bool)
    repeated[order] = np.arange(len(order)) - first[group] >= stay
    return repeated


def _all_names(old: Sequence[str], added: Sequence[str]) -> list[str]:
    """Names of two vocabularies without position 0, old ones first."""
    return list(dict.fromkeys([*old[1:], *added[1:]]))


def _positions(names: Sequence[str], of: Sequence[str]) -> npt.NDArray[np.int32]:
    """Position of each name of a vocabulary, -1 for its position 0."""
    position = {name: i for i, name in enumerate(names)}
    return np.array([-1, *(position[name] for name in of[1:])], np.int32)
