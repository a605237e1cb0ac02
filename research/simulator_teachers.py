"""The two predictors of `simulator_oracle.py` as teachers and as rows of a table.

The oracle knows the process and the user, the stranger knows the process alone.
"""

from functools import cached_property

import numpy as np

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.distillation.teachers import Teacher
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.simulator.log import SimulatorConfig
from edgebehave_train.simulator.world import BEHAVIORS
from simulator_oracle import SimulatorOracle

KINDS = ("oracle", "stranger")
_NAMES = tuple(behavior.name for behavior in BEHAVIORS)
_SECONDS = 2**40  # more than there are


class SimulatorTeachers:
    """Predictors with the known process, for a store of a log that the config simulates, or of a part of
    its users and events."""

    def __init__(self, config: SimulatorConfig, store: EventStore) -> None:
        self.config, self.store = config, store

    @cached_property
    def _oracle(self) -> SimulatorOracle:
        return SimulatorOracle(self.config)

    @cached_property
    def _position(self) -> np.ndarray:
        """Position of each event of the store in the process; a user's times differ."""
        number = np.array([int(name.removeprefix("user_")) for name in self.store.users()])
        user = np.repeat(number, np.diff(self.store.user_start))
        made = self._oracle.user.astype(np.int64) * _SECONDS + self._oracle.time_s
        at = np.searchsorted(made, user.astype(np.int64) * _SECONDS + self.store.time_s)
        names = np.array([*_NAMES, ""])[self._oracle.behavior[at]]
        own = np.array([*self.store.vocabulary.behaviors, ""])[self.store.behavior]
        if not (names == own).all():
            raise ValueError(f"{self.store.path} holds no log of {self.config}")
        return at

    def probs(self, kind: str, event: np.ndarray) -> np.ndarray:
        """(R,) positions of behaviors in the store -> (R, 1 + V), column 0 unknown."""
        at = self._position[event]
        of = self._oracle.probs if kind == "oracle" else self._oracle.stranger_probs
        return np.pad(of(at), ((0, 0), (1, 0)))

    def probs_in(self, kind: str, event: np.ndarray, behaviors: tuple[str, ...]) -> np.ndarray:
        """The same in the ids of a vocabulary."""
        column = np.array([0, *(1 + _NAMES.index(name) for name in behaviors[1:])])
        return self.probs(kind, event)[:, column]

    def teacher(self, kind: str) -> Teacher:
        return Teacher(
            behaviors=("?", *_NAMES),
            can_answer=np.asarray(self.store.behavior) != -1,
            score=lambda event: self.probs(kind, event),
            card={"simulator": kind, "unknown": int(UNKNOWN)},
            at_a_time=1 << 30,
        )
