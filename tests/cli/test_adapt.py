"""`edgebehave adapt`: what it prints, and mistakes in one line."""

import csv
import json
from pathlib import Path

import pytest
from command_line import edgebehave

pytest.importorskip("peft", reason="adaptation needs the train extra")

from edgebehave_train.files import read_json, write_json

COLUMNS = ("--location", "location", "--utc-offset", "utc_offset_min", "--behavior", "behavior")
SMALL = (
    *("--set", "width=16", "--set", "num_heads=1", "--set", "window=12"),
    *("--preset", "tiny", "--epochs", "1", "--split", "user"),
)
NEW = "gaming"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A log, the log without one of its behaviors, and a checkpoint that learned from the latter."""
    folder = tmp_path_factory.mktemp("adapt")
    edgebehave("simulate", folder / "log.csv", "--users", 30, "--days", 15)
    with (folder / "log.csv").open() as log, (folder / "before.csv").open("w") as before:
        rows = csv.DictReader(log)
        writer = csv.DictWriter(before, rows.fieldnames)
        writer.writeheader()
        writer.writerows(row for row in rows if row["behavior"] != NEW)
    for name in ("log", "before"):
        edgebehave("ingest", folder / f"{name}.csv", "-o", folder / name, *COLUMNS)
    edgebehave("train", folder / "before", "-o", folder / "known", *SMALL)
    return folder


def test_help_has_an_example():
    assert "edgebehave adapt" in edgebehave("adapt", "--help").out.split("Example")[1]


def test_it_tells_what_was_gained_and_what_was_forgotten(run, tmp_path):
    arguments = ("adapt", run / "known", "--log", run / "log", "--train", "new-rows")
    few = ("--examples", 5, "--epochs", 1)
    content = json.loads(edgebehave(*arguments, *few, "-o", tmp_path / "a", "--json").out)
    assert content["num_examples"] == {NEW: 5}
    for when in ("before", "after"):
        assert content[when].keys() == {"habits", "network alone"}
        assert 0 <= content[when]["habits"]["hr_at_1_known"] <= 1
    table = edgebehave(*arguments, *few, "-o", tmp_path / "b").out
    assert "HR@1 known" in table
    assert f"| {NEW} " in table
    # What came out is a checkpoint like any other.
    evaluated = edgebehave("evaluate", tmp_path / "b", "-s", run / "log", "--resamples", 10)
    assert "| habits " in evaluated.out


@pytest.mark.parametrize(
    ("checkpoint", "log", "options", "message"),
    [
        ("known", "before", (), "no behavior that is new"),
        ("old", "log", (), "version 0"),
        ("unfinished", "log", (), "not finished"),
        ("known", "log.csv", (), "not an event store"),
        ("known", "log", ("--train", "some"), "train must be one of"),
        ("known", "log", ("--start", "luck"), "start must be one of"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(run, tmp_path, checkpoint, log, options, message):
    changes = {"old": ("config.json", "format_version", 0)}
    changes["unfinished"] = ("training.json", "finished", False)
    source = tmp_path / checkpoint
    source.mkdir()
    for file in (run / "known").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    if checkpoint in changes:
        name, field, value = changes[checkpoint]
        content = read_json(source / name)
        write_json(source / name, {**content, field: value}, seal=True)
    out = tmp_path / "out"
    arguments = ("adapt", source, "--log", run / log, "-o", out, *options)
    error = edgebehave(*arguments, code=2).err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert message in error[0]
    assert not out.exists()


def test_a_folder_in_use_is_left_alone(run, tmp_path):
    (tmp_path / "mine").write_text("")
    arguments = ("adapt", run / "known", "--log", run / "log", "-o", tmp_path)
    assert "which is not part of a checkpoint" in edgebehave(*arguments, code=2).err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    arguments = ("adapt", run / "known", "--log", run / "log", "-o", run / "known")
    assert "already holds a checkpoint" in edgebehave(*arguments, code=2).err
