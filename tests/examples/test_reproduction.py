"""What the commands that make tables share: verbs that are resumed, and the logs."""

import importlib
import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def module(monkeypatch):
    """A function that imports a module of the examples, which stand beside each other."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_a_checkpoint_is_trained_resumed_and_left_alone(module, tmp_path, monkeypatch):
    verbs, calls = module("verbs"), []
    monkeypatch.setattr(verbs, "run", lambda *arguments: calls.append(arguments))
    out = tmp_path / "run"
    out.mkdir()
    verbs.finish(out, ("train", "store"), ("--seed", "1"))
    (out / "config.json").write_text("{}")
    (out / "training.json").write_text(json.dumps({"finished": False}))
    verbs.finish(out, ("train", "store"), ("--seed", "1"))
    (out / "training.json").write_text(json.dumps({"finished": True}))
    verbs.finish(out, ("train", "store"), ("--seed", "1"))
    assert calls == [
        ("train", "store", "-o", str(out), "--seed", "1"),
        ("train", "store", "-o", str(out), "--resume"),
    ]
    assert verbs.seconds_of(out) >= 0


def test_a_research_log_without_its_folder_says_so(module, tmp_path):
    logs = module("research_logs")
    with pytest.raises(SystemExit, match="tokyo needs --data"):
        logs.ingested("tokyo", None, tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("reproduce_*.py")))
def test_every_table_has_a_help(module, name, monkeypatch, capsys):
    if name == "reproduce_peers":
        pytest.importorskip("rectools", reason="the peers have an environment of their own")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        module(name).main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out
