"""From staged rows to the columns of a store: judged, sorted and written, one group of buckets after the other."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edgebehave.moments import MAX_OFFSET_MIN
from edgebehave_train.files import read_json
from edgebehave_train.logs.in_order import in_order
from edgebehave_train.logs.reading.files import NUM_EXAMPLES, IngestError
from edgebehave_train.logs.staging import ROLES, Names, SplitRows, Staging, kinds_of_states, user_key
from edgebehave_train.logs.store_writer import MICROSECONDS, SortedRows, is_tied, taken, write_store

_GROUP_ROWS = 1 << 20
_SAMPLE = 1 << 17
"""Rows of a bucket that is too large, by which it is cut into ranges."""
_NULL_WORDS = frozenset(
    (
        "nan",
        "null",
        "none",
        "n/a",
        "na",
        "#n/a",
        "<na>",
        "nat",
        "nil",
        "undefined",
        r"\n",
        "-",
        "--",
        "?",
        ".",
        "''",
        '""',
        "(null)",
        "<null>",
        "[null]",
        "(none)",
        "<none>",
        "(blank)",
        "(empty)",
        "missing",
        "#ref!",
        "#value!",
        "#null!",
        "#name?",
        "#div/0!",
        "-nan",
        "1.#qnan",
        "inf",
        "-inf",
    ),
)
_SORT_BITS = 62

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """Which staged rows are good, and the times of those that change.

    is_good  (states,) whether rows of a state are good.
    changed  SQL of `time_us` and `offset_min` where they are not as staged.
    """

    is_good: npt.NDArray[np.bool_]
    changed: Mapping[str, str]


@dataclass
class RowOrder:
    """The order of the rows of all users in the log, as far as it was read.

    forward, backward  every user's rows from the oldest, from the newest.
    has_ties           some events of a user have the same time.
    """

    forward: bool = True
    backward: bool = True
    has_ties: bool = False

    def order(self) -> str:
        """Order of events at the same time: that of the rows, or of a hash if the order of the rows means nothing."""
        if self.forward or not self.has_ties:
            return "file"
        return "file, newest first" if self.backward else "hash"


def sort_and_write(
    con: duckdb.DuckDBPyConnection,
    columns: Mapping[str, str],
    staging: Staging,
    judgment: Judgment,
    store: Path,
    on_line: Callable[[str], None],
    *,
    keep_duplicates: bool,
) -> dict[str, Any]:
    """Sort the good rows, write them as columns, and return the statistics of the store.

    columns          {role: column of the log}.
    keep_duplicates  the times are too coarse to tell a repeated row from a second event.

    Events of a user at the same time keep the order of the rows if the rows of every user are in time order, from the
    oldest or from the newest; otherwise they get the order of a hash.
    """
    _read_whole_names(staging, columns, on_line)
    sorting = _Sorting(con, staging, judgment)
    order = "file"
    while True:
        try:
            statistics = write_store(
                store,
                sorting.runs(order),
                users=sorting.users,
                events=list(staging.names["event"]),
                locations=list(staging.names["location"]),
                behavior_of_event=(lambda: sorting.facts.behavior_of_event()) if "behavior" in columns else None,
                keep_duplicates=keep_duplicates,
            )
            break
        except _OtherOrderError as other:
            order = other.order
    facts = sorting.facts
    _check_offsets(facts.widest_offset, columns)
    _warn_of_null_words(staging, columns, store, on_line)
    conflicts = facts.conflicts(on_line) if "behavior" in columns else {"events": 0, "rows": 0, "first": []}
    if statistics["duplicates"]:
        on_line(f"dropped {statistics['duplicates']:,} exact duplicates")
    ties = statistics["tied_events"]
    return statistics | {
        "order_of_ties": order if ties else "none",
        "rows_in_time_order": sorting.row_order.forward,
        "rows_newest_first": sorting.row_order.backward,
        "conflicts": conflicts,
    }


class _OtherOrderError(Exception):
    """Events at the same time need another order than the one that is being written."""

    def __init__(self, order: str) -> None:
        super().__init__(order)
        self.order = order


@dataclass
class Facts:
    """Counts over all good rows.

    rows_of_pair  {(event, behavior): rows}, by code; a code of 0 is no behavior.
    """

    names: Mapping[str, Names]
    widest_offset: int = 0
    rows_of_pair: dict[tuple[int, int], int] = field(default_factory=dict)

    def behaviors_of_event(self) -> dict[str, dict[str | None, int]]:
        """{event: {behavior: rows}}, the behavior of most rows first, ties by name and none last."""
        events, behaviors = ([None, *self.names[role]] for role in ("event", "behavior"))
        counts: dict[str, list[tuple[int, bool, str, str | None]]] = {}
        for (event, behavior), rows in self.rows_of_pair.items():
            name = behaviors[behavior]
            counts.setdefault(str(events[event]), []).append((-rows, name is None, name or "", name))
        return {event: {name: -rows for rows, *_, name in sorted(counts[event])} for event in sorted(counts)}

    def behavior_of_event(self) -> dict[str, str | None]:
        return {event: next(iter(behaviors)) for event, behaviors in self.behaviors_of_event().items()}

    def conflicts(self, on_line: Callable[[str], None]) -> dict[str, Any]:
        """Events whose rows disagree about their behavior."""
        torn = {event: behaviors for event, behaviors in self.behaviors_of_event().items() if len(behaviors) > 1}
        first = list(torn.items())[:NUM_EXAMPLES]
        if torn:
            shown = "; ".join(
                f"{event!r}: " + ", ".join(f"{name!r} {n:,}" for name, n in behaviors.items())
                for event, behaviors in first
            )
            on_line(f"{len(torn):,} events have more than one behavior, majority kept: {shown}")
        return {
            "events": len(torn),
            "rows": sum(sum(list(behaviors.values())[1:]) for behaviors in torn.values()),
            "first": [
                {"event": event, "rows_of_behavior": [[name, n] for name, n in behaviors.items()]}
                for event, behaviors in first
            ],
        }


@dataclass(frozen=True, kw_only=True)
class _Edge:
    """Where a group begins or ends: a user, the first row there, and that of the ties at the other end of them."""

    user: int
    row: int
    other_row: int


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The good rows of a group of buckets, or of a part of one, sorted."""

    run: SortedRows
    row_order: RowOrder
    edges: tuple[_Edge, _Edge] | None
    widest_offset: int
    rows_of_pair: dict[tuple[int, int], int]


