"""Spark's store equals that of `ingest` in every value, and its predictions equal those of `predict`."""

import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'edgebehave[spark]'")
pytest.importorskip("pandas", reason="pandas is not installed: pip install 'edgebehave[spark]'")

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest
from edgebehave_train.predictions.all_users import PredictionConfig, predict_all
from edgebehave_train.simulator.log import SimulatorConfig, simulate
from edgebehave_train.spark.bucketed_log import log_events, read_bucketed, write_bucketed
from edgebehave_train.spark.predictions import predict_users

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "tests" / "edgebehave" / "tiny_bundle" / "int8"
ROLES = {
    "user": "user",
    "time": "time",
    "event": "event",
    "location": "location",
    "utc_offset": "utc_offset_min",
    "behavior": "behavior",
}
ROW = ("_metadata.row_index",)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A simulated log in Parquet, users mixed, each in time order, with times to ten minutes: many events are tied."""
    file = tmp_path_factory.mktemp("log") / "log.parquet"
    simulated = simulate(SimulatorConfig(num_users=25, num_days=80))
    rows = np.argsort(simulated.time_s // 600, kind="stable")

    def named(ids, names):
        return pa.array([names[i] if i >= 0 else None for i in ids[rows].tolist()], pa.string())

    table = {
        "user": named(simulated.user, [f"user {u} ü" for u in range(25)]),
        "time": pa.array(simulated.time_s[rows] // 600 * 600),
        "utc_offset_min": pa.array(simulated.utc_offset_min[rows]),
        "event": named(simulated.event, simulated.event_names),
        "location": named(simulated.location, simulated.location_names),
        "behavior": named(simulated.behavior, simulated.behavior_names),
    }
    parquet.write_table(pa.table(table), file, row_group_size=1000)
    return file


@pytest.fixture(scope="module")
def store(log, tmp_path_factory) -> EventStore:
    return stored(log, tmp_path_factory.mktemp("ours") / "store", **ROLES)


def stored(log, out, **options) -> EventStore:
    ingest(IngestConfig(log=log, out=out, **options), lambda line: None)
    return EventStore.open(out)


def require_equal(ours: EventStore, other: EventStore) -> None:
    """Every file of two stores, to the byte, except for the statistics that tell of the reading."""
    assert other.fingerprint == ours.fingerprint
    for path in ours.path.iterdir():
        if path.name not in ("statistics.json", "rejected.jsonl"):
            assert (other.path / path.name).read_bytes() == path.read_bytes(), path.name
    for fact in ("num_events", "num_users", "duplicates", "tied_events", "order_of_ties", "behavior_counts"):
        assert other.statistics[fact] == ours.statistics[fact], fact


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_spark_writes_the_store_of_ingest(spark, log, store, tmp_path, partitions):
    assert store.statistics["order_of_ties"] == "file"
    assert store.statistics["tied_events"] > 1000
    assert store.statistics["duplicates"] > 100
    events = log_events(spark.read.parquet(str(log)), **ROLES, time_unit="s", order=ROW)
    write_bucketed(events.repartition(partitions), tmp_path / "buckets", num_files=partitions)
    files = list((tmp_path / "buckets").glob("*.parquet"))
    assert len(files) == partitions
    require_equal(store, stored(tmp_path / "buckets", tmp_path / "store", bucketed=True))


CHECKINS = {
    "user": "user_id",
    "time": "unix_utc",
    "event": "category_name",
    "location": "poi_id",
    "utc_offset": "tz_offset_min",
}


@pytest.fixture(scope="module")
def foursquare(tmp_path_factory) -> tuple[Path, EventStore]:
    """The check-ins and their store."""
    if "EDGEBEHAVE_DATA" not in os.environ:
        pytest.skip("EDGEBEHAVE_DATA is not set")
    file = Path(os.environ["EDGEBEHAVE_DATA"]) / "foursquare_nyc" / "checkins.csv.gz"
    return file, stored(file, tmp_path_factory.mktemp("foursquare") / "store", **CHECKINS)


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_spark_writes_the_store_of_foursquare(spark, foursquare, tmp_path, partitions):
    from pyspark.sql import functions as F

    file, ours = foursquare
    log = spark.read.csv(str(file), header=True, inferSchema=True)
    numbered = log.withColumn("row", F.monotonically_increasing_id()).where("trim(category_name) <> ''")
    events = log_events(numbered.repartition(partitions), **CHECKINS, time_unit="s", order=("row",))
    write_bucketed(events, tmp_path / "buckets", num_files=partitions)
    require_equal(ours, stored(tmp_path / "buckets", tmp_path / "store", bucketed=True))


@pytest.fixture(scope="module")
def scores(store, tmp_path_factory) -> list[tuple]:
    """Predictions of `edgebehave predict` for all users."""
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    predict_all(PredictionConfig(bundle=BUNDLE, store=store.path, out=out, k=3, workers=1))
    return sorted(tuple(row.values()) for row in parquet.read_table(out).to_pylist())


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_spark_predicts_what_predict_predicts(spark, log, store, scores, partitions):
    """From the rows of the log as they are, more of a user than the model can see, in pieces of 1,000 rows."""
    assert max(store.user_start[1:] - store.user_start[:-1]) > 512
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 1000)
    events = log_events(spark.read.parquet(str(log)), **ROLES, time_unit="s", order=ROW)
    found = predict_users(events.repartition(partitions), BUNDLE, k=3, num_tasks=partitions)
    assert found.schema.simpleString() == "struct<user:string,rank:int,behavior:string,probability:float>"
    assert sorted(map(tuple, found.collect())) == scores


def test_times_are_read_by_their_type(spark, tmp_path):
    from pyspark.sql import functions as F

    seconds = spark.createDataFrame([("u", 1_700_000_000.25, "a", " "), ("v", 1_700_000_001.5, " ", "home")]).toDF(
        "who", "when", "what", "where"
    )
    roles = {"user": "who", "event": "what", "location": "where"}
    expected = [("u", 1_700_000_000_250_000, 0, "a", None), ("v", 1_700_000_001_500_000, 0, None, "home")]
    moments = seconds.withColumn("moment", F.timestamp_micros((F.col("when") * 1e6).cast("long")))
    millis = seconds.withColumn("ms", (F.col("when") * 1000).cast("long"))
    for events in (
        log_events(seconds, time="when", time_unit="s", **roles),
        log_events(moments, time="moment", **roles),
        log_events(millis, time="ms", time_unit="ms", **roles),
    ):
        assert [tuple(row)[:5] for row in events.orderBy("user").collect()] == expected
    whole = log_events(seconds.withColumn("s", F.col("when").cast("int")), time="s", time_unit="s", **roles)
    assert [row.time_us for row in whole.orderBy("user").collect()] == [1_700_000_000_000_000, 1_700_000_001_000_000]
    with pytest.raises(ValueError, match="'what' is of type string; expected a timestamp or a number"):
        log_events(seconds, time="what", **roles)
    with pytest.raises(ValueError, match="time_unit must be s, ms, us, got None"):
        log_events(seconds, time="when", **roles)
    write_bucketed(events, tmp_path / "buckets", num_files=1)
    with pytest.raises(IngestError, match="no event"):
        stored(tmp_path / "buckets", tmp_path / "store", bucketed=True)


def test_long_names_are_bounded_as_in_ingest(spark, tmp_path):
    rows = [
        {"user": f"{user}{'é' * 600}", "time": 1_700_000_000 + second, "event": f"e{second % 3}" * 700, "location": "l"}
        for user in "ab"
        for second in range(5)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    roles = {"user": "user", "time": "time", "event": "event", "location": "location"}
    ours = stored(tmp_path / "log.parquet", tmp_path / "ours", **roles)
    events = log_events(spark.read.parquet(str(tmp_path / "log.parquet")), **roles, time_unit="s", order=ROW)
    write_bucketed(events, tmp_path / "buckets", num_files=1)
    require_equal(ours, stored(tmp_path / "buckets", tmp_path / "store", bucketed=True))


@pytest.mark.parametrize("kind", ["text", "floats", "decimals", "floats and a NaN"])
def test_integers_written_as_floats_are_one_name_as_in_ingest(spark, tmp_path, kind):
    from decimal import Decimal

    numbers = [float(101 + i % 3) for i in range(40)]
    cells = {
        "text": [str(n if i % 2 else int(n)) for i, n in enumerate(numbers)],
        "floats": [n + 0.5 * (i % 4 == 3) for i, n in enumerate(numbers)],
        "decimals": [Decimal(f"{n:.1f}") for n in numbers],
        "floats and a NaN": [*numbers[:-1], float("nan")],
    }[kind]
    table = {
        "user": ["7.0" if i % 5 else "7" for i in range(40)],
        "time": [1_700_000_000 + i for i in range(40)],
        "event": [f"{i % 3}.0" if i % 2 else f"e{i % 3}" for i in range(40)],
        "location": cells,
    }
    parquet.write_table(pa.table(table), tmp_path / "log.parquet")
    roles = {"user": "user", "time": "time", "event": "event", "location": "location"}
    ours = stored(tmp_path / "log.parquet", tmp_path / "ours", **roles)
    assert ours.users() == ["7"]
    events = log_events(spark.read.parquet(str(tmp_path / "log.parquet")), **roles, time_unit="s", order=ROW)
    write_bucketed(events, tmp_path / "buckets", num_files=1)
    require_equal(ours, stored(tmp_path / "buckets", tmp_path / "store", bucketed=True))


def test_the_examples_work_and_stand_in_the_page(spark, log, tmp_path, monkeypatch):
    examples = [ROOT / "examples" / "spark" / name for name in ("write_log.py", "predict_users.py")]
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "spark.md").read_text(encoding="utf-8"), re.S)
    for block, example in zip(blocks, examples, strict=True):
        assert block in example.read_text(encoding="utf-8")

    def run(example, *arguments):
        monkeypatch.setattr(sys, "argv", [example.name, *map(str, arguments)])
        runpy.run_path(str(example))

    run(examples[0], log, tmp_path / "buckets")
    store = stored(tmp_path / "buckets", tmp_path / "store", bucketed=True)
    run(examples[1], tmp_path / "buckets", BUNDLE, tmp_path / "scores")
    rows = parquet.read_table(tmp_path / "scores").to_pylist()
    predict_all(PredictionConfig(bundle=BUNDLE, store=store.path, out=tmp_path / "scores.parquet", workers=1))
    ours = parquet.read_table(tmp_path / "scores.parquet").to_pylist()

    def by_rank(row):
        return row["user"], row["rank"]

    assert sorted(rows, key=by_rank) == sorted(ours, key=by_rank)
    assert read_bucketed(spark, tmp_path / "buckets").count() == parquet.read_table(log).num_rows
