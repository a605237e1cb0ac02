"""`edgebehave llm demo`: its commands are ones that the verbs take, and it goes on where it was."""

import json
import shlex
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from edgebehave_cli.app import app
from edgebehave_cli.llm import demo


def parse(command: str) -> str:
    """Path of a command's verb; options are checked as if it ran."""
    group, words, names = get_command(app), shlex.split(command), ["edgebehave"]
    while hasattr(group, "resolve_command"):
        context = group.make_context(names[-1], words, resilient_parsing=True)
        name, group, words = group.resolve_command(context, words)
        names.append(name)
    group.make_context(names[-1], words)
    return " ".join(names[1:])


@pytest.mark.parametrize("base", [None, "some where/base"])
def test_every_command_is_one_that_can_be_typed(base):
    verbs = [parse(step.command) for step in demo._steps(Path("a folder"), base, seed=3)]
    assert verbs[:2] == ["simulate", "ingest"]
    assert ("llm pretrain" in verbs) == (base is None)
    wanted = ["llm tune", "llm tune", "train", "distill", "llm evaluate", "export", "llm export"]
    assert [verb for verb in verbs[2:] if verb != "llm pretrain"] == [
        *wanted,
        "llm predict",
        "predict",
        "bench",
    ]


def test_what_is_finished_is_kept_and_what_is_half_done_is_done_again(tmp_path, monkeypatch):
    out, ran = tmp_path / "demo", []
    (out / "edge").mkdir(parents=True)
    (out / "llm-demo.json").write_text(json.dumps({"base": None, "seed": 0}))
    (out / "log.csv.gz").write_bytes(b"")
    (out / "edge" / "training.json").write_text(json.dumps({"finished": True}))
    (out / "ab").mkdir()
    (out / "ab" / "behaviorlm.json").write_text(json.dumps({"finished": False}))
    monkeypatch.setattr(demo, "_run", lambda context, command: ran.append(command))
    result = CliRunner().invoke(app, ["llm", "demo", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert not any(command.startswith(("simulate", "train")) for command in ran)
    assert sum(command.startswith("llm tune") for command in ran) == 2
    assert not (out / "ab").exists()  # the half-done one was taken away
    assert (out / "edge" / "training.json").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(demo, "_run", lambda context, command: ran.append(command))

    def refusal(out, *options):
        return str(CliRunner().invoke(app, ["llm", "demo", "-o", str(out), *options]).exception)

    (tmp_path / "runs" / "ab").mkdir(parents=True)
    assert "not part of a demo" in refusal(tmp_path / "runs")
    assert (tmp_path / "runs" / "ab").is_dir()
    assert CliRunner().invoke(app, ["llm", "demo", "-o", str(tmp_path / "new")]).exit_code == 0
    ran.clear()
    assert "holds a demo of base None, seed 0" in refusal(tmp_path / "new", "--seed", "1")
    assert not ran
