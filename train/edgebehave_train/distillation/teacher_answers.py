"""The answers of a teacher at targets of the training part, kept in one file.

A language model is slow, so it answers once: the file grows while the answers come in, and any
number of students learns from it.
"""

# N answers or events, n of them at a time, V behaviors of the teacher, B of a vocabulary

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.distillation.teachers import Teacher, is_language_model, open_teachers, require_distinct
from edgebehave_train.files import read_tensors, write_tensors
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event

LANGUAGE_MODEL_SAMPLES = 4000
"""Targets that a language model answers by default: it is slow, a checkpoint takes minutes for all."""

FORMAT_VERSION = 1
_SAVE_EVERY_S = 30.0
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class TeacherAnswers:
    """The answers of a teacher.

    event             (N,) int64 positions of the targets in the store, ascending.
    probs             (N, V) float32; column 0 holds 0, rows sum to 1.
    behaviors         V names, the first stands for unknown.
    data_fingerprint  of the store that the positions belong to.
    card              of the teacher.
    num_asked         targets that were chosen; more than N while answers are missing.
    """

    event: npt.NDArray[np.int64]
    probs: npt.NDArray[np.float32]
    behaviors: Sequence[str]
    data_fingerprint: str
    card: Mapping[str, Any]
    num_asked: int

    @classmethod
    def open(cls, path: Path | str) -> "TeacherAnswers":
        """Read a file. Raises ValueError if it is damaged or of another version."""
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path} is not there; make it with `edgebehave distill --teacher`")
        tensors, metadata = read_tensors(path)
        try:
            description = json.loads(metadata["teacher_probs"])
            version = description["format_version"]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{path} holds no answers of a teacher; name a file that `edgebehave distill` wrote"
            ) from None
        if version != FORMAT_VERSION:
            raise ValueError(f"{path} has version {version}, this is version {FORMAT_VERSION}; ask the teacher again")
        if missing := {"event", "probs"} - tensors.keys():
            raise ValueError(
                f"{path} is damaged: {' and '.join(sorted(missing))} missing; delete it and ask the teacher again"
            )
        event, probs = tensors["event"].numpy(), tensors["probs"].numpy()
        behaviors = description["behaviors"]
        if event.ndim != 1 or probs.shape != (description["num_answered"], len(behaviors)):
            raise ValueError(f"{path} is damaged: {probs.shape} answers of {len(behaviors)} names")
        require_distinct(behaviors)
        return cls(
            event=event[: len(probs)],
            probs=probs,
            behaviors=behaviors,
            data_fingerprint=description["data_fingerprint"],
            card=description["card"],
            num_asked=len(event),
        )

    @property
    def is_complete(self) -> bool:
        return len(self.event) == self.num_asked

    def require_log(self, store: EventStore) -> None:
        """Raises ValueError unless the positions are those of this store."""
        if self.data_fingerprint != store.fingerprint:
            raise ValueError(
                f"the teacher's answers belong to another log than {store.path}; ask the teacher again on this one"
            )

    def digest(self) -> str:
        """SHA-256 of the answers: a run that resumes must have the same ones."""
        digest = hashlib.sha256(json.dumps(list(self.behaviors)).encode())
        digest.update(np.ascontiguousarray(self.event).tobytes())
        digest.update(np.ascontiguousarray(self.probs).tobytes())
        return digest.hexdigest()

    def in_vocabulary(
        self, vocabulary: Vocabulary
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The answers in the ids of a student's vocabulary: positions, probs, known behaviors.

        Behaviors are matched by name. Those that the student lacks are left out and the rest of
        an answer is made to sum to 1; an answer without a rest is left out. Behaviors that the
        teacher lacks have probability 0 and are not known.

        Returns  (N',), (N', B) float32 and (B,) bool.
        Raises ValueError if they share fewer than two behaviors.
        """
        id_of_column = np.array([vocabulary.behavior_id(name) for name in self.behaviors])
        id_of_column[0] = UNKNOWN
        shared = np.flatnonzero(id_of_column != UNKNOWN)
        if len(shared) < 2:
            raise ValueError(
                f"the teacher shares {len(shared)} behaviors with the log, a student learns from "
                f"at least 2; the teacher's first is {self.behaviors[1]!r}, the log's first is "
                f"{vocabulary.behaviors[1]!r}"
            )
        probs = np.zeros((len(self.event), vocabulary.num_behaviors), np.float32)
        probs[:, id_of_column[shared]] = self.probs[:, shared]
        total = probs.sum(1)
        kept = total > 0
        known = np.zeros(vocabulary.num_behaviors, bool)
        known[id_of_column[shared]] = True
        return self.event[kept], probs[kept] / total[kept, None], known


def choose_targets(
    event: npt.NDArray[np.int64], behavior: npt.NDArray[np.integer], samples: int, seed: int
) -> npt.NDArray[np.int64]:
    """Targets that a teacher answers: in each round one more of every behavior that has some left.

    A rare behavior is there with all its targets before a frequent one has more.

    event, behavior  (M,) positions in the store and ids of the targets to choose from.
    samples          at most so many, at least 1; as many as there are, if fewer.
    Returns          (N,) positions, ascending.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(event))
    # The round of each target: its place among those of its behavior.
    order = shuffled[np.argsort(behavior[shuffled], kind="stable")]
    first = np.flatnonzero(np.diff(behavior[order], prepend=-1))
    turn = np.empty(len(event), np.int64)
    turn[order] = np.arange(len(event)) - np.repeat(first, np.diff(np.append(first, len(event))))
    by_round = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return np.sort(event[by_round[:samples]])


