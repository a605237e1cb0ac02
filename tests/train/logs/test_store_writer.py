"""Columns written in pieces, and ids that follow the counts."""

import numpy as np
import pytest

from edgebehave_train.logs import stored_columns
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.store_writer import MICROSECONDS, SortedRows, column_writer, write_statistics, write_store


@pytest.mark.parametrize("num_rows", [0, 1, 9, 1000])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_a_column_written_in_pieces_is_what_numpy_would_save(tmp_path, num_rows, dtype):
    values = np.arange(num_rows, dtype=np.int64)
    with column_writer(tmp_path / "pieces.npy", dtype) as append:
        for piece in np.array_split(values, 3):
            append(piece)
    np.save(tmp_path / "whole.npy", values.astype(dtype))
    assert (tmp_path / "pieces.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def sorted_rows(user, time_s, event, location):
    return SortedRows(
        user=np.array(user),
        time_us=np.array(time_s) * MICROSECONDS,
        utc_offset_min=np.zeros(len(user), np.int16),
        event=np.array(event),
        location=np.array(location),
    )


@pytest.mark.parametrize("cut", range(7))
def test_duplicates_are_dropped_wherever_the_runs_are_cut(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(stored_columns, "_CHUNK_ROWS", 2)
    columns = ([0, 0, 0, 1, 1, 1], [5, 5, 6, 6, 6, 6], [1, 1, 0, 0, 0, 0], [0, 0, -1, -1, -1, 1])
    runs = [sorted_rows(*(c[:cut] for c in columns)), sorted_rows(*(c[cut:] for c in columns))]
    statistics = write_store(
        tmp_path,
        runs,
        users=["x", "y"],
        events=["a", "b"],
        locations=["p", "q"],
        behavior_of_event={"a": "B", "b": None},
    )
    statistics = write_statistics(tmp_path, statistics)
    store = EventStore.open(tmp_path)
    assert statistics["duplicates"] == 2
    assert store.user_start.tolist() == [0, 2, 4]
    assert store.time_s.tolist() == [5, 6, 6, 6]
    assert store.event.tolist() == [2, 1, 1, 1]  # a is the most frequent
    assert store.behavior.tolist() == [-1, 1, 1, 1]
    assert store.location.tolist() == [1, 0, 0, 2]
    assert statistics["event_counts"] == {"a": 3, "b": 1}
    assert statistics["events_per_user"]["median"] == 2
    assert store.fingerprint == stored_columns.fingerprint(tmp_path, statistics)
