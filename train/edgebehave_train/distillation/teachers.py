"""Teachers: tuned language models and checkpoints that give probabilities of behaviors.

A teacher may have been trained on this log or another one.
"""

# N events of the store, n of them at a time, V behaviors of the teacher

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.distillation.name_embeddings import NameEmbeddings, mean_token_embeddings
from edgebehave_train.files import file_digest
from edgebehave_train.llm.prompts.samples import log_samples
from edgebehave_train.llm.scoring.language_model import merge_to_score
from edgebehave_train.llm.tuning.tuned_llm import DESCRIPTION_FILE, TunedLLM, sample_probs
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.hardware import choose_device

_CHECKPOINT_TARGETS = 4096
_LLM_TARGETS = 64


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model that gives a student probabilities of behaviors.

    behaviors   V names, the first stands for unknown.
    can_answer  (N,) bool, events of the store at which it can be asked; not those whose behavior
                it lacks, where any answer would be wrong.
    score       positions of n targets in the store, ascending -> (n, V) probabilities; column 0
                is ignored.
    card        its description, JSON: part of the file of answers and of the student's training.json.
                "data_fingerprint" and "split" of one that learned from a log say what it was
                trained on; "teachers" holds the cards of several.
    at_a_time   n, targets per call.
    Raises ValueError if two behaviors have one name.
    """

    behaviors: Sequence[str]
    can_answer: npt.NDArray[np.bool_]
    score: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.floating]]
    card: Mapping[str, Any]
    at_a_time: int = 64

    def __post_init__(self) -> None:
        require_distinct(self.behaviors)


def require_distinct(behaviors: Sequence[str]) -> None:
    """Raises ValueError if two behaviors have one name."""
    if len(set(behaviors)) < len(behaviors):
        name = next(name for i, name in enumerate(behaviors) if name in behaviors[:i])
        raise ValueError(f"the teacher has two behaviors called {name!r}; the names must differ")


def open_teachers(
    store: EventStore, paths: Sequence[Path], split: SplitConfig, *, device: str = "auto", base: Path | None = None
) -> Teacher:
    """The teacher in a folder; of several folders the mean of their teachers.

    Raises ValueError as `open_teacher` and `mean_teacher`.
    """
    teachers = [open_teacher(store, path, split, device=device, base=base) for path in paths]
    return teachers[0] if len(teachers) == 1 else mean_teacher(teachers)


def mean_teacher(teachers: Sequence[Teacher]) -> Teacher:
    """Several teachers as one: the mean of their distributions, at targets that all can answer.

    An ensemble of runs with different seeds is better than each run (Hinton et al. 2015, Sec. 1).
    Raises ValueError unless they know the same behaviors in the same order.
    """
    first = teachers[0]
    for other in teachers[1:]:
        if list(other.behaviors) != list(first.behaviors):
            raise ValueError(
                "several teachers must know the same behaviors; take teachers that were trained "
                "on one log with one split"
            )
    return Teacher(
        behaviors=first.behaviors,
        can_answer=np.all([teacher.can_answer for teacher in teachers], axis=0),
        score=lambda event: np.mean([teacher.score(event) for teacher in teachers], axis=0),
        card={"teachers": [dict(teacher.card) for teacher in teachers]},
        at_a_time=min(teacher.at_a_time for teacher in teachers),
    )


def open_teacher(
    store: EventStore, path: Path, split: SplitConfig, *, device: str = "auto", base: Path | None = None
) -> Teacher:
    """The teacher in a folder: a tuned language model or a checkpoint.

    split  of the student, whose training part holds the targets.
    base   folder of the base of a language model, if it moved.
    Raises ValueError if the folder holds no finished teacher.
    """
    if is_language_model(path):
        return language_teacher(store, TunedLLM.open(path), split, device=device, base=base)
    return checkpoint_teacher(store, Checkpoint.open(path), device)


def split_of_teachers(store: EventStore, paths: Sequence[Path]) -> SplitConfig | None:
    """The split of the first teacher that was trained on this log; None if none was."""
    for path in paths:
        if is_language_model(path):
            tuned = TunedLLM.open(path)
            fingerprint, split = tuned.description["data_fingerprint"], tuned.config.split
        else:
            checkpoint = Checkpoint.open(path)
            fingerprint, split = checkpoint.training.data_fingerprint, checkpoint.config.split
        if fingerprint == store.fingerprint:
            return split
    return None


def is_language_model(path: Path) -> bool:
    return (path / DESCRIPTION_FILE).is_file()


def checkpoint_teacher(store: EventStore, checkpoint: Checkpoint, device: str = "auto") -> Teacher:
    """A finished checkpoint as the teacher of a smaller or another one, on any log.

    Its network answers, without habit kernels, over the behaviors of its vocabulary: only the
    network of the student learns, and the student has habit kernels of its own.
    Raises ValueError if it is not finished.
    """
    if not checkpoint.training.finished:
        raise ValueError(f"{checkpoint.path} is not finished; go on with it by `edgebehave train --resume`")
    log = map_log(store, checkpoint.vocabulary)
    behaviors = log.behavior_log(part_of_event(store, checkpoint.config.split) == TRAIN)
    num_behaviors = checkpoint.vocabulary.num_behaviors
    model = checkpoint.load_model().to(choose_device(device))

    def targets_at(event: npt.NDArray[np.int64] | slice) -> Any:
        asked = np.zeros(store.num_events, bool)
        asked[event] = True
        return behaviors.targets(asked)

    def score(event: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        targets = targets_at(event)
        probs = np.zeros((len(event), num_behaviors), np.float32)
        of_network = target_probs(model, log, behaviors, targets, experts="network")
        for which, probs_RC in of_network:
            probs[which] = probs_RC[:, :num_behaviors]
        probs[:, UNKNOWN] = 0
        return probs / probs.sum(1, keepdims=True)

    everything = targets_at(slice(None))
    return Teacher(
        behaviors=checkpoint.vocabulary.behaviors,
        can_answer=_mask(store, everything.event[everything.behavior != UNKNOWN]),
        score=score,
        card={
            "checkpoint": checkpoint.path.name,
            "experts": "network",
            "sha256": weights_digest(checkpoint),
            "data_fingerprint": checkpoint.training.data_fingerprint,
            "split": dataclasses.asdict(checkpoint.config.split),
        },
        at_a_time=_CHECKPOINT_TARGETS,
    )


def language_teacher(
    store: EventStore, tuned: TunedLLM, split: SplitConfig, *, device: str = "auto", base: Path | None = None
) -> Teacher:
    """A tuned language model as a teacher: exact scores of all behaviors that it was tuned on.

    The model is loaded at the first call. Raises ValueError if it is not finished, or the training
    part holds no sample for it.
    """
    tuned.require_finished()
    samples = log_samples(store, "train", split, vocabulary=tuned.vocabulary, history=tuned.config.prompt.history)

    @cache
    def loaded() -> tuple[Any, Any]:
        model, tokenizer = tuned.load(device, base=base)
        model = merge_to_score(model)
        return model, tuned.encoder(model, tokenizer)

    def score(event: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        model, encoder = loaded()
        return sample_probs(model, encoder, samples.take(np.isin(samples.targets.event, event)))

    return Teacher(
        behaviors=tuned.vocabulary.behaviors,
        can_answer=_mask(store, samples.targets.event),
        score=score,
        card={
            "language_model": tuned.path.name,
            "base": tuned.base,
            "base_version": tuned.description["base_version"],
            "stages": [stage["stage"] for stage in tuned.stages],
            "sha256": file_digest(tuned.path / "adapter" / "adapter_model.safetensors"),
            "data_fingerprint": tuned.description["data_fingerprint"],
            "split": dataclasses.asdict(tuned.config.split),
        },
        at_a_time=_LLM_TARGETS,
    )


def language_names(path: Path, *, base: Path | None = None) -> NameEmbeddings:
    """The embeddings of names by the language model in a folder: input embeddings of its base.

    Raises ValueError if there is none.
    """
    if not is_language_model(path):
        raise ValueError(
            f"{path} is no tuned language model, so names have no embeddings; make one with `edgebehave llm tune`"
        )
    tuned = TunedLLM.open(path)
    model, tokenizer = tuned.load("cpu", base=base)
    weight = model.get_input_embeddings().weight.detach()

    def tokenize(name: str) -> list[int]:
        ids: list[int] = tokenizer.encode(name, add_special_tokens=False)
        return ids

    return NameEmbeddings(
        embed=lambda names: mean_token_embeddings(weight, tokenize, names).cpu(),
        readable=dict(zip(tuned.vocabulary.behaviors, tuned.names, strict=True)),
        card={"base": tuned.base, "base_version": tuned.description["base_version"]},
    )


def weights_digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of the weights."""
    return file_digest(checkpoint.path / "model.safetensors")


def _mask(store: EventStore, event: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(store.num_events, bool)
    mask[event] = True
    return mask
