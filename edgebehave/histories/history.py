"""Where the events of all users live: what a `Predictor` asks of a history.

A history keeps names, not ids of a vocabulary: another bundle reads the same one. Per user it holds
the retained events in the order of time (those of the same second in the order in which they came)
and how many were observed; what a prediction is made from is a pure function of the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgebehave.moments import EARLIEST_S, LATEST_S, MAX_OFFSET_MIN, read_moment
from edgebehave.names import check_name

IntArray = npt.NDArray[np.int64]


class HistoryError(Exception):
    """A history that cannot be used: damaged, not a history, of a newer version, or in use.

    What was asked for did not happen, and nothing was changed; only where a `SqliteHistory` forgets
    may the forgetting have happened and its traces be left, and then the message says so.
    """


class HistoryBusyError(HistoryError):
    """Other processes kept the history to themselves for too long: try again."""


class Mark(NamedTuple):
    """How far the history of a user has come.

    changes     as long as it stays the same, only latest events were added. Grows with everything
                else: a late event, one that aged or was forgotten, another life after `forget`.
    num_events  events observed, retained or not, less those forgotten. The first one retained is
                number num_events - (events retained).
    """

    changes: int
    num_events: int


@dataclass(frozen=True)
class NamedColumn:
    """A column of names: row i is names[index[i]]; every name is used, None is "no location"."""

    names: list[str | None]
    index: IntArray

    @classmethod
    def of(cls, rows: list[str | None]) -> "NamedColumn":
        order: dict[str | None, int] = {}
        index = [order.setdefault(name, len(order)) for name in rows]
        return cls(list(order), np.array(index, np.int64))

    def rows(self) -> list[str | None]:
        return [self.names[i] for i in self.index.tolist()]


@dataclass(frozen=True)
class NamedEvents:
    """Consecutive events of a user, oldest first; times in seconds since 1970, (n,) int64."""

    event: NamedColumn
    location: NamedColumn
    time_s: IntArray
    utc_offset_min: IntArray

    def __len__(self) -> int:
        return len(self.time_s)

    def check(self) -> None:
        """Raise ValueError if times are out of order or values out of their range."""
        if (np.diff(self.time_s) < 0).any():
            raise ValueError("events are not in the order of time")
        if ((self.time_s < EARLIEST_S) | (self.time_s >= LATEST_S)).any():
            raise ValueError("an event lies outside 1990..2100")
        if (np.abs(self.utc_offset_min) > MAX_OFFSET_MIN).any():
            raise ValueError("an event has an impossible offset of local time")


class Match(NamedTuple):
    """Which events to forget: those that fit all of it, None fits all.

    first_s, last_s  seconds since 1970, both included.
    """

    event: str | None
    location: str | None
    first_s: int
    last_s: int

    @classmethod
    def of(
        cls,
        event: str | None,
        location: str | None,
        at: datetime | float | None,
        until: datetime | float | None,
    ) -> "Match":
        """From the arguments of `Predictor.forget_event`, checked."""
        if event is None and location is None and at is None and until is None:
            raise ValueError("forget_event needs an event, a location, at or until; see forget")
        if event is not None:
            check_name(event, "event")
        if location is not None:
            check_name(location, "location")
        first_s = EARLIEST_S if at is None else read_moment(at, None, 0).time_s
        last_s = LATEST_S if at is None else first_s
        if until is not None:
            last_s = read_moment(until, None, 0).time_s
        if last_s < first_s:
            raise ValueError(f"until lies {first_s - last_s} s before at")
        return cls(event, location, first_s, last_s)


class UserEvent(NamedTuple):
    """An event of a user, checked: names, UTC seconds, and minutes to add for local time."""

    user: str
    event: str
    location: str | None
    time_s: int
    utc_offset_min: int


class History(Protocol):
    """The events of any number of users. Every method may be called from any thread.

    Names and moments were checked by the caller. Methods raise HistoryError where the history
    cannot do its work, and then have changed nothing.

    An event goes to its place in time. A history retains the last `max_events` of a user and, of
    these, those younger than its `max_age` (see `Retention`); what it does not retain, or not any
    more, still counts. A user has at least one retained event, or is not known.
    """

    def keep(self, max_events: int) -> None:
        """Retain at least so many events per user from now on."""

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark:
        """Take an event in; once this returns, it is as safe as this history makes it."""

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark]:
        """`append` for each row in turn: all of them, or, where it raises, none."""

    def mark(self, user: str) -> Mark | None:
        """How far a user's history has come, None for a user not known. Cheap."""

    def latest(self, user: str, max_events: int) -> tuple[Mark, NamedEvents] | None:
        """The last events of a user, fewer if there are fewer, and the mark that they reach."""

    def last_offset_min(self, user: str) -> int:
        """Local time of a user's latest event, 0 for a user not known."""

    def users(self) -> list[str]:
        """All users known, in the order in which they became known."""

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        """Begin the history of a user not known yet with events that another history retained."""

    def forget(self, user: str) -> bool:
        """Erase all of a user. Returns whether there was anything."""

    def forget_events(self, user: str, match: Match) -> int:
        """Erase retained events, as if they had never been observed. Returns how many."""