def targets_to_ask(
    store: EventStore, split: SplitConfig, can_answer: npt.NDArray[np.bool_], samples: int | None
) -> npt.NDArray[np.int64]:
    """Training targets that a teacher answers, see `choose_targets`: (N,) positions, ascending.

    can_answer  of the teacher.
    samples     targets at most; None: all.
    Raises ValueError if there is no such target.
    """
    is_train = part_of_event(store, split) == TRAIN
    log = map_log(store, training_vocabulary(store, is_train))
    targets = log.behavior_log(is_train).targets(is_train & can_answer)
    known = targets.take(targets.behavior != UNKNOWN)
    if not len(known):
        raise ValueError(
            f"the teacher knows no target of the training part of {store.path}; take one that "
            "shares behaviors with the log"
        )
    return choose_targets(known.event, known.behavior, len(known) if samples is None else samples, seed=0)


def answers_of(
    store: EventStore,
    teachers: Sequence[Path],
    split: SplitConfig,
    file: Path,
    *,
    samples: int | None = None,
    device: str = "auto",
    base: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TeacherAnswers:
    """The answers of the teachers in some folders, at targets of the training part, kept in a file.

    teachers  folders, see `open_teachers`; none: the file holds the answers already.
    split     of the student.
    samples   targets at most; None: LANGUAGE_MODEL_SAMPLES if a teacher is a language model, else all.
    base      folder of the base of a language model, if it moved.
    Raises ValueError without teachers and file, and as `open_teachers` and `collect_answers`.
    """
    if not teachers:
        if not file.exists():
            raise ValueError("there is no teacher; name one by --teacher, or a file of answers by --answers")
        return TeacherAnswers.open(file)
    teacher = open_teachers(store, teachers, split, device=device, base=base)
    if samples is None and any(is_language_model(path) for path in teachers):
        samples = LANGUAGE_MODEL_SAMPLES
    event = targets_to_ask(store, split, teacher.can_answer, samples)
    return collect_answers(teacher, store, event, file, on_progress)


def collect_answers(
    teacher: Teacher,
    store: EventStore,
    event: npt.NDArray[np.int64],
    path: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TeacherAnswers:
    """The teacher's answers at some targets, kept in a file that grows while they come in.

    An unfinished file is completed; a complete one is only read.

    event        (N,) positions in the store, ascending.
    on_progress  called with the number of answers so far and that of all targets.
    Raises ValueError if the file holds other answers, or the teacher gives no probabilities.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "behaviors": list(teacher.behaviors),
        "data_fingerprint": store.fingerprint,
        "card": dict(teacher.card),
    }
    probs = np.zeros((len(event), len(teacher.behaviors)), np.float32)
    done = 0
    if path.exists():
        before = TeacherAnswers.open(path)
        before.require_log(store)
        tensors, _ = read_tensors(path)
        same = (
            dict(before.card) == dict(teacher.card)
            and list(before.behaviors) == list(teacher.behaviors)
            and np.array_equal(tensors["event"].numpy(), event)
        )
        if not same:
            raise ValueError(
                f"{path} holds answers of another teacher or at other targets; delete it, or "
                "name another file by --answers"
            )
        done = len(before.event)
        probs[:done] = before.probs

    def save() -> None:
        metadata = json.dumps({**description, "num_answered": done})
        tensors = {"event": torch.from_numpy(event), "probs": torch.from_numpy(probs[:done])}
        write_tensors(path, tensors, {"teacher_probs": metadata})

    path.parent.mkdir(parents=True, exist_ok=True)
    saved_at = time.monotonic()
    on_progress(done, len(event))
    while done < len(event):
        which = slice(done, done + teacher.at_a_time)
        probs[which] = _distributions(teacher.score(event[which]), probs[which].shape)
        done = min(which.stop, len(event))
        if done == len(event) or time.monotonic() - saved_at > _SAVE_EVERY_S:
            save()
            saved_at = time.monotonic()
        on_progress(done, len(event))
    return TeacherAnswers.open(path)


def _distributions(scored: npt.NDArray[np.floating], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A teacher's answers without column 0. Raises ValueError unless they are distributions."""
    probs = np.array(scored, np.float64)
    if probs.shape != shape:
        raise ValueError(f"the teacher answered with {probs.shape} numbers, expected {shape}")
    probs[:, UNKNOWN] = 0
    total = probs.sum(1)
    if not (probs >= 0).all() or not (np.abs(total - 1) <= _SUM_TOLERANCE).all():
        raise ValueError(
            "the teacher's answers are no probabilities of its behaviors: they must not be "
            f"negative and sum to 1, got sums from {total.min():.4g} to {total.max():.4g}"
        )
    return (probs / total[:, None]).astype(np.float32)
