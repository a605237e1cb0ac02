"""`edgebehave train` with a file of settings, and --resume with more epochs."""

import json

import pytest
from command_line import edgebehave

SETTINGS = """
preset = "tiny"
width = 16
num_heads = 1
window = 8
epochs = 1
patience = 0
batch_events = 240
row_events = 60
seed = 3
from_universal = false
precision = "float32"

[objective]
name = "dro"
capacity = 1.5
"""


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(SETTINGS)
    return file


def trained(run) -> dict:
    return json.loads((run / "config.json").read_text())["train"]


def test_a_file_of_settings_makes_a_run_and_options_win_over_it(tiny_store, settings, tmp_path):
    run = tmp_path / "run"
    edgebehave("train", tiny_store.path, "-o", run, "--config", settings, "--seed", 5, "--set", "objective.mixing=0.5")
    config = trained(run)
    assert (config["width"], config["seed"], config["epochs"], config["num_layers"]) == (16, 5, 1, 2)
    assert (config["objective"]["name"], config["objective"]["capacity"], config["objective"]["mixing"]) == (
        "dro",
        1.5,
        0.5,
    )

    # What a checkpoint holds makes the same run again.
    edgebehave("train", tiny_store.path, "-o", tmp_path / "again", "--config", run / "config.json")
    assert trained(tmp_path / "again") == config
    weights = [(folder / "model.safetensors").read_bytes() for folder in (run, tmp_path / "again")]
    assert weights[0] == weights[1]

    _, error = edgebehave("train", tiny_store.path, "-o", run, "--resume", "--epochs", 2)
    assert "extended from 1 to 2 epochs, after epoch 1, at step" in error
    assert trained(run)["epochs"] == 2
    _, error = edgebehave("train", tiny_store.path, "-o", run, "--resume", "--epochs", 2, code=2)
    assert "is finished; nothing to resume; more than its 2 epochs extend it" in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("widht = 16", "there is no setting 'widht'; the nearest is 'width'"),
        ("objective.capacty = 2", "there is no setting 'objective.capacty'; the nearest is 'objective.capacity'"),
        ("preset = 'huge'", "preset must be one of tiny"),
        ("width = ", "run.toml cannot be read"),
        ("width = 'wide'", "width is 64 now and takes a value like it, got 'wide'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tiny_store, tmp_path, line, message):
    file = tmp_path / "run.toml"
    file.write_text(f"{line}\n" if "preset" in line else f'preset = "tiny"\n{line}\n')
    _, error = edgebehave("train", tiny_store.path, "-o", tmp_path / "run", "--config", file, code=2)
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_unknown_logger_is_refused_before_the_run_begins(tiny_store, settings, tmp_path):
    arguments = ("train", tiny_store.path, "-o", tmp_path / "run", "--config", settings, "--log", "wandbb")
    assert "log must be one of tensorboard" in edgebehave(*arguments, code=2)[1]
    assert not (tmp_path / "run").exists()


def test_the_command_for_several_processes_is_in_the_help():
    out, _ = edgebehave("train", "--help")
    assert "torchrun --nproc-per-node 2 -m edgebehave_cli train" in " ".join(out.split())
