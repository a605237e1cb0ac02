"""The sample that has no truth yet: what comes after the last event of a user."""

import datetime

import numpy as np

from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.llm.prompts.samples import NUM_HISTORY, PastBehavior, Sample
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log


def next_sample(
    store: EventStore,
    user: str,
    vocabulary: Vocabulary,
    *,
    at: datetime.datetime | None = None,
    history: int = NUM_HISTORY,
) -> Sample:
    """What a model is asked about the next behavior of a user; its `behavior` is 0, not known,
    so that the answer which an encoder gives it means nothing.

    at       moment to predict for, with a zone; None: that of the user's last event.
    history  past behaviors at most. Those that the vocabulary lacks are left out.
    Raises ValueError if the store has no such user, or the user no known behavior.
    """
    users = store.users()
    if user not in users:
        raise ValueError(f"{store.path} has no user {user!r}; it has for example {users[0]!r}")
    index = users.index(user)
    log = map_log(store, vocabulary)
    start, stop = int(store.user_start[index]), int(store.user_start[index + 1])
    behavior = log.behavior[start:stop]
    is_known = (behavior > UNKNOWN) & (behavior < vocabulary.num_behaviors)
    shown = start + np.flatnonzero(is_known)[-history:]
    if not len(shown):
        raise ValueError(f"user {user!r} has no behavior that the model knows")
    if at is None:
        weekday, slot = int(log.weekday[stop - 1]), int(log.slot[stop - 1])
    else:
        offset = at.utcoffset()
        if offset is None:
            raise ValueError(f"the moment to predict for needs a time zone, got {at.isoformat()}")
        minutes = int(offset.total_seconds()) // 60
        days, slots = weekday_and_slot(np.array([int(at.timestamp())]), np.array([minutes], np.int64))
        weekday, slot = int(days[0]), int(slots[0])
    return Sample(
        event=stop,
        user=index,
        history=tuple(
            PastBehavior(
                weekday=int(log.weekday[i]),
                hour=int(log.slot[i]) // 2,
                location=None
                if log.location_identity[i] == UNKNOWN
                else store.vocabulary.locations[int(log.location_identity[i])],
                behavior=int(log.behavior[i]),
            )
            for i in shown
        ),
        weekday=weekday,
        hour=slot // 2,
        location=None,
        behavior=UNKNOWN,
    )
