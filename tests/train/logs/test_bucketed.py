"""Parquet in the order of a store is taken over; what breaks the contract is refused with the row."""

import hashlib

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgebehave_train.logs import bucketed
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest

NOON = 1_400_000_000
SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("time_us", pa.int64()),
        ("utc_offset_min", pa.int16()),
        ("event", pa.string()),
        ("location", pa.string()),
        ("behavior", pa.string()),
    ]
)


def rows_in_order(num_users=20):
    users = sorted((f"u{i}" for i in range(num_users)), key=lambda user: hashlib.sha256(user.encode()).digest())
    return [
        {
            "user": user,
            "time_us": 1_000_000 * (NOON + 60 * (i // 2)),  # ties, which keep their order
            "utc_offset_min": 60,
            "event": f"e{(i * 7 + len(user)) % 5}",
            "location": "home" if i % 3 else None,
            "behavior": f"b{(i * 7 + len(user)) % 5 % 2}",
        }
        for user in users
        for i in range(9)
    ]


def write(folder, rows, files=3):
    folder.mkdir(exist_ok=True)
    size = -(-len(rows) // files)
    for number in range(files):
        table = pa.Table.from_pylist(rows[number * size : (number + 1) * size], SCHEMA)
        parquet.write_table(table, folder / f"part-{number:05d}.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def take_over(log, out, **options):
    lines = []
    config = IngestConfig(log=log, out=out, bucketed=True, **options)
    return ingest(config, lines.append), lines


@pytest.mark.parametrize("files", [1, 3, 7])
def test_a_bucketed_log_gives_the_store_of_its_rows(tmp_path, monkeypatch, files):
    monkeypatch.setattr(bucketed, "_BATCH_ROWS", 13)
    rows = rows_in_order()
    log = write(tmp_path / "log", rows, files)
    statistics, lines = take_over(log, tmp_path / "out")
    roles = {"user": "user", "time": "time_us", "event": "event", "location": "location", "behavior": "behavior"}
    of_rows = ingest(
        IngestConfig(log=f"{log}/*.parquet", out=tmp_path / "rows", utc_offset="utc_offset_min", **roles),
        lambda line: None,
    )
    assert statistics["fingerprint"] == of_rows["fingerprint"]
    for fact in ("order_of_ties", "tied_events", "num_rows", "columns", "behavior_counts", "constants"):
        assert statistics[fact] == of_rows[fact]
    for path in (tmp_path / "rows").iterdir():
        if path.name != "statistics.json":
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert lines[0] == f"took over 180 rows from {files} files"


def broken(change):
    rows = rows_in_order()
    change(rows)
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.reverse(), r"row 10: user '.*' after '.*': expected users in the order of sha256\(user\)"),
        (lambda rows: rows.append(rows[0]), "expected users in the order"),
        (lambda rows: rows[5].update(time_us=NOON * 1_000_000), "row 6: time_us is smaller than in the row before"),
        (lambda rows: rows[5].update(time_us=NOON), f"row 6: time_us is {NOON}, expected unix microseconds"),
        (lambda rows: rows[5].update(user=None), "row 6: no user"),
        (lambda rows: rows[5].update(event=""), "row 6: no event"),
        (lambda rows: rows[5].update(utc_offset_min=1000), "row 6: utc_offset_min is 1000"),
        (lambda rows: rows[5].update(location="x" * 2000), "row 6: location is longer than 1024 bytes"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_row(tmp_path, change, message):
    log = write(tmp_path / "log", broken(change), 1)
    with pytest.raises(IngestError, match=message) as error:
        take_over(log, tmp_path / "out")
    assert "part-00000.parquet" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-50])


def garbled(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    path.write_bytes(data)


def out_of_order(path):
    parquet.write_table(parquet.read_table(path).slice(0).take(list(range(59, -1, -1))), path)


@pytest.mark.parametrize("options", [{"overwrite": True}, {"append": True}])
@pytest.mark.parametrize("damage", [cut_short, garbled, out_of_order])
def test_a_foreign_log_that_is_damaged_leaves_the_store_that_was_there(tmp_path, damage, options):
    log = write(tmp_path / "log", rows_in_order(), 3)
    before, _ = take_over(log, tmp_path / "out")
    damage(log / "part-00002.parquet")
    with pytest.raises(IngestError) as error:
        take_over(log, tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    store = EventStore.open(tmp_path / "out")
    store.check()
    assert store.fingerprint == before["fingerprint"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]


def test_equal_rows_are_one_event_unless_times_are_days(tmp_path):
    rows = rows_in_order()
    log = write(tmp_path / "log", [row for row in rows for _ in range(2)])
    once, lines = take_over(log, tmp_path / "once")
    assert (once["num_events"], once["duplicates"]) == (180, 180)
    assert "dropped 180 exact duplicates" in lines
    twice, _ = take_over(log, tmp_path / "twice", days=True)
    assert (twice["num_events"], twice["duplicates"]) == (360, 0)


@pytest.mark.parametrize("options", [{"user": "uid"}, {"timezone": "Europe/Berlin"}, {"nulls": ("nan",)}])
def test_options_that_a_bucketed_log_would_not_follow_are_refused(tmp_path, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"leave out {name}, or"):
        take_over(tmp_path / "log", tmp_path / "out", **options)


def test_columns_of_other_types_are_refused(tmp_path):
    table = pa.Table.from_pylist(rows_in_order(), SCHEMA)
    (tmp_path / "log").mkdir()
    for changed, message in (
        (table.drop_columns(["time_us"]), "has no column 'time_us'"),
        (table.set_column(1, "time_us", table["time_us"].cast(pa.float64())), "'time_us' is DOUBLE, expected BIGINT"),
    ):
        parquet.write_table(changed, tmp_path / "log" / "part.parquet")
        with pytest.raises(IngestError, match=message):
            take_over(tmp_path / "log", tmp_path / "out")


def test_bucketed_days_are_appended(tmp_path):
    rows = rows_in_order()
    early = [row for i, row in enumerate(rows) if i % 9 < 4]
    late = [row for i, row in enumerate(rows) if i % 9 >= 4]
    whole, _ = take_over(write(tmp_path / "all", rows), tmp_path / "whole")
    take_over(write(tmp_path / "early", early), tmp_path / "out")
    statistics, _ = take_over(write(tmp_path / "late", late), tmp_path / "out", append=True)
    stores = [EventStore.open(tmp_path / name) for name in ("out", "whole")]
    assert stores[0].users() == stores[1].users()
    for user in range(20):
        assert list(stores[0].named_events(user)) == list(stores[1].named_events(user))
    assert statistics["order_of_ties"] == whole["order_of_ties"] == "file"
