"""The help of a verb, from its docstring."""

import inspect
from collections.abc import Callable
from typing import Any


def help_of(verb: Callable[..., Any]) -> str:
    """The docstring, each paragraph in one line: the terminal wraps it, and a line break of the source would stay."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(verb) or "").split("\n\n"))
