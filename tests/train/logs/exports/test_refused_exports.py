"""Exports without usable events are refused in one line that gives the reason."""

import pytest
from computer_exports import firefox
from export_events import START_S, iso, write_csv, write_database, write_json
from export_variants import store_of

from edgebehave_train.logs.ingest import IngestError


def sensors_alone(path):
    write_csv(
        path, [("entity_id", "state", "last_changed"), ("sensor.a", "1", iso(START_S)), ("sensor.b", "2", iso(START_S))]
    )


def sensors_in_a_database(path):
    script = "CREATE TABLE states(state_id INTEGER PRIMARY KEY, entity_id TEXT, state TEXT, last_updated_ts FLOAT)"
    write_database(path, script, states=[(1, "sensor.power", "1", START_S), (2, "sun.sun", "above_horizon", START_S)])


def stayfree_wide(path):
    write_csv(path, [("App", "2026-03-01", "2026-03-02", "Total Usage"), ("Chat", "1h 2m", "5m 1s", "1h 7m")])


def stayfree_long(path):
    write_csv(path, [("date", "app", "usage_minutes"), ("2026-03-01", "Chat", 12)])


def foreground_times(path):
    write_csv(path, [("package_name", "foreground_time", "date"), ("org.chat", 12, "2026-03-01")])


def biome(path):
    script = "CREATE TABLE ZOBJECT(Z_PK INTEGER PRIMARY KEY, ZSTREAMNAME, ZVALUESTRING, ZSTARTDATE, ZSECONDSFROMGMT)"
    write_database(path, script, ZOBJECT=[(1, "/display/isBacklit", None, 1, 3600)])


def afk_alone(path):
    events = [{"timestamp": iso(START_S), "duration": 5, "data": {"status": "afk"}}]
    write_json(path, {"buckets": {"aw-watcher-afk_host": {"type": "afkstatus", "events": events}}})


def another_database(path):
    write_database(path, "CREATE TABLE t(a)", t=[(1,)])


def totals_of_usage_stats(path):
    path.write_text('usagestats user=0\n  package=chat totalTimeUsed="01:10:00"\n', encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (sensors_alone, r"without lights, switches .* \(it has: sensor \(2\)\); sensors change by themselves"),
        (sensors_in_a_database, r"\(it has: sensor \(1\), sun \(1\)\)"),
        (stayfree_wide, "holds totals per day, as StayFree exports them, and no single events"),
        (stayfree_long, "holds totals per day"),
        (foreground_times, "holds totals per day"),
        (biome, r"without the stream /app/inFocus \(it has: /display/isBacklit\); newer systems keep it in Biome"),
        (afk_alone, "an ActivityWatch export without events of windows"),
        (another_database, "is an SQLite database; export the table of events as CSV"),
        (totals_of_usage_stats, "without events to the foreground; its totals have no order"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path, write, reason):
    write(tmp_path / "export")
    with pytest.raises(IngestError, match=reason) as caught:
        store_of(tmp_path / "export", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_database_is_told_in_one_line(tmp_path):
    firefox(tmp_path / "places.sqlite")
    data = bytearray((tmp_path / "places.sqlite").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (tmp_path / "places.sqlite").write_bytes(data)
    with pytest.raises(
        IngestError, match=r"cannot be read as an SQLite database: .*; close the program that writes it"
    ):
        store_of(tmp_path / "places.sqlite", tmp_path / "out")
