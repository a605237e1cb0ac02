"""Sequences of behaviors in which a name is only a number: what the universal model reads."""

# B users, T behaviors

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave_train.simulator.random_worlds import WorldLog, in_order_of_use
from edgebehave_train.simulator.traits import NO_LOCATION

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
