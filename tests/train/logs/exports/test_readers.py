"""Each reader gives the events that a CSV made by hand would give, for variants of its real schema."""

import json
import sqlite3
from contextlib import closing

import pytest
from computer_exports import (
    OPEN_DATABASES,
    aw_all_buckets,
    chrome_with_transitions,
    firefox,
    home_assistant,
    takeout_activity,
    takeout_activity_html,
    takeout_chrome,
)
from export_events import EVENTS, START_S, offset_s, write_csv, write_json
from export_variants import LOCAL, OWN_ZONE, UTC_EXPORTS, expected_events, store_of
from phone_exports import swarm_api, swarm_export, usage_events_json

from edgebehave_train.logs.ingest import IngestError


@pytest.mark.parametrize("variant", UTC_EXPORTS | OWN_ZONE | LOCAL, ids=lambda variant: variant.__name__)
def test_an_export_is_the_store_of_its_hand_made_csv(tmp_path, variant):
    path = tmp_path / "some export"
    variant(path)
    before = path.read_bytes()
    with_zone, events, lines = store_of(path, tmp_path / "with", timezone="Europe/Berlin")
    assert with_zone.users() == ["home" if "home_assistant" in variant.__name__ else "me"]
    assert events == expected_events(variant, lambda t: offset_s(t) // 60)
    title = (UTC_EXPORTS | OWN_ZONE | LOCAL)[variant]
    assert title in lines[0]
    assert lines[0].startswith(f"{path} is recognized as ")
    _, events, lines = store_of(path, tmp_path / "without")
    if variant in UTC_EXPORTS:
        assert events == expected_events(variant, lambda t: 0)
        assert any("--timezone" in line for line in lines) or variant is takeout_activity_html
    elif variant in OWN_ZONE:
        assert events == expected_events(variant, lambda t: offset_s(t) // 60)
    else:
        assert events == [(n, t + offset_s(t), 0, place) for n, t, _, place in expected_events(variant, lambda t: 0)]
    assert path.read_bytes() == before
    while OPEN_DATABASES:
        OPEN_DATABASES.pop().close()


def test_what_is_left_out_is_said(tmp_path):
    home_assistant(tmp_path / "ha.db")
    (line, *_) = store_of(tmp_path / "ha.db", tmp_path / "out")[2]
    assert "left out: 4 of sensors and others that change by themselves, 2 unavailable or unknown, 1 changes of" in line
    chrome_with_transitions(tmp_path / "History")
    (line, *_) = store_of(tmp_path / "History", tmp_path / "out2")[2]
    assert all(part in line for part in ("1 frames of pages", "1 redirects", "1 not of the web"))


def test_a_database_that_another_program_has_locked_is_read(tmp_path):
    firefox(tmp_path / "places.sqlite")
    with closing(sqlite3.connect(tmp_path / "places.sqlite")) as con:
        con.execute("PRAGMA locking_mode = exclusive")
        con.execute("BEGIN EXCLUSIVE")
        events = store_of(tmp_path / "places.sqlite", tmp_path / "out")[1]
    assert events == expected_events(firefox, lambda t: 0)


@pytest.mark.parametrize(
    "variant",
    [aw_all_buckets, takeout_activity, takeout_chrome, swarm_export, swarm_api, usage_events_json],
    ids=lambda variant: variant.__name__,
)
@pytest.mark.parametrize("junk", [None, 7, "x", [], {}, {"data": 1, "venue": 2, "url": 3, "time": []}])
def test_an_entry_of_another_form_is_left_out_or_told_in_one_line(tmp_path, variant, junk):
    path = tmp_path / "export"
    variant(path)
    content = json.loads(path.read_text(encoding="utf-8"))

    def add(value):
        """The junk at the end of the longest list."""
        lists, values = [], [value]
        while values:
            one = values.pop()
            lists += [one] if isinstance(one, list) else []
            values += list(one.values()) if isinstance(one, dict) else []
        max(lists, key=len).append(junk)

    add(content)
    write_json(path, content)
    said = ""
    try:
        num_events = len(store_of(path, tmp_path / "out")[1])
    except IngestError as error:
        num_events, said = 0, str(error)
    assert num_events == len(EVENTS) or said.startswith(f"{path} looks like ")
    assert "\n" not in said


def test_a_log_with_the_usual_columns_is_no_export(tmp_path):
    rows = [("user", "time", "event", "package", "eventType", "timestamp"), ("u", START_S, "e", "p", 1, 5)]
    write_csv(tmp_path / "log.csv", rows)
    store, events, _ = store_of(tmp_path / "log.csv", tmp_path / "out")
    assert (store.users(), events) == (["u"], [("e", START_S, 0, None)])


def test_packed_exports_and_several_of_them(tmp_path):
    import gzip
    import zipfile

    swarm_export(tmp_path / "checkins1.json")
    text = (tmp_path / "checkins1.json").read_bytes()
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("checkins1.json", text)
    expected = expected_events(swarm_export, lambda t: offset_s(t) // 60)
    assert store_of(tmp_path / "a.json.gz", tmp_path / "gz")[1] == expected
    assert store_of(tmp_path / "b.zip", tmp_path / "zip")[1] == expected
    late = {"items": [{"createdAt": START_S + 10**6, "timeZoneOffset": 120, "venue": {"name": "late"}}]}
    write_json(tmp_path / "checkins2.json", late)
    events = store_of([tmp_path / "checkins1.json", tmp_path / "checkins2.json"], tmp_path / "both")[1]
    assert events == [*expected, ("late", START_S + 10**6, 120, None)]
    write_csv(tmp_path / "other.csv", [("user", "time", "event"), ("u", START_S, "e")])
    with pytest.raises(IngestError, match=r"checkins1.json is check-ins of Swarm, .*other.csv is not; ingest them one"):
        store_of([tmp_path / "checkins1.json", tmp_path / "other.csv"], tmp_path / "mixed")
