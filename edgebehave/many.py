"""The same call for many users, in order or on several threads."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")


def for_each(call: Callable[[int], Result], num_calls: int, num_threads: int) -> list[Result]:
    """call(0), ..., call(num_calls - 1), in that order of results.

    ONNX Runtime lets go of Python's lock while it computes, so that threads do help.
    Raises ValueError for fewer than one thread, and whatever a call raises.
    """
    if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
        raise ValueError(f"threads must be an integer of at least 1, got {num_threads!r}")
    if num_threads == 1 or num_calls < 2:
        return [call(i) for i in range(num_calls)]
    # Imported here: few apps need it, and it takes a tenth of the time of importing the SDK.
    from concurrent.futures import ThreadPoolExecutor

    def share(first: int) -> list[Result]:
        return [call(i) for i in range(first, num_calls, num_threads)]

    with ThreadPoolExecutor(num_threads) as pool:
        shares = list(pool.map(share, range(num_threads)))
    return [shares[i % num_threads][i // num_threads] for i in range(num_calls)]


def column(values: Any, num_rows: int, what: str) -> Sequence[Any]:
    """A value for every row: a list or an array of as many, or one value for all of them.

    Raises ValueError that names the argument if there are more or fewer.
    """
    rows = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(rows, str) or not hasattr(rows, "__len__"):
        return [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(f"{what} has {len(rows)} entries for {num_rows} users")
    return list(rows)


def names_of(values: Any, what: str) -> list[Any]:
    """The names of all rows: a list, an array, or a column of a table.

    Raises TypeError for a single name, whose letters would pass for names.
    """
    if isinstance(values, str):
        raise TypeError(f"{what} must be a list of names, got one: {values!r:.60}")
    return list(values.tolist() if hasattr(values, "tolist") else values)
