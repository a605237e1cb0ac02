"""Checks of what callers pass: names, counts, shares, and one value per user. Errors name the argument."""

from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_NAME_BYTES = 1024
"""The longest name of a user, an event or a location, in bytes of UTF-8. A longer one is a mistake."""


def check_name(value: object, what: str) -> str:
    """A str of 1 to 1,024 bytes. Raises TypeError or ValueError.

    Every character is allowed, NUL and lone surrogates (three bytes each) included. Names are compared
    character by character: two Unicode forms of the same word are two names.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, got {type(value).__name__} {value!r:.60}")
    if not value:
        raise ValueError(f"{what} must not be empty")
    # A character takes one to four bytes: a short name fits without being encoded.
    if len(value) > MAX_NAME_BYTES // 4 and (
        len(value) > MAX_NAME_BYTES or len(value.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES
    ):
        raise ValueError(
            f"{what} must be at most {MAX_NAME_BYTES} bytes of UTF-8, got {len(value)} characters: {value[:20]!r}..."
        )
    return value


def check_count(value: object, what: str) -> int:
    """The value as an int: an integer of at least 1, of Python or numpy, no bool. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} must be an integer, got {value!r:.60}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, got {value}")
    return int(value)


def check_share(value: object, what: str) -> float:
    """A number in 0..1. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating):
        raise TypeError(f"{what} must be a number, got {value!r:.60}")
    if not 0 <= value <= 1:
        raise ValueError(f"{what} must lie in 0..1, got {value}")
    return float(value)


def list_of_names(values: Any, what: str) -> list[Any]:
    """The entries of a list, an array, or a column of a table; the names in it are not checked.

    Raises TypeError for a single str, whose letters would be taken for names.
    """
    if isinstance(values, str):
        raise TypeError(f"{what} must be a list of names, got one: {values!r:.60}")
    return list(values.tolist() if hasattr(values, "tolist") else values)


def one_per_row(values: Any, num_rows: int, what: str) -> Sequence[Any]:
    """A value for every row, from a list or an array of `num_rows` values or from one value for all rows.

    Raises ValueError if there are more or fewer.
    """
    rows = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(rows, str) or not hasattr(rows, "__len__"):
        return [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(f"{what} has {len(rows)} entries for {num_rows} users")
    return list(rows)
