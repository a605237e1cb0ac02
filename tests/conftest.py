"""A small log, logs written by hand, and a small model for all tests that need one.

Imports of `edgebehave_train` stand inside the fixtures: the runtime's tests run without torch.
"""

import json

import numpy as np
import pytest

pytest_plugins = ["tiny_llms"]
NUM_USERS, EVENTS_PER_USER = 40, 60


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """An EventStore of 40 users with 60 events each: 17 events, 12 behaviors, 8 locations.

    Users follow routines of their own with some noise. The event `screen.on` has no behavior,
    several events share one, and `late.a`, `late.b` (and their behaviors) and the location `new_cafe`
    appear only near the end of each user's time, after the training part.
    """
    from edgebehave.vocabulary import NO_BEHAVIOR, Vocabulary
    from edgebehave_train.logs.event_store import COLUMNS, EventStore
    from edgebehave_train.logs.store_writer import write_statistics

    folder = tmp_path_factory.mktemp("tiny_store")
    behaviors = [f"behavior_{i}" for i in range(10)] + ["late_a", "late_b"]
    events = [f"event_{i}" for i in range(14)] + ["late.a", "late.b", "screen.on"]
    of_event = [1 + i % 10 for i in range(14)] + [11, 12, NO_BEHAVIOR]
    late, screen_on = (15, 16), 17
    vocabulary = Vocabulary(
        events=["<unknown>", *events],
        locations=["<unknown>", "home", "work", "gym", "shop", "park", "cafe", "bar", "new_cafe"],
        behaviors=["<unknown>", *behaviors],
        event_to_behavior=[0, *of_event],
    )
    rng = np.random.default_rng(7)
    shape = (NUM_USERS, EVENTS_PER_USER)
    routine = rng.integers(1, 15, (NUM_USERS, 6))
    event = np.take_along_axis(routine, np.arange(EVENTS_PER_USER)[None] % 6, 1)
    event = np.where(rng.random(shape) < 0.25, rng.integers(1, 15, shape), event)
    event = np.where(rng.random(shape) < 0.1, screen_on, event)
    is_late = np.arange(EVENTS_PER_USER)[None] >= 0.75 * EVENTS_PER_USER
    event = np.where(is_late & (rng.random(shape) < 0.3), rng.choice(late, shape), event)
    location = np.where(rng.random(shape) < 0.2, 0, 1 + event % 7)
    location = np.where(is_late & (rng.random(shape) < 0.2), 8, location)
    gap_s = rng.integers(60, 6 * 3600, shape)
    columns = {
        "time_s": 1_700_000_000 + gap_s.cumsum(1),
        "utc_offset_min": np.broadcast_to(rng.choice([-210, 0, 60, 345], (NUM_USERS, 1)), shape),
        "event": event,
        "location": location,
        "behavior": np.array([0, *of_event])[event],
    }
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(values.ravel(), COLUMNS[name]))
    np.save(folder / "user_start.npy", np.arange(NUM_USERS + 1, dtype=np.int64) * EVENTS_PER_USER)
    users = [f"user_{i}" for i in range(NUM_USERS)]
    (folder / "users.json").write_text(json.dumps(users), encoding="utf-8")
    vocabulary.save(folder / "vocabulary.json")
    write_statistics(folder, {"num_events": event.size, "num_users": NUM_USERS})
    return EventStore.open(folder)


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

    names = ("user", "time_us", "utc_offset_min", "event", "location")

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
            [SortedRows(**dict(zip(names, np.array(rows, np.int64).T, strict=True)))],
            users=[f"u{u}" for u in range(len(users))],
            events=events,
            locations=locations,
            behavior_of_event=behavior_of_event,
        )
        write_statistics(folder, statistics)
        return EventStore.open(folder)

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_store, tmp_path_factory):
    """A checkpoint trained on `tiny_store` for a few seconds; window 12, width 32, 2 layers."""
    from edgebehave_train.training.pretraining import pretrain
    from edgebehave_train.training.recipes import tiny

    config = tiny(width=32, window=12, epochs=12, batch_events=240, row_events=120, learning_rate=3e-3)
    return pretrain(tiny_store, config, tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def universal_start(make_store, tmp_path_factory):
    """A log of 14 users in which every event has a behavior, and a checkpoint trained on it from the universal model.

    Users follow routines with some noise; `late` comes only near the end, after the training part.
    """
    import torch

    from edgebehave_train.training.pretraining import pretrain
    from edgebehave_train.training.recipes import tiny

    rng = np.random.default_rng(5)
    users = []
    for _ in range(14):
        routine, time_s, events = rng.integers(0, 12, 5), 1_700_000_000, []
        for i in range(70):
            time_s += int(rng.integers(600, 4 * 3600))
            name = rng.integers(0, 12) if rng.random() < 0.3 else routine[i % 5]
            event = "late" if i > 58 and rng.random() < 0.2 else f"name {name}"
            events.append((time_s, event, None if rng.random() < 0.2 else f"place {name % 4}"))
        users.append(events)
    store = make_store(users)
    config = tiny(width=32, window=12, epochs=3, batch_events=240, row_events=120, from_universal=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the tests that train it again, which compare bits
    checkpoint = pretrain(store, config, tmp_path_factory.mktemp("universal_start") / "checkpoint")
    torch.set_num_threads(threads)
    return store, checkpoint


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
