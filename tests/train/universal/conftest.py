"""A small universal model with weights away from their start, and random users."""

import numpy as np
import pytest
import torch

from edgebehave_train.simulator.random_worlds import world
from edgebehave_train.universal.universal_model import UniversalConfig, UniversalModel


@pytest.fixture(scope="session")
def model():
    """At its start the context has no say; noise gives it one."""
    torch.manual_seed(0)
    model = UniversalModel(UniversalConfig(learned_kernels=2, cue_width=8, context_width=8, score_width=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="session")
def make_user():
    """(name, location, local_s) of a random world of some length."""

    def make(num_events, seed=0):
        log = world(seed, 0, num_events)
        location = log.location if log.location.max() >= 0 else np.arange(num_events) % 3
        return log.behavior, location, log.local_s

    return make
