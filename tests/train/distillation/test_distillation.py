"""Distillation: what the teacher changes, that it resumes to the bit, and what it refuses."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from edgebehave_train.distillation.distillation import distill, student_config
from edgebehave_train.distillation.name_embeddings import NameEmbeddings
from edgebehave_train.distillation.teacher_answers import TeacherAnswers, collect_answers, targets_to_ask
from edgebehave_train.distillation.teachers import (
    checkpoint_teacher,
    mean_teacher,
    open_teacher,
    open_teachers,
)
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training import training_run
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain

HOUR_S = 3600


class Stop(Exception):  # noqa: N818  a signal of the test, not an error
    pass


def digest(checkpoint) -> str:
    weights = (checkpoint.path / "model.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest()


def everything(store):
    return np.ones(store.num_events, bool)


def fixed_answers(store, split, name="behavior_3", samples=200, card=None):
    """The answers of a teacher that always predicts one behavior."""
    names = store.vocabulary.behaviors
    probs = np.full(len(names), 0.1 / (len(names) - 2))
    probs[names.index(name)] = 0.9
    probs[0] = 0
    event = targets_to_ask(store, split, everything(store), samples)
    return TeacherAnswers(
        event=event,
        probs=np.tile(probs.astype(np.float32), (len(event), 1)),
        behaviors=names,
        data_fingerprint=store.fingerprint,
        card=card or {"name": "fixed"},
        num_asked=len(event),
    )


def network_share(store, checkpoint, name):
    """Mean probability that the network alone gives to a behavior on the training part."""
    log = map_log(store, checkpoint.vocabulary)
    is_train = part_of_event(store, checkpoint.config.split) == TRAIN
    behaviors = log.behavior_log(is_train)
    blocks = target_probs(checkpoint.load_model(), log, behaviors, behaviors.targets(is_train), experts="network")
    probs = np.concatenate([block for _, block in blocks])
    return probs[:, checkpoint.vocabulary.behavior_id(name)].mean()


def test_targets_are_those_of_the_training_part(tiny_store):
    split = SplitConfig()
    event = targets_to_ask(tiny_store, split, everything(tiny_store), 60)
    assert len(event) == 60
    assert (part_of_event(tiny_store, split)[event] == TRAIN).all()
    counts = np.bincount(np.asarray(tiny_store.behavior)[event], minlength=13)
    assert counts[1:11].min() >= counts[1:11].max() - 1  # late_a and late_b never train
    assert counts[0] == counts[11:].sum() == 0


def test_without_weight_it_is_plain_training_to_the_bit(tiny_store, recipe, tmp_path):
    config = recipe(epochs=1)
    plain = pretrain(tiny_store, config, tmp_path / "plain", device="cpu")
    answers = fixed_answers(tiny_store, config.split)
    runs = {
        weight: distill(tiny_store, config, tmp_path / f"{weight}", answers, weight=weight, device="cpu")
        for weight in (0.0, 0.5)
    }
    assert digest(runs[0.0]) == digest(plain) != digest(runs[0.5])


def test_the_network_learns_from_its_teacher(tiny_store, recipe, tmp_path):
    config = recipe(epochs=3, learning_rate=1e-2)
    plain = pretrain(tiny_store, config, tmp_path / "plain")
    answers = fixed_answers(tiny_store, config.split)
    taught = distill(tiny_store, config, tmp_path / "taught", answers, weight=3.0)
    before, after = (network_share(tiny_store, one, "behavior_3") for one in (plain, taught))
    assert after > before + 0.2
    origin = taught.training.origin
    assert origin["teacher"] == {"name": "fixed"}
    assert origin["answers"] == {"num": 200, "sha256": answers.digest()}
    assert (origin["weight"], origin["temperature"]) == (3.0, 2.0)


@pytest.mark.parametrize("step", [3, 11])
def test_a_stopped_run_resumes_to_the_same_bytes(tiny_store, recipe, tmp_path, monkeypatch, step):
    monkeypatch.setattr(training_run, "_SAVE_EVERY_S", -1.0)
    config, names = recipe(), NameEmbeddings(embed=letters, readable={}, card={"name": "letters"})
    answers = fixed_answers(tiny_store, config.split)
    whole = distill(tiny_store, config, tmp_path / "whole", answers, names=names, device="cpu")

    def stop(progress):
        if progress.kind == "step" and progress.step == step:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        distill(tiny_store, config, out, answers, names=names, device="cpu", on_progress=stop)
    for changed in ({"weight": 2.0}, {"temperature": 3.0}, {"names": None}):
        with pytest.raises(ValueError, match="resume with the command that began it"):
            distill(
                tiny_store,
                config,
                out,
                answers,
                **{"names": names, **changed},
                resume=True,
                device="cpu",
            )
    resumed = distill(tiny_store, config, out, answers, names=names, resume=True, device="cpu")
    assert digest(resumed) == digest(whole)


def letters(names):
    return torch.stack([torch.tensor([float(name.count(c)) for c in "abehiortv 0123456789"]) for name in names])


# -- from a checkpoint ------------------------------------------------------------------------


def test_a_checkpoint_goes_on_under_a_teacher(tiny_store, tiny_checkpoint, tmp_path):
    config = student_config(tiny_checkpoint, epochs=2)
    answers = fixed_answers(tiny_store, config.split)
    taught = distill(tiny_store, config, tmp_path / "run", answers, weight=3.0, student=tiny_checkpoint)
    assert taught.vocabulary == tiny_checkpoint.vocabulary
    # The start may be what is kept: its validation loss is what an epoch has to beat.
    assert taught.training.best_epoch in (0, 1, 2)
    other = dataclasses.replace(config, split=SplitConfig(train=0.6))
    with pytest.raises(ValueError, match="its test users would be trained on"):
        distill(tiny_store, other, tmp_path / "b", answers, student=tiny_checkpoint)


def days(extra: bool, user: int) -> list:
    rows = []
    for day in range(12):
        for hour, event in enumerate(("wake", "coffee", "work", "lunch", "work", "home")):
            time_s = (day * 24 + 7 + 2 * hour) * HOUR_S
            rows.append((time_s, event, "town"))
            if extra and event == "lunch" and (day + user) % 2 == 0:
                rows.append((time_s + HOUR_S, "tea time", "town"))
    return rows


def test_new_behaviors_of_a_checkpoint_start_from_their_names(make_store, recipe, tmp_path):
    split = SplitConfig(by="user", train=0.6, validation=0.2)
    config = recipe(epochs=3, split=split, learned_kernel=False)
    before = make_store([days(False, user) for user in range(12)])
    known = pretrain(before, config, tmp_path / "known")
    store = make_store([days(True, user) for user in range(12)])
    answers = fixed_answers(store, split, "tea time", samples=50)
    own = dataclasses.replace(student_config(known, epochs=1), learning_rate=1e-30)
    runs = {}
    for label, names in (
        ("names", NameEmbeddings(embed=letters, readable={}, card={})),
        ("examples", None),
    ):
        run = distill(store, own, tmp_path / label, answers, student=known, names=names)
        state, old = run.load_model().state_dict(), known.load_model().state_dict()
        num_known = known.vocabulary.num_behaviors
        torch.testing.assert_close(state["head_out.weight"][:num_known], old["head_out.weight"])
        assert run.vocabulary.behaviors[num_known:] == ("tea time",)
        runs[label] = state
        # Biases make the new behavior as frequent as it is.
        share = network_share(store, run, "tea time")
        assert share == pytest.approx(1 / 13, abs=0.03)
    last = known.vocabulary.num_events
    assert not torch.equal(runs["names"]["event.weight"][last], runs["examples"]["event.weight"][last])


# -- checkpoints as teachers ------------------------------------------------------------------


def test_a_checkpoint_answers_by_its_network(tiny_store, tiny_checkpoint, tmp_path):
    split = tiny_checkpoint.config.split
    teacher = open_teacher(tiny_store, tiny_checkpoint.path, split)
    event = targets_to_ask(tiny_store, split, teacher.can_answer, 80)
    answers = collect_answers(teacher, tiny_store, event, tmp_path / "answers")
    assert list(answers.behaviors) == list(tiny_checkpoint.vocabulary.behaviors)
    log = map_log(tiny_store, tiny_checkpoint.vocabulary)
    parts = part_of_event(tiny_store, tiny_checkpoint.config.split)
    behaviors = log.behavior_log(parts == TRAIN)
    targets = behaviors.targets(parts == TRAIN)
    model = tiny_checkpoint.load_model()
    for which, probs in target_probs(model, log, behaviors, targets, experts="network"):
        for row in np.flatnonzero(np.isin(targets.event[which], event)):
            mine = answers.probs[answers.event == targets.event[which[row]]][0]
            known = probs[row, : len(mine)]
            np.testing.assert_allclose(mine, known / known[1:].sum(), rtol=1e-4, atol=1e-6)


def test_several_teachers_answer_by_their_mean(tiny_store, tiny_checkpoint, recipe, tmp_path):
    config = recipe(epochs=1, seed=5, split=tiny_checkpoint.config.split)
    other = pretrain(tiny_store, config, tmp_path / "other")
    paths = [tiny_checkpoint.path, other.path]
    both = open_teachers(tiny_store, paths, config.split)
    event = targets_to_ask(tiny_store, config.split, both.can_answer, None)
    assert len(event) == len(targets_to_ask(tiny_store, config.split, both.can_answer, 10**6))
    alone = [open_teacher(tiny_store, path, config.split).score(event) for path in paths]
    np.testing.assert_allclose(both.score(event), (alone[0] + alone[1]) / 2, rtol=1e-6)
    cards = [open_teacher(tiny_store, path, config.split).card for path in paths]
    assert both.card == {"teachers": cards}
    stranger = dataclasses.replace(both, behaviors=[*both.behaviors[:-1], "another"])
    with pytest.raises(ValueError, match="must know the same behaviors"):
        mean_teacher([both, stranger])


def test_a_teacher_of_this_log_has_the_same_held_out_part(tiny_store, tiny_checkpoint, recipe, tmp_path):
    config = recipe(epochs=1, split=SplitConfig(train=0.8))
    teacher = checkpoint_teacher(tiny_store, tiny_checkpoint)
    event = targets_to_ask(tiny_store, config.split, teacher.can_answer, 80)
    answers = collect_answers(teacher, tiny_store, event, tmp_path / "answers")
    with pytest.raises(ValueError, match=r"take its own: .*--set split.train=0.7"):
        distill(tiny_store, config, tmp_path / "run", answers)
    several = dataclasses.replace(answers, card={"teachers": [answers.card]})
    with pytest.raises(ValueError, match=r"take its own: .*--set split.train=0.7"):
        distill(tiny_store, config, tmp_path / "run", several)
    elsewhere = dataclasses.replace(answers, card={**answers.card, "data_fingerprint": "other"})
    assert distill(tiny_store, config, tmp_path / "run", elsewhere).training.finished


# -- what is refused --------------------------------------------------------------------------


def test_answers_of_another_log_are_refused(tiny_store, make_store, recipe, tmp_path):
    config = recipe()
    answers = fixed_answers(tiny_store, config.split)
    other = make_store([[(9 * i, "ab"[i % 2], None) for i in range(40)]] * 3)
    with pytest.raises(ValueError, match="answers belong to another log"):
        distill(other, config, tmp_path / "run", answers)


def test_answers_that_do_not_train_are_refused(tiny_store, recipe, tmp_path):
    answers = fixed_answers(tiny_store, SplitConfig(), samples=100_000)
    config = recipe(split=SplitConfig(train=0.4))
    with pytest.raises(ValueError, match="belong to targets that do not train with this split"):
        distill(tiny_store, config, tmp_path / "run", answers)
    missing = dataclasses.replace(answers, num_asked=len(answers.event) + 7)
    with pytest.raises(ValueError, match=r"7 of .* answers of the teacher are missing"):
        distill(tiny_store, recipe(), tmp_path / "run", missing)


def test_a_folder_that_is_no_teacher_is_named(tiny_store, tiny_checkpoint, tmp_path):
    with pytest.raises(ValueError, match="is not a checkpoint"):
        open_teacher(tiny_store, tmp_path, SplitConfig())
    unfinished = dataclasses.replace(
        tiny_checkpoint, training=dataclasses.replace(tiny_checkpoint.training, finished=False)
    )
    with pytest.raises(ValueError, match="is not finished"):
        checkpoint_teacher(tiny_store, unfinished)


def test_a_run_may_still_be_opened_as_any_checkpoint(tiny_store, recipe, tmp_path):
    config = recipe(epochs=1)
    run = distill(tiny_store, config, tmp_path / "run", fixed_answers(tiny_store, config.split))
    assert Checkpoint.open(run.path).load_model().config == run.model_config
    # The student of one teacher may be another's.
    assert open_teacher(tiny_store, run.path, config.split).card["checkpoint"] == "run"
