"""Buckets, groups, batches and threads change no byte; a full disk ends in one line."""

import errno
import os
import random
import stat
from datetime import UTC, datetime

import pytest

from edgebehave_train.logs import ingest as ingest_module
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


@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
@pytest.mark.parametrize("step_s", [1, 60])
def test_a_user_larger_than_a_group_is_split_without_a_trace(tmp_path, monkeypatch, step_s, order):
    """One user with most of the events; local times by a zone, whose autumn hour comes twice."""
    rng = random.Random(3)
    rows = [
        (
            rng.choice(["big"] * 9 + ["small"]),
            1_414_274_400 + 20 * i // step_s * step_s,
            f"e{rng.randrange(9)}",
            "",
            "k",
        )
        for i in range(800)
    ]
    if order == "shuffled":
        rng.shuffle(rows)
    rows = rows if order != "newest first" else rows[::-1]
    times = [datetime.fromtimestamp(row[1], UTC).strftime("%Y-%m-%d %H:%M:%S") for row in rows]
    log = write_log(tmp_path / "log.csv", [(row[0], time, *row[2:]) for row, time in zip(rows, times, strict=True)])
    stores = []
    for threads, group in ((1, 1 << 20), (1, 7), (2, 100)):
        monkeypatch.setattr(sorting, "_GROUP_ROWS", group)
        monkeypatch.setattr(staging, "_BATCH_ROWS", 64)
        config = IngestConfig(
            log=log, out=tmp_path / "out", threads=threads, timezone="Europe/Berlin", overwrite=True, **COLUMNS
        )
        ingest(config, lambda line: None)
        stores.append(bytes_of(tmp_path / "out"))
    assert stores[0] == stores[1] == stores[2]


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


FULL = {
    "rows": (staging, "_write"),
    "columns": (store_writer.PositionColumns, "write_ids"),
    "a part of a large user": (staging.SplitRows, "add"),
    "statistics": (ingest_module, "write_statistics"),
    "the appended store": (ingest_module, "append_store"),
}


@pytest.mark.parametrize("writer", FULL)
def test_a_full_disk_is_one_line_and_leaves_the_store(tmp_path, monkeypatch, writer):
    log = write_log(tmp_path / "log.csv", rows_of(100))
    before = ingest(IngestConfig(log=log, out=tmp_path / "out", **COLUMNS), lambda line: None)["fingerprint"]

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sorting, "_GROUP_ROWS", 1)
    monkeypatch.setattr(*FULL[writer], full)
    is_append = "append" in writer
    config = IngestConfig(log=log, out=tmp_path / "out", overwrite=not is_append, append=is_append, **COLUMNS)
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
