"""Answers of the universal model for whole logs, one for every behavior before it happens, as a device gives them."""

# N queries, Q queries of a window, B windows at once, C candidates, R targets of a window

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog, Targets
from edgebehave_train.metrics.ranking import Predictions, Ranking
from edgebehave_train.simulator.traits import NO_LOCATION
from edgebehave_train.universal.lookup import LOOKBACK, NUM_BEFORE
from edgebehave_train.universal.sequences import Sequences, User
from edgebehave_train.universal.universal_model import NEVER, SUCCESS_EVENTS, UniversalModel

READ_EVENTS = LOOKBACK + SUCCESS_EVENTS + NUM_BEFORE
"""Behaviors before a query from which its answer is made, to the last bit."""

_QUERIES_AT_ONCE = 128
_PAIRS_AT_ONCE = (_QUERIES_AT_ONCE + SUCCESS_EVENTS) * (_QUERIES_AT_ONCE + READ_EVENTS)
"""Of a query or success and a past behavior: those of one long window, or of many short ones. Bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class LogAnswers:
    """Of every query, in the order of users and positions; all (N,).

    user          index of the user.
    position      behaviors of the user before it.
    is_new        bool, whether the name is not among the last LOOKBACK ones of the user: no candidate.
    num_greater   candidates that were thought likelier than the one that came; meaningless if it was new.
    num_tied      candidates as likely as it, itself included; meaningless if it was new.
    probability   of what came; of a new name as a whole, if it was new.
    confidence    probability of the likeliest candidate.
    is_right      bool, whether the likeliest candidate came.
    novelty       probability of a new name.
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
        """(N,) chance that what came is among the first k, as in `metrics.prediction_metrics`; 0 for a new name."""
        return np.where(self.is_new, 0.0, np.clip((k - self.num_greater) / self.num_tied, 0, 1))

    def take(self, which: npt.NDArray[np.bool_]) -> "LogAnswers":
        return LogAnswers(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def answer_log(model: UniversalModel, users: Sequence[User], first: int = 1, *, is_timed: bool = True) -> LogAnswers:
    """Answer for the behaviors of all users from number `first` on, 0 being the first one.

    is_timed  whether the model is told when the next behavior happens.
    Raises ValueError if no user has so many behaviors.
    """
    parts: list[dict[str, Tensor]] = []
    asked = [range(first, len(name)) for name, *_ in users]
    for window, logits, target in answer_windows(model, users, asked, is_timed):
        probs, scores = logits.softmax(-1), logits[:, :-1]
        own = scores.gather(1, target.clamp_max(scores.shape[1] - 1)[:, None])
        top = scores.argmax(1)
        part = {
            "user": torch.full_like(target, window.user),
            "position": torch.arange(window.queries.start, window.queries.stop),
            "is_new": target == scores.shape[1],
            "num_greater": (scores > own).sum(1),
            "num_tied": (scores == own).sum(1),
            "probability": probs.gather(1, target[:, None])[:, 0],
            "confidence": probs.gather(1, top[:, None])[:, 0],
            "is_right": top == target,
            "novelty": probs[:, -1],
        }
        parts.append(part)
    if not parts:
        raise ValueError(f"no user has more than {first} behaviors; there is nothing to answer")
    columns = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    order = np.lexsort((columns["position"], columns["user"]))
    return LogAnswers(**{name: column[order] for name, column in columns.items()})


def predict_targets(model: UniversalModel, log: BehaviorLog, targets: Targets) -> Predictions:
    """Predictions for the targets of an evaluation, each from the user's own past alone.

    Behaviors that the user never had, or not within LOOKBACK, tie at the end. Where `log.query_time_s` is not known,
    the model is asked without a time.
    Raises ValueError if targets are asked at another time than theirs.
    """
    is_timed = log.query_time_s[targets.row] != NO_TIME
    if (is_timed.any() and not is_timed.all()) or (
        is_timed.any() and (log.query_time_s != log.time_s)[targets.row].any()
    ):
        raise ValueError("the universal model answers on time or without a time here, not early")
    users, asked = [], []
    ranking, row = Ranking(targets), targets.row
    indices, begins = np.unique(targets.user, return_index=True)
    for user, rows in zip(indices.tolist(), np.split(row, begins[1:]), strict=True):
        own, start = log.user(user), int(log.user_start[user])
        local_s = own.time_s + 60 * own.utc_offset_min.astype(np.int64)
        location = np.where(own.location > 0, own.location, NO_LOCATION)
        users.append((own.behavior, location, local_s))
        asked.append(range(int(rows[0]) - start, int(rows[-1]) - start + 1))
    for window, logits, _ in answer_windows(model, users, asked, bool(is_timed.all())):
        first = int(log.user_start[indices[window.user]]) + window.queries.start
        which = slice(*np.searchsorted(row, [first, first + len(window.queries)]).tolist())
        scores_RC = np.full((which.stop - which.start, log.num_candidates), -np.inf)
        scores_RC[:, : log.num_behaviors] = 2 * NEVER
        window_RC = logits[:, : len(window.names)].double().numpy()[row[which] - first]
        # A name that comes only later in the window is as unknown as any other.
        scores_RC[:, window.names] = np.where(window_RC > NEVER, window_RC, scores_RC[:, window.names])
        ranking.add(which, scores_RC)
    return ranking.finish()


def expected_calibration_error(
    probability: npt.NDArray[np.floating], came: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between a probability and how often it came true, over bins with as many queries each.

    ECE = sum_b n_b / N |mean probability in b - share that came in b|          NaN without a query
    """
    if not len(probability):
        return float("nan")
    order = np.array_split(np.argsort(probability, kind="stable"), bins)
    gaps = [abs(float(probability[b].mean(dtype=np.float64) - came[b].mean())) * len(b) for b in order if len(b)]
    return sum(gaps) / len(probability)


class _Window(NamedTuple):
    """Some queries of a user, and the behaviors from which they are answered.

    names  (C,) of the user, in the order of their use in the window: candidate c is names[c].
    """

    user: int
    queries: range
    part: User
    names: npt.NDArray[np.integer]

    @property
    def first_query(self) -> int:
        """Position in the window."""
        return len(self.part[0]) - len(self.queries)


def _windows(users: Sequence[User], asked: Sequence[range]) -> Iterator[_Window]:
    for index, (user, queries) in enumerate(zip(users, asked, strict=True)):
        for at in range(queries.start, queries.stop, _QUERIES_AT_ONCE):
            some = range(at, min(at + _QUERIES_AT_ONCE, queries.stop))
            name, location, local_s = (column[max(0, at - READ_EVENTS) : some.stop] for column in user)
            names = name[np.sort(np.unique(name, return_index=True)[1])]
            yield _Window(index, some, (name, location, local_s), names)


@torch.no_grad()
def answer_windows(
    model: UniversalModel, users: Sequence[User], asked: Sequence[range], is_timed: bool
) -> Iterator[tuple[_Window, Tensor, Tensor]]:
    """Answer some queries of each user: windows, their logits (Q, C + 1) and targets (Q,), in any order.

    Windows whose queries begin at the same position are answered together, those of like length first.
    """
    alike: dict[int, list[_Window]] = defaultdict(list)
    for window in _windows(users, asked):
        alike[window.first_query].append(window)
    for first, group in alike.items():
        group.sort(key=lambda window: len(window.part[0]))
        while group:
            length = len(group[-1].part[0])
            num_pairs = length * (length - max(0, first - SUCCESS_EVENTS))
            at_once = group[-max(1, _PAIRS_AT_ONCE // num_pairs) :]
            del group[-len(at_once) :]
            query = torch.arange(first, length)
            timed = None if is_timed else torch.zeros(len(at_once), len(query), dtype=torch.bool)
            answers = model(Sequences.of_arrays([window.part for window in at_once]), query, timed)
            for window, logits, target in zip(at_once, answers.logits, answers.target, strict=True):
                num = len(window.queries)
                yield window, logits[:num], target[:num]
