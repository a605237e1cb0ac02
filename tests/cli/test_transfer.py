"""The verb `transfer`: its result is a checkpoint like any other, and a mistake is one line."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import edgebehave

from edgebehave_train.files import read_json, write_json


@pytest.fixture(scope="module")
def run(tiny_store, tiny_checkpoint, tmp_path_factory) -> Path:
    """store, checkpoint, one (a log of one behavior), old (a checkpoint of another version)."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "store").symlink_to(tiny_store.path)
    (folder / "checkpoint").symlink_to(tiny_checkpoint.path)
    rows = [f"{user},{1_700_000_000 + 900 * i},tick" for user in "ab" for i in range(30)]
    (folder / "one.csv").write_text("\n".join(["user,time,event", *rows]) + "\n")
    edgebehave("ingest", folder / "one.csv", "-o", folder / "one")
    shutil.copytree(tiny_checkpoint.path, folder / "old")
    config = read_json(folder / "old" / "config.json")
    write_json(folder / "old" / "config.json", {**config, "format_version": 0}, seal=True)
    return folder


def test_the_result_is_a_checkpoint_like_any_other(run, tmp_path):
    arguments = ("transfer", run / "checkpoint", "--log", run / "store", "-o", tmp_path / "out")
    settings = ("--share", 0.5, "--epochs", 1, "--strategy", "ofa", "--json")
    training = json.loads(edgebehave(*arguments, *settings)[0])
    assert training["finished"]
    assert training["origin"]["strategy"] == "ofa"
    table, _ = edgebehave("evaluate", tmp_path / "out", "-s", run / "store", "--resamples", 10)
    assert "| out " in table
    _, error = edgebehave(*arguments, "--resume", code=2)
    assert "nothing to resume" in error
    resumed = ("transfer", run / "checkpoint", "--log", run / "store", "--resume")
    _, error = edgebehave(*resumed, "-o", run / "checkpoint", code=2)
    assert "not begun by `edgebehave transfer`" in error
    _, error = edgebehave(*arguments, "--resume", "--share", 0.1, code=2)
    assert "leave --share out" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{run}/checkpoint", "--log", "{run}/one", "-o", "{tmp}/out"), "1 behaviors"),
        (("{run}/old", "--log", "{run}/store", "-o", "{tmp}/out"), "version 0"),
        (("{run}/store", "--log", "{run}/store", "-o", "{tmp}/out"), "not a checkpoint"),
        (("{run}/checkpoint", "--log", "{run}", "-o", "{tmp}/out"), "not an event store"),
        (("{run}/checkpoint", "--log", "{run}/store", "-o", "{tmp}"), "which is not part of a checkpoint"),
        (("{run}/checkpoint", "--log", "{run}/store", "-o", "{tmp}/notes.txt"), "name a folder"),
        (("{run}/checkpoint", "--log", "{run}/store", "-o", "{tmp}/out", "--seed", "-1"), "seed"),
        (
            ("{run}/checkpoint", "--log", "{run}/store", "-o", "{tmp}/out", "--strategy", "best"),
            "blocks-head",
        ),
        (("{run}/checkpoint", "--log", "{run}/store", "-o", "{tmp}/out", "--share", "2"), "share"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(run, tmp_path, arguments, message):
    (tmp_path / "notes.txt").write_text("mine")
    filled = [argument.format(run=run, tmp=tmp_path) for argument in arguments]
    _, error = edgebehave("transfer", *filled, code=2)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
