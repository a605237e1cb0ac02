"""What the tests of training share: a very small recipe, one thread."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Sums in one order, and no contention on machines with few cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def recipe():
    """A function that returns the smallest useful TrainConfig, with changes."""
    from edgebehave_train.training.recipes import TrainConfig

    smallest = {
        "width": 16,
        "num_layers": 2,
        "num_heads": 2,
        "window": 8,
        "epochs": 2,
        "patience": 0,
        "batch_events": 240,
        "row_events": 60,
        "learning_rate": 3e-3,
        "precision": "float32",
    }
    return lambda **changes: TrainConfig(**{**smallest, **changes})
