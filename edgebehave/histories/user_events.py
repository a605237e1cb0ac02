"""Events of users: told, forgotten, taken along; the half of a Predictor without a model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from edgebehave.histories.active_users import ActiveUsers
from edgebehave.histories.history import History, Match, UserEvent
from edgebehave.histories.user_export import read_user, write_user
from edgebehave.histories.user_locks import UserLocks
from edgebehave.many import column, names_of
from edgebehave.moments import At, Moment, read_moment
from edgebehave.names import check_name

_ALL = 2**31


class UserEvents:
    """What a `Predictor` knows of its users, in a history, and at hand for those asked about.

    Safe for use from several threads at once; calls about the same user wait for each other.
    """

    def __init__(self, history: History, users: ActiveUsers) -> None:
        self._history, self._users = history, users
        self._locks = UserLocks()

    @property
    def users(self) -> list[str]:
        """Everyone with at least one event, in the order of the first observation."""
        return self._history.users()

    def num_events(self, user: str) -> int:
        """Events observed of a user, retained or not, without those forgotten; 0 if not known."""
        mark = self._history.mark(check_name(user, "user"))
        return mark.num_events if mark else 0

    def forget(self, user: str) -> bool:
        """Erase everything about a user. Returns whether there was anything."""
        with self._locks.of(check_name(user, "user")):
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
        """Erase the retained events of a user that fit all of what is given, at least one thing.

        event     its name.
        location  where it happened.
        at        the second in which it happened, a datetime with a time zone or unix seconds;
                  with `until`, the first second of a span. None: from the beginning.
        until     the last second of a span. None: `at` alone, or, without it, to the end.
        Returns  how many. If none is left, the user is forgotten.
        What remains is, to the bit, what it would be had they never been observed, as long as the
        history has displaced nothing. Otherwise the events that these had displaced do not come
        back: it is then as if the history had retained so many fewer until now.
        Raises TypeError or ValueError that says what to pass instead.
        """
        check_name(user, "user")
        match = Match.of(event, location, at, until)
        with self._locks.of(user):
            self._users.drop(user)
            return self._history.forget_events(user, match)

    def export_user(self, user: str) -> bytes:
        """A user's history as JSON text, names included, for `import_user` of any predictor.

        It holds the retained events and how many were observed, and not the user's name.
        Raises KeyError for a user not known.
        """
        found = self._history.latest(check_name(user, "user"), _ALL)
        if found is None:
            raise KeyError(f"there is no user {user!r:.60}")
        mark, events = found
        return write_user(mark.num_events, events)

    def import_user(self, user: str, data: bytes | str) -> None:
        """Take in what `export_user` returned; predictions are then equal to the bit.

        What this predictor's history would not have retained, by its `max_events` and `max_age`,
        is left out, and counts.
        Raises ValueError if the user has a history already (forget it first) or the data is not
        what `export_user` returns, and then changes nothing.
        """
        check_name(user, "user")
        known = read_user(data)
        with self._locks.of(user):
            self._history.put(user, *known)

    def observe(
        self,
        user: str,
        event: str,
        *,
        at: At = "now",
        location: str | None = None,
        utc_offset_min: int | None = None,
    ) -> None:
        """Take note of an event. The network runs when asked to predict.

        In memory this takes microseconds; a `SqliteHistory` first waits for the disk. Where the
        history raises HistoryError, nothing was noted.

        at              when it happened: "now", a datetime with a time zone, or unix seconds.
                        Events may come late; they go to their place in time.
        location        where; None: no location.
        utc_offset_min  minutes to add for local time, -840..840; default: what `at` says, and
                        the user's last offset (at first 0) if `at` is a number.
        Raises TypeError or ValueError that says what to pass instead, and then notes nothing.
        """
        with self._locks.of(check_name(user, "user")):
            row = self._read(user, event, at, location, utc_offset_min, {})
            self._users.append(row)

    def observe_many(
        self,
        users: Sequence[str],
        events: Sequence[str],
        *,
        at: Any = "now",
        location: Any = None,
        utc_offset_min: Any = None,
    ) -> None:
        """`observe` for each user and event in turn, for servers: all of them or none.

        A `SqliteHistory` waits for the disk once: quicker by far than one after the other.

        at, location, utc_offset_min  as in `observe`, one for all or a list or array of one each.
        Raises what `observe` raises, with a note which row it was; then nothing is noted.
        """
        users = names_of(users, "users")
        num_rows = len(users)
        events = names_of(events, "events")
        if len(events) != num_rows:
            raise ValueError(f"events has {len(events)} entries for {num_rows} users")
        times = column(at, num_rows, "at")
        locations = column(location, num_rows, "location")
        offsets = column(utc_offset_min, num_rows, "utc_offset_min")
        number = 0
        told: dict[str, Moment] = {}
        rows: list[UserEvent] = []
        try:
            for number in range(num_rows):
                check_name(users[number], "user")
            with self._locks.of_all(users):
                for number in range(num_rows):
                    given = (events[number], times[number], locations[number], offsets[number])
                    rows.append(self._read(users[number], *given, told))
                self._users.append_many(rows)
        except (TypeError, ValueError) as error:
            error.add_note(f"in row {number} of {num_rows}; nothing is noted")
            raise

    def _read(
        self,
        user: str,
        event: str,
        at: At,
        location: str | None,
        utc_offset_min: int | None,
        told: dict[str, Moment],
    ) -> UserEvent:
        """Check what `observe` was given; the name of the user was.

        told  the latest moment of each user in the batch under way; gains this one.
        """
        check_name(event, "event")
        if location is not None:
            check_name(location, "location")
        if at is None:
            raise TypeError("an event needs a time: at must not be None")
        newest = told.get(user)
        default_min = 0
        if utc_offset_min is None and not isinstance(at, str | datetime):
            default_min = self._last_offset_min(user, newest)
        moment = read_moment(at, utc_offset_min, default_min)
        if newest is None or moment.time_s >= newest.time_s:
            told[user] = moment
        return UserEvent(user, event, location, *moment)

    def _last_offset_min(self, user: str, newest: Moment | None) -> int:
        """Local time of the latest event, in the history or not there yet."""
        if newest is None:
            return self._history.last_offset_min(user)
        found = self._history.latest(user, 1)
        if found is None or found[1].time_s[0] <= newest.time_s:
            return newest.utc_offset_min
        return int(found[1].utc_offset_min[0])
