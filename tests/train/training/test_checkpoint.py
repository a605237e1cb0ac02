"""The checkpoint folder: what comes back, what is refused, and that a failure leaves the old."""

import dataclasses
import json

import pytest
import torch

from edgebehave.vocabulary import Vocabulary
from edgebehave_train import files
from edgebehave_train.files import read_json, write_json, write_tensors
from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.training.checkpoint import Checkpoint, DroResult, TrainingRecord, write_description
from edgebehave_train.training.objectives import ObjectiveConfig
from edgebehave_train.training.recipes import tiny

VOCABULARY = Vocabulary.identity(["run", "eat", "schlafen ☾"], ["home"])
CONFIG = tiny(split=SplitConfig(by="user", seed=3), objective=ObjectiveConfig(name="dro", kappa=0.7))
MODEL_CONFIG = ModelConfig(
    num_events=4, num_locations=2, num_behaviors=4, width=16, num_layers=1, num_heads=2, window=8
)
TRAINING = TrainingRecord(
    data_fingerprint="f00",
    origin={"strategy": "lora", "num_examples": {"eat": 3}},
    behavior_counts=[0, 5, 3, 1],
    seed=3,
    device="cpu",
    precision="float32",
    attention="blockwise",
    num_parameters=123,
    versions={"python": "3.12"},
    finished=True,
    best_epoch=2,
    validation_nll=[2.5, 2.25],
    validation_loss=[None, 2.75],
    dro=DroResult(capacity=1.5, worst_case=[0.0, 0.25, 0.25, 0.5]),
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BehaviorModel(MODEL_CONFIG)


@pytest.fixture
def folder(tmp_path, model):
    path = tmp_path / "checkpoint"
    write_description(path, CONFIG, MODEL_CONFIG, VOCABULARY, TRAINING)
    write_tensors(path / "model.safetensors", model.state_dict())
    return path


def test_everything_comes_back(folder, model):
    checkpoint = Checkpoint.open(str(folder))
    assert checkpoint.config == CONFIG
    assert checkpoint.model_config == MODEL_CONFIG
    assert checkpoint.vocabulary == VOCABULARY
    assert checkpoint.training == TRAINING
    assert checkpoint.behavior_counts.tolist() == [0, 5, 3, 1]
    loaded = checkpoint.load_model()
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_the_training_record_writes_no_field_that_is_absent():
    content = TRAINING.to_json()
    assert list(content)[:3] == ["data_fingerprint", "origin", "behavior_counts"]
    assert content["dro"] == {"capacity": 1.5, "worst_case": [0.0, 0.25, 0.25, 0.5]}
    assert "validation_rank" not in content
    assert "generation_nll" not in content
    plain = dataclasses.replace(TRAINING, dro=None)
    assert TrainingRecord.from_json(json.loads(json.dumps(plain.to_json()))) == plain
    assert (TRAINING.worst_case, plain.worst_case) == ([0.0, 0.25, 0.25, 0.5], None)


def test_a_training_record_of_another_version_is_one_clear_error(folder):
    content = read_json(folder / "training.json")
    del content["finished"]
    write_json(folder / "training.json", content, seal=True)
    with pytest.raises(ValueError, match=r"training\.json does not fit this version: .*finished"):
        Checkpoint.open(folder)


def test_metrics_come_back_and_may_be_absent(folder):
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.read_metrics() == {}
    write_json(folder / "metrics.json", {"validation": {"é": 0.5}})
    assert Checkpoint.open(folder).read_metrics() == {"validation": {"é": 0.5}}


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match="is not a checkpoint; make one with `edgebehave train`"):
        Checkpoint.open(tmp_path)


def test_another_version_is_refused(folder):
    content = read_json(folder / "config.json")
    write_json(folder / "config.json", {**content, "format_version": 99}, seal=True)
    with pytest.raises(ValueError, match="checkpoint of version 99, this is version 2; train it"):
        Checkpoint.open(folder)


