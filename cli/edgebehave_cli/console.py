"""Output of all verbs: results on stdout, everything else on stderr."""

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """A text with names of a log in it, its control characters shown as escapes: none reaches the terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def survive_any_encoding() -> None:
    """Let output show a character as an escape where the console's encoding lacks it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_first_process() -> bool:
    """Whether this is the first of the processes that torchrun starts; it alone prints."""
    return os.environ.get("RANK", "0") == "0"


def note(line: str) -> None:
    """Print a line about the progress of the command."""
    if is_first_process():
        print(harmless(line), file=sys.stderr, flush=True)


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one line about a mistake and end the command."""
    print(f"error: {harmless(message)}", file=sys.stderr, flush=True)
    sys.exit(code)


def print_json(content: Any) -> None:
    """Print a result; null means "not measured"."""
    from edgebehave.bundles.manifest import without_nan

    print(json.dumps(without_nan(content), ensure_ascii=False, indent=2))


def is_terminal() -> bool:
    return sys.stderr.isatty()


def print_table(title: str, columns: list[str], rows: list[list[str]], drop_first: Sequence[str] = ()) -> None:
    """Print a table on stdout: with lines on a terminal, in Markdown elsewhere.

    drop_first  columns that are left out, in this order, until the table fits the terminal.
    """
    columns = [_cell(name) for name in columns]
    rows = [[_cell(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _print_markdown(title, columns, rows)
        return
    from rich.console import Console
    from rich.table import Table

    # Names are no markup: [/home] is a name.
    console = Console(markup=False, emoji=False, highlight=False)
    shown, dropped = list(range(len(columns))), []
    for name in drop_first:
        if _table_width([[row[i] for i in shown] for row in [columns, *rows]]) <= console.width:
            break
        shown.remove(columns.index(name))
        dropped.append(name)
    table = Table(title=title, title_justify="left")
    for i in shown:
        table.add_column(columns[i], justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    console.print(table)
    if dropped:
        print(f"a wider terminal, a pipe or --json also shows: {', '.join(reversed(dropped))}")


def _cell(text: str) -> str:
    return harmless(text).replace("\n", r"\n").replace("\t", r"\t")


def _table_width(lines: list[list[str]]) -> int:
    """Columns of a terminal that a boxed table needs: the cells, a space on both sides, and the rules."""
    from rich.cells import cell_len  # a Chinese character takes two

    return sum(max(map(cell_len, column)) + 3 for column in zip(*lines, strict=True)) + 1


def _print_markdown(title: str, columns: list[str], rows: list[list[str]]) -> None:
    columns, *rows = [[cell.replace("|", r"\|") for cell in row] for row in [columns, *rows]]  # a bar ends a cell
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print("\n".join([title, "", line(columns), line(rule), *map(line, rows), ""]), flush=True)
