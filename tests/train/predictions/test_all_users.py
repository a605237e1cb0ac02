"""The file of all users holds what the SDK answers for each, whatever the number of processes."""

import csv
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgebehave import Predictor
from edgebehave.bundles.universal_bundle import SHIPPED
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest
from edgebehave_train.predictions import all_users
from edgebehave_train.predictions.all_users import Counts, PredictionConfig, predict_all
from edgebehave_train.simulator.log import SimulatorConfig, simulate, write_log

TINY = Path(__file__).parents[2] / "edgebehave" / "tiny_bundle"
AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
SIMULATED = {"location": "location", "utc_offset": "utc_offset_min", "behavior": "behavior"}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> EventStore:
    """A simulated log: users with 130 to 700 events, more than a model sees."""
    folder = tmp_path_factory.mktemp("simulated")
    write_log(simulate(SimulatorConfig(num_users=20, num_days=80)), folder / "log.csv")
    roles = {"user": "user", "time": "time", "event": "event", **SIMULATED}
    ingest(IngestConfig(log=folder / "log.csv", out=folder / "store", **roles), lambda line: None)
    return EventStore.open(folder / "store")


def one_by_one(bundle, store, k, at, users):
    """Rows from a Predictor that observes every event, as `edgebehave predict --user` does."""
    names = store.users()
    rows = []
    for user in users:
        predictor = Predictor.load(bundle, max_ahead=None)
        for event in store.named_events(names.index(user)):
            event.observe_in(predictor, user)
        answer = predictor.predict(user, k, at=at)
        rows += [(user, rank, *prediction) for rank, prediction in enumerate(answer, 1)]
    return rows


def rows_of(file):
    return [tuple(row.values()) for row in parquet.read_table(file).to_pylist()]


@pytest.mark.parametrize(("bundle", "at"), [("int8", None), ("int8", AT), ("web", AT), ("fp32", AT), (SHIPPED, AT)])
def test_every_user_gets_the_answer_of_the_sdk(store, tmp_path, bundle, at):
    assert max(store.user_start[1:] - store.user_start[:-1]) > 512
    out = tmp_path / "new" / "scores.parquet"
    counts = predict_all(PredictionConfig(bundle=TINY / bundle, store=store.path, out=out, k=4, at=at, workers=1))
    assert rows_of(out) == one_by_one(TINY / bundle, store, 4, at, store.users())
    assert counts == Counts(20, 20, 80)
    table = parquet.read_schema(out)
    assert table.names == ["user", "rank", "behavior", "probability"]
    assert table.types == [pa.string(), pa.int32(), pa.string(), pa.float32()]


def test_processes_change_no_byte(store, tmp_path, monkeypatch):
    monkeypatch.setattr(all_users, "SHARD_USERS", 3)
    done = []
    for suffix in (".parquet", ".csv"):
        files = [tmp_path / f"scores{workers}{suffix}" for workers in (1, 3)]
        for workers, file in zip((1, 3), files, strict=True):
            config = PredictionConfig(bundle=TINY / "int8", store=store.path, out=file, at=AT, workers=workers)
            predict_all(config, lambda number, total: done.append((number, total)))
        assert files[0].read_bytes() == files[1].read_bytes()
    assert done[:7] == [(3, 20), (6, 20), (9, 20), (12, 20), (15, 20), (18, 20), (20, 20)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "scores1.csv",
        "scores1.parquet",
        "scores3.csv",
        "scores3.parquet",
    ]


def test_csv_holds_the_same_rows(store, tmp_path):
    for name in ("scores.csv", "scores.parquet"):
        predict_all(PredictionConfig(bundle=TINY / "int8", store=store.path, out=tmp_path / name, workers=1))
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["user", "rank", "behavior", "probability"]
    expected = rows_of(tmp_path / "scores.parquet")
    assert [(user, int(rank), behavior) for user, rank, behavior, _ in rows] == [row[:3] for row in expected]
    probabilities = pa.array([float(row[3]) for row in rows]).cast(pa.float32(), safe=False).to_pylist()
    assert probabilities == [row[3] for row in expected]


def test_named_users_keep_the_order_of_their_names(store, tmp_path):
    users = [store.users()[i] for i in (7, 2, 11, 2)]
    out = tmp_path / "some.parquet"
    counts = predict_all(PredictionConfig(bundle=TINY / "int8", store=store.path, out=out, k=1, users=users, workers=1))
    assert counts == Counts(3, 3, 3)
    assert rows_of(out) == one_by_one(TINY / "int8", store, 1, None, users[:3])


def test_repeated_events_count_as_the_sdk_counts_them(make_store, tmp_path):
    """A store of days has equal events at one time; names that the bundle does not know, and users of one event."""
    day, start = 86_400, 1_772_000_000
    users = [
        [(start + day * (i // 90), f"own_{i % 7 % (3 + user)}", None) for i in range(600)]
        + [(start + 9 * day, "x", "y")]
        for user in range(3)
    ]
    store = make_store([*users, [(start, "only", None)]])
    for bundle in (TINY / "int8", SHIPPED):
        out = tmp_path / "scores.parquet"
        predict_all(PredictionConfig(bundle=bundle, store=store.path, out=out, k=3, at=AT, workers=1))
        assert rows_of(out) == one_by_one(bundle, store, 3, AT, store.users())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "scores.txt"}, r"as \.parquet or \.csv, got .*scores\.txt"),
        ({"users": ["user_00003", "nobody", "none"]}, "has no user 'nobody' and 1 more of the 3"),
        ({"users": []}, "no user was named"),
        ({"store": "nothing"}, "not an event store"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_mistakes_are_told_before_the_work_begins(store, tmp_path, changes, message):
    good = {"bundle": TINY / "int8", "store": store.path, "out": tmp_path / "scores.parquet"}
    if "out" in changes:
        changes = {"out": tmp_path / changes["out"]}
    with pytest.raises(ValueError, match=message):
        predict_all(PredictionConfig(**{**good, **changes}))
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_ends_the_work_with_one_line(store, tmp_path, monkeypatch):
    monkeypatch.setattr(all_users, "SHARD_USERS", 1)

    def kill(done, total):
        for process in multiprocessing.active_children():
            process.kill()

    config = PredictionConfig(bundle=TINY / "int8", store=store.path, out=tmp_path / "scores.parquet", workers=2)
    with pytest.raises(ValueError, match="one of 2 processes was ended from outside"):
        predict_all(config, kill)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_file(store, tmp_path):
    out = tmp_path / "scores.parquet"
    out.write_bytes(b"old")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_all(PredictionConfig(bundle=TINY / "int8", store=store.path, out=out, workers=1), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]
    assert out.read_bytes() == b"old"
