"""One user at a time: who else asks about the same user waits, all others do not."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

_NUM_LOCKS = 256


class UserLocks:
    """Locks shared by users whose names hash alike; a thread may take its own again."""

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(_NUM_LOCKS)]

    def of(self, user: str) -> threading.RLock:
        """The lock of a user, for a `with`."""
        return self._locks[hash(user) % _NUM_LOCKS]

    @contextmanager
    def of_all(self, users: Iterable[str]) -> Iterator[None]:
        """The locks of many users, in one order everywhere: no two threads wait for each other."""
        with ExitStack() as stack:
            for number in sorted({hash(user) % _NUM_LOCKS for user in users}):
                stack.enter_context(self._locks[number])
            yield
