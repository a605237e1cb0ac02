"""The share of a log that a vocabulary knows, which shows whether a bundle fits the log."""

# N events that have a behavior, E names of events, U users

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebehave.predictor import FOREIGN_EVENTS, FOREIGN_SHARE
from edgebehave.vocabulary import NO_BEHAVIOR, Vocabulary
from edgebehave_train.logs.event_store import EventStore

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class VocabularyFit:
    """Shares of a log, in 0..1; events without a behavior are left out.

    event_share    events whose name the vocabulary holds, as an event or as a behavior.
    name_share     names that it holds.
    foreign_users  users for whom the universal model answers in place of a bundle: see `Predictor.known_share`.
    unknown        the most frequent names that it does not hold.
    """

    event_share: float
    name_share: float
    foreign_users: float
    unknown: Sequence[str]


def vocabulary_fit(store: EventStore, vocabulary: Vocabulary) -> VocabularyFit:
    """Compare the names of a log with a vocabulary. Raises ValueError for a log without a behavior."""
    known = {*vocabulary.events[1:], *vocabulary.behaviors[1:]}
    names = store.vocabulary.events
    is_known_E = np.array([name in known for name in names])
    has_behavior_N = np.asarray(store.behavior) != NO_BEHAVIOR
    event_N = np.asarray(store.event)[has_behavior_N]
    if not len(event_N):
        raise ValueError(f"{store.path} holds no behavior")
    count_E = np.bincount(event_N, minlength=len(names))
    user_N = np.repeat(np.arange(store.num_users), np.diff(store.user_start))[has_behavior_N]
    num_U = np.bincount(user_N, minlength=store.num_users)
    num_known_U = np.bincount(user_N, is_known_E[event_N], minlength=store.num_users)
    is_foreign_U = (num_U >= FOREIGN_EVENTS) & (num_known_U < FOREIGN_SHARE * num_U)
    most_first = np.argsort(-np.where(is_known_E, 0, count_E), kind="stable")[:_SHOWN]
    return VocabularyFit(
        event_share=float(is_known_E[event_N].mean()),
        name_share=float(is_known_E[count_E > 0].mean()),
        foreign_users=float(is_foreign_U.mean()),
        unknown=[names[i] for i in most_first.tolist() if count_E[i] and not is_known_E[i]],
    )
