"""Numbers in sentences and in tables."""

import math
from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """`1 user`, `1,200 users`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def read_so_often(number: int) -> str:
    """`read once`, `read 2 times`."""
    return "read once" if number == 1 else f"read {number:,} times"


def number_or_blank(value: float) -> str:
    """Three decimals; blank for NaN, where nothing was measured, as where no behavior is rare."""
    return "" if math.isnan(value) else f"{value:.3f}"


def without_blank_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The columns in which a row has a cell that is not blank, and the rows of these."""
    shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return [columns[i] for i in shown], [[row[i] for i in shown] for row in rows]
