"""Which events of a user a history retains."""

import time
from dataclasses import dataclass
from datetime import timedelta

HISTORY_EVENTS = 512
"""Events that a history retains per user unless a bundle looks back further."""

_STEPS = 32


@dataclass(frozen=True)
class Retention:
    """The last `max_events` events, and of these none older than `max_age`.

    Age counts back from the user's latest event: a history from long ago does not vanish when it is
    read, and the same events leave the same history whenever they arrive. An event from the future
    makes nothing age: then it counts back from the system's clock. Ages end in steps of 1/32 of
    `max_age` since 1970, for a past that loses its oldest event has to be computed anew: at least
    31/32 of `max_age` are retained.
    """

    max_events: int = HISTORY_EVENTS
    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        if isinstance(self.max_events, bool) or not isinstance(self.max_events, int):
            raise TypeError(f"max_events must be an integer, got {self.max_events!r}")
        if self.max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {self.max_events}")
        if self.max_age is None:
            return
        if not isinstance(self.max_age, timedelta):
            raise TypeError(f"max_age must be a timedelta or None, got {self.max_age!r}")
        if self.max_age < timedelta(minutes=1):
            raise ValueError(f"max_age must be at least a minute, got {self.max_age}")

    def oldest_s(self, latest_s: int) -> int:
        """Events before this moment are not retained, given the time of the latest one."""
        if self.max_age is None:
            return 0
        return self.oldest_at(min(latest_s, int(time.time())))

    def oldest_at(self, now_s: int) -> int:
        """Events before this moment have reached `max_age` at another."""
        if self.max_age is None:
            return 0
        age_s = int(self.max_age.total_seconds())
        step_s = age_s // _STEPS
        return -((age_s - now_s) // step_s) * step_s
