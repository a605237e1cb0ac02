"""The start of the command where its packages are missing."""

import subprocess
import sys

from command_line import edgebehave

from edgebehave.version import __version__

WITHOUT_TYPER = """
import sys
sys.modules["typer"] = None
from edgebehave_cli.launcher import main
main()
"""


def test_without_typer_one_line_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TYPER], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: typer is not installed; pip install 'edgebehave[cli]'\n"
    assert done.stdout == ""


def test_the_version():
    assert edgebehave("--version") == (f"edgebehave {__version__}\n", "")
