"""The last behaviors of users whose future is being generated, and what the kernels see of them."""

# U users, C behaviors that the kernels look back on

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from edgebehave.habits import HABIT_EVENTS
from edgebehave_train.generation.continuation import Prompts
from edgebehave_train.kernels.copy_kernels import Occurrences
from edgebehave_train.logs.mapped_log import MappedLog, event_identity


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What the kernels see of the past, (U, C) each: a behavior, the one before it, the one before
    that; age (1, C) is 0 for the last behavior."""

    seen: npt.NDArray[np.bool_]
    has_before: npt.NDArray[np.bool_]
    has_two_before: npt.NDArray[np.bool_]
    age: npt.NDArray[np.integer]


@dataclass(kw_only=True)
class Past:
    """The last behaviors of each user, newest at the end, (U, C) each.

    event_index  of each among all events of its user; is_there False in front of the first.
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
        """With columns for so many behaviors more, but no more than the kernels look back on."""
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
        """One behavior more of each user, (U,) by column; the oldest goes."""
        for name, values in newest.items():
            column = getattr(self, name)
            column[:, :-1] = column[:, 1:]
            column[:, -1] = values

    def occurrences(self) -> Occurrences:
        """What the kernels copy from."""
        return Occurrences.of_columns(
            behavior=self.behavior,
            event=self.event,
            location=self.location,
            time_s=self.time_s,
            utc_offset_min=self.utc_offset_min,
        )

    def sight(self, num_seen: npt.NDArray[np.int64]) -> Sight:
        """What the kernels see of it when each user's past has so many events, (U,)."""
        seen = self.is_there & (self.event_index >= num_seen[:, None] - HABIT_EVENTS)
        has_before = seen & _shifted(seen)
        return Sight(
            seen=seen,
            has_before=has_before,
            has_two_before=has_before & _shifted(has_before),
            age=np.arange(seen.shape[1])[None, ::-1],
        )


def _shifted(mask_UC: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether the column before each is set."""
    shifted = np.roll(mask_UC, 1, 1)
    shifted[:, 0] = False
    return shifted
