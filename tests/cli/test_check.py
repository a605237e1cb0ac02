"""`edgebehave check`: a line per path, exit status 1 if one is damaged, never a traceback."""

import json
import random
import shutil

import pytest
from test_verbs import edgebehave

import damage_files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    damage_files.make_checkpoint(folder / "checkpoint", 0)
    damage_files.make_store(folder / "store", 0)
    damage_files.make_history(folder / "history", 0)
    return folder


def paths(folder):
    return folder / "checkpoint", folder / "store", folder / "history" / "history.db"


def test_what_is_whole_is_said_so(whole):
    history = whole / "history" / "history.db"
    history.chmod(0o644)
    before = history.read_bytes(), history.stat().st_mode
    done = edgebehave("check", *paths(whole), "--deep")
    assert (history.read_bytes(), history.stat().st_mode) == before  # it only reads
    assert [line.rsplit(": ", 1)[1] for line in done.stdout.splitlines()] == [
        *("checkpoint, whole", "event store, whole", "history, whole")
    ]
    content = json.loads(edgebehave("check", whole / "store", "--json").stdout)
    assert [(each["kind"], each["says"]) for each in content] == [("event store", "opens")]


def test_damage_is_one_line_each(whole, tmp_path):
    for name in ("checkpoint", "store", "history"):
        shutil.copytree(whole / name, tmp_path / name)
    draw = random.Random(0)
    for file in ("checkpoint/model.safetensors", "store/time_s.npy", "history/history.db"):
        damage_files.cut(draw, tmp_path / file)
    (tmp_path / "empty").touch()
    done = edgebehave("check", *paths(tmp_path), tmp_path / "nowhere", tmp_path / "empty", "--deep", code=1)
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert "model.safetensors is damaged" in lines[0]
    assert "time_s.npy is damaged" in lines[1]
    assert "history.db" in lines[2]
    expected = "expected a checkpoint, an event store, a bundle or a history file"
    assert f"unknown, error: no such file or folder; {expected}" in lines[3]
    assert f"unknown, error: an empty file; {expected}" in lines[4]
    assert "Traceback" not in done.stderr
