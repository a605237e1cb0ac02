"""Docstrings as Markdown: aligned lists of arguments become lists, formulas and code become blocks."""

import re
from typing import Any

from griffe import Extension


class AlignedLists(Extension):
    """Rewrites each docstring before it is shown."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """`name   what it is`, with its further lines below the second column, becomes an item of a list."""
    lines: list[str] = []
    in_item = False
    for number, line in enumerate(docstring.split("\n")):
        item = re.match(r"([\w*][\w*, .=\"]*?)(?: {2,}|: )(\S.*)$", line) if number else None
        if item and not line.startswith(("Raises", "Returns ")):
            lines += ([] if in_item else [""]) + [f"- `{item[1]}`: {item[2]}"]
            in_item = True
        elif re.match(r"(Raises|Returns)\b", line):
            lines += ["", re.sub(r" {2,}", " ", line)]
            in_item = False
        elif in_item and line.startswith("  "):
            lines.append("  " + line.strip())
        else:
            in_item = False
            lines.append(line)
    return "\n".join(lines)
