"""Narrow columns on disk behave as the wide arrays that they stand for."""

import json

import numpy as np
import pytest

from edgebehave_train.logs.event_store import COLUMNS, EventStore
from edgebehave_train.logs.stored_columns import StoredColumn, narrow_type


@pytest.fixture
def column():
    return StoredColumn(np.array([250, 3, 7], np.uint8), np.int32)


def test_a_column_is_read_in_its_wide_type(column):
    for part in (
        column[:],
        column[[0, 2]],
        column[column > 3],
        np.asarray(column),
        column + column,
        column.astype(int),
    ):
        assert part.dtype.itemsize >= 4
    assert (column + column).tolist() == [500, 6, 14]
    assert np.diff(column).tolist() == [-247, 4]
    assert (column[0] - 251, column.max(), column.tolist()) == (-1, 250, [250, 3, 7])
    assert isinstance(column[0], np.int32)
    assert [int(value) for value in column] == [250, 3, 7]
    assert np.concatenate([column, column]).dtype == np.int32
    assert np.bincount(column).sum() == len(column) == 3
    with pytest.raises(TypeError):
        column[0] = 1


@pytest.mark.parametrize(
    ("kind", "num_names", "dtype"),
    [("event", 256, np.uint8), ("event", 257, np.uint16), ("location", 65_537, np.int32), ("behavior", 128, np.int8),
     ("behavior", 129, np.int16), ("behavior", 40_000, np.int32)],
)  # fmt: skip
def test_ids_take_as_few_bytes_as_their_names_allow(kind, num_names, dtype):
    assert narrow_type(kind, num_names) == dtype


def test_columns_of_one_value_and_behaviors_that_are_events_are_left_out(make_store):
    store = make_store([[(10, "a", None), (20, "b", None)], [(15, "a", None)]])
    assert sorted(path.name for path in store.path.glob("*.npy")) == ["event.npy", "time_s.npy", "user_start.npy"]
    assert store.location.tolist() == store.utc_offset_min.tolist() == [0, 0, 0]
    assert store.behavior.tolist() == store.event.tolist() == [1, 2, 1]
    assert {name: getattr(store, name).dtype for name in COLUMNS} == {n: np.dtype(t) for n, t in COLUMNS.items()}


def test_a_store_of_version_1_reads_the_same(make_store, tmp_path):
    store = make_store([[(10, "a", "home"), (20, "b", None)], [(15, "a", "work")]])
    for name, dtype in COLUMNS.items():
        np.save(tmp_path / f"{name}.npy", np.array(getattr(store, name), dtype))
    for name in ("user_start.npy", "users.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((store.path / name).read_bytes())
    (tmp_path / "statistics.json").write_text(json.dumps({"format_version": 1, "fingerprint": store.fingerprint}))
    old = EventStore.open(tmp_path)
    for user in range(2):
        assert list(old.named_events(user)) == list(store.named_events(user))
    from edgebehave_train.logs.store_writer import fingerprint

    assert fingerprint(tmp_path, {}) == store.fingerprint
