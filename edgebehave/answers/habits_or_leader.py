"""Without a model: the habits answer, or follow the leader where it has been right more often about this user.

Both predict each of the user's last HIT_EVENTS events from the retained events before it, and their hits are counted.
The weights of the habits are fixed, so on a log unlike those that they were fitted to the leader may be better.
"""

# n events of the past, C candidates

import sys

import numpy as np
import numpy.typing as npt

from edgebehave.answers.question import Question, habits_alone
from edgebehave.follow_the_leader import FollowTheLeader
from edgebehave.habits import HABIT_EVENTS, HabitHistory, HabitWeights, mixture
from edgebehave.histories.mapped_history import MappedHistory

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

HIT_EVENTS = 128
"""Events whose predictions are compared."""
FEW_EVENTS = 20
LEAD, FEW_EVENTS_LEAD, FULL_LEAD = 1, 3, 8
"""Hits that the habits must have more than the leader, also with fewer than FEW_EVENTS events, and with a full history.
Chosen on five logs so that HR@1 is at most .003 below a leader that forgets nothing."""

_STEP = 64
"""Events that a leader with a full history leaves out at once, as it must count anew to leave out any."""
_READ_EVENTS = HABIT_EVENTS - HIT_EVENTS
"""Events before one of them from which the habits predict it, so that all of it is retained."""


class HitCounts:
    """Past predictions of one user: a function of the retained events alone.

    first        number of the oldest event that the leader has counted.
    num_seen     events of the user, retained or not, so far.
    habit_hits   whether the habits were right, of the events before number `num_seen`, the latest last.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.leader = FollowTheLeader()
        self.habit_hits: list[bool] = []
        self.num_seen = first

    @property
    def num_bytes(self) -> int:
        """Memory of the counts."""
        return self.leader.num_bytes + sys.getsizeof(self.habit_hits)

    def habits_lead(self, num_retained: int) -> bool:
        needed = FEW_EVENTS_LEAD if num_retained < FEW_EVENTS else FULL_LEAD if num_retained == HABIT_EVENTS else LEAD
        return sum(self.habit_hits) - sum(self.leader.leader_hits[-HIT_EVENTS:]) >= needed


def habits_or_leader(known: MappedHistory | None, question: Question, weights: HabitWeights) -> FloatArray:
    """Probabilities of the unknown behavior, 0, and of all candidates of a question, (1 + C,) float32.

    Where the leader is better, the candidates get the probabilities of the habits in the order of the leader. What is
    missing to 1 is the probability of a name never used before: (names used once + 1) / (behaviors + 2), after Good and
    Turing.
    """
    probs = habits_alone(question, weights)
    uses = np.bincount(question.past[0])
    probs *= np.float32(1 - (np.count_nonzero(uses == 1) + 1) / (question.past.shape[1] + 2))
    if known is None or not question.candidates:
        return probs
    counts = _latest_counts(known, weights)
    if counts.habits_lead(len(known.events)):
        return probs
    ids = dict.fromkeys(known.events.past(HABIT_EVENTS)[0, ::-1].tolist())
    column_of = {own_id: 1 + slot for slot, own_id in enumerate(ids)}
    ranking = dict.fromkeys([*counts.leader.ranking(), *ids])  # names that the leader has left out come last
    columns = [column_of[own_id] for own_id in ranking]
    led = np.zeros_like(probs)
    led[columns] = np.sort(probs[1:])[::-1]
    return led


def _latest_counts(known: MappedHistory, weights: HabitWeights) -> HitCounts:
    """The counts after the latest event of a user, kept with the mapped history."""
    events = known.events
    past_4n = events.past(HABIT_EVENTS)
    num_events = past_4n.shape[1]
    oldest = events.count - num_events
    first = oldest if num_events <= HABIT_EVENTS - _STEP else -(-oldest // _STEP) * _STEP
    counts: HitCounts | None = known.network_state
    known.network_state = None
    if counts is None or counts.num_seen < events.count - HIT_EVENTS:
        counts = HitCounts(first)
        counts.num_seen = max(oldest, events.count - HIT_EVENTS)
    for end in range(num_events - (events.count - counts.num_seen), num_events):
        counts.habit_hits.append(_is_hit(past_4n[:, max(0, end - _READ_EVENTS) : end + 1], weights))
    counts.num_seen, counts.habit_hits = events.count, counts.habit_hits[-HIT_EVENTS:]
    if counts.first != first:  # events were evicted: the leader counts anew
        counts.first, counts.leader = first, FollowTheLeader()
    for behavior in past_4n[0, first - oldest + counts.leader.num_seen :].tolist():
        counts.leader.observe(behavior)
    known.network_state = counts
    return counts


def _is_hit(events_4n: IntArray, weights: HabitWeights) -> bool:
    """Whether the habits predict the last of some events from those before it."""
    if events_4n.shape[1] < 2:
        return False
    behavior = events_4n[0].tolist()
    column_of = {own_id: column for column, own_id in enumerate(dict.fromkeys(behavior[-2::-1]))}
    columns = np.array([column_of[own_id] for own_id in behavior[:-1]], np.int64)
    history = HabitHistory.of_events(columns, *events_4n[1:, :-1])
    scores_C = mixture(history, len(column_of), weights, int(events_4n[2, -1]), int(events_4n[3, -1]))
    return int(scores_C.argmax()) == column_of.get(behavior[-1], -1)
