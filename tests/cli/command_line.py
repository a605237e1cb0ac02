"""The command line inside a test's own process, which imports torch once."""

import contextlib
import io
import sys
from unittest import mock

from edgebehave_cli.app import main


def edgebehave(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Run the command in this process; standard output and standard error."""
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
    return out.getvalue(), err.getvalue()
