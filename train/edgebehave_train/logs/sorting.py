"""From good rows in the database to the columns of a store: names, behaviors, and the order of events."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from edgebehave.moments import MAX_OFFSET_MIN
from edgebehave_train.logs.reading.files import NUM_EXAMPLES, IngestError, quoted
from edgebehave_train.logs.store_writer import SortedRows, write_store

_SLICE_ROWS = 1 << 20
_NULL_WORDS = ("nan", "null", "none", "n/a", "na", "#n/a", "<na>", "nat", "nil", "undefined", r"\n")
_ORDERS = {
    "file": "row_id",
    "file, newest first": "row_id DESC",
    # Nothing but the row itself: the same in any order of the rows, and different at another time.
    "hash": "md5(concat_ws(chr(31), good.user_name, time_us, good.event_name, good.location_name, offset_min)), "
    "event_rank, location_rank, offset_min",
}
"""Orders of events of one user at one time, by SQL."""


def sort_and_write(
    con: duckdb.DuckDBPyConnection,
    columns: Mapping[str, str],
    judged: str,
    store: Path,
    say: Callable[[str], None],
    *,
    keep_duplicates: bool,
) -> dict[str, Any]:
    """Sort the good rows, write them as columns, and return the statistics of the store.

    columns          {role: column of the log}.
    judged           a query of rows with their `reason` and `row_id`, the position in the log.
    keep_duplicates  the times are too coarse to tell a repeated row from a second event.

    Events of a user at the same time stand in the order of the rows if the rows of every user stand in the order of
    time, from the oldest or from the newest; otherwise in the order of a hash.
    """
    sorting = _Sorting(con, columns, say)
    con.execute(f"CREATE VIEW good AS SELECT {sorting.whole_names()} FROM ({judged}) WHERE reason IS NULL")
    sorting.check_offsets()
    users = sorting.ranked_names("user", "sha256(name), name")
    events = sorting.ranked_names("event", "name")
    locations = sorting.ranked_names("location", "name")
    sorting.warn_of_null_words()
    behavior_of_event, conflicts = sorting.behaviors()
    order = sorting.sort()
    statistics = write_store(
        store,
        sorting.rows(),
        users=users,
        events=events,
        locations=locations,
        behavior_of_event=behavior_of_event,
        keep_duplicates=keep_duplicates,
    )
    if statistics["duplicates"]:
        say(f"dropped {statistics['duplicates']:,} exact duplicates")
    ties = statistics["tied_events"]
    return statistics | {"order_of_ties": order if ties else "none", "conflicts": conflicts}


class _Sorting:
    """The database with the good rows."""

    def __init__(self, con: duckdb.DuckDBPyConnection, columns: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.con, self.columns, self.say = con, columns, say
        self.whole: dict[str, Any] | None = None

    def whole_names(self) -> str:
        """Columns of the good rows. Where all names of a column are integers, 101.0 is 101.

        A table with an empty cell often holds its integers as floats.
        """
        roles = ("user", "event", "location", "behavior")
        dotted = ", ".join(f"coalesce(bool_or(ends_with({role}_name, '.0')), false)" for role in roles)
        found = self.con.execute(f"SELECT {dotted} FROM staged").fetchone() or ()
        replaced = []
        for role, has_dot in zip(roles, found, strict=True):
            if not has_dot:
                continue
            name = f"{role}_name"
            sql = f"SELECT bool_and(regexp_full_match({name}, '-?\\d+(\\.0+)?')) FROM staged WHERE {name} IS NOT NULL"
            (are_whole,) = self.con.execute(sql).fetchone() or (False,)
            if are_whole:
                replaced.append(f"regexp_replace({name}, '\\.0+$', '') AS {name}")
                self.say(f"column {self.columns.get(role, role)!r}: 1.0 is read as the name 1")
        return f"* REPLACE ({', '.join(replaced)})" if replaced else "*"

    def ranked_names(self, kind: str, order: str) -> list[str]:
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

    def check_offsets(self) -> None:
        if "utc_offset" not in self.columns:
            return
        (widest,) = self.con.execute("SELECT max(abs(offset_min)) FROM good").fetchone() or (0,)
        if 0 < widest <= MAX_OFFSET_MIN // 60:
            raise IngestError(
                f"column {self.columns['utc_offset']!r} never exceeds {widest}: it looks like hours, "
                "expected minutes to add for local time (-300 for New York in winter)"
            )

    def behaviors(self) -> tuple[dict[str, str | None] | None, dict[str, Any]]:
        """Behavior of each event by majority, ties by name, none last; and where rows disagree."""
        if "behavior" not in self.columns:
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

    def warn_of_null_words(self) -> None:
        """Say which names look like missing cells; they are kept."""
        words = ", ".join(map(quoted, _NULL_WORDS))
        for role in ("user", "event", "location"):
            sql = f"SELECT name FROM {role}_names WHERE lower(name) IN ({words}) ORDER BY name"
            names = [name for (name,) in self.con.execute(sql).fetchall()]
            if names:
                self.say(
                    f"warning: column {self.columns[role]!r} holds {', '.join(map(repr, names))}: "
                    f"kept as names; --null {names[0]} makes one missing"
                )

    def sort(self) -> str:
        """Make the table `sorted`; return the order of events at the same time, a key of _ORDERS."""
        self.con.execute("SET preserve_insertion_order = true")
        self._sort_by("file")
        order = self._order_of_rows()
        if order != "file":
            self._sort_by(order)
        return order

    def _sort_by(self, order: str) -> None:
        self.whole = None
        self.con.execute(
            f"""
            CREATE OR REPLACE TABLE sorted AS
            SELECT users.rank AS user_rank, time_us, events.rank AS event_rank,
                coalesce(locations.rank, -1) AS location_rank, offset_min, row_id
            FROM good JOIN user_names users ON good.user_name = users.name
                JOIN event_names events ON good.event_name = events.name
                LEFT JOIN location_names locations ON good.location_name = locations.name
            ORDER BY user_rank, time_us, {_ORDERS[order]}"""
        )

    def _order_of_rows(self) -> str:
        """How the rows of every user stand in the log, from rows sorted by user, time and row."""
        forward = backward = True
        has_ties = False
        before: tuple[int, int, int, int] | None = None  # user, time, first and last row of the last group
        for columns in self._slices():
            user, time_us, row = (np.asarray(columns[name]) for name in ("user_rank", "time_us", "row_id"))
            same_user = user[1:] == user[:-1]
            tied = same_user & (time_us[1:] == time_us[:-1])
            has_ties |= bool(tied.any())
            forward &= not bool((same_user & (row[1:] < row[:-1])).any())
            starts = np.flatnonzero(np.concatenate([[True], ~tied]))
            first, last = row[starts].copy(), row[np.append(starts[1:], len(row)) - 1]
            group_user = user[starts]
            if before is not None and before[0] == user[0]:
                forward &= before[3] < first[0]
                if before[1] == time_us[0]:
                    has_ties = True
                    first[0] = before[2]
                else:
                    backward &= bool(last[0] < before[2])
            backward &= not bool(((group_user[1:] == group_user[:-1]) & (last[1:] > first[:-1])).any())
            before = int(user[-1]), int(time_us[-1]), int(first[-1]), int(last[-1])
        if forward or not has_ties:
            return "file"
        return "file, newest first" if backward else "hash"

    def rows(self) -> Iterator[SortedRows]:
        """The sorted rows in runs."""
        for columns in self._slices():
            yield SortedRows(
                user=np.asarray(columns["user_rank"]),
                time_us=np.asarray(columns["time_us"]),
                utc_offset_min=np.asarray(columns["offset_min"]),
                event=np.asarray(columns["event_rank"]),
                location=np.asarray(columns["location_rank"]),
            )

    def _slices(self) -> Iterator[dict[str, Any]]:
        """The sorted table in runs; the only run of a small one is read once."""
        if self.whole is not None:
            yield self.whole
            return
        (num_rows,) = self.con.execute("SELECT count(*) FROM sorted").fetchone() or (0,)
        for start in range(0, num_rows, _SLICE_ROWS):
            sql = "SELECT * FROM sorted WHERE rowid >= ? AND rowid < ? ORDER BY rowid"
            run = self.con.execute(sql, [start, start + _SLICE_ROWS]).fetchnumpy()
            self.whole = run if num_rows <= _SLICE_ROWS else None
            yield run
