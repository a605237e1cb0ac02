"""The command line inside a test's own process, which imports torch once."""

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

from edgebehave_cli.app import main


class Output(NamedTuple):
    """Standard output and standard error."""

    out: str
    err: str


def edgebehave(*arguments: object, code: int = 0) -> Output:
    """Run the command in this process; `code` is the exit status that it must have."""
    out, err, exit_code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["edgebehave", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            exit_code = int(end.code or 0)
    assert exit_code == code, err.getvalue()
    return Output(out.getvalue(), err.getvalue())
