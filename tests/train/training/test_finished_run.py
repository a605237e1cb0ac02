"""A run is kept, resumed or begun anew; its weights are those of an undisturbed one."""

import pytest
import safetensors.torch

from edgebehave_train.training import pretraining
from edgebehave_train.training.checkpoint import RESUME_FILE
from edgebehave_train.training.pretraining import finished_run, pretrain


class StoppedError(RuntimeError):
    """Stands for a kill."""


def stop(progress):
    if progress.kind == "validation":
        raise StoppedError


@pytest.fixture(scope="module")
def config(recipe):
    return recipe(epochs=2)


@pytest.fixture(scope="module")
def weights(tiny_store, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    pretrain(tiny_store, config, folder, device="cpu")
    return (folder / "model.safetensors").read_bytes()


def test_a_folder_that_is_not_there_is_trained_and_then_kept(tiny_store, config, weights, tmp_path, monkeypatch):
    checkpoint, kept = finished_run(tiny_store, config, tmp_path / "run", device="cpu")
    assert not kept
    assert (checkpoint.path / "model.safetensors").read_bytes() == weights
    monkeypatch.setattr(pretraining, "pretrain", None)
    again, kept = finished_run(tiny_store, config, tmp_path / "run", device="cpu")
    assert kept
    assert again.config == config


@pytest.mark.parametrize("half_described", [False, True])
def test_a_killed_run_is_finished(tiny_store, config, weights, tmp_path, half_described):
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        finished_run(tiny_store, config, folder, device="cpu", on_progress=stop)
    assert (folder / RESUME_FILE).exists()
    if half_described:
        (folder / "config.json").unlink()
    steps = []
    checkpoint, kept = finished_run(
        tiny_store, config, folder, device="cpu", on_progress=lambda p: steps.append(p.step)
    )
    assert not kept
    assert (steps[0] == 0) == half_described
    assert (checkpoint.path / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("name", ["notes.txt", "model.pt"])
def test_what_is_no_run_is_left_alone(tiny_store, config, tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("mine")
    for path in (folder, folder / name):
        with pytest.raises(ValueError, match=r"(not part of|a folder for) a run"):
            finished_run(tiny_store, config, path, device="cpu")
    assert (folder / name).read_text() == "mine"


def test_another_recipe_is_not_gone_on_with(tiny_store, config, recipe, tmp_path):
    with pytest.raises(StoppedError):
        finished_run(tiny_store, config, tmp_path / "run", device="cpu", on_progress=stop)
    with pytest.raises(ValueError, match="was started with dropout"):
        finished_run(tiny_store, recipe(epochs=2, dropout=0.4), tmp_path / "run", device="cpu")


@pytest.mark.parametrize("num_written", [0, 1, 3])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tiny_store, config, weights, tmp_path, num_written):
    """Each file of tensors that cannot be written stops at its middle, as on a full disk."""
    folder, written = tmp_path / "run", []

    def save_file(tensors, path, metadata=None):
        written.append(path)
        if len(written) > num_written:
            path.write_bytes(b"half")
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
        safetensors.torch.serialize_file_of_old(tensors, path, metadata=metadata)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safetensors.torch, "serialize_file_of_old", safetensors.torch.save_file, raising=False)
        patch.setattr(safetensors.torch, "save_file", save_file)
        with pytest.raises(
            OSError, match=r"run/\w+.safetensors cannot be written: .*No space left on device"
        ) as caught:
            pretrain(tiny_store, config, folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.partial"))
    can_go_on = (folder / RESUME_FILE).exists()
    assert can_go_on == ("--resume" in str(caught.value))
    assert can_go_on or not folder.exists()
    pretrain(tiny_store, config, folder, device="cpu", resume=can_go_on)
    assert (folder / "model.safetensors").read_bytes() == weights
