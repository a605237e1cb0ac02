"""What the oracle and a stranger say of a simulated log."""

import numpy as np
import pytest

from edgebehave_train.simulator.log import SimulatorConfig, simulate
from simulator_oracle import SimulatorOracle

CONFIG = SimulatorConfig(num_users=60, num_days=10, seed=3)


@pytest.fixture(scope="module")
def oracle() -> SimulatorOracle:
    return SimulatorOracle(CONFIG)


def test_the_oracle_says_what_the_log_keeps_of_it(oracle: SimulatorOracle) -> None:
    log = simulate(CONFIG)
    at = np.flatnonzero(log.behavior >= 0)
    probs = oracle.probs(at)
    np.testing.assert_array_equal(oracle.user, log.user)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(probs[np.arange(len(at)), log.behavior[at]], log.oracle_prob[at])
    np.testing.assert_array_equal(probs.argmax(1), log.oracle_top[at])


def test_a_stranger_expects_the_mean_of_what_others_would_do(oracle: SimulatorOracle) -> None:
    at = np.flatnonzero(oracle.behavior >= 0)[::7]
    everybody = oracle.stranger_probs(at, CONFIG.num_users - 1)
    np.testing.assert_allclose(everybody.sum(1), 1, atol=1e-5)
    # Each of the others is asked once: the sum over shifts is the sum over people.
    total = np.zeros_like(everybody, np.float64)
    for shift in range(1, CONFIG.num_users):
        other = oracle._process.with_users((oracle.user + shift) % CONFIG.num_users)
        total += other.oracle_probs(at)
    np.testing.assert_allclose(everybody, total / (CONFIG.num_users - 1), atol=1e-5)


def test_lived_by_the_same_people_nothing_changes(oracle: SimulatorOracle) -> None:
    at = np.flatnonzero(oracle.behavior >= 0)
    same = oracle._process.with_users(oracle.user)
    np.testing.assert_allclose(same.oracle_probs(at), oracle.probs(at), rtol=1e-6)


def test_who_knows_the_person_is_better(oracle: SimulatorOracle) -> None:
    at = np.flatnonzero(oracle.behavior >= 0)
    truth = oracle.behavior[at]
    knows, stranger = (
        -np.log(probs[np.arange(len(at)), truth]).mean() for probs in (oracle.probs(at), oracle.stranger_probs(at, 30))
    )
    assert knows < stranger - 0.1


def test_more_strangers_than_people_are_refused(oracle: SimulatorOracle) -> None:
    with pytest.raises(ValueError, match="60 strangers need more than the 60 users"):
        oracle.stranger_probs(np.array([0]), 60)
