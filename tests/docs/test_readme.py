"""The code of README, guide and start page runs, and the README's commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgebehave_cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def run(code: list[str], folder: Path) -> str:
    command = [sys.executable, "-c", "\n".join(code)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_lines_run_in_an_empty_folder_and_print_three_predictions(tmp_path):
    printed = run(blocks("python"), tmp_path).splitlines()
    assert [line.split()[0] for line in printed] == ["mail", "music", "camera"]


@pytest.mark.parametrize(("page", "printed"), [("sdk", 2), ("index", 1), ("acting", 2)])
def test_the_lines_of_the_guide_run_with_a_bundle(page, printed, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "bundle").symlink_to(ROOT / "tests" / "edgebehave" / "tiny_bundle" / "int8")
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert len(run(blocks("python", text), tmp_path).splitlines()) == printed


def test_the_app_of_the_tutorial_runs_with_a_bundle(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "bundle").symlink_to(ROOT / "tests" / "edgebehave" / "tiny_bundle" / "int8")
    code = blocks("python", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))
    assert run([code[1]], tmp_path).startswith("['mail'")
    run([code[0]], tmp_path)
    assert len((tmp_path / "my_log.csv").read_text(encoding="utf-8").splitlines()) == 3053


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
