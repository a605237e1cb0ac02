"""Training from the universal model: powers, what is kept, the files, and resuming."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from edgebehave.answers.combination import Powers
from edgebehave_train.evaluation.part_predictions import checkpoint_targets, predict_part
from edgebehave_train.files import read_json, read_tensors, write_json, write_tensors
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.training import training_run
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.universal_start import fit_powers
from edgebehave_train.universal.own_names import LOOKUP_FILE, Lookup, own_probs, read_lookup, write_lookup


def answers(seed, num_targets, strength):
    """Probabilities of 6 names that favor the target."""
    rng = np.random.default_rng(seed)
    target = np.random.default_rng(0).integers(1, 7, num_targets)
    scores = rng.normal(size=(num_targets, 7))
    scores[np.arange(num_targets), target] += strength
    probs = np.exp(scores)
    probs[:, 0] = 0
    return probs / probs.sum(1, keepdims=True), target


def test_powers_follow_the_better_model():
    good, target = answers(1, 2000, 2.0)
    noise, _ = answers(2, 2000, 0.0)
    by_named = fit_powers(good, noise, target)
    by_universal = fit_powers(noise, good, target)
    assert by_named.named > 0.8 > 0.15 > by_named.universal
    assert by_universal.universal > 0.8 > 0.15 > by_universal.named


def test_two_independent_models_are_better_together():
    one, target = answers(1, 2000, 1.0)
    other, _ = answers(2, 2000, 1.0)
    powers = fit_powers(one, other, target)
    both = powers.combine(one, other)
    rows = np.arange(len(target))
    assert np.log(both[rows, target]).mean() > max(np.log(p[rows, target]).mean() for p in (one, other)) + 0.05


def test_without_a_known_target_both_count_the_same():
    probs, target = answers(1, 4, 1.0)
    assert fit_powers(probs, probs, 0 * target) == Powers(universal=0.5, named=0.5)


def test_a_run_says_what_it_keeps_and_the_checkpoint_answers_so(universal_start):
    store, checkpoint = universal_start
    found = checkpoint.training.universal
    assert found["validation"].keys() == {"universal", "named", "combined"}
    best = max(of["rank"] for of in found["validation"].values())
    assert found["validation"][found["kept"]]["rank"] == best
    measured = evaluate_predictions(predict_part(store, checkpoint), checkpoint.behavior_counts)
    kept = found["validation"][found["kept"]]
    assert measured["mrr"] == pytest.approx(kept["rank"], abs=1e-9)
    assert measured["hr_at_1"] == pytest.approx(kept["hr_at_1"], abs=1e-9)
    assert checkpoint.load_model().lookup.powers == Powers(**found["powers"])


def test_a_run_from_scratch_has_no_lookup_and_the_same_named_model(universal_start, tmp_path):
    store, checkpoint = universal_start
    config = dataclasses.replace(checkpoint.config, from_universal=False)
    scratch = pretrain(store, config, tmp_path / "scratch")
    assert not (scratch.path / LOOKUP_FILE).exists()
    assert "universal" not in json.loads((scratch.path / "training.json").read_text())
    one, other = scratch.load_model(), checkpoint.load_model()
    assert one.lookup is None
    assert other.lookup is not None
    assert all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in one.state_dict())


@pytest.fixture
def copied(universal_start, tmp_path):
    """A copy of the checkpoint, to break."""
    return shutil.copytree(universal_start[1].path, tmp_path / "copied")


def test_a_checkpoint_of_before_is_read(copied):
    (copied / LOOKUP_FILE).unlink()
    config, training = read_json(copied / "config.json"), read_json(copied / "training.json")
    del config["train"]["from_universal"], config["vocabulary_sha256"], training["universal"], training["sha256"]
    write_json(copied / "config.json", config)
    write_json(copied / "training.json", training)
    old = Checkpoint.open(copied)
    assert not old.config.from_universal
    assert old.load_model().lookup is None
    old.check()


def test_a_lookup_of_another_run_is_found(copied, universal_start):
    lookup = universal_start[1].load_model().lookup
    assert Checkpoint.open(copied).lookup_sha256
    write_lookup(copied, Lookup(lookup.model, Powers(universal=0.25, named=0.75)))
    with pytest.raises(ValueError, match=r"lookup\.safetensors is damaged, or of another checkpoint"):
        Checkpoint.open(copied).check()
    (copied / LOOKUP_FILE).unlink()
    with pytest.raises(ValueError, match=r"lookup\.safetensors is missing"):
        Checkpoint.open(copied).load_model()


def test_a_lookup_in_a_checkpoint_that_was_trained_without_one_is_found(copied, universal_start, tmp_path):
    store, checkpoint = universal_start
    scratch = pretrain(store, dataclasses.replace(checkpoint.config, from_universal=False), tmp_path / "scratch")
    shutil.copy(copied / LOOKUP_FILE, scratch.path)
    with pytest.raises(ValueError, match="this one was not trained from the universal model"):
        scratch.load_model()


def test_a_run_killed_while_it_tunes_goes_on_to_the_same_bits(universal_start, tmp_path, monkeypatch):
    store, checkpoint = universal_start
    tuning = training_run.start_from_universal

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_run, "start_from_universal", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(store, checkpoint.config, tmp_path / "run")
    assert not Checkpoint.open(tmp_path / "run").training.finished
    monkeypatch.setattr(training_run, "start_from_universal", tuning)
    resumed = pretrain(store, checkpoint.config, tmp_path / "run", resume=True)
    for name in ("model.safetensors", LOOKUP_FILE):
        (tensors, metadata), (expected, same) = (read_tensors(path / name) for path in (resumed.path, checkpoint.path))
        assert metadata == same
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    assert resumed.training.universal == checkpoint.training.universal


def test_events_without_a_behavior_leave_the_universal_model_out(tiny_store, recipe, tmp_path):
    lines = []
    config = recipe(from_universal=True, epochs=1)
    checkpoint = pretrain(tiny_store, config, tmp_path / "run", on_progress=lambda p: lines.append(p.message))
    assert any("no behavior" in line for line in lines)
    assert checkpoint.load_model().lookup is None


def test_a_lookup_is_read_as_it_was_written_and_a_damaged_one_is_named(universal_start, tmp_path):
    _, checkpoint = universal_start
    lookup = checkpoint.load_model().lookup
    write_lookup(tmp_path, Lookup(lookup.model, Powers(universal=0.25, named=0.75, unused=-1.5)))
    found = read_lookup(tmp_path)
    assert found.powers == Powers(universal=0.25, named=0.75, unused=-1.5)
    assert all(torch.equal(found.model.state_dict()[name], value) for name, value in lookup.model.state_dict().items())
    weights, metadata = read_tensors(tmp_path / LOOKUP_FILE)
    write_tensors(tmp_path / LOOKUP_FILE, weights, {k: v for k, v in metadata.items() if k != "version"})
    with pytest.raises(ValueError, match=r"lookup\.safetensors is of version 1, expected 2; train it again"):
        read_lookup(tmp_path)
    (tmp_path / LOOKUP_FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"lookup\.safetensors is damaged"):
        read_lookup(tmp_path)


def test_own_names_are_those_used_before_and_leave_room_for_a_new_one(universal_start):
    store, checkpoint = universal_start
    asked = checkpoint_targets(store, checkpoint, "validation")
    behaviors, targets = asked.behaviors, asked.targets
    lookup = checkpoint.load_model().lookup
    seen = np.zeros(len(targets), int)
    for which, probs_RC in own_probs(lookup.model, behaviors, targets):
        seen[which] += 1
        for target, probs_C in zip(which, probs_RC, strict=True):
            start = behaviors.user_start[targets.user[target]]
            used = np.unique(behaviors.behavior[start : targets.row[target]])
            assert np.flatnonzero(probs_C).tolist() == used.tolist()
            assert 0 < probs_C.sum() < 1
    assert (seen == 1).all()
