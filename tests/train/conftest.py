"""What the tests of training share: logs written by hand, a very small recipe, one thread."""

import numpy as np
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
def make_store(tmp_path_factory):
    """A function that writes a log as an EventStore.

    users              a list of (time_s, event, location or None) per user, in time order; the users
                       are called u0, u1, ... and keep their order.
    behavior_of_event  as in `write_store`; by default each event is a behavior of its own.
    """
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.logs.store_writer import (
        MICROSECONDS,
        SortedRows,
        write_statistics,
        write_store,
    )

    def make(users, behavior_of_event=None) -> EventStore:
        events = sorted({event for user in users for _, event, _ in user})
        locations = sorted({location for user in users for *_, location in user if location is not None})
        rows = [
            (u, time_s * MICROSECONDS, 0, events.index(event), locations.index(location) if location else -1)
            for u, user in enumerate(users)
            for time_s, event, location in user
        ]
        folder = tmp_path_factory.mktemp("store")
        statistics = write_store(
            folder,
            [SortedRows(**dict(zip(_COLUMNS, np.array(rows, np.int64).T, strict=True)))],
            users=[f"u{u}" for u in range(len(users))],
            events=events,
            locations=locations,
            behavior_of_event=behavior_of_event,
        )
        write_statistics(folder, statistics)
        return EventStore.open(folder)

    return make


_COLUMNS = ("user", "time_us", "utc_offset_min", "event", "location")


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