_Rows = Callable[[], npt.NDArray[np.void]]
"""Reads the good rows of a group with their final times."""


class _Sorting:
    """The groups of a log, one pass over them per order that is tried."""

    def __init__(self, con: duckdb.DuckDBPyConnection, staging: Staging, judgment: Judgment) -> None:
        self.con, self.staging, self.judgment = con, staging, judgment
        names = list(staging.names["user"])
        keys = [user_key(name) for name in names]
        order = sorted(range(len(names)), key=keys.__getitem__)
        self.users = [names[i] for i in order]
        self.rank = np.full(len(names) + 1, -1, np.int64)
        self.rank[np.array(order, np.int64) + 1] = np.arange(len(names))
        self.kinds = kinds_of_states()
        self.split: dict[range, SplitRows] = {}

    def runs(self, order: str) -> Iterator[SortedRows]:
        """The sorted rows. Raises _OtherOrderError as soon as the log turns out to need another order."""
        self.row_order, self.facts, self.order = RowOrder(), Facts(self.staging.names), order
        before: _Edge | None = None
        for group in in_order(self._sorted, self._groups(), self.staging.workers):
            found, facts = self.row_order, self.facts
            found.forward &= group.row_order.forward
            found.backward &= group.row_order.backward
            found.has_ties |= group.row_order.has_ties
            if group.edges is not None:
                first, last = group.edges
                if before is not None and before.user == first.user:
                    found.forward &= before.row < first.row
                    found.backward &= first.other_row < before.other_row
                before = last
            if order != "hash" and found.order() == "hash":
                raise _OtherOrderError("hash")
            facts.widest_offset = max(facts.widest_offset, group.widest_offset)
            for pair, rows in group.rows_of_pair.items():
                facts.rows_of_pair[pair] = facts.rows_of_pair.get(pair, 0) + rows
            yield group.run
        if order != "hash" and self.row_order.order() != order:
            raise _OtherOrderError(self.row_order.order())

    def _groups(self) -> Iterator[_Rows]:
        for buckets, num_rows in self.staging.groups(_GROUP_ROWS):
            if num_rows <= _GROUP_ROWS:
                yield partial(self._read_good, buckets)
                continue
            split = self.split.get(buckets) or self.split.setdefault(buckets, self._split(buckets, num_rows))
            for number in range(len(split.spans)):
                yield partial(split.read, number)

    def _read_good(self, buckets: range) -> npt.NDArray[np.void]:
        return self._good(self.staging.read(buckets))

    def _good(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The good ones of some rows, with their final times and offsets; those given may be changed."""
        is_good = self.judgment.is_good[rows["state"]]
        if not is_good.all():
            rows = rows[is_good]
        self._settle_times(rows)
        return rows

    def _split(self, buckets: range, num_rows: int) -> SplitRows:
        """The good rows of a bucket that is too large, by user and second."""

        def key(rows: npt.NDArray[np.void]) -> Integers:
            return (self.rank[rows["user"]] << 32) | (rows["time_us"] // MICROSECONDS)

        step = max(1, num_rows // _SAMPLE)
        sample = [key(self._good(part[::step])) for part in self.staging.parts(buckets)]
        keys = np.sort(np.concatenate(sample))
        num_ranges = -(-2 * num_rows // _GROUP_ROWS)
        cuts = keys[np.arange(1, num_ranges) * len(keys) // num_ranges] if len(keys) else keys
        path = self.staging.path.with_name(f"split{buckets.start}.bin")
        split = SplitRows(path, np.unique(cuts))
        for part in self.staging.parts(buckets):
            rows = self._good(part)
            split.add(rows, key(rows))
        return split

    def _sorted(self, read: _Rows) -> _Group:
        rows = read()
        names = self.staging.names
        pairs = rows_of_pairs(rows["event"], rows["behavior"], len(names["event"]), len(names["behavior"]))
        user, time_us = self.rank[rows["user"]], rows["time_us"].copy()
        order = sorted_order(user, time_us)
        row = rows["row"] if order is None else rows["row"][order]
        run = SortedRows(
            user=user,
            time_us=time_us,
            utc_offset_min=rows["utc_offset_min"].copy(),
            event=rows["event"].astype(np.int32) - np.int32(1),
            location=rows["location"].astype(np.int32) - np.int32(1),
        )
        run = run if order is None else taken(run, order)
        row_order = _row_order(run, row)
        edges = _edges(run, row)
        widest = int(np.abs(run.utc_offset_min).max(initial=0))
        if row_order.has_ties and self.order != "file":
            run = self._reordered(run, row)
        return _Group(run=run, row_order=row_order, edges=edges, widest_offset=widest, rows_of_pair=pairs)

    def _settle_times(self, rows: npt.NDArray[np.void]) -> None:
        """Change times and offsets of good rows as the judgment says."""
        changed = self.judgment.changed
        if not changed or not len(rows):
            return
        state, number = np.unique(rows["state"], return_inverse=True)
        kinds = pa.array([self.kinds[i] for i in state], pa.string())
        table = pa.table(
            {
                "time_us": rows["time_us"].copy(),
                "offset_min": rows["utc_offset_min"].copy(),
                "time_kind": pa.DictionaryArray.from_arrays(number.astype(np.int32), kinds),
            }
        )
        with self.staging.lock:
            con = self.con.cursor()
        with con:
            con.register("good", table)
            sql = ", ".join(f"({changed.get(name, name)}) AS {name}" for name in ("time_us", "offset_min"))
            found = con.execute(f"SELECT {sql} FROM good").fetchnumpy()
        rows["time_us"], rows["utc_offset_min"] = found["time_us"], found["offset_min"]

    def _reordered(self, run: SortedRows, row: Integers) -> SortedRows:
        """The rows with those at the same time in another order than that of the log."""
        tied = np.flatnonzero(is_tied(run))
        if self.order == "file, newest first":
            order = tied[np.lexsort((-row[tied], run.time_us[tied], run.user[tied]))]
        else:
            names = self.staging.names
            with self.staging.lock:
                con = self.con.cursor()
            with con:
                order = hashed_order(
                    con, run, tied, users=self.users, events=list(names["event"]), locations=list(names["location"])
                )
        return reordered(run, tied, order)


def rows_of_pairs(
    event: npt.NDArray[np.uint32], behavior: npt.NDArray[np.uint32], num_events: int, num_behaviors: int
) -> dict[tuple[int, int], int]:
    """{(event, behavior): rows} by code; empty where no row has a behavior."""
    if num_behaviors == 0:
        return {}
    pair = event.astype(np.int64) * (num_behaviors + 1) + behavior
    if (num_behaviors + 1) * num_events < len(pair):
        counts = np.bincount(pair)
        present = np.flatnonzero(counts)
        counts = counts[present]
    else:
        present, counts = np.unique(pair, return_counts=True)
    events, behaviors = np.divmod(present, num_behaviors + 1)
    return dict(zip(zip(events.tolist(), behaviors.tolist(), strict=True), counts.tolist(), strict=True))


def sorted_order(user: npt.NDArray[np.integer], time_us: npt.NDArray[np.integer]) -> Integers | None:
    """Stable order by user, then time; None if the rows stand in it."""
    if not len(user) or not np.any((user[1:] < user[:-1]) | ((user[1:] == user[:-1]) & (time_us[1:] < time_us[:-1]))):
        return None
    user, time = (np.asarray(column - column.min(), np.int64) for column in (user, time_us))
    if not (time % MICROSECONDS).any():
        time //= MICROSECONDS
    time_bits, row_bits = int(time.max()).bit_length(), len(user).bit_length()
    key_bits = int(user.max()).bit_length() + time_bits
    if key_bits > _SORT_BITS:
        return np.lexsort((time, user))
    key = (user << time_bits) | time
    if key_bits + row_bits > _SORT_BITS:
        return np.argsort(key, kind="stable")
    key = (key << row_bits) | np.arange(len(user))  # numpy sorts numbers much faster than it orders them
    key.sort()
    return key & ((1 << row_bits) - 1)


def hashed_order(
    con: duckdb.DuckDBPyConnection,
    run: SortedRows,
    tied: Integers,
    *,
    users: Sequence[str],
    events: Sequence[str],
    locations: Sequence[str],
) -> Integers:
    """The rows `tied` by user, time and a hash of nothing but the row: the same in any order of the rows, and different
    at another time."""

    def named(positions: npt.NDArray[Any], names: Sequence[str]) -> pa.DictionaryArray:
        present, number = np.unique(positions, return_inverse=True)
        texts = pa.array([names[i] if i >= 0 else None for i in present.tolist()], pa.string())
        return pa.DictionaryArray.from_arrays(number.astype(np.int32), texts).cast(pa.string())

    table = pa.table(
        {
            "position": tied,
            "user_rank": run.user[tied],
            "user_name": named(run.user[tied], users),
            "time_us": run.time_us[tied],
            "event_name": named(run.event[tied], events),
            "location_name": named(run.location[tied], locations),
            "offset_min": run.utc_offset_min[tied].astype(np.int16),
        }
    )
    con.register("tied", table)
    found = con.execute(
        "SELECT position FROM tied ORDER BY user_rank, time_us, "
        "md5(concat_ws(chr(31), user_name, time_us, event_name, location_name, offset_min)), "
        "event_name, location_name NULLS FIRST, offset_min"
    ).fetchnumpy()
    return np.asarray(found["position"], np.int64)


def reordered(run: SortedRows, tied: Integers, order: Integers) -> SortedRows:
    """A run with the rows `order` at the places `tied`."""
    whole = np.arange(len(run.user))
    whole[tied] = order
    return taken(run, whole)


def _row_order(run: SortedRows, row: Integers) -> RowOrder:
    """The order in the log of rows that are sorted by user, time and row; they are all rows of their users."""
    if not len(row):
        return RowOrder()
    same_user = run.user[1:] == run.user[:-1]
    tied = same_user & (run.time_us[1:] == run.time_us[:-1])
    starts = np.flatnonzero(np.append(True, ~tied))
    first, last = row[starts], row[np.append(starts[1:], len(row)) - 1]
    user = run.user[starts]
    return RowOrder(
        forward=not bool((same_user & (row[1:] < row[:-1])).any()),
        backward=not bool(((user[1:] == user[:-1]) & (last[1:] > first[:-1])).any()),
        has_ties=bool(tied.any()),
    )


def _edges(run: SortedRows, row: Integers) -> tuple[_Edge, _Edge] | None:
    """First and last rows of a group, and the last of the first ties and the first of the last ties."""
    if not len(row):
        return None
    is_first = (run.user == run.user[0]) & (run.time_us == run.time_us[0])
    is_last = (run.user == run.user[-1]) & (run.time_us == run.time_us[-1])
    first = _Edge(user=int(run.user[0]), row=int(row[0]), other_row=int(row[is_first][-1]))
    last = _Edge(user=int(run.user[-1]), row=int(row[-1]), other_row=int(row[is_last][0]))
    return first, last


def _read_whole_names(staging: Staging, columns: Mapping[str, str], on_line: Callable[[str], None]) -> None:
    """Read 101.0 as 101 if all names of a column are whole numbers: a table with an empty cell often holds floats."""
    renamed = {}
    for role in ROLES:
        dotted = any(re.search(r"[.,]0+$", name) for name in staging.names[role])
        if dotted and all(re.fullmatch(r"-?[0-9]+([.,]0+)?", name) for name in staging.names[role]):
            pattern = re.compile(r"[.,]0+$")
            renamed[role] = {name: pattern.sub("", name) for name in staging.names[role] if pattern.search(name)}
            on_line(f"column {columns.get(role, role)!r}: 1.0 is read as the name 1")
    if renamed:
        staging.rename(renamed)


def _check_offsets(widest: int, columns: Mapping[str, str]) -> None:
    if "utc_offset" in columns and 0 < widest <= MAX_OFFSET_MIN // 60:
        raise IngestError(
            f"column {columns['utc_offset']!r} never exceeds {widest}: it looks like hours, "
            "expected minutes to add for local time (-300 for New York in winter)"
        )


def _warn_of_null_words(
    staging: Staging, columns: Mapping[str, str], store: Path, on_line: Callable[[str], None]
) -> None:
    """Warn of names that look like missing cells; they are kept."""
    for role in ("user", "event", "location"):
        found = {name for name in staging.names[role] if name.lower() in _NULL_WORDS}
        if not found:
            continue
        kept = read_json(store / "users.json", list) if role == "user" else None
        names = sorted(found.intersection(kept or read_json(store / "vocabulary.json")[f"{role}s"]))
        if names:
            on_line(
                f"warning: column {columns[role]!r} holds {', '.join(map(repr, names))}: "
                f"kept as names; --null {names[0]} makes one missing"
            )
