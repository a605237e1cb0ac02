"""The known past of users whose future is generated, and the part of it that the kernels use."""

# U users, C behaviors that the kernels look back on

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HABIT_EVENTS
from edgebehave_train.kernels.copy_kernels import Occurrences
from edgebehave_train.logs.mapped_log import MappedLog, event_identity


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Users and the events that are known of them; generation continues after `stop`.

    user   (U,) indices of the users in the log.
    start  (U,) position of the first event of each.
    stop   (U,) position behind the last known event of each.
    """

    user: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, which: slice | npt.NDArray[np.integer | np.bool_]) -> "Prompts":
        return Prompts(user=self.user[which], start=self.start[which], stop=self.stop[which])


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Masks of the past, (U, C) each: the kernels see a behavior, the one before it, the one before that.

    age  (1, C) behaviors since each; 0 for the last one.
    """

    seen: npt.NDArray[np.bool_]
    has_before: npt.NDArray[np.bool_]
    has_two_before: npt.NDArray[np.bool_]
    age: npt.NDArray[np.integer]


@dataclass(kw_only=True)
class Past:
    """The last behaviors of each user, newest at the end, (U, C) each.

    event_index  index of each among all events of its user.
    is_there     False in the columns before the user's first behavior.
    """

    behavior: npt.NDArray[np.int64]
    event: npt.NDArray[np.int64]
    location: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int64]
    event_index: npt.NDArray[np.int64]
    is_there: npt.NDArray[np.bool_]

    @classmethod
    def of_prompts(cls, log: MappedLog, prompts: Prompts, num_steps: int) -> "Past":
        """The past of prompts, with columns for num_steps behaviors more; at most HABIT_EVENTS columns."""
        identity = event_identity(log)
        num_behaviors = int((prompts.stop - prompts.start).max()) + num_steps
        shape = len(prompts), min(HABIT_EVENTS, num_behaviors)
        columns = {f.name: np.zeros(shape, np.int64) for f in fields(cls)}
        for u, (start, stop) in enumerate(zip(prompts.start.tolist(), prompts.stop.tolist(), strict=True)):
            rows = start + np.flatnonzero(log.behavior[start:stop] >= 0)[-HABIT_EVENTS:]
            if not len(rows):
                raise ValueError("a user without a behavior has no future to generate")
            for name, values in (
                ("behavior", log.behavior),
                ("event", identity),
                ("location", log.location_identity),
                ("time_s", log.time_s),
                ("utc_offset_min", log.utc_offset_min),
            ):
                columns[name][u, -len(rows) :] = values[rows]
            columns["event_index"][u, -len(rows) :] = rows - start
            columns["is_there"][u, -len(rows) :] = 1
        return cls(**{**columns, "is_there": columns["is_there"].astype(bool)})

    def append(self, **newest: npt.NDArray[np.integer]) -> None:
        """Add a behavior of each user, (U,) by column; the oldest column is dropped."""
        for name, values in newest.items():
            column = getattr(self, name)
            column[:, :-1] = column[:, 1:]
            column[:, -1] = values

    def occurrences(self) -> Occurrences:
        """The behaviors in the form that the copy kernels read."""
        names = ("behavior", "event", "location", "time_s", "utc_offset_min")
        return Occurrences.of_columns(**{name: getattr(self, name) for name in names})

    def sight(self, num_seen: npt.NDArray[np.int64]) -> Sight:
        """Masks of the behaviors among the last HABIT_EVENTS events; num_seen (U,) events of each user so far."""
        seen = self.is_there & (self.event_index >= num_seen[:, None] - HABIT_EVENTS)
        has_before = seen & _shifted(seen)
        return Sight(
            seen=seen,
            has_before=has_before,
            has_two_before=has_before & _shifted(has_before),
            age=np.arange(seen.shape[1])[None, ::-1],
        )


def _shifted(mask_UC: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask moved by one column: whether the column before each is set."""
    shifted = np.roll(mask_UC, 1, 1)
    shifted[:, 0] = False
    return shifted
