"""Opening an event store, and telling what is none."""

import json

import numpy as np
import pytest

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.logs.event_store import COLUMNS, FORMAT_VERSION, EventStore


@pytest.fixture
def folder(tmp_path):
    """A store written by hand: two users with two and one events."""
    columns = {
        "time_s": [10, 20, 15],
        "utc_offset_min": [0, -300, 60],
        "event": [1, 2, 1],
        "location": [0, 1, 1],
        "behavior": [1, 2, 1],
    }
    for name, values in columns.items():
        np.save(tmp_path / f"{name}.npy", np.array(values, COLUMNS[name]))
    np.save(tmp_path / "user_start.npy", np.array([0, 2, 3]))
    (tmp_path / "users.json").write_text('["zoë", "al"]', encoding="utf-8")
    Vocabulary.identity(["run", "eat"], ["home"]).save(tmp_path / "vocabulary.json")
    statistics = {"format_version": FORMAT_VERSION, "fingerprint": "f00"}
    (tmp_path / "statistics.json").write_text(json.dumps(statistics))
    return tmp_path


def test_a_store_opens_with_typed_columns(folder):
    store = EventStore.open(str(folder))
    assert (store.num_events, store.num_users) == (3, 2)
    assert store.users() == ["zoë", "al"]
    assert store.fingerprint == "f00"
    assert store.vocabulary.events == ("<unknown>", "run", "eat")
    assert store.utc_offset_min.tolist() == [0, -300, 60]
    for name, dtype in COLUMNS.items():
        assert getattr(store, name).dtype == dtype


def test_columns_are_read_only_maps(folder):
    store = EventStore.open(folder)
    assert isinstance(store.event, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.event[0] = 2


def test_a_folder_that_is_no_store_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match="is not an event store; make one with `edgebehave ingest"):
        EventStore.open(tmp_path)
    with pytest.raises(ValueError, match="is not an event store"):
        EventStore.open(tmp_path / "nowhere")


def test_another_version_is_refused(folder):
    (folder / "statistics.json").write_text('{"format_version": 99}')
    with pytest.raises(ValueError, match="of version 99, this is version 2; ingest the log again"):
        EventStore.open(folder)


@pytest.mark.parametrize("column", list(COLUMNS))
def test_a_short_or_mistyped_column_is_damage(folder, column):
    whole = np.load(folder / f"{column}.npy")
    for damaged in (whole[:-1], whole.astype(np.float32)):
        np.save(folder / f"{column}.npy", damaged)
        with pytest.raises(ValueError, match=f"{column}.npy is damaged"):
            EventStore.open(folder)
