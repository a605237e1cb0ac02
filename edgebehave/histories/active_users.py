"""The users that are being asked about: their histories, mapped to ids and kept at hand."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from edgebehave.histories.history import History, Mark, UserEvent
from edgebehave.histories.mapped import MappedHistory
from edgebehave.vocabulary import Vocabulary


class ActiveUsers:
    """Mapped histories of the users asked about most recently, at most `max_users` of them.

    Whatever happens to the history, also through other processes, is seen when a user is next asked
    about: events added at the end are followed one by one, any other change maps the history anew.

    Safe for several threads, as long as no two use the same user at once.
    """

    def __init__(
        self,
        history: History,
        vocabulary: Vocabulary,
        capacity: int,
        max_users: int,
        when_dropped: Callable[[str], None],
    ) -> None:
        """No users yet.

        capacity      events per user that predictions are made from.
        when_dropped  called with a user whose past changed or who had to make room: what was made
                      from the mapped history is not valid any more.
        """
        self._history = history
        self._vocabulary = vocabulary
        self._capacity = capacity
        self._max_users = max_users
        self._when_dropped = when_dropped
        self._mapped: OrderedDict[str, MappedHistory] = OrderedDict()
        self._lock = threading.Lock()
        history.keep(capacity)

    def __len__(self) -> int:
        return len(self._mapped)

    def get(self, user: str) -> MappedHistory | None:
        """The history of a user up to now, None for a user not known."""
        mark = self._history.mark(user)
        mapped = self._mapped.get(user)
        if mark is None:
            self.drop(user)
            return None
        if mapped is None or mark != mapped.mark:
            if mapped is None or not self._follow(user, mapped, mark):
                mapped = self._map(user)
            if mapped is None:
                return None
        with self._lock:
            self._mapped[user] = mapped
            self._mapped.move_to_end(user)
            is_full = len(self._mapped) > self._max_users
            other = self._mapped.popitem(last=False)[0] if is_full else None
        if other is not None:
            self._when_dropped(other)
        return mapped

    def append(self, row: UserEvent) -> None:
        """Add an event to the history of its user."""
        self._added(row, self._history.append(*row))

    def append_many(self, rows: Sequence[UserEvent]) -> None:
        """Add events to the histories of users, all or none."""
        for row, mark in zip(rows, self._history.append_many(rows), strict=True):
            self._added(row, mark)

    def _added(self, row: UserEvent, mark: Mark) -> None:
        mapped = self._mapped.get(row.user)
        if mapped is None:
            return
        if mark == (mapped.mark.changes, mapped.mark.num_events + 1):
            mapped.append(mark, *row[1:])
        elif mark.changes != mapped.mark.changes:
            self.drop(row.user)

    def drop(self, user: str) -> None:
        """The past of a user is not what it was."""
        with self._lock:
            self._mapped.pop(user, None)
        self._when_dropped(user)

    def _follow(self, user: str, mapped: MappedHistory, mark: Mark) -> bool:
        """Catch up by events that others added at the end; False if that is not all."""
        num_new = mark.num_events - mapped.mark.num_events
        if mark.changes != mapped.mark.changes or not 0 < num_new <= self._capacity:
            return False
        found = self._history.latest(user, num_new)
        if found is None or found[0] != mark or len(found[1]) != num_new:
            return False
        mapped.extend(*found)
        return True

    def _map(self, user: str) -> MappedHistory | None:
        self.drop(user)
        found = self._history.latest(user, self._capacity)
        return found and MappedHistory(self._vocabulary, self._capacity, *found)
