"""Prompts and continuations: the known past of users, and the behaviors that follow it.

Events without a behavior are part of a prompt and never of a continuation.
"""

# U users, N steps of a continuation

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The past of some users, up to where a forecast begins.

    user   (U,) indices of the users in the log.
    start  (U,) position of the first event of each.
    stop   (U,) position behind the last event that is known.
    """

    user: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, which: slice | npt.NDArray[np.integer | np.bool_]) -> "Prompts":
        return Prompts(user=self.user[which], start=self.start[which], stop=self.stop[which])


@dataclass(frozen=True, kw_only=True)
class Continuations:
    """The next N behaviors of each user.

    start_s        (U,) UTC seconds of the last behavior before the forecast point.
    time_s         (U, N) UTC seconds.
    utc_offset_min (U, N) minutes to add for local time.
    behavior       (U, N) ids as in `MappedLog`: >= V is the user's own.
    event          (U, N) ids of the vocabulary; from num_events on, num_events + the behavior of
                   the user's own that the event is.
    location          (U, N) ids of the location names of the store, as in `MappedLog`; a generator adds
                   the locations of its vocabulary that the store does not hold behind them.
    """

    start_s: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.int64]
    event: npt.NDArray[np.int64]
    location: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def num_steps(self) -> int:
        return self.time_s.shape[1]

    @property
    def gap_s(self) -> npt.NDArray[np.int64]:
        """(U, N) seconds since the behavior before each."""
        return np.diff(self.time_s, axis=1, prepend=self.start_s[:, None])
