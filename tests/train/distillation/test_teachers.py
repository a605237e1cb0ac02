"""A tuned language model as a teacher: its own probabilities, and its view of names."""

import numpy as np
import pytest
import torch

from edgebehave_train.distillation.distillation import distill
from edgebehave_train.distillation.teacher_answers import answers_of, collect_answers, targets_to_ask
from edgebehave_train.distillation.teachers import (
    checkpoint_teacher,
    language_names,
    open_teacher,
    split_of_teachers,
)
from edgebehave_train.llm.prompts.conversations import SMALL_CORPUS
from edgebehave_train.llm.prompts.samples import log_samples
from edgebehave_train.llm.prompts.wording import PromptConfig
from edgebehave_train.llm.scoring.language_model import LoraSettings
from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
from edgebehave_train.llm.tuning.progressive_tuning import tune_progressively
from edgebehave_train.llm.tuning.tuned_llm import TunedLLM, sample_probs
from edgebehave_train.llm.tuning.tuning_loop import TuningConfig
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event


@pytest.fixture(scope="module")
def tuned(tiny_store, tiny_llama, tmp_path_factory) -> TunedLLM:
    quick = TuningConfig(epochs=1, batch_size=8, autocast="float32")
    config = BehaviorLMConfig(
        stages=("all",),
        max_samples=16,
        max_validation=4,
        prompt=PromptConfig(history=3),
        lora=LoraSettings(rank=2),
        tuning=quick,
        balanced_tuning=quick,
    )
    out = tmp_path_factory.mktemp("tuned") / "llm"
    return tune_progressively(tiny_store, tiny_llama, config, out, auxiliary=SMALL_CORPUS, device="cpu")


def test_a_language_model_answers_as_it_predicts(tiny_store, tuned, tmp_path):
    split = tuned.config.split
    assert split_of_teachers(tiny_store, [tuned.path]) == split
    teacher = open_teacher(tiny_store, tuned.path, split, device="cpu")
    event = targets_to_ask(tiny_store, split, teacher.can_answer, 30)
    assert (part_of_event(tiny_store, split)[event] == TRAIN).all()
    answers = collect_answers(teacher, tiny_store, event, tmp_path / "answers")
    samples = log_samples(tiny_store, "train", split, history=3)
    samples = samples.take(np.isin(samples.targets.event, event))
    assert samples.targets.event.tolist() == event.tolist()
    model, tokenizer = tuned.load("cpu")
    probs = sample_probs(model, tuned.encoder(model, tokenizer), samples)
    np.testing.assert_allclose(answers.probs, probs, rtol=1e-4, atol=1e-7)
    assert answers.card["stages"] == ["all"]
    assert answers.card["base_version"].startswith("sha256:")


def test_a_student_of_a_language_model_holds_out_the_same_users(tiny_store, tuned, recipe, tmp_path):
    teacher = open_teacher(tiny_store, tuned.path, tuned.config.split, device="cpu")
    event = targets_to_ask(tiny_store, tuned.config.split, teacher.can_answer, 30)
    answers = collect_answers(teacher, tiny_store, event, tmp_path / "answers")
    names = language_names(tuned.path)
    config = recipe(epochs=1, split=tuned.config.split)
    taught = distill(tiny_store, config, tmp_path / "run", answers, names=names)
    assert taught.training.origin["names"] == names.card
    with pytest.raises(ValueError, match=r"take its own: --set split.by=user --set split.train"):
        distill(tiny_store, recipe(epochs=1), tmp_path / "other", answers)


def test_names_are_the_mean_of_their_tokens(tuned):
    names = language_names(tuned.path)
    model, tokenizer = tuned.load("cpu")
    ids = tokenizer.encode("behavior 3", add_special_tokens=False)
    expected = model.get_input_embeddings().weight[ids].mean(0)
    torch.testing.assert_close(names.embed(["behavior 3"])[0], expected)
    rows = names.of_behaviors(tuned.vocabulary)
    assert rows.shape == (tuned.vocabulary.num_behaviors - 1, 32)


def test_what_is_no_language_model_has_no_names(tiny_checkpoint):
    with pytest.raises(ValueError, match="is no tuned language model, so names have no embed"):
        language_names(tiny_checkpoint.path)


def test_a_teacher_is_not_asked_about_what_it_lacks(tiny_store, tiny_checkpoint, tuned):
    late = [tiny_store.vocabulary.behavior_id(name) for name in ("late_a", "late_b")]
    is_late = np.isin(tiny_store.behavior, late)
    assert is_late.any()
    for can_answer in (
        checkpoint_teacher(tiny_store, tiny_checkpoint).can_answer,
        open_teacher(tiny_store, tiny_checkpoint.path, SplitConfig()).can_answer,
    ):
        assert not can_answer[is_late].any()
        assert can_answer[~is_late].any()
    teacher = open_teacher(tiny_store, tuned.path, tuned.config.split)
    nothing = np.zeros(tiny_store.num_events, bool)
    with pytest.raises(ValueError, match="knows no target of the training part"):
        targets_to_ask(tiny_store, SplitConfig(), nothing, 10)
    assert teacher.can_answer.sum() > 0


def test_another_log_has_a_split_of_its_own(make_store, tuned, tiny_checkpoint):
    other: EventStore = make_store([[(9 * i, "ab"[i % 2], None) for i in range(9)]] * 3)
    assert split_of_teachers(other, [tuned.path, tiny_checkpoint.path]) is None


def test_the_answers_of_teachers_are_asked_for_once(tiny_store, tiny_checkpoint, tmp_path):
    file, split = tmp_path / "answers", tiny_checkpoint.config.split
    with pytest.raises(ValueError, match="there is no teacher"):
        answers_of(tiny_store, [], split, file)
    told = []
    teachers, on_progress = [tiny_checkpoint.path], lambda done, total: told.append((done, total))
    answers = answers_of(tiny_store, teachers, split, file, samples=40, on_progress=on_progress)
    assert (len(answers.event), told[-1]) == (40, (40, 40))
    assert answers_of(tiny_store, [], split, file).digest() == answers.digest()
    with pytest.raises(ValueError, match="at other targets"):
        answers_of(tiny_store, teachers, split, file)  # a checkpoint answers all targets by default
