"""What the tests of the clients need, and why they skip where it is not there."""

import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def need_packages(example: str) -> str:
    """Path of Node; skips unless it and the packages of an example are there."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    if not (EXAMPLES / example / "node_modules").is_dir():
        pytest.skip(f"run `npm ci --ignore-scripts` in examples/{example} first")
    return node


@pytest.fixture(scope="session")
def node():
    """Runs a script in Node: node(path, *arguments, stdin=None) -> CompletedProcess."""
    program = need_packages("node")

    def run(*arguments, stdin=None):
        return subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def chromium():
    """Path of Chromium; skips unless it, Node and the packages of the page are there."""
    need_packages("browser")
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip("Chromium is not installed")
    return found[0]
