"""Events by name for tests of histories: to make, to append, and to read them."""

from typing import NamedTuple

from edgebehave import MemoryHistory, SqliteHistory
from edgebehave.histories.history import Mark

START_S = 1_767_268_800
KINDS = ("memory", "sqlite")


class Row(NamedTuple):
    event: str
    location: str | None
    time_s: int
    utc_offset_min: int


def make(kind: str, folder, **options):
    if kind == "memory":
        return MemoryHistory(**options)
    return SqliteHistory(folder / "history.db", survives_power_loss=False, **options)


def rows_of(history, user: str = "ada", max_events: int = 10**6) -> list[Row]:
    found = history.latest(user, max_events)
    if found is None:
        return []
    return [Row(*row) for row in found[1].rows()]


def tell(history, rows, user: str = "ada") -> list[Mark]:
    return [history.append(user, *row) for row in rows]


def rows_at(seconds) -> list[Row]:
    """An event per time, told apart by its number."""
    locations = [None, "home", "\ud800", "a\0b"]
    return [Row(f"event {i}", locations[i % 4], START_S + s, -60 * (i % 3)) for i, s in enumerate(seconds)]
