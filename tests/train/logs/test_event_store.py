"""Opening an event store, and telling what is none."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.logs.event_store import COLUMNS, FORMAT_VERSION, EventStore
from edgebehave_train.logs.packing import positions_of
from edgebehave_train.logs.store_writer import write_statistics
from edgebehave_train.logs.stored_columns import fingerprint


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


@pytest.fixture
def hashed(folder):
    """The same store with the hashes of this version."""
    write_statistics(folder, {"num_events": 3})
    return folder


def test_a_column_is_verified_when_it_is_first_used(hashed):
    data = bytearray((hashed / "event.npy").read_bytes())
    data[-4] ^= 1
    (hashed / "event.npy").write_bytes(data)
    store = EventStore.open(hashed)
    assert store.location.tolist() == [0, 1, 1]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"event\.npy is damaged: it does not fit its SHA-256; ingest the log"):
            _ = store.event
    with pytest.raises(ValueError, match=r"event\.npy is damaged"):
        store.check()


@pytest.mark.parametrize("name", ["user_start.npy", "vocabulary.json", "users.json", "statistics.json"])
def test_names_and_offsets_are_verified_when_they_are_read(hashed, name):
    EventStore.open(hashed).check()
    text = (hashed / name).read_bytes()
    (hashed / name).write_bytes(text.replace(b"3", b"4") if name == "statistics.json" else text + b" ")
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        EventStore.open(hashed).users()


def test_without_its_seal_a_hashed_file_is_damaged(hashed):
    text = (hashed / "statistics.json").read_text()
    (hashed / "statistics.json").write_text(text.replace("content_sha256", "content_sha257"))
    with pytest.raises(ValueError, match="its content does not fit its SHA-256"):
        EventStore.open(hashed)


@pytest.mark.parametrize("damage", ["cut", "header", "other kind", "two axes"])
def test_a_store_of_before_without_hashes_is_checked_for_its_form(folder, damage):
    data = (folder / "event.npy").read_bytes()
    if damage == "cut":
        (folder / "event.npy").write_bytes(data[:-4])
    elif damage == "header":
        (folder / "event.npy").write_bytes(data[:9] + b"\xff" * 20 + data[29:])
    else:
        values = np.zeros((3, 1), np.int32) if damage == "two axes" else np.zeros(3, np.int64)
        np.save(folder / "event.npy", values)
    with pytest.raises(ValueError, match=r"event\.npy is damaged: .*; ingest the log again"):
        EventStore.open(folder)


def test_a_store_of_before_is_checked_by_its_fingerprint(folder):
    statistics = {"format_version": FORMAT_VERSION, "fingerprint": fingerprint(folder, {})}
    (folder / "statistics.json").write_text(json.dumps(statistics))
    EventStore.open(folder).check()
    np.save(folder / "location.npy", np.array([0, 1, 0], np.int32))
    with pytest.raises(ValueError, match="does not fit its fingerprint"):
        EventStore.open(folder).check()


@pytest.mark.parametrize("user_start", [[0, 3, 2], [1, 2, 3], []])
def test_offsets_that_do_not_ascend_are_damage(folder, user_start):
    np.save(folder / "user_start.npy", np.array(user_start, np.int64))
    with pytest.raises(ValueError, match=r"user_start\.npy is damaged: its offsets do not ascend"):
        EventStore.open(folder)


@given(st.lists(st.tuples(st.integers(0, 2400), st.integers(0, 90)), max_size=6))
def test_ranges_are_read_as_the_columns_say(tiny_store, ranges):
    start = np.array([first for first, _ in ranges], np.int64)
    stop = np.minimum([first + length for first, length in ranges], 2400).astype(np.int64)
    at = positions_of(start, stop)
    in_memory = tiny_store.of_users(0, tiny_store.num_users)
    for name in COLUMNS:
        expected = np.asarray(getattr(tiny_store, name))[at]
        for store in (tiny_store, in_memory):
            values = store.read(name, start, stop)
            assert values.dtype == expected.dtype
            assert np.array_equal(values, expected)


def test_some_users_are_a_store_of_their_own(tiny_store):
    some = tiny_store.of_users(3, 7)
    assert (some.num_users, some.num_events) == (4, 240)
    assert np.array_equal(some.event, np.asarray(tiny_store.event)[180:420])
    tiny_store.release()
    assert np.array_equal(some.event, np.asarray(tiny_store.event)[180:420])
