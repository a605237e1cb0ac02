"""`edgebehave generate`, end to end on a small simulated log."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import edgebehave

from edgebehave_train.files import read_json, write_json

COLUMNS = ("--location", "location", "--utc-offset", "utc_offset_min", "--behavior", "behavior")
SMALL = ("--preset", "tiny", "--epochs", 1, "--set", "width=16", "--set", "num_heads=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """log.csv, store, and a checkpoint with generation heads and one without."""
    folder = tmp_path_factory.mktemp("generate")
    store = folder / "store"
    edgebehave("simulate", folder / "log.csv", "--users", 20, "--days", 14)
    edgebehave("ingest", folder / "log.csv", "-o", store, *COLUMNS)
    heads = edgebehave("train", store, "-o", folder / "heads", *SMALL, "--set", "generation_heads=true")
    assert "gap " in heads.err  # the losses of the heads are shown
    plain = shutil.copytree(folder / "heads", folder / "plain")
    config = read_json(plain / "config.json")
    config["model"]["generation_heads"] = False
    write_json(plain / "config.json", config, seal=True)
    training = read_json(plain / "training.json")
    del training["sha256"]
    write_json(plain / "training.json", training)
    return folder


def test_generate_prints_a_future(run):
    user = json.loads((run / "store" / "users.json").read_text())[0]
    arguments = ("generate", run / "heads", "-s", run / "store", "--user", user, "--steps", 7)
    events = json.loads(edgebehave(*arguments, "--json").out)
    assert len(events) == 7
    assert set(events[0]) >= {"event", "location", "behavior", "time_s", "local_time"}
    times = [event["time_s"] for event in events]
    assert times == sorted(times)
    table = edgebehave(*arguments, "--seed", 1, "--top-p", 0.9, "--temperature", 0.8).out
    assert "local time" in table
    assert len(table.strip().splitlines()) == 4 + 7


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        ("plain", ("--user", "x"), "--set generation_heads=true"),
        ("heads", ("--user", "nobody"), "nobody"),
        ("heads", ("--user", "nobody", "--temperature", 0), "temperature"),
    ],
)
def test_a_mistake_is_one_line(run, checkpoint, options, message):
    arguments = ("generate", run / checkpoint, "-s", run / "store", *options)
    error = edgebehave(*arguments, code=2).err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert message in error[0]
