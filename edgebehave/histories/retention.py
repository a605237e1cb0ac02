"""The rule for the events of a user that a history retains."""

import time
from dataclasses import dataclass
from datetime import timedelta

from edgebehave.arguments import check_count

HISTORY_EVENTS = 512
"""Events that a history retains per user unless a bundle looks back further."""

_STEPS = 32


@dataclass(frozen=True)
class Retention:
    """The last `max_events` events, and of these none older than `max_age`.

    Age is counted back from the user's latest event, so an old history does not vanish when it is read, and the same
    events leave the same history in any order of arrival. If the latest event lies in the future, age is counted back
    from the system's clock. Events expire in steps of 1/32 of `max_age` since 1970, because all states of a user are
    computed anew when the oldest event is dropped: at least 31/32 of `max_age` are retained.
    """

    max_events: int = HISTORY_EVENTS
    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        # A plain int: SQLite would store an integer of numpy as its bytes.
        object.__setattr__(self, "max_events", check_count(self.max_events, "max_events"))
        if self.max_age is None:
            return
        if not isinstance(self.max_age, timedelta):
            raise TypeError(f"max_age must be a timedelta or None, got {self.max_age!r}")
        if self.max_age < timedelta(minutes=1):
            raise ValueError(f"max_age must be at least a minute, got {self.max_age}")

    def oldest_s(self, latest_s: int) -> int:
        """The first moment that is retained if the user's latest event happened at `latest_s`."""
        if self.max_age is None:
            return 0
        return self.oldest_at(min(latest_s, int(time.time())))

    def oldest_at(self, now_s: int) -> int:
        """The first moment that has not reached `max_age` at the moment `now_s`."""
        if self.max_age is None:
            return 0
        age_s = int(self.max_age.total_seconds())
        step_s = age_s // _STEPS
        return -((age_s - now_s) // step_s) * step_s
