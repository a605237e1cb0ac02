"""One user at a time: who else asks about the same user waits, all others do not."""

import threading

_NUM_LOCKS = 256


class UserLocks:
    """Locks shared by users whose names hash alike; a thread may take its own again."""

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(_NUM_LOCKS)]

    def of(self, user: str) -> threading.RLock:
        """The lock of a user, for a `with`."""
        return self._locks[hash(user) % _NUM_LOCKS]
