"""A log of any size: the same bytes for any number of processes, and the number of events that was asked for."""

import gzip

import pytest
from pyarrow import parquet

from edgebehave_train.simulator import streamed_log
from edgebehave_train.simulator.log import CSV_COLUMNS
from edgebehave_train.simulator.streamed_log import StreamConfig, stream_log


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(streamed_log, "BATCH_USERS", 20)


def test_formats_hold_the_same_rows(tmp_path, small_batches):
    config = StreamConfig(num_events=5000, num_days=10, seed=3)
    told = []
    for name in ("log.parquet", "log.csv", "log.csv.gz"):
        num_users = stream_log(config, tmp_path / name, workers=1, progress=told.append)
    table = parquet.read_table(tmp_path / "log.parquet")
    assert table.column_names == list(CSV_COLUMNS)
    assert len(table) == told[-1] == 5000
    assert len(table["user"].unique()) == num_users
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == ",".join(CSV_COLUMNS)
    rows = [",".join("" if value is None else str(value) for value in row.values()) for row in table.to_pylist()]
    assert lines[1:] == rows
    assert gzip.decompress((tmp_path / "log.csv.gz").read_bytes()) == (tmp_path / "log.csv").read_bytes()
    keys = [(row["user"], row["time"]) for row in table.to_pylist()]
    assert sorted(set(keys)) == keys


def test_processes_change_no_byte(tmp_path):
    config = StreamConfig(num_events=60_000, num_days=5)
    for workers in (1, 2):
        stream_log(config, tmp_path / f"{workers}.parquet", workers=workers)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_shuffled_rows_are_the_same_rows(tmp_path, small_batches):
    for shuffle in (False, True):
        config = StreamConfig(num_events=3000, num_days=10, shuffle=shuffle)
        stream_log(config, tmp_path / f"{shuffle}.csv", workers=1)
    plain, shuffled = ((tmp_path / f"{name}.csv").read_text().splitlines() for name in (False, True))
    assert plain != shuffled
    assert len(set(plain) & set(shuffled)) > 2500  # the last batch is cut off


def test_another_ending_or_no_events_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"written as .parquet, .csv or .csv.gz"):
        stream_log(StreamConfig(num_events=1), tmp_path / "log.txt")
    with pytest.raises(ValueError, match="events must be at least 1"):
        StreamConfig(num_events=0)
