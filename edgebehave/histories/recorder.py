"""Calls that record the events of users: observe, forget, export, import. No model takes part in them."""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any, NoReturn

from edgebehave.arguments import check_name, list_of_names, one_per_row
from edgebehave.histories.active_users import ActiveUsers
from edgebehave.histories.forks import USER_LOCKS, free_at_fork
from edgebehave.histories.history import History, Match, UserEvent
from edgebehave.histories.user_export import read_user, write_user
from edgebehave.moments import At, read_duration, read_moment
from edgebehave.tables import columns_of, is_table, whole

_NUM_LOCKS = 256


class UserLocks:
    """Locks that make calls about the same user wait for each other; a thread may take its own again.

    Users whose names have the same hash share a lock.
    """

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(_NUM_LOCKS)]
        free_at_fork(self, USER_LOCKS)

    def locks(self) -> list[Any]:
        """All of them, in the order of `of_all`."""
        return self._locks

    def of(self, user: str) -> threading.RLock:
        """The lock of a user, for a `with`."""
        return self._locks[hash(user) % _NUM_LOCKS]

    @contextmanager
    def of_all(self, users: Iterable[str]) -> Iterator[None]:
        """The locks of many users, always in one order, so that two threads never wait for each other."""
        with ExitStack() as stack:
            for number in sorted({hash(user) % _NUM_LOCKS for user in users}):
                stack.enter_context(self._locks[number])
            yield


