"""The `History` protocol, which stores the events of all users by name, and the values that it takes and gives.

A history holds names, not ids of a vocabulary, so any bundle reads any history. For each user it holds
the retained events in order of time (events of the same second in order of arrival) and the number of
events observed. A prediction is a pure function of these two.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgebehave.arguments import check_name
from edgebehave.moments import EARLIEST_S, LATEST_S, MAX_OFFSET_MIN, read_moment

IntArray = npt.NDArray[np.int64]


class HistoryError(Exception):
    """A history cannot be used: it is damaged, is not a history, has a newer version, or is in use.

    The call did nothing and changed nothing. One exception: a `SqliteHistory` may have forgotten events
    but could not erase their traces from the file; then the message says so.
    """


class HistoryBusyError(HistoryError):
    """Other processes kept the history locked for too long: try again."""


class DamagedHistoryError(HistoryError):
    """Bytes of a history have changed on the disk. The users who are not named can be used as before.

    `forget` ends the damaged history of a user; `edgebehave.rescue_history` copies everyone else into a new file.

    users  those who are affected, as far as their names can be read.
    """

    def __init__(self, message: str, users: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.users = tuple(users)


class Mark(NamedTuple):
    """The version of one user's history: two equal marks mean equal histories.

    changes     stays the same while events are only added at the end. It grows with every other change: a
                late event, an event that aged or was forgotten, a new start after `forget`.
    num_events  events observed, retained or not, without those forgotten. The first retained event has
                number num_events - (events retained).
    """

    changes: int
    num_events: int


@dataclass(frozen=True)
class NamedColumn:
    """A column of names: row i is names[index[i]]. Each name is used at least once; None is "no location"."""

    names: list[str | None]
    index: IntArray

    @classmethod
    def of(cls, rows: Iterable[str | None]) -> "NamedColumn":
        order: dict[str | None, int] = {}
        index = [order.setdefault(name, len(order)) for name in rows]
        return cls(list(order), np.array(index, np.int64))

    def rows(self) -> list[str | None]:
        return [self.names[i] for i in self.index.tolist()]


@dataclass(frozen=True)
class NamedEvents:
    """Consecutive events of one user by name, oldest first, as columns: a value that a history gives out.

    time_s          (n,) int64 UTC seconds since 1970.
    utc_offset_min  (n,) int64 minutes to add for local time.
    """

    event: NamedColumn
    location: NamedColumn
    time_s: IntArray
    utc_offset_min: IntArray

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str | None, int, int]]) -> "NamedEvents":
        """Events from rows of (event, location, time_s, utc_offset_min), at least one.

        Raises ValueError if times are out of order or values out of their range.
        """
        event, location, time_s, utc_offset_min = zip(*rows, strict=True)
        events = cls(
            NamedColumn.of(event),
            NamedColumn.of(location),
            np.array(time_s, np.int64),
            np.array(utc_offset_min, np.int64),
        )
        if (np.diff(events.time_s) < 0).any():
            raise ValueError("events are not in the order of time")
        if events.time_s[0] < EARLIEST_S or events.time_s[-1] >= LATEST_S:
            raise ValueError("an event lies outside 1990..2100")
        if (np.abs(events.utc_offset_min) > MAX_OFFSET_MIN).any():
            raise ValueError("an event has an impossible offset of local time")
        return events

    def rows(self) -> Iterator[tuple[str, str | None, int, int]]:
        """The events one by one, as `of` takes them."""
        columns = self.event.rows(), self.location.rows(), self.time_s.tolist(), self.utc_offset_min.tolist()
        for event, location, time_s, utc_offset_min in zip(*columns, strict=True):
            assert event is not None
            yield event, location, time_s, utc_offset_min

    def __len__(self) -> int:
        return len(self.time_s)


class Match(NamedTuple):
    """A condition on the events to forget: an event must fit every field, and None fits all.

    first_s, last_s  seconds since 1970, both included.
    """

    event: str | None
    location: str | None
    first_s: int
    last_s: int

    @classmethod
    def of(
        cls, event: str | None, location: str | None, at: datetime | float | None, until: datetime | float | None
    ) -> "Match":
        """From the arguments of `Predictor.forget_event`, checked."""
        if event is None and location is None and at is None and until is None:
            raise ValueError("forget_event needs an event, a location, at or until; see forget")
        if event is not None:
            event = check_name(event, "event")
        if location is not None:
            location = check_name(location, "location")
        first_s = EARLIEST_S if at is None else read_moment(at, None, 0).time_s
        last_s = LATEST_S if at is None else first_s
        if until is not None:
            last_s = read_moment(until, None, 0).time_s
        if last_s < first_s:
            raise ValueError(f"until lies {first_s - last_s} s before at")
        return cls(event, location, first_s, last_s)


class UserEvent(NamedTuple):
    """One event of a user as it enters a history, checked: names, UTC seconds, minutes to add for local time."""

    user: str
    event: str
    location: str | None
    time_s: int
    utc_offset_min: int


class History(Protocol):
    """A store of the events of any number of users. Every method may be called from any thread.

    The caller has checked names and moments. Methods raise HistoryError if the history cannot do its
    work, and then nothing has changed.

    An event goes to its place in time. A history retains the last `max_events` events of a user and, of
    these, those younger than its `max_age` (see `Retention`); events that are not retained still count.
    A user is known as long as at least one event is retained.
    """

    def keep(self, max_events: int) -> None:
        """Retain at least this number of events per user from now on."""

    def append(self, user: str, event: str, location: str | None, time_s: int, utc_offset_min: int) -> Mark | None:
        """Add an event. When this returns, the event is as safe as this history makes it.

        Returns None, and changes nothing, if one of the user's retained events equals it in every value.
        """

    def append_many(self, rows: Sequence[UserEvent]) -> list[Mark | None]:
        """`append` for each row in turn: all rows, or none if it raises."""

    def mark(self, user: str) -> Mark | None:
        """The version of a user's history, None for an unknown user. Cheap."""

    def latest(self, user: str, max_events: int) -> tuple[Mark, NamedEvents] | None:
        """The last events of a user, fewer if there are fewer, and the mark that belongs to them."""

    def last_offset_min(self, user: str) -> int:
        """Offset of local time of a user's latest event in minutes, 0 for an unknown user."""

    def users(self) -> list[str]:
        """All known users, in the order of their first event."""

    def put(self, user: str, num_events: int, events: NamedEvents) -> Mark:
        """Begin the history of an unknown user with events that another history retained."""

    def forget(self, user: str) -> bool:
        """Erase everything of a user. Returns whether the user was known."""

    def forget_events(self, user: str, match: Match) -> int:
        """Erase retained events as if they had never been observed. Returns their number."""
