"""Distillation: a student trains on the behaviors of a log and on a teacher's probabilities.

The loss is that of `soft_targets.py`, the loop that of `pretraining.py`. The student is an
ordinary checkpoint, and the objective's loss on the validation part chooses the weights; the
agreement with the teacher does not count there.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.adaptation.adaptation import START_EXAMPLES, AdaptConfig, extended_vocabulary, training_config
from edgebehave_train.adaptation.new_rows import grown_model
from edgebehave_train.adaptation.support_set import choose_support, positions_with_target
from edgebehave_train.distillation.name_embeddings import NameEmbeddings, begin_with_names, rows_from_names
from edgebehave_train.distillation.soft_targets import SoftTargets
from edgebehave_train.distillation.teacher_answers import TeacherAnswers
from edgebehave_train.distillation.teachers import weights_digest
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_bounds, part_of_event
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import Progress, Start, pretrain
from edgebehave_train.training.recipes import TrainConfig


def distill(
    store: EventStore,
    config: TrainConfig,
    out: Path,
    answers: TeacherAnswers,
    *,
    weight: float = 1.0,
    temperature: float = 2.0,
    student: Checkpoint | None = None,
    names: NameEmbeddings | None = None,
    resume: bool = False,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Train a student on a store and a teacher's answers, and write a checkpoint.

    answers  of the teacher at training targets of this store.
    weight, temperature  of the soft targets; weight 0 trains without them.
    student  a checkpoint to start from, of this log or one with fewer names; its shape and split
             are those of the config, see `student_config`. None: from scratch.
    names    embeddings of names, from which rows of events and behaviors start: all rows from
             scratch, the new rows of a student. None: noise, or prototypes for a student.
    resume   continue the run in `out`, with the same arguments.
    Raises ValueError if the answers are incomplete, belong to another log, or hold none of its
    training targets; if the student's split differs; or `pretrain` refuses.
    """
    answers.require_log(store)
    if not answers.is_complete:
        raise ValueError(
            f"{answers.num_asked - len(answers.event)} of {answers.num_asked} answers of the "
            "teacher are missing; name the teacher again by --teacher, which goes on asking"
        )
    _require_same_held_out(store, config.split, answers)
    if student is not None and student.config.split != config.split:
        raise ValueError(
            f"{student.path} was trained with {student.config.split}, now it is {config.split}; "
            "its test users would be trained on"
        )
    is_train = part_of_event(store, config.split) == TRAIN
    if student is None:
        vocabulary = training_vocabulary(store, is_train, config.min_users)
    else:
        vocabulary = extended_vocabulary(store, student)
    origin: dict[str, Any] = {
        "teacher": dict(answers.card),
        "answers": {"num": len(answers.event), "sha256": answers.digest()},
        "weight": weight,
        "temperature": temperature,
        "student": None if student is None else weights_digest(student),
        "names": None if names is None else dict(names.card),
    }
    return pretrain(
        store,
        config,
        out,
        resume=resume,
        device=device,
        start=Start(
            origin=origin,
            vocabulary=vocabulary,
            prepare=_prepared(store, config, vocabulary, student, names),
            is_candidate=student is not None,
            extra_loss=_soft_targets(store, config, vocabulary, answers, weight, temperature),
        ),
        on_progress=on_progress,
    )


def _require_same_held_out(store: EventStore, split: SplitConfig, answers: TeacherAnswers) -> None:
    """Raises ValueError if a teacher was trained on the held-out part of the student."""
    for card in answers.card.get("teachers", [answers.card]):
        theirs = card.get("split")
        if card.get("data_fingerprint") != store.fingerprint or theirs is None:
            continue
        if theirs != dataclasses.asdict(split):
            settings = " ".join(f"--set split.{name}={value}" for name, value in theirs.items())
            raise ValueError(
                "the teacher learned on this log with another split, so it may know what the "
                f"student is measured on; take its own: {settings}"
            )


def student_config(student: Checkpoint, *, epochs: int, seed: int = 0) -> TrainConfig:
    """The configuration of a run that starts from a checkpoint: its own, without weight decay."""
    return training_config(student, AdaptConfig(epochs=epochs, seed=seed))


def _soft_targets(
    store: EventStore,
    config: TrainConfig,
    vocabulary: Vocabulary,
    answers: TeacherAnswers,
    weight: float,
    temperature: float,
) -> SoftTargets | None:
    event, probs, known = answers.in_vocabulary(vocabulary)
    is_train = part_of_event(store, config.split) == TRAIN
    if not is_train[event].all():
        raise ValueError(
            f"{(~is_train[event]).sum()} of {len(event)} answers of the teacher belong to targets "
            "that do not train with this split; ask it again with the same --split and settings"
        )
    bounds = part_bounds(store, config.split)
    ranges = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
    _, following = positions_with_target(map_log(store, vocabulary), ranges, is_train)
    share = float(np.isin(following, event).mean())
    if not share:
        raise ValueError("no training target has an answer of the teacher; ask it again")
    if not weight:
        return None
    return SoftTargets(
        event, probs, known, num_events=store.num_events, share=share, weight=weight, temperature=temperature
    )


def _prepared(
    store: EventStore,
    config: TrainConfig,
    vocabulary: Vocabulary,
    student: Checkpoint | None,
    names: NameEmbeddings | None,
) -> Callable[[BehaviorModel], None]:
    """The function that gives the fresh model of a run its first weights."""
    state = None
    if student is not None:
        grown = student.load_model()
        if vocabulary != student.vocabulary:
            has_new_behaviors = vocabulary.num_behaviors > student.vocabulary.num_behaviors
            examples = START_EXAMPLES if has_new_behaviors else 0
            support = choose_support(store, student, vocabulary, examples, config.seed)
            grown = grown_model(store, student, vocabulary, support, "prototype", config.seed)
            if names is not None:
                rows_from_names(grown, store, student, vocabulary, support, names)
        state = grown.state_dict()

    def prepare(model: BehaviorModel) -> None:
        if state is not None:
            model.load_state_dict(state)
        elif names is not None:
            begin_with_names(model, vocabulary, names, config.seed)

    return prepare
