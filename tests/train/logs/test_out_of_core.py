"""Buckets, groups, batches and threads change no byte; a full disk ends in one line."""

import errno
import os
import random
import stat

import pytest

from edgebehave_train.logs import sorting, staging, store_writer, stored_columns
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest

NOON = 1_400_000_000
COLUMNS = {"user": "user", "time": "time", "event": "event", "location": "place", "behavior": "kind"}


def write_log(path, rows):
    path.write_text("user,time,event,place,kind\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def rows_of(num_rows, num_users=50, step_s=1):
    rng = random.Random(1)
    rows = []
    for i in range(num_rows):
        event = rng.randrange(30)
        time = NOON + (i if step_s == 1 else rng.randrange(i + 1) // step_s * step_s)
        rows.append((f"u{rng.randrange(num_users)}", time, f"e{event}", rng.choice(["", "home"]), f"k{event % 7}"))
    return rows


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("step_s", [1, 60])  # without ties, and with many, in the order of a hash
def test_sizes_and_threads_change_no_byte(tmp_path, monkeypatch, step_s):
    rows = rows_of(3000, step_s=step_s)
    random.Random(2).shuffle(rows)
    log = write_log(tmp_path / "log.csv", rows)
    ingest(IngestConfig(log=log, out=tmp_path / "whole", threads=1, **COLUMNS), lambda line: None)
    whole = bytes_of(tmp_path / "whole")
    for threads, group, batch in ((1, 1, 1 << 18), (2, 100, 500), (3, 1 << 20, 64)):
        monkeypatch.setattr(sorting, "_GROUP_ROWS", group)
        monkeypatch.setattr(staging, "_BATCH_ROWS", batch)
        monkeypatch.setattr(stored_columns, "_CHUNK_ROWS", batch)
        parts = [write_log(tmp_path / f"part{i}.csv", rows[i::threads]) for i in range(threads)]
        config = IngestConfig(log=parts, out=tmp_path / "parts", threads=threads, overwrite=True, **COLUMNS)
        ingest(config, lambda line: None)
        assert bytes_of(tmp_path / "parts") == whole


def test_users_whose_names_are_floats_are_one_with_their_integers(tmp_path):
    rows = [(user, NOON + i, "e", "", "k") for i, user in enumerate(["101.0", "7", "101", "7.0", "101.0"] * 20)]
    ingest(IngestConfig(log=write_log(tmp_path / "log.csv", rows), out=tmp_path / "out", **COLUMNS), lambda line: None)
    store = EventStore.open(tmp_path / "out")
    assert sorted(store.users()) == ["101", "7"]
    assert sorted(store.user_start.tolist()) == [0, 40 if store.users()[0] == "7" else 60, 100]
    assert store.statistics["order_of_ties"] == "none"
    for user in range(2):
        times = store.time_s[store.user_start[user] : store.user_start[user + 1]]
        assert (times[1:] > times[:-1]).all()


@pytest.mark.parametrize("writer", ["rows", "columns"])
def test_a_full_disk_is_one_line_and_leaves_the_store(tmp_path, monkeypatch, writer):
    log = write_log(tmp_path / "log.csv", rows_of(100))
    config = IngestConfig(log=log, out=tmp_path / "out", overwrite=True, **COLUMNS)
    before = ingest(config, lambda line: None)["fingerprint"]

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module, name = (staging, "_write") if writer == "rows" else (store_writer, "_write_ids")
    monkeypatch.setattr(module, name, full)
    with pytest.raises(IngestError, match=r"no room on the disk of .*; nothing was written") as error:
        ingest(config, lambda line: None)
    assert "\n" not in str(error.value)
    assert EventStore.open(tmp_path / "out").fingerprint == before
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "out"]


def test_the_rows_at_work_are_private(tmp_path):
    log = write_log(tmp_path / "log.csv", rows_of(100))
    work = tmp_path / ".out.partial"
    modes = []
    config = IngestConfig(log=log, out=tmp_path / "out", **COLUMNS)
    ingest(config, lambda line: modes.append(stat.S_IMODE(work.stat().st_mode)) if work.exists() else None)
    assert set(modes) == {0o700}
    assert not work.exists()
