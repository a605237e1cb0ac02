"""`edgebehave ingest`: its options reach the log, and what was guessed is shown."""

import json
from types import SimpleNamespace

from command_line import edgebehave

from edgebehave_cli import zone_question
from edgebehave_train.logs.event_store import EventStore

LOG = """App;Date;Time;Where
mail;02.03.2026;07:02:41;home
music;02.03.2026;07:37:06;NULL
mail;29.03.2026;08:13:26;home
"""


def test_every_option_reaches_the_log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("# a phone\n" + LOG.replace("App;", "user;App;").replace("\nm", "\nme;m"), encoding="utf-16")
    out, err = edgebehave(
        "ingest", path, "-o", tmp_path / "store", "--event", "App", "--date", "Date", "--time", "Time",
        "--location", "Where",
        "--time-format", "%d.%m.%Y %H:%M:%S", "--timezone", "Europe/Berlin", "--null", "NULL", "--delimiter", ";",
        "--encoding", "utf-16", "--json",
    )  # fmt: skip
    store = EventStore.open(tmp_path / "store")
    assert [event[:2] for event in store.named_events(0)] == [("mail", "home"), ("music", None), ("mail", "home")]
    assert store.utc_offset_min.tolist() == [60, 60, 120]
    assert store.time_s.tolist() == [1772431361, 1772433426, 1774764806]
    assert json.loads(out)["columns"]["date"] == "Date"
    assert "local time by Europe/Berlin" in err
    assert "busiest local hour: 07-08 h" in err


def test_days_are_refused_unless_asked_for(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,time,event\nu,2026-03-02,b\nu,2026-03-02,a\n", encoding="utf-8")
    _, err = edgebehave("ingest", path, "-o", tmp_path / "store", code=2)
    assert err.splitlines()[-1].startswith("error: column 'time' holds days without a clock")
    edgebehave("ingest", path, "-o", tmp_path / "store", "--days")
    assert [event.event for event in EventStore.open(tmp_path / "store").named_events(0)] == ["b", "a"]


def test_control_characters_of_a_log_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,time,event\nu,1400000000,e\nu,\x1b[31m,e\n", encoding="utf-8")
    _, err = edgebehave("ingest", path, "-o", tmp_path / "store", code=2)
    assert "\x1b" not in err


def test_an_export_needs_no_option_and_a_terminal_is_asked_for_the_zone(tmp_path, monkeypatch):
    path = tmp_path / "aw.json"
    events = [{"timestamp": "2026-03-02T07:00:00+00:00", "duration": 1, "data": {"app": "mail", "title": "t"}}]
    path.write_text(json.dumps({"buckets": {"w": {"type": "currentwindow", "events": events}}}), encoding="utf-8")
    _, err = edgebehave("ingest", path, "-o", tmp_path / "store")
    assert "aw.json is recognized as an ActivityWatch export: 1 events of one user, 'me'" in err
    assert "no offset: UTC is taken for local time (--timezone gives one)" in err
    answers = iter(["Mars/Base", "Asia/Kolkata"])
    asked = []

    def prompt(text, **options):
        asked.append(text)
        return next(answers)

    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(zone_question, "sys", SimpleNamespace(stdin=terminal, stderr=terminal))
    monkeypatch.setattr(zone_question.typer, "prompt", prompt)
    _, err = edgebehave("ingest", path, "-o", tmp_path / "asked")
    assert asked == [f"{path} has times in UTC. Which time zone did you live in, as Europe/Berlin (--timezone)"] * 2
    assert "'Mars/Base' is no time zone" in err
    assert EventStore.open(tmp_path / "asked").utc_offset_min.tolist() == [330]


def test_a_log_of_so_many_events_is_made_and_new_days_are_added(tmp_path):
    out, _ = edgebehave("simulate", tmp_path / "log.csv", "--events", "3_000", "--days", 5, "--json")
    assert json.loads(out)["num_events"] == 3000
    _, err = edgebehave("simulate", tmp_path / "other.csv", "--events", 10, "--users", 5, code=2)
    assert "give --users or --events, not both" in err
    lines = (tmp_path / "log.csv").read_text().splitlines(keepends=True)
    store = tmp_path / "store"
    for name, part in (("old", lines[:2001]), ("new", [lines[0], *lines[1501:]])):
        (tmp_path / f"{name}.csv").write_text("".join(part))
        _, err = edgebehave("ingest", tmp_path / f"{name}.csv", "-o", store, "--append")
    assert "appended 1,000 events to 2,000; 500 were there already" in err
    assert EventStore.open(store).num_events == 3000
    edgebehave("ingest", tmp_path / "log.csv", "-o", tmp_path / "whole")
    assert EventStore.open(tmp_path / "whole").users() == EventStore.open(store).users()


def test_the_log_of_one_person(tmp_path):
    log = tmp_path / "plays.json"
    log.write_text(json.dumps([{"ts": f"2026-03-02T0{i}:00:00Z", "artist": "abc"[i % 3]} for i in range(9)]))
    columns = ("--one-user", "me", "--time", "ts", "--event", "artist", "--timezone", "Europe/Berlin")
    out, err = edgebehave("ingest", log, "-o", tmp_path / "store", *columns, "--json")
    assert json.loads(out)["num_users"] == 1
    assert "9 events of 1 user, 3 event names" in err
    _, err = edgebehave("ingest", log, "-o", tmp_path / "none", *columns[2:], code=2)
    assert "has no column 'user'; --user names it; --one-user me for the log of one person" in err
