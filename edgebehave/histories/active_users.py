"""The mapped histories of the users who were asked about most recently."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from edgebehave.histories.forks import CACHE_LOCKS, free_at_fork
from edgebehave.histories.history import History, Mark, UserEvent
from edgebehave.histories.mapped_history import MappedHistory
from edgebehave.vocabulary import Vocabulary


class ActiveUsers:
    """A cache of `MappedHistory`, one per user, in at most `max_bytes`; the history stays the truth.

    What is held of a user is measured: `MappedHistory.num_bytes`, with the state of the network. The users asked about
    least recently leave when it is too much; the one asked about last stays.

    Every change of the history, also by another process, is seen when the user is next asked about:
    events added at the end are followed one by one, any other change maps the history anew.

    Safe for several threads, as long as no two use the same user at once.
    """

    def __init__(self, history: History, vocabulary: Vocabulary, capacity: int, max_bytes: float) -> None:
        """No users yet.

        capacity   events per user that predictions are made from.
        max_bytes  memory for all users, without that of a call that goes on.
        """
        self._history = history
        self._vocabulary = vocabulary
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._mapped: OrderedDict[str, MappedHistory] = OrderedDict()
        self._bytes_of: dict[str, int] = {}
        self._num_bytes = 0
        self._grown: set[str] = set()
        self._lock = threading.Lock()
        free_at_fork(self, CACHE_LOCKS)
        history.keep(capacity)

    def locks(self) -> list[threading.Lock]:
        return [self._lock]

    def __len__(self) -> int:
        return len(self._mapped)

    def get(self, user: str) -> MappedHistory | None:
        """The history of a user up to now, None for an unknown user."""
        mark = self._history.mark(user)
        if mark is None:
            self.drop(user)
            return None
        mapped = self._mapped.get(user)
        if mapped is None or (mark != mapped.mark and not self._follow(user, mapped, mark)):
            self.drop(user)
            found = self._history.latest(user, self._capacity)
            if found is None:
                return None
            mapped = MappedHistory(self._vocabulary, self._capacity, *found)
        with self._lock:
            self._mapped[user] = mapped
            self._mapped.move_to_end(user)
            self._fit(user)
        return mapped

    def append(self, row: UserEvent) -> None:
        """Add an event to the history of its user."""
        self._added(row, self._history.append(*row))

    def append_many(self, rows: Sequence[UserEvent]) -> None:
        """Add events to the histories of users, all or none."""
        for row, mark in zip(rows, self._history.append_many(rows), strict=True):
            self._added(row, mark)

    def _added(self, row: UserEvent, mark: Mark | None) -> None:
        mapped = self._mapped.get(row.user)
        if mapped is None or mark is None:
            return
        if mark == (mapped.mark.changes, mapped.mark.num_events + 1):
            if mapped.append(mark, *row[1:]):
                with self._lock:
                    self._grown.add(row.user)
                    self._fit(row.user)
        elif mark.changes != mapped.mark.changes:
            self.drop(row.user)

    def drop(self, user: str) -> None:
        """Remove the mapped history of a user, because the history has changed."""
        with self._lock:
            self._forget(user)

    def _forget(self, user: str) -> None:
        self._mapped.pop(user, None)
        self._num_bytes -= self._bytes_of.pop(user, 0)

    def _fit(self, user: str) -> None:
        """Measure a new user, and again those who were given out since the last call; drop users until all fit."""
        if user not in self._bytes_of:
            self._grown.add(user)
        for name in self._grown:
            mapped = self._mapped.get(name)
            if mapped is not None:
                num_bytes = mapped.num_bytes
                self._num_bytes += num_bytes - self._bytes_of.get(name, 0)
                self._bytes_of[name] = num_bytes
        self._grown = {user}
        while self._num_bytes > self._max_bytes and len(self._mapped) > 1:
            self._forget(next(iter(self._mapped)))

    def _follow(self, user: str, mapped: MappedHistory, mark: Mark) -> bool:
        """Add the events that others added at the end; False if something else has changed."""
        num_new = mark.num_events - mapped.mark.num_events
        if mark.changes != mapped.mark.changes or not 0 < num_new <= self._capacity:
            return False
        found = self._history.latest(user, num_new)
        if found is None or found[0] != mark or len(found[1]) != num_new:
            return False
        mapped.extend(*found)
        return True
