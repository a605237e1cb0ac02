"""Tests of training run on one thread."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Sums in one order, and no contention on machines with few cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
