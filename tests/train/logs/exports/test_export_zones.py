"""The time zone of an export: its own, that of a neighbor, or one that is asked for."""

import pytest
from computer_exports import aw_all_buckets
from export_events import EVENTS, iso, offset_s, write_csv, write_database, write_json
from export_variants import expected_events, store_of
from phone_exports import phone_log, swarm_api

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest


def test_the_zone_is_asked_for_only_where_the_export_lacks_it(tmp_path):
    questions = []

    def ask(why):
        questions.append(why)
        return "Europe/Berlin"

    for variant in (aw_all_buckets, swarm_api, phone_log):
        variant(tmp_path / variant.__name__)
        ingest(IngestConfig(log=tmp_path / variant.__name__, out=tmp_path / f"{variant.__name__}-out"), ask_zone=ask)
    assert questions == [f"{tmp_path / 'aw_all_buckets'} has times in UTC."]
    store = EventStore.open(tmp_path / "aw_all_buckets-out")
    assert set(store.utc_offset_min.tolist()) == {60, 120}
    ingest(IngestConfig(log=tmp_path / "aw_all_buckets", out=tmp_path / "x", timezone="Asia/Tokyo"), ask_zone=ask)
    assert len(questions) == 1


def _berlin(time_s):
    """An ISO time as a program that lives in Berlin writes it."""
    offset = offset_s(time_s)
    return iso(time_s + offset, f"+0{offset // 3600}:00")


def swarm_without_offsets(path, keep=()):
    items = [
        {"createdAt": t, "venue": {"name": name}} | ({"timeZoneOffset": 60} if i in keep else {})
        for i, (t, name) in enumerate(EVENTS)
    ]
    write_json(path, {"items": items})


def knowledgec_without_offsets(path, keep=()):
    rows = [("/app/inFocus", name, t - 978_307_200, 3600 if i in keep else "") for i, (t, name) in enumerate(EVENTS)]
    write_csv(path, [("ZSTREAMNAME", "ZVALUESTRING", "ZSTARTDATE", "ZSECONDSFROMGMT"), *rows])


def knowledgec_without_the_column(path):
    rows = [(name, t - 978_307_200) for t, name in EVENTS]
    write_csv(path, [("ZVALUESTRING", "ZSTARTDATE"), *rows])


def knowledgec_database_without_offsets(path):
    rows = [(i, "/app/inFocus", name, t - 978_307_200) for i, (t, name) in enumerate(EVENTS)]
    script = "CREATE TABLE ZOBJECT (Z_PK INTEGER, ZSTREAMNAME TEXT, ZVALUESTRING TEXT, ZSTARTDATE REAL);"
    write_database(path, script, ZOBJECT=rows)


@pytest.mark.parametrize(
    "variant",
    [
        swarm_without_offsets,
        knowledgec_without_offsets,
        knowledgec_without_the_column,
        knowledgec_database_without_offsets,
    ],
)
def test_an_export_that_has_its_own_zone_but_for_this_file_is_asked_about(tmp_path, variant):
    path, questions = tmp_path / "export", []
    variant(path)

    def ask(why):
        questions.append(why)
        return "Europe/Berlin"

    ingest(IngestConfig(log=path, out=tmp_path / "asked"), ask_zone=ask)
    assert questions == [f"{path} has times in UTC."]
    asked = EventStore.open(tmp_path / "asked")
    assert [(e.event, e.time_s, e.utc_offset_min, e.location) for e in asked.named_events(0)] == expected_events(
        variant, lambda t: offset_s(t) // 60
    )
    _, events, lines = store_of(path, tmp_path / "alone")
    assert events == expected_events(variant, lambda t: 0)
    assert any("no offset: UTC is taken for local time (--timezone gives one)" in line for line in lines)
    assert any("if UTC is local time; --timezone gives the zone" in line for line in lines)


@pytest.mark.parametrize("variant", [swarm_without_offsets, knowledgec_without_offsets])
def test_events_without_an_offset_have_that_of_their_neighbor(tmp_path, variant):
    variant(tmp_path / "export", keep=(5,))
    _, events, lines = store_of(tmp_path / "export", tmp_path / "out")
    assert events == expected_events(variant, lambda t: 60)
    assert not any("--timezone" in line for line in lines)


@pytest.mark.parametrize("zone", [_berlin, iso], ids=["its own", "UTC"])
def test_moments_that_carry_an_offset_know_their_local_time(tmp_path, zone):
    events = [{"timestamp": zone(t), "duration": 1, "data": {"app": name}} for t, name in EVENTS]
    write_json(tmp_path / "aw.json", events)
    activities = [{"header": "Search", "title": name, "time": zone(t)} for t, name in EVENTS]
    write_json(tmp_path / "takeout.json", activities)
    states = [(f"light.{name}", "on", zone(t)) for t, name in EVENTS]
    write_csv(tmp_path / "home_assistant.csv", [("entity_id", "state", "last_changed"), *states])
    usage = [("package", "eventType", "timestamp"), *((name, 1, zone(t)) for t, name in EVENTS)]
    write_csv(tmp_path / "usage.csv", usage)
    questions = []
    for path in sorted(tmp_path.iterdir()):
        ingest(IngestConfig(log=path, out=tmp_path / "out", overwrite=True), ask_zone=questions.append)
        store = EventStore.open(tmp_path / "out")
        found = [(e.time_s, e.utc_offset_min) for e in store.named_events(0)]
        assert found == [(t, offset_s(t) // 60 if zone is _berlin else 0) for t, _ in EVENTS]
    assert len(questions) == (0 if zone is _berlin else 4)
