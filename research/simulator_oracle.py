"""The best possible predictions of a simulated log, with and without knowledge of the user.

The oracle of the simulator knows the latent parameters of every user. A model has to infer them,
and a language model can know the world, but not the user. The stranger has that knowledge: it knows
the whole process and the distribution of users, but of this user only the latest events. Its
prediction is the mean of the oracle's predictions for other users in the same situation,

    p(b | situation) = 1/K sum_k p(b | situation, user k)      K users drawn from the population

What the situation itself tells about the user is left out, so this is close to the best prediction
of that kind, but no strict bound.

Legend: N events, R of them, V behaviors of `simulator.world.BEHAVIORS`, K strangers, U users.
"""

import numpy as np
import numpy.typing as npt

from edgebehave_train.simulator.log import SimulatorConfig, run_process
from edgebehave_train.simulator.process import BehaviorProcess
from edgebehave_train.simulator.world import BEHAVIORS

_AT_A_TIME = 100_000


class SimulatorOracle:
    """The oracle and the stranger for the log that a config simulates."""

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
        """p(b) of the stranger: (R,) positions -> (R, V).

        Every user is replaced by another user of the same log, num_strangers times.
        Raises ValueError if there are no more users than that.
        """
        num_users = self.config.num_users
        if num_strangers >= num_users:
            raise ValueError(f"{num_strangers} strangers need more than the {num_users} users of the log")
        shifts = 1 + np.random.default_rng(seed).permutation(num_users - 1)[:num_strangers]
        total = np.zeros((len(at), len(BEHAVIORS)), np.float32)
        for shift in shifts.tolist():
            total += _probs(self._process.with_users((self.user + shift) % num_users), at)
        return total / np.float32(num_strangers)


def _probs(process: BehaviorProcess, at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    parts = np.array_split(at, max(1, len(at) // _AT_A_TIME))
    return np.concatenate([process.oracle_probs(part).astype(np.float32) for part in parts])
