"""Readable names of behaviors in prompts: those of the vocabulary, or of a table.

A language model sees only the words of a behavior, so two behaviors must not share a name, and a
code such as `120303` should have a readable one.
"""

# V behaviors, id 0 included

import csv
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebehave.vocabulary import UNKNOWN_NAME, Vocabulary


def readable_names(vocabulary: Vocabulary, table: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The name of each behavior in prompts, by id; V names, the first stands for unknown.

    table    vocabulary name -> readable name. A behavior that it lacks keeps its own name. Names
             that the vocabulary lacks are ignored with a warning: a table may serve many logs.
    Returns  names without surrounding blanks and with single spaces inside, so that each fits on
             one line.
    Raises ValueError for an empty name, for two behaviors of one name whatever the case of its
    letters, and for a table that names no behavior of the vocabulary at all.
    """
    table = table or {}
    behaviors = vocabulary.behaviors[1:]
    foreign = [name for name in table if name == UNKNOWN_NAME or not vocabulary.behavior_id(name)]
    if table and len(foreign) == len(table):
        raise ValueError(
            f"the table of names holds none of the {len(behaviors)} behaviors; its first name is "
            f"{foreign[0]!r}, the first behavior is {behaviors[0]!r}"
            if behaviors
            else "the vocabulary has no behaviors to name"
        )
    if foreign:
        some = ", ".join(map(repr, foreign[:3]))
        warnings.warn(
            f"{len(foreign)} names of the table are no behaviors and are ignored: {some}"
            + (", ..." if len(foreign) > 3 else ""),
            stacklevel=2,
        )
    names = [" ".join(table.get(name, name).split()) for name in behaviors]
    called: dict[str, str] = {}
    for behavior, name in zip(behaviors, names, strict=True):
        if not name:
            raise ValueError(f"behavior {behavior!r} has an empty name; give it one in the table")
        other = called.setdefault(name.casefold(), behavior)
        if other != behavior:
            raise ValueError(
                f"behaviors {other!r} and {behavior!r} are both called {name!r}; tell them apart in the table of names"
            )
    return (UNKNOWN_NAME, *names)


def read_name_table(path: Path | str) -> dict[str, str]:
    """A table of readable names: a JSON object, or a CSV of two columns `name,readable`.

    The header of the CSV may be missing; lines without text are skipped.
    Raises ValueError, with the line where there is one, for anything else and for a name that
    occurs twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a table of names: {error}") from None
    table: dict[str, str] = {}
    for name, readable in _json_pairs(text, path) if text.lstrip().startswith("{") else _csv_pairs(text, path):
        if name in table:
            raise ValueError(f"{path} names {name!r} twice")
        if not isinstance(readable, str):
            raise ValueError(f"{path}: the readable name of {name!r} must be text, got {readable}")
        table[name] = readable
    return table


def _json_pairs(text: str, path: Path) -> list[tuple[str, Any]]:
    try:
        return list(json.loads(text, object_pairs_hook=list))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None


def _csv_pairs(text: str, path: Path) -> list[tuple[str, Any]]:
    lines = csv.reader(text.splitlines())
    pairs: list[tuple[str, Any]] = []
    for row in lines:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != 2:
            raise ValueError(
                f"{path}, line {lines.line_num}: expected two columns, name and readable name, "
                f"got {len(row)}; quote names that hold a comma"
            )
        pairs.append((row[0].strip(), row[1].strip()))
    if pairs and [cell.casefold() for cell in pairs[0]] == ["name", "readable"]:
        del pairs[0]
    if not pairs:
        raise ValueError(f"{path} holds no names")
    return pairs
