"""Pretraining on random worlds: resumed to the bit, the same for any number of workers, and one-line errors."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgebehave_train.files import one_writer, read_tensors, write_tensors
from edgebehave_train.universal import pretraining
from edgebehave_train.universal.pretraining import (
    CONFIG_FILE,
    RESUME_FILE,
    WEIGHTS_FILE,
    UniversalTrainConfig,
    WorldBatches,
    load_universal,
    pretrain_universal,
    universal_config,
)
from edgebehave_train.universal.universal_model import UniversalConfig

TINY = UniversalTrainConfig(
    shape=UniversalConfig(learned_kernels=1, cue_width=2, context_width=2, score_width=2),
    steps=6,
    lengths=(4, 8),
    queries=4,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("universal") / "model"
    pretrain_universal(TINY, out, workers=0)
    return out


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A run that saves at every step and ends after its third."""
    monkeypatch.setattr(pretraining, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        pretrain_universal(TINY, tmp_path / "killed", workers=0, on_progress=end_at(4))
    return tmp_path / "killed"


def end_at(step):
    def on_progress(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    return on_progress


def weights(folder):
    return read_tensors(folder / WEIGHTS_FILE)[0]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_resumed_run_ends_with_the_same_weights(finished, killed):
    seen = []
    pretrain_universal(TINY, killed, resume=True, workers=0, on_progress=lambda progress: seen.append(progress.step))
    assert seen == [4, 5, 6]  # step 4 had ended, and was not saved
    assert_same_weights(weights(killed), weights(finished))
    assert not (killed / RESUME_FILE).exists()


def test_a_run_that_was_killed_at_once_can_be_resumed(finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        pretrain_universal(TINY, tmp_path / "run", workers=0, on_progress=end_at(1))
    pretrain_universal(TINY, tmp_path / "run", resume=True, workers=0)
    assert_same_weights(weights(tmp_path / "run"), weights(finished))


def test_workers_make_the_same_worlds(finished, tmp_path):
    pretrain_universal(TINY, tmp_path / "run", workers=2)
    assert_same_weights(weights(tmp_path / "run"), weights(finished))


def test_a_batch_depends_on_seed_and_step_alone():
    whole, late = WorldBatches(TINY), WorldBatches(TINY, first=4)
    assert (len(whole), len(late)) == (6, 2)
    for one, other in ((whole[4], late[0]), (whole[2], WorldBatches(TINY)[2])):
        assert all(map(torch.equal, one.sequences, other.sequences))
        assert torch.equal(one.query, other.query)
        assert torch.equal(one.is_timed, other.is_timed)
    assert not torch.equal(whole[1].sequences.local_s[:1, :4], whole[2].sequences.local_s[:1, :4])


def log_of(*lengths):
    """Users of a log whose names are 1000 and up, and who are always at location 7."""
    rng = np.random.default_rng(0)
    return [(1000 + rng.integers(0, 9, n), np.full(n, 7), np.cumsum(rng.integers(1, 9, n))) for n in lengths]


def test_users_of_a_log_stand_beside_worlds():
    log = log_of(8, 8, 8, 9, 40)
    config = replace(TINY, steps=60, lengths=(4, 9), log_share=0.5, log_hides_place=0.5, logs=("log",))
    batches = [WorldBatches(config, logs=[log])[step] for step in range(60)]
    intervals = {tuple(np.diff(local_s[at : at + 3])) for _, _, local_s in log for at in range(len(local_s) - 2)}
    is_of_log = [
        all(tuple(np.diff(local_s[:3])) in intervals for local_s in batch.sequences.local_s.numpy())
        for batch in batches
        if batch.sequences.name.shape[1] < 9  # of nine events there are only two users, too few
    ]
    assert 0.25 < np.mean(is_of_log) < 0.75
    of_log = [batch for batch, is_it in zip(batches, is_of_log, strict=False) if is_it]
    hides = torch.cat([batch.sequences.location[:, 0] < 0 for batch in of_log]).float().mean()
    assert 0.2 < hides < 0.8
    assert all((batch.sequences.name[:, 0] == 0).all() for batch in batches)  # whatever the names of the log


def test_a_training_begins_with_given_weights(finished, tmp_path):
    config = replace(TINY, steps=1, learning_rate=1e-12, weight_decay=0.0, seed=5)
    pretrain_universal(config, tmp_path / "run", workers=0, start=finished)
    for name, value in weights(tmp_path / "run").items():
        assert torch.allclose(value, weights(finished)[name], atol=1e-6), name


def test_progress_has_loss_and_time_left_from_the_first_step_on(tmp_path):
    seen = []
    pretrain_universal(TINY, tmp_path / "run", workers=0, on_progress=seen.append)
    assert [one.step for one in seen] == [1, 2, 3, 4, 5, 6]
    assert all(one.loss > 0 and one.steps == 6 for one in seen)
    assert seen[0].seconds_left > 0
    assert seen[-1].seconds_left == 0


def test_training_lowers_the_loss(tmp_path):
    losses = []
    config = UniversalTrainConfig(steps=300, lengths=(16, 16), queries=8)
    pretrain_universal(config, tmp_path / "run", workers=0, on_progress=lambda one: losses.append(one.loss))
    assert losses[-1] < losses[19] - 0.1  # `loss` is a mean over the last 200 steps


def test_a_finished_run_is_kept(finished):
    before = (finished / WEIGHTS_FILE).read_bytes()
    with pytest.raises(ValueError, match="holds a finished universal model, which is kept; name another folder"):
        pretrain_universal(TINY, finished)
    with pytest.raises(ValueError, match="holds a finished universal model; there is nothing to resume"):
        pretrain_universal(TINY, finished, resume=True)
    assert (finished / WEIGHTS_FILE).read_bytes() == before


def test_a_begun_run_is_kept_and_resumed_with_its_own_settings(killed):
    with pytest.raises(ValueError, match="already holds a run of the universal model; use --resume, or another"):
        pretrain_universal(TINY, killed)
    with pytest.raises(ValueError, match="begun with other settings"):
        pretrain_universal(UniversalTrainConfig(steps=7), killed, resume=True)
    assert universal_config(killed) == TINY
    with pytest.raises(ValueError, match="was not trained to the end; go on with --resume"):
        load_universal(killed)


def test_of_two_that_resume_the_second_is_told_so(killed, monkeypatch):
    monkeypatch.setattr(pretraining, "_PATIENCE_S", 0)
    with one_writer(killed), pytest.raises(ValueError, match=r"another process is writing .*; wait for its end"):
        pretrain_universal(TINY, killed, resume=True)


def test_there_must_be_a_run_to_resume(tmp_path):
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match=r"holds no run to resume: config.json and resume.safetensors must be"):
            pretrain_universal(TINY, folder, resume=True)
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="not part of a run of the universal model"):
        pretrain_universal(TINY, tmp_path)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_loading_gives_the_trained_model(finished):
    model = load_universal(finished)
    assert model.config == TINY.shape
    assert not model.training
    assert_same_weights(weights(finished), model.state_dict())


def test_mistakes_of_a_folder_are_one_line(copy, tmp_path):
    def message(path=copy):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
            load_universal(path)
        return str(error.value)

    assert "holds no finished universal model" in message(tmp_path / "nothing")
    tensors = weights(copy)
    write_tensors(copy / WEIGHTS_FILE, {name: value for name, value in tensors.items() if "power" not in name})
    assert "model.safetensors is damaged: its weights do not fit" in message()
    (copy / WEIGHTS_FILE).write_bytes(b"123")
    assert "model.safetensors is damaged" in message()
    content = json.loads((copy / CONFIG_FILE).read_text())
    for wrong, part in (
        ({**content, "format_version": 99}, "has format version 99, expected 2; train it again"),
        ({**content, "format_version": 1}, "has format version 1, expected 2; train it again"),
        ({**content, "train": {"steps": 3}}, "config.json is damaged"),
        ({**content, "train": {**content["train"], "speed": 3}}, "config.json is damaged"),
    ):
        (copy / CONFIG_FILE).write_text(json.dumps(wrong))
        assert part in message()
    (copy / CONFIG_FILE).unlink()
    assert "holds no universal model; make one with `edgebehave universal`" in message()


@pytest.mark.parametrize("field", [{"steps": 0}, {"lengths": (1,)}, {"hidden_time": 1.0}, {"learning_rate": 0.0}])
def test_settings_are_checked(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        UniversalTrainConfig(**field)