class Recorder:
    """The part of a `Predictor` that needs no model: it writes events of users to a history and reads them.

    Safe for use from several threads at once; calls about the same user wait for each other.
    """

    def __init__(self, history: History, users: ActiveUsers, max_ahead: timedelta | None) -> None:
        """max_ahead  how far after the device's clock an event may be dated; None: any time."""
        self._history, self._users = history, users
        self._max_ahead_s = math.inf if max_ahead is None else read_duration(max_ahead, "max_ahead")
        self._locks = UserLocks()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: make one in each process, with Predictor.load and "
            "the path of its bundle; processes share users through one SqliteHistory file each of them opens, and "
            "export_user gives one user's history"
        )

    @property
    def users(self) -> list[str]:
        """All users with at least one event, in the order of their first observation."""
        return self._history.users()

    def num_events(self, user: str) -> int:
        """Events observed of a user, retained or not, without those forgotten; 0 for an unknown user."""
        mark = self._history.mark(check_name(user, "user"))
        return mark.num_events if mark else 0

    def forget(self, user: str) -> bool:
        """Erase everything about a user. Returns whether the user was known."""
        user = check_name(user, "user")
        with self._locks.of(user):
            self._users.drop(user)
            return self._history.forget(user)

    def forget_event(
        self,
        user: str,
        event: str | None = None,
        *,
        location: str | None = None,
        at: datetime | float | None = None,
        until: datetime | float | None = None,
    ) -> int:
        """Erase the retained events of a user that fit all given arguments; give at least one.

        event     its name.
        location  its location.
        at        the second of the event, a datetime with a time zone or unix seconds;
                  with `until`, the first second of a span. None: from the beginning.
        until     the last second of a span. None: `at` alone, or, without it, to the end.
        Returns  the number of erased events. If none is left, the user is forgotten.
        The history is then equal, to the bit, to one in which they were never observed, as long as it
        was never full. Events that a full history dropped for them do not come back: it is then as if
        the history had retained that many fewer events until now.
        Raises TypeError or ValueError that says what to pass instead.
        """
        user = check_name(user, "user")
        match = Match.of(event, location, at, until)
        with self._locks.of(user):
            self._users.drop(user)
            return self._history.forget_events(user, match)

    def export_user(self, user: str) -> bytes:
        """A user's history as JSON text, names included, for `import_user` of any predictor.

        It holds the retained events and the number of events observed, but not the user's name.
        Raises KeyError for an unknown user.
        """
        found = self._history.latest(check_name(user, "user"), 2**31)
        if found is None:
            raise KeyError(f"there is no user {user!r:.60}")
        mark, events = found
        return write_user(mark.num_events, events)

    def import_user(self, user: str, data: bytes | str) -> None:
        """Read the text that `export_user` returned; predictions are then equal to the bit.

        Events that this predictor's history does not retain, by its `max_events` and `max_age`, are left
        out but count.
        Raises ValueError if the user has a history already (forget it first) or the data is not
        a result of `export_user`, and then changes nothing.
        """
        user = check_name(user, "user")
        known = read_user(data)
        with self._locks.of(user):
            self._history.put(user, *known)

    def observe(
        self, user: str, event: str, *, at: At = "now", location: str | None = None, utc_offset_min: int | None = None
    ) -> None:
        """Record an event. The network does not run before a prediction is asked for.

        In memory this takes microseconds; a `SqliteHistory` first waits for the disk. If the history
        raises HistoryError, nothing was recorded.

        at              the time of the event: "now", a datetime with a time zone, or unix seconds.
                        Events may come late; they go to their place in time. An event dated more than
                        `max_ahead` after the device's clock, by default a day, is refused: one event of a
                        wrong clock would stay the latest of its user for years.
        location        None: no location.
        utc_offset_min  minutes to add for local time, -840..840; default: the offset of `at`, or
                        the user's last offset (at first 0) if `at` is a number.
        The same event twice, equal in event, location, second and offset, counts once, by the same rule as
        in `edgebehave ingest`; an event is compared with those that the history retains.
        Raises TypeError or ValueError that says what to pass instead, and then records nothing.
        """
        user = check_name(user, "user")
        with self._locks.of(user):
            row = self._read(user, event, at, location, utc_offset_min, None)
            self._users.append(row)

    def observe_many(
        self,
        users: Any,
        events: Any = None,
        *,
        at: Any = "now",
        location: Any = None,
        utc_offset_min: Any = None,
        columns: Mapping[str, str] | None = None,
    ) -> None:
        """`observe` for each user and event in turn, for servers: all of them or none.

        A `SqliteHistory` waits for the disk only once, so this is much faster than calls of `observe`.

        users, events                 names, as lists, arrays or columns of pandas, polars or Arrow; or a table of
                                      these in place of `users`, which then gives everything else too.
        at, location, utc_offset_min  as in `observe`, one for all or a list, array or column of one each; NaN, NaT
                                      and None are no location.
        columns                       of a table: {"user": NAME, "event": ..., "time": ..., "location": ...,
                                      "utc_offset": ...}; by default user, event, time and, if they are there,
                                      location and utc_offset_min.
        Raises the errors of `observe`, with a note that names the row; then nothing is recorded.
        """
        if is_table(users):
            if events is not None:
                raise TypeError("a table holds the events too: pass it alone, with columns={...} if its names differ")
            table = columns_of(users, columns)
            users, events, at = table["user"], table["event"], table["time"]
            location, utc_offset_min = table.get("location"), table.get("utc_offset")
            if not users:
                return
        elif columns is not None:
            raise TypeError(f"columns belongs to a table, got {type(users).__name__}")
        if events is None:
            raise TypeError("events must be a list of names, one for each user")
        users = list_of_names(users, "users")
        num_rows = len(users)
        events = list_of_names(events, "events")
        if len(events) != num_rows:
            raise ValueError(f"events has {len(events)} entries for {num_rows} users")
        times = one_per_row(at, num_rows, "at")
        locations = one_per_row(location, num_rows, "location")
        offsets = [whole(minutes) for minutes in one_per_row(utc_offset_min, num_rows, "utc_offset_min")]
        number = 0
        newest: dict[str, list[UserEvent]] = {}
        rows: list[UserEvent] = []
        try:
            for number in range(num_rows):
                users[number] = check_name(users[number], "user")
            with self._locks.of_all(users):
                for number in range(num_rows):
                    given = (events[number], times[number], locations[number], offsets[number])
                    rows.append(self._read(users[number], *given, newest))
                self._users.append_many(rows)
        except (TypeError, ValueError) as error:
            error.add_note(f"in row {number} of {num_rows}; nothing is recorded")
            raise

    def _read(
        self,
        user: str,
        event: str,
        at: At,
        location: str | None,
        utc_offset_min: int | None,
        newest: dict[str, list[UserEvent]] | None,
    ) -> UserEvent:
        """An event from the arguments of `observe`, checked; `user` was checked before.

        newest  the events of each user in the latest second of the current batch; this event is added. None: no batch.
        """
        event = check_name(event, "event")
        if location is not None:
            location = check_name(location, "location")
        if at is None:
            raise TypeError("an event needs a time: at must not be None")
        default_min = 0
        if utc_offset_min is None and not isinstance(at, str | datetime):
            default_min = self._last_offset_min(user, newest.get(user, []) if newest else [])
        moment = read_moment(at, utc_offset_min, default_min)
        ahead_s = moment.time_s - time.time()
        if ahead_s > self._max_ahead_s:
            raise ValueError(
                f"the event is dated {ahead_s / 86_400:.1f} days after this device's clock, "
                f"{self._max_ahead_s / 86_400:g} are allowed: correct its time, or make the Predictor with "
                "max_ahead=None to replay a log"
            )
        row = UserEvent(user, event, location, *moment)
        if newest is None:
            return row
        latest = newest.setdefault(user, [row])
        if row.time_s > latest[0].time_s:
            newest[user] = [row]
        elif row.time_s == latest[0].time_s and latest != [row]:
            latest.append(row)
        return row

    def _last_offset_min(self, user: str, newest: list[UserEvent]) -> int:
        """Offset of local time of the user's latest event, in the history or in the current batch.

        newest  the events of the batch in its latest second; the same event twice counts once.
        """
        if not newest:
            return self._history.last_offset_min(user)
        new = list(dict.fromkeys(newest))
        found = self._history.latest(user, 1)
        if found is not None and found[1].time_s[0] == new[0].time_s:
            found = self._history.latest(user, 2**31)
            known = set() if found is None else set(found[1].rows())
            new = [row for row in new if row[1:] not in known]
        if not new or (found is not None and found[1].time_s[-1] > new[0].time_s):
            return self._history.last_offset_min(user)
        return new[-1].utc_offset_min
