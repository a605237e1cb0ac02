"""Work on several cores whose results come in the order of the items, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, pool: Executor | None = None
) -> Iterator[Result]:
    """`work(item)` of each item, in their order; at most one item per worker waits beside those at work.

    pool  to work in, of `workers` workers; None = threads.
    """
    if workers == 1 and pool is None:
        yield from map(work, items)
        return
    own = ThreadPoolExecutor(workers) if pool is None else pool
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(own.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        if pool is None:
            own.shutdown(wait=True, cancel_futures=True)
