"""Answers of the universal model for whole logs, one for every behavior before it happens, as a device gives them."""

# N queries

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from edgebehave_train.universal.lookup import LOOKBACK, NUM_BEFORE
from edgebehave_train.universal.sequences import Sequences
from edgebehave_train.universal.universal_model import SUCCESS_EVENTS, UniversalModel

READ_EVENTS = LOOKBACK + SUCCESS_EVENTS + NUM_BEFORE
"""Behaviors before a query from which its answer is made, to the last bit."""

_QUERIES_AT_ONCE = 128

User = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], npt.NDArray[np.integer]]
"""name, location and local_s of a user's behaviors, as in `Sequences`."""


@dataclass(frozen=True, kw_only=True)
class LogAnswers:
    """Of every query; all (N,).

    user          index of the user.
    position      behaviors of the user before it.
    is_new        bool, whether the user had never done it.
    num_greater   candidates that were thought likelier than the one that came; meaningless if it was new.
    num_tied      candidates as likely as it, itself included.
    probability   of what came; of a new name as a whole, if it was new.
    confidence    probability of the likeliest candidate.
    is_right      bool, whether the likeliest candidate came.
    novelty       probability of a name never used before.
    """

    user: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    is_new: npt.NDArray[np.bool_]
    num_greater: npt.NDArray[np.int64]
    num_tied: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    is_right: npt.NDArray[np.bool_]
    novelty: npt.NDArray[np.float32]

    def hits(self, k: int) -> npt.NDArray[np.float64]:
        """(N,) whether what came was among the first k; a tie counts by its share."""
        share = np.clip((k - self.num_greater) / self.num_tied, 0, 1)
        return np.where(self.is_new, 0.0, share)

    def take(self, which: npt.NDArray[np.bool_]) -> "LogAnswers":
        return LogAnswers(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


@torch.no_grad()
def answer_log(model: UniversalModel, users: Sequence[User], first: int = 1, *, is_timed: bool = True) -> LogAnswers:
    """Answer for the behaviors of all users from number `first` on, 0 being the first one.

    is_timed  whether the model is told when the next behavior happens.
    """
    parts: list[dict[str, npt.NDArray]] = []  # type: ignore[type-arg]  # of many types
    for index, user in enumerate(users):
        for start, queries in _windows(len(user[0]), first):
            window = Sequences.of_arrays([tuple(column[start : queries.stop] for column in user)])
            query = torch.arange(queries.start - start, queries.stop - start)
            timed = None if is_timed else torch.zeros(1, len(query), dtype=torch.bool)
            answers = model(window, query, timed)
            logits, target = answers.logits[0], answers.target[0]
            probs, scores = logits.softmax(-1), logits[:, :-1]
            is_new = target == scores.shape[1]
            own = scores.gather(1, target.clamp_max(scores.shape[1] - 1)[:, None])
            top = scores.argmax(1)
            part = {
                "user": torch.full_like(target, index),
                "position": torch.arange(queries.start, queries.stop),
                "is_new": is_new,
                "num_greater": (scores > own).sum(1),
                "num_tied": (scores == own).sum(1),
                "probability": probs.gather(1, target[:, None])[:, 0],
                "confidence": probs.gather(1, top[:, None])[:, 0],
                "is_right": top == target,
                "novelty": probs[:, -1],
            }
            parts.append({name: column.numpy() for name, column in part.items()})
    return LogAnswers(**{f.name: np.concatenate([p[f.name] for p in parts]) for f in fields(LogAnswers)})


def _windows(num_events: int, first: int) -> Iterator[tuple[int, range]]:
    """Where to begin to read, and the queries that are answered from there."""
    for start in range(first, num_events, _QUERIES_AT_ONCE):
        queries = range(start, min(start + _QUERIES_AT_ONCE, num_events))
        yield max(0, start - READ_EVENTS), queries


def expected_calibration_error(
    probability: npt.NDArray[np.floating], came: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between what was promised and what came true, over bins with as many queries each."""
    order: Iterable[npt.NDArray[np.int64]] = np.array_split(np.argsort(probability, kind="stable"), bins)
    gaps = [abs(float(probability[b].mean() - came[b].mean())) * len(b) for b in order if len(b)]
    return sum(gaps) / len(probability)
