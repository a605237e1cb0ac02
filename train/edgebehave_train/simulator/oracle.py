"""What can be known of a simulated log: by one who knows the person, and by one who does not.

The oracle of `simulator.py` knows the latent parameters of every user. A model has to infer them,
and a language model knows of the world at most, not of the person. The stranger stands for that
knowledge: it knows the whole process and how people differ, but of this user only what has just
happened. It expects the mean of what the oracle would expect of other people in the same situation,

    p(b | situation) = 1/K sum_k p(b | situation, user k)      K users drawn from the population

with what the moment itself tells about the person left out, so it is close to the best prediction
of that kind and no strict bound.

Legend: N events, R of them, V behaviors of `simulator_world.BEHAVIORS`, K strangers, U users.
"""

import numpy as np
import numpy.typing as npt

from edgebehave_train.simulator.log import SimulatorConfig, run_process
from edgebehave_train.simulator.process import BehaviorProcess
from edgebehave_train.simulator.world import BEHAVIORS

_AT_A_TIME = 100_000


class SimulatorOracle:
    """Both predictors, for the log that a config simulates."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self._process, self.time_s, _ = run_process(config)
        self.user, self.behavior = self._process.user, self._process.behavior

    def probs(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """p(b) of the oracle at events that have a behavior: (R,) positions -> (R, V)."""
        return _probs(self._process, at)

    def stranger_probs(
        self, at: npt.NDArray[np.int64], num_strangers: int = 100, seed: int = 0
    ) -> npt.NDArray[np.float32]:
        """p(b) of one who knows the world and not the person: (R,) positions -> (R, V).

        Everybody's location is taken by somebody else of the same log, so many times.
        Raises ValueError if there are no more users than that.
        """
        num_users = self.config.num_users
        if num_strangers >= num_users:
            raise ValueError(f"{num_strangers} strangers need more than the {num_users} users of the log")
        shifts = 1 + np.random.default_rng(seed).permutation(num_users - 1)[:num_strangers]
        total = np.zeros((len(at), len(BEHAVIORS)), np.float32)
        for shift in shifts.tolist():
            total += _probs(self._process.as_lived_by((self.user + shift) % num_users), at)
        return total / np.float32(num_strangers)


def _probs(process: BehaviorProcess, at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    parts = np.array_split(at, max(1, len(at) // _AT_A_TIME))
    return np.concatenate([process.oracle_probs(part).astype(np.float32) for part in parts])