def test_missing_weights_say_how_to_get_them(folder):
    (folder / "model.safetensors").unlink()
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(ValueError, match="has no weights yet; finish it with"):
        checkpoint.load_model()


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "text"])
def test_damaged_weights_are_one_clear_error(folder, damage):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "header": whole[:8] + b"{" * 20 + whole[28:],
            "text": b"<html>not found</html>",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: "):
        Checkpoint.open(folder).load_model()


@pytest.mark.parametrize("change", ["fewer", "shape", "more"])
def test_weights_of_another_model_do_not_fit(folder, model, change):
    weights = dict(model.state_dict())
    if change == "fewer":
        del weights["norm.weight"]
    elif change == "shape":
        weights["head_out.bias"] = torch.zeros(7)
    else:
        weights["extra"] = torch.zeros(1)
    write_tensors(folder / "model.safetensors", weights)
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit config\.json"):
        Checkpoint.open(folder).load_model()


@pytest.mark.parametrize("name", ["config.json", "training.json", "metrics.json"])
def test_a_description_that_fails_leaves_the_old_one(folder, monkeypatch, name):
    write_json(folder / "metrics.json", {"old": 1})
    before = (folder / name).read_bytes()

    def cannot_replace(source, target):
        raise OSError("disk gone")

    monkeypatch.setattr(files.os, "replace", cannot_replace)
    with pytest.raises(OSError, match="disk gone"):
        write_json(folder / name, {"new": 2})
    assert (folder / name).read_bytes() == before


def test_a_config_survives_json():
    for config in (CONFIG, dataclasses.replace(CONFIG, query_context="none", habits=False, learned_kernel=False)):
        content = json.loads(json.dumps(config.to_json()))
        assert type(config).from_json(content) == config


@pytest.fixture
def hashed(folder):
    """The checkpoint as a run leaves it at its end: described after its weights were written."""
    write_description(folder, CONFIG, MODEL_CONFIG, VOCABULARY, TRAINING)
    return folder


def test_files_of_another_run_are_found(hashed, tmp_path):
    torch.manual_seed(1)
    write_tensors(hashed / "model.safetensors", BehaviorModel(MODEL_CONFIG).state_dict())
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged, or of another checkpoint"):
        Checkpoint.open(hashed).load_model()
    other = tmp_path / "other"
    config = dataclasses.replace(CONFIG, seed=CONFIG.seed + 1)
    write_description(other, config, MODEL_CONFIG, Vocabulary.identity(["a", "b", "c"], ["d"]), TRAINING)
    for name, says in (
        ("training.json", "training.json and config.json are of two checkpoints"),
        ("vocabulary.json", "vocabulary.json is damaged, or of another checkpoint"),
    ):
        kept = (hashed / name).read_bytes()
        (hashed / name).write_bytes((other / name).read_bytes())
        with pytest.raises(ValueError, match=says):
            Checkpoint.open(hashed)
        (hashed / name).write_bytes(kept)


def test_measurements_of_another_checkpoint_are_found(hashed, tmp_path):
    write_json(hashed / "metrics.json", {"validation": 1, "config_sha256": "0" * 64}, seal=True)
    with pytest.raises(ValueError, match=r"metrics\.json is of another checkpoint"):
        Checkpoint.open(hashed).read_metrics()


def test_a_flipped_bit_of_the_weights_is_found_by_the_file_alone(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its tensors do not fit their SHA-256"):
        Checkpoint.open(folder).check()


def test_a_checkpoint_of_before_has_no_hashes_and_opens(hashed, model):
    from safetensors.torch import save_file

    save_file(model.state_dict(), hashed / "model.safetensors")
    config, training = read_json(hashed / "config.json"), read_json(hashed / "training.json")
    del config["vocabulary_sha256"], training["sha256"]
    write_json(hashed / "config.json", config)
    write_json(hashed / "training.json", training)
    checkpoint = Checkpoint.open(hashed)
    checkpoint.check()
    assert checkpoint.weights_sha256 is None
    assert (checkpoint.config, checkpoint.training) == (CONFIG, TRAINING)
