"""`edgebehave llm pretrain` as a user runs it."""

import json

import pytest
from typer.testing import CliRunner

from edgebehave_cli.app import app

pytest.importorskip("transformers")


def test_a_small_model_is_written_and_says_what_it_knows(tmp_path):
    out = tmp_path / "lm"
    done = CliRunner().invoke(app, ["llm", "pretrain", "-o", str(out), "--preset", "nano", "--steps", "1", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout[done.stdout.index("{") :])
    assert record["config"]["num_steps"] == 1
    assert 0 <= record["knows"]["tail_top_1"] <= 1
    assert "stand-in" in (out / "README.md").read_text()
    lines = (out / "conversations.jsonl").read_text().splitlines()
    assert all("messages" in json.loads(line) for line in lines)


def test_a_preset_that_is_none_is_one_line(tmp_path):
    done = CliRunner().invoke(app, ["llm", "pretrain", "-o", str(tmp_path / "x"), "--preset", "xl"])
    assert str(done.exception) == "preset must be one of nano, micro, mini, not 'xl'"
