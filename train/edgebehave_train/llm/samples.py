"""Samples of a log: a user's last behaviors, the moment that is asked for, and what came."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PastBehavior:
    """One event of a history.

    weekday   local, 0 = Monday.
    hour      local, 0..23.
    place     its name; None if the log has none.
    behavior  id 1..V-1 of the vocabulary.
    """

    weekday: int
    hour: int
    place: str | None
    behavior: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One prediction to make.

    event     position of the target among all events of the log, as in `Targets.event`.
    user      index of the user in the log.
    history   oldest first, at least one.
    weekday   of the moment that is asked for, local, 0 = Monday.
    hour      of it, 0..23.
    place     where the target happens: only the paper's own prompt shows it.
    behavior  the truth, id 1..V-1.
    """

    event: int
    user: int
    history: Sequence[PastBehavior]
    weekday: int
    hour: int
    place: str | None
    behavior: int
