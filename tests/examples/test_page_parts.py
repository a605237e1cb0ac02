"""Parts of the page without a browser: logs are read as ingest reads them, and counts are those of Python."""

import csv
import gzip
import json
import os
import random
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import computer_exports
import pytest

from edgebehave.follow_the_leader import PREDICTORS, FollowTheLeader

ROOT = Path(__file__).parents[2]
PARTS = Path(__file__).with_name("page_parts.js")
ZONE = "Europe/Berlin"
START_S = 1_774_747_800  # 2026-03-29 01:30 UTC: daylight saving began half an hour ago in Berlin
NAMES = ("mail", "maps", "chat", "mail", "mail", 'a "quoted", name')
EVENTS = [(START_S - 3600 * 24 + 3600 * 7 * i + i, NAMES[i % 6], ("home", "", "work")[i % 3]) for i in range(12)]


@pytest.fixture(scope="module")
def part():
    """part(name, *arguments) -> what that part of the page gives, in the time zone ZONE."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed")

    def run(*arguments):
        done = subprocess.run(
            [program, PARTS, *map(str, arguments)],
            env=os.environ | {"TZ": ZONE},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def ingested(log, folder, **options):
    """{user: events} by `ingest`, as the page gives them."""
    pytest.importorskip("duckdb")
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.logs.ingest import IngestConfig, ingest

    ingest(IngestConfig(log=log, out=folder / "store", threads=1, memory_limit="300MB", max_bad=1, **options))
    store = EventStore.open(folder / "store")
    return {
        user: [[e.event, e.location, e.time_s, e.utc_offset_min] for e in store.named_events(i)]
        for i, user in enumerate(store.users())
    }


@pytest.mark.parametrize(
    "variant",
    [
        "aw_all_buckets",
        "aw_one_bucket_of_a_phone",
        "aw_events_of_the_api",
        "aw_csv",
        "takeout_activity",
        "takeout_chrome",
        "takeout_chrome_of_today",
    ],
)
def test_an_export_is_read_as_ingest_reads_it(part, tmp_path, variant):
    log = tmp_path / "export"
    getattr(computer_exports, variant)(log)
    assert part("read", log)["users"] == ingested(log, tmp_path, timezone=ZONE)


def _write(path, header, rows, delimiter=",", before=""):
    with path.open("w", encoding="utf-8", newline="") as out:
        out.write(before)
        csv.writer(out, delimiter=delimiter).writerows([header, *rows])


def _local(time_s):
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(time_s, ZoneInfo(ZONE))


COLUMNS = {"user": "user", "time": "time", "event": "event", "location": "place"}
TIMES = {
    "seconds": (lambda t: t, ZONE),
    "decimals": (lambda t: f"{t}.25", ZONE),
    "milliseconds": (lambda t: 1000 * t + 250, ZONE),
    "microseconds": (lambda t: 1_000_000 * t + 250_000, ZONE),
    "nanoseconds": (lambda t: 1_000_000_000 * t, ZONE),
    "in UTC": (lambda t: datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456Z"), ZONE),
    "local clocks": (lambda t: _local(t).strftime("%Y-%m-%d %H:%M:%S"), ZONE),
    "offsets of their own": (lambda t: _local(t).isoformat(), None),
}


@pytest.mark.parametrize("form", TIMES)
def test_a_table_is_read_as_ingest_reads_it(part, tmp_path, form):
    to_time, zone = TIMES[form]
    rows = [(f"user {i % 2}", to_time(t), name, place) for i, (t, name, place) in enumerate(EVENTS)]
    log = tmp_path / "log.csv"
    _write(log, ("user", "time", "event", "place"), rows)
    read = part("read", log, json.dumps(COLUMNS))["users"]
    assert read == ingested(log, tmp_path, location="place", timezone=zone)
    assert [len(events) for events in read.values()] == [6, 6]


@pytest.mark.parametrize("order", ["as it is", "newest first", "with ties"])
def test_rows_in_any_order_are_read_as_ingest_reads_them(part, tmp_path, order):
    rows = [("me", t, name, place) for t, name, place in EVENTS]
    if order == "newest first":
        rows.reverse()
    if order == "with ties":  # and rows that stand twice
        rows = [(user, t // 50_000 * 50_000, name, place) for user, t, name, place in rows for _ in range(2)]
    log = tmp_path / "log.csv"
    _write(log, ("user", "time", "event", "place"), rows, ";", "# a comment\nsep=;\n" if order == "as it is" else "")
    read = part("read", log, json.dumps(COLUMNS))["users"]
    assert read == ingested(log, tmp_path, location="place", timezone=ZONE)


def test_rows_that_cannot_be_used_are_left_out_with_the_reason(part, tmp_path):
    log = tmp_path / "log.csv"
    rows = [("me", START_S + i, "x", "") for i in range(5)]
    bad = [("", START_S, "x", ""), ("me", "soon", "x", ""), ("me", START_S, "", ""), ("me", START_S, "x")]
    _write(log, ("user", "time", "event", "place"), [*rows, *bad])
    read = part("read", log, json.dumps(COLUMNS))
    assert read["users"] == ingested(log, tmp_path, location="place", timezone=ZONE)
    assert read["leftOut"] == {
        "without a user": 1,
        "without a time that can be read": 1,
        "without an event": 1,
        "with more or fewer cells than the header": 1,
    }


def test_columns_are_guessed_and_packed_and_json_tables_are_read(part, tmp_path):
    rows = [(f"app {i % 3}", START_S + 60 * i, "u", "home") for i in range(6)]
    header = ("App name", "Timestamp", "uid", "Place")
    plain = tmp_path / "plain.csv"
    _write(plain, header, rows, "\t", "\ufeff")
    (tmp_path / "packed").write_bytes(gzip.compress(plain.read_bytes()))
    objects = [dict(zip(("event", "time", "user", "location"), row, strict=True)) for row in rows]
    (tmp_path / "list.json").write_text(json.dumps(objects))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, objects)))
    expected = {"u": [[event, place, at, 120] for event, at, _, place in rows]}
    for name in ("plain.csv", "packed", "list.json", "lines.jsonl"):
        assert part("read", tmp_path / name)["users"] == expected, name


REFUSED = {
    b"": "is empty",
    b"PK\x03\x04 and more": "unpack it",
    b"SQLite format 3\x00": "is a database",
    b"PAR1....": "is Parquet",
    b"\x1f\x8b\x08 not gzip": "is damaged",
    b"a\x00\x01\x02b,c\n1,2": "is no text",
    "time,event\n1774747800,caf\u00e9\n".encode("latin-1"): "save it as UTF-8",
    b"time,event\n794188800,x\n": "or Apple's",
    b"<!DOCTYPE html><html>": "choose JSON",
    b'{"a": ': "no readable JSON",
    b'{"a": 1}': "JSON of an unknown kind",
    b'{"buckets": {"a": {"type": "afkstatus", "events": []}}}': "without events of windows or browsers",
    b'[{"header": "x", "title": "", "time": ""}]': "holds no event that can be used",
    b"one line": "no table with a header and rows",
    b"time,event\n03/02/2026 8:00,x\n": "cannot be read here",
    b"when,what\n1,2\n": "say which column of file holds the event",
    b'time,event\n1774747800,"open\n': "a quote that is never closed",
}


@pytest.mark.parametrize("content", REFUSED, ids=REFUSED.values())
def test_what_cannot_be_read_is_refused_with_the_reason(part, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    answer = part("read", tmp_path / "file")
    assert answer["kind"] == "LogError"
    assert REFUSED[content] in answer["error"]


def test_names_are_for_people(part):
    shown = {
        "camera.open": "Camera",
        "camera.photo": "Camera: photo",
        "clip_editor.cut": "Clip editor: cut",
        "appOpened": "App",
        "watching video clips": "Watching video clips",
        "Visual Studio Code": "Visual Studio Code",
        "iPhone mirror": "iPhone mirror",
        "Code.exe": "Code",
        "www.example.com": "example.com",
        "com.google.android.apps.maps": "Google maps",
        "mail.open": "Mail: open",  # two names never look alike
        "mail.launch": "Mail: launch",
        "a": "A",
    }
    assert dict(zip(shown, [name for name, _ in part("names", *shown)], strict=True)) == shown
    places = {"new_york.park_14": "New York: park 14", "on the way": "On the way", "home": "Home"}
    assert [place for _, place in part("names", *places)] == list(places.values())


def test_different_names_are_never_shown_alike(part):
    names = ["camera.open", "camera.launch", "camera", "Camera", "camera:open", "camera/open", "CAMERA", "camera.exe"]
    shown = [name for name, _ in part("names", *names)]
    assert len(set(shown)) == len(names)


def test_counting_predictors_are_those_of_python(part):
    rng = random.Random(0)
    past = ["a"]
    for _ in range(300):
        past.append(rng.choice("abcdefghijk") if rng.random() < 0.5 else chr(97 + (ord(past[-1]) * 7 + 3) % 11))
    rows = part("leader", *past)
    counted = FollowTheLeader()
    for behavior, row in zip(past, rows, strict=True):
        expected = [counted.ranking(name)[:3] if counted.num_seen else [] for name in (None, *PREDICTORS)]
        assert row == [[chr(b) for b in ranking] for ranking in expected]
        counted.observe(ord(behavior))


def _at(day, hour, behavior, location=None):
    return {"behavior": behavior, "location": location, "at": START_S - START_S % 86400 + 86400 * day + 3600 * hour}


def test_reasons_are_counts_of_the_past(part):
    past = []
    for day in range(5):
        if day != 2:
            past.append(_at(day, 8, "coffee", "home"))
        past.append(_at(day, 9, "news", "home"))
        past.append(_at(day, 10, "mail", "work"))
        past.append(_at(day, 23, "sleep", "home"))
        past.append(_at(day, 25, "sleep", "home"))  # the same night
    past = [event | {"utcOffsetMin": 0} for event in past]
    moment = _at(5, 7, "") | {"utcOffsetMin": 0}
    asked = ("coffee", "news", "mail", "sleep", "other")
    assert part("why", json.dumps(past), json.dumps(moment), "home", *asked) == [
        ["4 of 5 mornings here", "4 of 24 events"],  # an unlikely one gets its share of all
        ["5 of 5 mornings here", "5 of 24 events"],
        ["5 of 5 mornings", "5 of 24 events"],
        ["5 of 9 times after SLEEP", "10 of 24 events"],
        ["not in your history yet", "not in your history yet"],
    ]

    def why(past, moment, behavior):
        return part("why", json.dumps(past), json.dumps(moment), "", behavior)[0][0]

    assert why(past, moment, "coffee") == "4 of 5 mornings"
    at_nine = _at(5, 9.4, "") | {"utcOffsetMin": 0}
    assert why([*past[:2], *past], at_nine, "news") == "6 of 6 events around 09:24"
    assert why(past, _at(5, 22, "") | {"utcOffsetMin": 0}, "sleep") == "5 of 5 nights"
    assert why(past[:1], moment, "coffee") == "1 of 1 event"
    assert why([], moment, "coffee") == "not in your history yet"


def test_the_made_up_month_is_a_log(part):
    events = part("sample")
    assert 200 < len(events) < 400
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert events == part("sample")
    assert events[-1]["at"] < datetime(2026, 3, 30, 12, tzinfo=UTC).timestamp()
