"""Sequences of behaviors in which a name is only a number: what the universal model reads."""

# B users, T behaviors

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.vocabulary import NO_BEHAVIOR
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.simulator.random_worlds import WorldLog, in_order_of_use
from edgebehave_train.simulator.traits import NO_LOCATION

User = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], npt.NDArray[np.integer]]
"""name, location and local_s of a user's behaviors, as in `Sequences`."""

NO_NAME = -1
"""Name of a position behind the end of a sequence."""


class Sequences(NamedTuple):
    """Behaviors of some users, oldest first, padded at the end; all (B, T) int64.

    name      numbers in the order of first use, below T; NO_NAME behind the end.
    location  numbers, NO_LOCATION for none.
    local_s   local time, seconds since 1970.
    """

    name: Tensor
    location: Tensor
    local_s: Tensor

    @classmethod
    def of_arrays(cls, users: Sequence[tuple[npt.NDArray[np.integer], ...]]) -> "Sequences":
        """From (name, location, local_s) of each user; names may be any numbers."""
        longest = max(len(name) for name, *_ in users)
        columns = [np.full((len(users), longest), fill, np.int64) for fill in (NO_NAME, NO_LOCATION, 0)]
        for row, (name, location, local_s) in enumerate(users):
            for column, values in zip(columns, (in_order_of_use(name), location, local_s), strict=True):
                column[row, : len(name)] = values
        return cls(*(torch.from_numpy(column) for column in columns))

    @classmethod
    def of_worlds(cls, worlds: Sequence[WorldLog]) -> "Sequences":
        return cls.of_arrays([(world.behavior, world.location, world.local_s) for world in worlds])

    @property
    def is_real(self) -> Tensor:
        """(B, T) bool, whether a position holds a behavior."""
        return self.name != NO_NAME


def users_of_store(store: EventStore, collapses_repeats: bool = False) -> list[User]:
    """The events of every user that have a behavior, in time order.

    collapses_repeats  of the same behavior several times in a row only the first is kept.
    """
    local_s = store.time_s + 60 * store.utc_offset_min.astype(np.int64)
    location = np.where(store.location > 0, store.location, NO_LOCATION).astype(np.int64)
    users: list[User] = []
    for start, end in zip(store.user_start[:-1], store.user_start[1:], strict=True):
        rows = start + np.flatnonzero(store.behavior[start:end] != NO_BEHAVIOR)
        behavior = np.array(store.behavior[rows], np.int64)
        if collapses_repeats:
            is_first = np.diff(behavior, prepend=-1) != 0
            rows, behavior = rows[is_first], behavior[is_first]
        users.append((behavior, location[rows], local_s[rows]))
    return users
