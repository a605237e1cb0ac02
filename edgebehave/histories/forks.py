"""A fork of the process waits until no thread is inside a call, so that the child finds every lock free.

Without this, a thread that holds a lock at the moment of a fork does not exist in the child, and the lock stays held
there for ever. The locks are taken in the order in which calls take them, and released in parent and child.
"""

import os
import threading
from typing import Any, Protocol
from weakref import WeakSet


class LockOwner(Protocol):
    """An object whose locks are taken at a fork."""

    def locks(self) -> list[Any]:
        """Its locks, in the order in which its own calls take them."""


USER_LOCKS, CACHE_LOCKS, HISTORY_LOCKS = range(3)
"""Who takes its locks first."""

_owners: list["WeakSet[Any]"] = [WeakSet(), WeakSet(), WeakSet()]
_registering = threading.RLock()
_held: list[Any] = []


def free_at_fork(owner: LockOwner, rank: int) -> None:
    """Take the locks of an object around every fork, as long as the object lives.

    rank  USER_LOCKS, CACHE_LOCKS or HISTORY_LOCKS: a call that holds locks takes only those of a higher rank.
    """
    with _registering:
        _owners[rank].add(owner)


def _before() -> None:
    _registering.acquire()
    for owners in _owners:
        for owner in list(owners):
            for lock in owner.locks():
                lock.acquire()
                _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().release()
    _registering.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
