"""Checks of what callers pass: names, counts, shares, and one value per user. Errors name the argument."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebehave.tables import entries_of, present

MAX_NAME_BYTES = 1024
"""The longest name of a user, an event or a location that is kept as it is, in bytes of UTF-8."""

KEPT_CHARS = 200
"""Characters of a longer name that stay, before the hash of the whole."""

_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two surrogates that are one character."""


def bounded_name(name: str) -> str:
    """A name as it is; of one of more than 1,024 bytes the first 200 characters, "~" and the SHA-256 of its UTF-8.

    `edgebehave ingest` does the same, so that a name means the same in a log and on the device.
    """
    # A character takes one to four bytes: a short name fits without being encoded.
    if len(name) <= MAX_NAME_BYTES // 4:
        return name
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    return f"{name[:KEPT_CHARS]}~{hashlib.sha256(encoded).hexdigest()}"


def is_bounded(name: str) -> bool:
    """Whether a name has the form that `bounded_name` gives to long ones."""
    return len(name) == KEPT_CHARS + 65 and re.fullmatch("~[0-9a-f]{64}", name[KEPT_CHARS:]) is not None


def check_name(value: object, what: str) -> str:
    """The name under which a str is kept: the str, or its bounded form. Raises TypeError or ValueError.

    Every character is allowed, NUL and lone surrogates (three bytes each) included; the two halves of a surrogate pair
    become one character, as JSON reads them. Names are compared character by character: two Unicode forms of the same
    word are two names.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, got {type(value).__name__} {value!r:.60}")
    if not value:
        raise ValueError(f"{what} must not be empty")
    if value.isascii():  # the common case, without a further call
        return value if len(value) <= MAX_NAME_BYTES else bounded_name(value)
    if _HALVES.search(value):
        value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return bounded_name(value)


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
    return list(entries_of(values))


def one_per_row(values: Any, num_rows: int, what: str) -> Sequence[Any]:
    """A value for every row, from a list, an array or a column of `num_rows` values or from one value for all rows.

    NaN, NaT and NA of pandas become None.
    Raises ValueError if there are more or fewer.
    """
    rows = entries_of(values)
    if isinstance(rows, str) or not hasattr(rows, "__len__"):
        return [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(f"{what} has {len(rows)} entries for {num_rows} users")
    return [present(row) for row in rows]
