"""Random worlds made by several processes, in the order in which one process would make them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count

from edgebehave_train.simulator.random_worlds import WorldLog, world

_CHUNK_WORLDS = 16
"""Worlds that a worker makes per task: some 0.1 s of work at 256 events, so that handing them over costs little."""
_TASKS_AHEAD = 2
"""Tasks per worker that are begun before they are needed; they bound the memory of a slow reader."""


@contextmanager
def worlds_of_workers(seed: int, num_events: int, num_workers: int, first: int = 0) -> Iterator[Iterator[WorldLog]]:
    """The stream `random_worlds(seed, num_events, first)`, made by processes; the same for any number of them.

        with worlds_of_workers(seed=0, num_events=256, num_workers=2) as worlds:
            for world in worlds: ...

    The processes end with the block, whether it ends by itself, by an exception or by Ctrl-C; should the caller be
    killed, they notice and end, too. They are spawned: a script that calls this needs `if __name__ == "__main__"`.
    Raises ValueError if num_workers < 1.
    """
    if num_workers < 1:
        raise ValueError(f"worlds_of_workers: num_workers must be at least 1, got {num_workers}")
    # Forking a process whose torch has threads can hang it.
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield _in_order(pool, seed, num_events, num_workers, first)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, seed: int, num_events: int, num_workers: int, first: int
) -> Iterator[WorldLog]:
    chunks = count(first, _CHUNK_WORLDS)
    ahead: deque[Future[list[WorldLog]]] = deque()
    while True:
        while len(ahead) < _TASKS_AHEAD * num_workers:
            ahead.append(pool.submit(_make, seed, next(chunks), num_events))
        yield from ahead.popleft().result()


def _make(seed: int, first: int, num_events: int) -> list[WorldLog]:
    return [world(seed, i, num_events) for i in range(first, first + _CHUNK_WORLDS)]


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent does, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker"
    parent.join()
    os._exit(1)
