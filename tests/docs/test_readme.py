"""The README's code runs, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgebehave_cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_sdk_lines_run_and_print_three_predictions(tmp_path):
    (tmp_path / "tests").symlink_to(ROOT / "tests")  # what the lines write stays in tmp_path
    command = [sys.executable, "-c", "\n".join(blocks("python"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3


def test_every_make_target_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("line", re.findall(r"edgebehave (.*)", "\n".join(blocks("sh"))))
def test_every_command_and_option_is_there(line):
    words = line.split("#")[0].split()
    # A verb, or a group and its verb.
    verb = words[: 2 if words[0] in (group.name for group in app.registered_groups) else 1]
    done = subprocess.run(
        [sys.executable, "-m", "edgebehave_cli.app", *verb, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (word for word in words if word.startswith("-")):
        assert option in done.stdout
