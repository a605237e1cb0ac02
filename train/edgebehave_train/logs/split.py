"""Train, validation and test parts of an event store."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgebehave_train.logs.event_store import EventStore

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Division of a log into its parts.

    by          "time": the first events of every user train, the next validate, the last test. "user": whole users
                train, validate or test, by a seeded shuffle.
    train       share that trains, in (0, 1).
    validation  share that validates, in (0, 1); the rest tests.
    seed        of the shuffle, "user" only.
    """

    by: Literal["time", "user"] = "time"
    train: float = 0.7
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("time", "user"):
            raise ValueError(f"split: by must be 'time' or 'user', got {self.by!r}")
        if not (0 < self.train < 1 and 0 < self.validation < 1):
            raise ValueError(f"split: train and validation must lie in (0, 1), got {self.train} and {self.validation}")
        if self.train + self.validation >= 1:
            raise ValueError(
                f"split: train + validation must stay below 1 to leave a test part, "
                f"got {self.train} + {self.validation}"
            )


def part_bounds(store: EventStore, config: SplitConfig) -> npt.NDArray[np.int64]:
    """Borders of the parts of each user, as positions in the store.

    Returns  (U, 4) int64: user u trains on [0]..[1], validates on [1]..[2], tests on [2]..[3].
    """
    start, stop = store.user_start[:-1], store.user_start[1:]
    num_events = stop - start
    if config.by == "time":
        shares = (config.train, config.train + config.validation)
        # Event i of n trains if i / n < share: the same rule for every user, however short.
        cuts = [start + np.ceil(share * num_events - 1e-9).astype(np.int64) for share in shares]
        return np.stack([start, *cuts, stop], 1)
    order = np.random.default_rng(config.seed).permutation(store.num_users)
    num_train = int(config.train * store.num_users)
    num_validation = int(config.validation * store.num_users)
    part_of_user = np.full(store.num_users, TEST)
    part_of_user[order[:num_train]] = TRAIN
    part_of_user[order[num_train : num_train + num_validation]] = VALIDATION
    cuts = [np.where(part_of_user <= part, stop, start) for part in (TRAIN, VALIDATION)]
    return np.stack([start, *cuts, stop], 1)


def part_of_event(store: EventStore, config: SplitConfig) -> npt.NDArray[np.int8]:
    """(N,) int8: TRAIN, VALIDATION or TEST for every event of the store."""
    return part_of_bounds(part_bounds(store, config))


def part_of_bounds(bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Part of every event of some users who stand next to each other, from their rows of `part_bounds`."""
    lengths = np.diff(bounds, axis=1).ravel()
    return np.repeat(np.tile(np.array([TRAIN, VALIDATION, TEST], np.int8), len(bounds)), lengths)
