"""The question that a prediction answers: the past to look back on, the candidates, and the moment."""

# V behaviors of the bundle, id 0 (unknown) included; U spare slots for behaviors of a user's own

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HabitHistory, HabitWeights, mixture
from edgebehave.histories.mapped_history import MappedHistory
from edgebehave.moments import Moment
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

NO_PAST: IntArray = np.empty((4, 0), np.int64)


class Question(NamedTuple):
    """The input of a prediction, besides the state of the network.

    past        (4, n) the behaviors that the habit kernels look back on, rows as in `RollingEvents.past`:
                behaviors as candidates 1..V-1, V..V+U-1 for names of the user's own, 0 for own names
                without a slot; events without a behavior are left out.
    candidates  (at most V - 1 + U) names of the ids from 1 up.
    moment      None: unknown.
    location    id of the location to predict for.
    """

    past: IntArray
    candidates: Sequence[str]
    moment: Moment | None
    location: int


class Questions:
    """Makes questions for a vocabulary with U spare slots.

    num_events  number of events that the habit kernels look back on.
    num_spare   U.
    """

    def __init__(self, vocabulary: Vocabulary, num_events: int, num_spare: int) -> None:
        self.num_events, self.num_spare = num_events, num_spare
        self._num_known = vocabulary.num_behaviors
        self._known_behaviors = tuple(vocabulary.behaviors[1:])

    def of(self, known: MappedHistory | None, moment: Moment | None, location: int) -> Question:
        """The question about a user (None: unknown); the latest of the user's own names get the slots."""
        if known is None:
            return Question(NO_PAST, self._known_behaviors, moment, location)
        past = known.events.past(self.num_events)
        if known.is_plain(self.num_events):
            return Question(past, self._known_behaviors, moment, location)
        past = past[:, past[0] != NO_BEHAVIOR]
        behavior = past[0]
        is_own = behavior >= self._num_known
        latest_first = dict.fromkeys(behavior[is_own][::-1].tolist())
        slot_of = {
            own: self._num_known + slot for slot, own in enumerate(itertools.islice(latest_first, self.num_spare))
        }
        behavior[is_own] = [slot_of.get(own, UNKNOWN) for own in behavior[is_own].tolist()]
        own_names = (known.own_behaviors.name_of(own) for own in slot_of)
        return Question(past, (*self._known_behaviors, *own_names), moment, location)

    def without_habits(self, moment: Moment | None, location: int) -> Question:
        """The question to the network alone: its past is one unknown behavior, so kernels copy no candidate."""
        return Question(np.zeros((4, 1), np.int64), self._known_behaviors, moment, location)


def habits_alone(question: Question, weights: HabitWeights) -> FloatArray:
    """The mixture of `HabitWeights` without popularity, (1 + number of candidates,) float32."""
    history = HabitHistory.of_events(*question.past)
    scores_C = mixture(history, 1 + len(question.candidates), weights, *(question.moment or (None, 0)))
    total = float(scores_C.sum())
    return (scores_C / (total or 1.0)).astype(np.float32)
