"""Each reader of exports gives the store of the CSV that a person would make by hand, in variants of its real schema.

A variant is a function that writes the export of EVENTS; what it is modelled on stands in its docstring.
"""

import csv
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest

START_S = 1_774_747_800  # 2026-03-29 01:30 UTC: daylight saving began half an hour ago in Berlin
NAMES = ("mail", "maps", "chat", "mail", "mail", "music")
EVENTS = [(START_S - 3600 * 24 + 3600 * 7 * i + i, NAMES[i % 6]) for i in range(12)]


def iso(time_s, zone="+00:00"):
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.250000") + zone


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def write_csv(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, delimiter=delimiter).writerows(rows)


def write_database(path, script, **tables):
    with closing(sqlite3.connect(path)) as con:
        con.executescript(script)
        for table, rows in tables.items():
            con.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        con.commit()


# ActivityWatch: https://docs.activitywatch.net/en/latest/buckets-and-events.html


def _window(i, time_s, name):
    return {"id": i, "timestamp": iso(time_s), "duration": 60.5, "data": {"app": name, "title": f"{name} {i}"}}


def aw_all_buckets(path):
    """`/api/0/export`: buckets by id, events from the newest; some begin while the AFK watcher says afk."""
    away = [START_S + 60, START_S + 7200]
    events = [_window(i, *event) for i, event in enumerate(EVENTS)]
    events += [_window(99, time_s + 5, "screen saver") for time_s in away]
    afk = [{"timestamp": iso(time_s), "duration": 600, "data": {"status": "afk"}} for time_s in away]
    afk.append({"timestamp": iso(START_S + 660), "duration": 6000, "data": {"status": "not-afk"}})
    web = {
        "timestamp": iso(START_S),
        "duration": 1,
        "data": {"url": "https://a.example/", "title": "", "audible": False},
    }
    bucket = {"client": "x", "hostname": "host", "created": iso(START_S)}
    write_json(
        path,
        {
            "buckets": {
                "aw-watcher-afk_host": {"type": "afkstatus", **bucket, "events": afk},
                "aw-watcher-web-firefox": {"type": "web.tab.current", **bucket, "events": [web]},
                "aw-watcher-window_host": {"type": "currentwindow", **bucket, "events": events[::-1]},
            }
        },
    )


def aw_one_bucket_of_a_phone(path):
    """Export of one bucket of aw-watcher-android, as read by https://github.com/purarue/active_window."""
    events = [
        {"timestamp": iso(t, "Z"), "duration": 3.0, "data": {"app": n, "classname": "x", "package": f"com.{n}"}}
        for t, n in EVENTS
    ]
    bucket = {"id": "aw-watcher-android-test", "type": "currentwindow", "client": "aw-android", "hostname": "unknown"}
    write_json(path, {"buckets": {"aw-watcher-android-test": bucket | {"events": events}}})


def aw_events_of_the_api(path):
    """`/api/0/buckets/ID/events`: a list alone (https://docs.activitywatch.net/en/latest/api.html)."""
    write_json(path, [_window(i, *event) for i, event in enumerate(EVENTS)])


def aw_csv(path):
    """ "Export as CSV" of a bucket in the web interface."""
    write_csv(path, [("timestamp", "duration", "app", "title"), *((iso(t), 1, n, "x, y") for t, n in EVENTS)])


# Google Takeout: https://github.com/purarue/google_takeout_parser reads both


def takeout_activity(path):
    """MyActivity.json, pretty, with the fields that an activity may have."""
    activities = [
        {"header": "Android", "title": n, "titleUrl": "https://x.example", "time": iso(t, "Z"), "products": ["Android"],
         "details": [{"name": "From Ads"}], "subtitles": [{"name": "x"}]}
        for t, n in EVENTS
    ]  # fmt: skip
    path.write_text(json.dumps(activities[::-1], indent=2), encoding="utf-8")


def takeout_activity_html(path):
    """MyActivity.html: a cell of each activity, the clock with its zone after a narrow blank."""
    cells = []
    for t, name in EVENTS:
        clock = (datetime.fromtimestamp(t, UTC)).strftime("%b %d, %Y, %I:%M:%S\u202f%p UTC")
        cell = '<div class="content-cell mdl-cell mdl-cell--6-col mdl-typography--body-1'
        cells.append(
            '<div class="outer-cell mdl-cell mdl-cell--12-col mdl-shadow--2dp"><div class="mdl-grid">'
            '<div class="header-cell '
            'mdl-cell mdl-cell--12-col"><p class="mdl-typography--title">Android<br></p></div>'
            f'{cell}"><a href="x">{name}</a><br>{clock}</div>{cell} mdl-typography--text-right"></div>'
            '<div class="content-cell mdl-cell mdl-cell--12-col mdl-typography--caption"><b>Products:</b><br>'
            "&emsp;Android"
            "<br></div></div></div>"
        )
    head = "<html><head><style>" + "a{}" * 30_000 + "</style></head><body>"
    path.write_text(head + "".join(cells) + "</body></html>", encoding="utf-8")


def takeout_chrome(path):
    """BrowserHistory.json, as in https://github.com/MichaelCurrin/history-report (docs/usage.md)."""
    visits = [
        {"favicon_url": "x", "page_transition": "LINK", "title": n, "url": f"https://{n}/p?{t}", "client_id": "x",
         "time_usec": t * 1_000_000 + 250_000}
        for t, n in EVENTS
    ]  # fmt: skip
    frame = {**visits[0], "page_transition": "AUTO_SUBFRAME", "url": "https://ads.example/"}
    write_json(path, {"Browser History": [frame, *visits[::-1]]})


def takeout_chrome_of_today(path):
    """History.json: other lists stand beside the visits, local pages among them (Historique.json on GitHub)."""
    visits = [
        {"title": n, "page_transition_qualifier": "CLIENT_REDIRECT", "page_transition": "TYPED",
         "url": f"http://me:pw@{n.upper()}:8080/", "time_usec": t * 1_000_000}
        for t, n in EVENTS
    ]  # fmt: skip
    visits.append({**visits[0], "url": "chrome://settings/"})
    write_json(path, {"Browser History": visits, "Typed Url": [], "Session": []})


# Databases of browsers


def chrome_with_transitions(path):
    """Core types and qualifiers of Chromium's ui/base/page_transition_types.h, columns of visit_database.cc."""
    script = """CREATE TABLE urls(id INTEGER PRIMARY KEY AUTOINCREMENT, url LONGVARCHAR, title LONGVARCHAR,
        visit_count INTEGER, typed_count INTEGER, last_visit_time INTEGER, hidden INTEGER);
        CREATE TABLE visits(id INTEGER PRIMARY KEY AUTOINCREMENT, url INTEGER NOT NULL, visit_time INTEGER NOT NULL,
        from_visit INTEGER, external_referrer_url TEXT, transition INTEGER NOT NULL, segment_id INTEGER)"""
    names = [*dict.fromkeys(NAMES), "ads", "short"]
    urls = [(i, f"https://{name}/{i}?q=1", name, 1, 0, 0, 0) for i, name in enumerate(names, 1)]
    urls.append((99, "chrome-extension://abc/x.html", "", 1, 0, 0, 0))
    link, whole, last, first = 0, 0x30000000, 0xA0000000 - (1 << 32), 0x10000000
    rows = [(names.index(n) + 1, t, whole | 1 if i % 2 else last) for i, (t, n) in enumerate(EVENTS)]
    rows += [
        (names.index("ads") + 1, START_S, 3 | whole),
        (names.index("short") + 1, START_S, first),
        (99, START_S, link),
    ]
    visits = [(i, url, (t + 11_644_473_600) * 1_000_000, 0, "", kind, 0) for i, (url, t, kind) in enumerate(rows, 1)]
    write_database(path, script, urls=urls, visits=visits)


def chrome_beside_its_journal(path):
    """The database of a running browser: the last visits are in History-wal alone."""
    visits = [(i, i, (t + 11_644_473_600) * 1_000_000) for i, (t, _) in enumerate(EVENTS, 1)]
    urls = [(i, f"https://{n}/") for i, (_, n) in enumerate(EVENTS, 1)]
    con = sqlite3.connect(path)
    con.executescript(
        "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; "
        "CREATE TABLE urls(id INTEGER PRIMARY KEY, url TEXT); "
        "CREATE TABLE visits(id INTEGER PRIMARY KEY, url INTEGER, visit_time INTEGER)"
    )
    con.executemany("INSERT INTO urls VALUES (?, ?)", urls)
    con.executemany("INSERT INTO visits VALUES (?, ?, ?)", visits)
    con.commit()
    _OPEN.append(con)


_OPEN: list[sqlite3.Connection] = []
_FIREFOX = """CREATE TABLE moz_places(id INTEGER PRIMARY KEY, url LONGVARCHAR, title LONGVARCHAR, hidden INTEGER);
    CREATE TABLE moz_historyvisits(id INTEGER PRIMARY KEY, from_visit INTEGER, place_id INTEGER, visit_date INTEGER,
    visit_type INTEGER, session INTEGER"""


def firefox(path):
    """TRANSITION_... of nsINavHistoryService.idl: a redirect, a frame and a download among the visits."""
    places = [(i, f"https://{n}/", n, 0) for i, (_, n) in enumerate(EVENTS, 1)]
    places += [(90, "https://t.example/", "", 1), (91, "about:blank", "", 0)]
    visits = [(i, 0, i, t * 1_000_000 + 250_000, 1 + i % 2, 0) for i, (t, _) in enumerate(EVENTS, 1)]
    visits[3] = (4, 50, 4, visits[3][3], 6, 0)  # reached by the redirect of visit 50
    us = START_S * 1_000_000
    visits += [(50, 0, 90, us, 1, 0), (51, 0, 90, us, 8, 0), (52, 0, 90, us, 7, 0), (53, 0, 91, us, 1, 0)]
    write_database(path, _FIREFOX + ")", moz_places=places, moz_historyvisits=visits)


def firefox_of_today(path):
    """The columns source and triggeringPlaceId that newer versions added."""
    places = [(i, f"https://{n}/", n, 0) for i, (_, n) in enumerate(EVENTS, 1)]
    visits = [(i, 0, i, t * 1_000_000, 9, 0, 0, None) for i, (t, _) in enumerate(EVENTS, 1)]
    script = _FIREFOX + ", source INTEGER DEFAULT 0, triggeringPlaceId INTEGER)"
    write_database(path, script, moz_places=places, moz_historyvisits=visits[::-1])


def safari(path):
    """The schema of Safari 15 in Beam's SafariImporter.swift."""
    script = """CREATE TABLE history_items(id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT NOT NULL UNIQUE,
        domain_expansion TEXT NULL, visit_count INTEGER NOT NULL);
        CREATE TABLE history_visits(id INTEGER PRIMARY KEY AUTOINCREMENT, history_item INTEGER NOT NULL, visit_time REAL
        NOT NULL, title TEXT NULL, load_successful BOOLEAN NOT NULL DEFAULT 1, http_non_get BOOLEAN NOT NULL DEFAULT 0,
        synthesized BOOLEAN NOT NULL DEFAULT 0, redirect_source INTEGER NULL, redirect_destination INTEGER NULL)"""
    items = [(i, f"https://{n}/{i}", None, 1) for i, (_, n) in enumerate(EVENTS, 1)]
    visits = [(i, i, t - 978_307_200 + 0.25, n, 1, 0, 0, None, None) for i, (t, n) in enumerate(EVENTS, 1)]
    visits += [
        (50, 1, START_S - 978_307_200.0, "", 1, 0, 0, None, 3),
        (51, 1, START_S - 978_307_200.0, "", 0, 0, 0, None, None),
    ]
    write_database(path, script, history_items=items, history_visits=visits)


def safari_in_short(path):
    """The columns that https://github.com/adri/memex (Safari.sh) reads."""
    script = """CREATE TABLE history_items(id INTEGER PRIMARY KEY, url TEXT);
        CREATE TABLE history_visits(id INTEGER PRIMARY KEY, history_item INTEGER, visit_time REAL, origin INTEGER)"""
    items = [(i, f"https://{n}/{i}") for i, (_, n) in enumerate(EVENTS, 1)]
    visits = [(i, i, t - 978_307_200.0, 0) for i, (t, _) in enumerate(EVENTS, 1)]
    write_database(path, script, history_items=items, history_visits=visits)


# Home Assistant. Names of EVENTS are lights that go on.


def _ha_rows():
    rows = [(f"light.{name}", "on", time_s + 0.25, None) for time_s, name in EVENTS]
    for entity, state in (
        ("sensor.power", "1.5"), ("binary_sensor.door", "on"), ("light.mail", "unavailable"), ("switch.x", "unknown"),
        ("sun.sun", "above_horizon"), ("person.me", "home"),
    ):  # fmt: skip
        rows.append((entity, state, START_S + 1.0, None))
    return [*rows, ("light.mail", "on", START_S + 2.0, START_S + 1.0)]  # its brightness changed


def home_assistant(path):
    """Schema 42, https://github.com/JacobsenKim/ha2mariadb: names in states_meta, times as unix seconds."""
    rows = _ha_rows()
    names = list(dict.fromkeys(row[0] for row in rows))
    script = """CREATE TABLE states_meta(metadata_id INTEGER PRIMARY KEY, entity_id VARCHAR(255));
        CREATE TABLE states(state_id INTEGER PRIMARY KEY, entity_id CHAR(0), state VARCHAR(255), last_changed_ts FLOAT,
        last_updated_ts FLOAT, old_state_id INTEGER, attributes_id INTEGER, metadata_id INTEGER)"""
    states = [(i, None, s, c, u, None, 1, names.index(n) + 1) for i, (n, s, u, c) in enumerate(rows)]
    write_database(path, script, states_meta=[(i, n) for i, n in enumerate(names, 1)], states=states)


def home_assistant_of_old(path):
    """https://github.com/lmagyar/homeassistant-addon-mariadb-inmemory (schema.sql): names and texts in states."""
    script = """CREATE TABLE states(state_id INTEGER PRIMARY KEY, domain VARCHAR(64), entity_id VARCHAR(255), state
        VARCHAR(255), attributes TEXT, event_id INTEGER, last_changed DATETIME, last_updated DATETIME, created DATE)"""

    def text(time_s):
        return iso(time_s, "").replace("T", " ")

    states = [
        (i, n.partition(".")[0], n, s, "{}", i, text(u if c is None else c), text(u), text(u))
        for i, (n, s, u, c) in enumerate(_ha_rows())
    ]
    write_database(path, script, states=states)


def home_assistant_csv(path):
    """The CSV of the history page: https://www.home-assistant.io/integrations/history/."""
    rows = [(n, s, iso(u, "Z")) for n, s, u, c in _ha_rows() if c is None]
    write_csv(path, [("entity_id", "state", "last_changed"), *rows])


# Apple's knowledgeC.db: ZSECONDSFROMGMT is the offset of Berlin, daylight saving included


def _offset_s(time_s):
    return 3600 if time_s < 1_774_746_000 else 7200


def knowledgec(path):
    """With ZSTRUCTUREDMETADATA and ZSOURCE, as in .../SQL_Queries (iOS/knowledgeC/knowledgeC_app_install.sql)."""
    script = """CREATE TABLE ZSTRUCTUREDMETADATA(Z_PK INTEGER PRIMARY KEY, ZTITLE VARCHAR);
        CREATE TABLE ZSOURCE(Z_PK INTEGER PRIMARY KEY, ZBUNDLEID VARCHAR);
        CREATE TABLE ZOBJECT(Z_PK INTEGER PRIMARY KEY, ZSECONDSFROMGMT INTEGER, ZSTRUCTUREDMETADATA INTEGER,
        ZSOURCE INTEGER, ZCREATIONDATE TIMESTAMP, ZENDDATE TIMESTAMP, ZSTARTDATE TIMESTAMP,
        ZSTREAMNAME VARCHAR, ZVALUESTRING VARCHAR)"""
    apple = [(t - 978_307_200 + 0.25, n, _offset_s(t)) for t, n in EVENTS]
    rows = [(i, off, 1, None, t, t + 60, t, "/app/inFocus", n) for i, (t, n, off) in enumerate(apple)]
    rows += [(90, 3600, 1, None, 1.0, 2.0, START_S - 978_307_200.0, "/app/install", "com.new")]
    rows += [(91, 3600, 1, None, 1.0, 2.0, START_S - 978_307_200.0, "/app/inFocus", None)]
    write_database(path, script, ZOBJECT=rows, ZSTRUCTUREDMETADATA=[(1, None)])


def knowledgec_of_a_mac(path):
    """The stream /app/usage, which macOS writes (APOLLO's module knowledge_app_usage)."""
    script = "CREATE TABLE ZOBJECT(Z_PK INTEGER PRIMARY KEY, ZSTREAMNAME, ZVALUESTRING, ZSTARTDATE, ZSECONDSFROMGMT)"
    rows = [(i, "/app/usage", n, t - 978_307_200, _offset_s(t)) for i, (t, n) in enumerate(EVENTS)]
    write_database(path, script, ZOBJECT=[*rows, (90, "/display/isBacklit", None, 1, 3600)])


def knowledgec_csv(path):
    """A dump of the table."""
    rows = [(n, t - 978_307_200, _offset_s(t)) for t, n in EVENTS]
    write_csv(path, [("ZVALUESTRING", "ZSTARTDATE", "ZSECONDSFROMGMT"), *rows])


# Last.fm. Minutes are all that its lists show.


def lastfm_plain(path):
    """lastfm-to-csv: no header, the newest first; a track that plays has no time, an unknown one is of 1970."""
    rows = [(n, "album, live", "track", f"{datetime.fromtimestamp(t, UTC):%d %b %Y %H:%M}") for t, n in EVENTS]
    write_csv(path, [("now", "a", "t", ""), *rows[::-1], ("lost", "a", "t", "01 Jan 1970 00:00")])


def lastfm_uts(path):
    """https://lastfm.ghan.nl/export: uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid."""
    header = ["uts", "utc_time", "artist", "artist_mbid", "album", "album_mbid", "track", "track_mbid"]
    rows = [(t, f"{datetime.fromtimestamp(t, UTC):%d %b %Y, %H:%M}", n, "", "a", "", "t", "") for t, n in EVENTS]
    write_csv(path, [header, *rows[::-1]])


def lastfm_backup(path):
    """https://github.com/emkor/lastfm-backup-cli: date,clock (UTC),artist,title without a header."""
    write_csv(path, [(*iso(t, "")[:19].split("T"), n, "title, live") for t, n in EVENTS[::-1]])


# Swarm


def swarm_export(path):
    """checkins1.json of the data export: createdAt as text in UTC; one check-in without a venue."""
    items = [
        {"id": str(i), "createdAt": iso(t, "").replace("T", " "), "type": "checkin", "visibility": "private",
         "timeZoneOffset": _offset_s(t) // 60, "venue": {"id": f"v{i}", "name": n}, "comments": {"count": 0}}
        for i, (t, n) in enumerate(EVENTS)
    ]  # fmt: skip
    write_json(path, {"items": [*items, {"id": "x", "createdAt": "2026-03-02 07:00:00", "timeZoneOffset": 60}]})


def swarm_api(path):
    """https://github.com/heug/4sq-viz (stubs/checkIn1.js): an answer of users/self/checkins."""
    items = [
        {"id": str(i), "createdAt": t, "type": "checkin", "timeZoneOffset": _offset_s(t) // 60,
         "venue": {"id": f"v{i}", "name": n, "location": {"lat": 1.5}, "categories": []}}
        for i, (t, n) in enumerate(EVENTS)
    ]  # fmt: skip
    answer = {"checkins": {"count": len(items), "items": items[::-1]}}
    write_json(
        path, {"meta": {"code": 200}, "notifications": [{"type": "x", "item": {"unreadCount": 0}}], "response": answer}
    )


# Android


def usage_events_csv(path):
    """UsageEvents.Event (https://developer.android.com/reference/android/app/usage/UsageEvents.Event)."""
    rows = [(n, kind, 1000 * t + 30_000 * (kind == 2)) for t, n in EVENTS for kind in (1, 2)]
    write_csv(path, [("packageName", "eventType", "timeStamp"), *rows, ("android", 15, 1000 * START_S)])


def usage_events_json(path):
    """UsageStatsEventType of apps in React Native: packageName, eventType, timeStamp, className."""
    rows = [
        {"packageName": n, "eventType": kind, "timeStamp": 1000 * t + (kind == 23), "className": "Main"}
        for t, n in EVENTS
        for kind in (1, 23)
    ]
    write_json(path, rows)


def _dump(name, sections):
    lines = ["user=0", '  Last 24 hour events (timeRange="x")']
    for _ in range(sections):  # daily, weekly, ...
        for t, package in EVENTS:
            local = datetime.fromtimestamp(t + _offset_s(t), UTC)
            lines.append(f'    time="{local:%Y-%m-%d %H:%M:%S}" type={name} package={package} class=a.Main flags=0x0')
            lines.append(
                f'    time="{local:%Y-%m-%d %H:%M:%S}" type=STANDBY_BUCKET_CHANGED package={package} flags=0x0'
            )
    return "\n".join([*lines, '        package=chat totalTimeUsed="01:10:00" lastTimeUsed="2026-03-29 10:00:00"', ""])


def usage_dump_of_today(path):
    """`dumpsys usagestats` since Android 10: ACTIVITY_RESUMED; local clocks."""
    path.write_text(_dump("ACTIVITY_RESUMED", 2), encoding="utf-8")


def usage_dump_of_old(path):
    """Before: MOVE_TO_FOREGROUND."""
    path.write_text(_dump("MOVE_TO_FOREGROUND", 1), encoding="utf-8")


# Phone logs


def _phone_rows(date, clock):
    for t, name in EVENTS:
        local = datetime.fromtimestamp(t + _offset_s(t), UTC)
        yield name, local.strftime(date), local.strftime(clock), "00:12"


def phone_log(path):
    """Columns of the Android app "App Usage" (README of the cases): ISO dates."""
    write_csv(path, [("App", "Date", "Time", "Duration"), *_phone_rows("%Y-%m-%d", "%H:%M:%S")])


def phone_log_of_america(path):
    """PhoneUsageHistory on GitHub: "App name","Date","Time","Duration" with 2/4/17 and 2:00:08 PM, then a text."""
    rows = [
        ("App name", "Date", "Time", "Duration"),
        *_phone_rows("%m/%d/%y", "%I:%M:%S %p"),
        ("Created by App Usage",),
    ]
    write_csv(path, rows)


def phone_log_of_germany(path):
    """Semicolons and dates with dots."""
    write_csv(path, [("App", "Date", "Time"), *(row[:3] for row in _phone_rows("%d.%m.%Y", "%H:%M"))], ";")


UTC_EXPORTS = {
    aw_all_buckets: "an ActivityWatch export", aw_one_bucket_of_a_phone: "an ActivityWatch export",
    aw_events_of_the_api: "an ActivityWatch export", aw_csv: "an ActivityWatch export",
    takeout_activity: "My Activity", takeout_activity_html: "My Activity",
    takeout_chrome: "Chrome's history of Google Takeout", takeout_chrome_of_today: "Chrome's history of Google Takeout",
    chrome_with_transitions: "a history of Chrome", chrome_beside_its_journal: "a history of Chrome",
    firefox: "a history of Firefox", firefox_of_today: "a history of Firefox",
    safari: "a history of Safari", safari_in_short: "a history of Safari",
    home_assistant: "Home Assistant", home_assistant_of_old: "Home Assistant", home_assistant_csv: "Home Assistant",
    lastfm_plain: "Last.fm", lastfm_uts: "Last.fm", lastfm_backup: "Last.fm",
    usage_events_csv: "usage events", usage_events_json: "usage events",
}  # fmt: skip
OWN_ZONE = {
    knowledgec: "knowledgeC", knowledgec_of_a_mac: "knowledgeC", knowledgec_csv: "knowledgeC",
    swarm_export: "Swarm", swarm_api: "Swarm",
}  # fmt: skip
LOCAL = {
    usage_dump_of_today: "usage events", usage_dump_of_old: "usage events",
    phone_log: "a phone log", phone_log_of_america: "a phone log", phone_log_of_germany: "a phone log",
}  # fmt: skip


def store_of(path, out, **options):
    lines = []
    ingest(IngestConfig(log=path, out=out, threads=1, memory_limit="300MB", **options), lines.append)
    store = EventStore.open(out)
    return store, [(e.event, e.time_s, e.utc_offset_min, e.location) for e in store.named_events(0)], lines


def by_hand(variant, offset_min):
    """The events that the hand-made CSV has."""
    is_home = "home_assistant" in variant.__name__
    minutes = variant in (lastfm_plain, phone_log_of_germany)
    return [
        (f"light.{name} on" if is_home else name, t - t % 60 if minutes else t, offset_min(t), None)
        for t, name in EVENTS
    ]


@pytest.mark.parametrize("variant", UTC_EXPORTS | OWN_ZONE | LOCAL, ids=lambda variant: variant.__name__)
def test_an_export_is_the_store_of_its_hand_made_csv(tmp_path, variant):
    path = tmp_path / "some export"
    variant(path)
    before = path.read_bytes()
    with_zone, events, lines = store_of(path, tmp_path / "with", timezone="Europe/Berlin")
    assert with_zone.users() == ["home" if "home_assistant" in variant.__name__ else "me"]
    assert events == by_hand(variant, lambda t: _offset_s(t) // 60)
    title = (UTC_EXPORTS | OWN_ZONE | LOCAL)[variant]
    assert title in lines[0]
    assert lines[0].startswith(f"{path} is recognized as ")
    _, events, lines = store_of(path, tmp_path / "without")
    if variant in UTC_EXPORTS:
        assert events == by_hand(variant, lambda t: 0)
        assert any("--timezone" in line for line in lines) or variant is takeout_activity_html
    elif variant in OWN_ZONE:
        assert events == by_hand(variant, lambda t: _offset_s(t) // 60)
    else:
        assert events == [(n, t + _offset_s(t), 0, place) for n, t, _, place in by_hand(variant, lambda t: 0)]
    assert path.read_bytes() == before
    while _OPEN:
        _OPEN.pop().close()


def test_what_is_left_out_is_said(tmp_path):
    home_assistant(tmp_path / "ha.db")
    (line, *_) = store_of(tmp_path / "ha.db", tmp_path / "out")[2]
    assert "left out: 4 of sensors and others that change by themselves, 2 unavailable or unknown, 1 changes of" in line
    chrome_with_transitions(tmp_path / "History")
    (line, *_) = store_of(tmp_path / "History", tmp_path / "out2")[2]
    assert all(part in line for part in ("1 frames of pages", "1 redirects", "1 not of the web"))


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


def test_a_database_that_another_program_has_locked_is_read(tmp_path):
    firefox(tmp_path / "places.sqlite")
    with closing(sqlite3.connect(tmp_path / "places.sqlite")) as con:
        con.execute("PRAGMA locking_mode = exclusive")
        con.execute("BEGIN EXCLUSIVE")
        events = store_of(tmp_path / "places.sqlite", tmp_path / "out")[1]
    assert events == by_hand(firefox, lambda t: 0)


def test_workbooks_of_phones(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")

    def workbook(name, rows):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    local = [(n, datetime.fromtimestamp(t + _offset_s(t), UTC).replace(tzinfo=None)) for t, n in EVENTS]
    rows = [("App name", "Date", "Time"), *((n, datetime(*at.timetuple()[:3]), at.time()) for n, at in local)]
    events = store_of(workbook("usage.xlsx", rows), tmp_path / "out", timezone="Europe/Berlin")[1]
    assert events == by_hand(phone_log, lambda t: _offset_s(t) // 60)
    totals = [("App", datetime(2026, 3, 1), datetime(2026, 3, 2), "Total Usage"), ("Chat", "1h", "5m", "1h 5m")]
    with pytest.raises(IngestError, match="holds totals per day"):
        store_of(workbook("stayfree.xlsx", totals), tmp_path / "totals")


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
    expected = by_hand(swarm_export, lambda t: _offset_s(t) // 60)
    assert store_of(tmp_path / "a.json.gz", tmp_path / "gz")[1] == expected
    assert store_of(tmp_path / "b.zip", tmp_path / "zip")[1] == expected
    late = {"items": [{"createdAt": START_S + 10**6, "timeZoneOffset": 120, "venue": {"name": "late"}}]}
    write_json(tmp_path / "checkins2.json", late)
    events = store_of([tmp_path / "checkins1.json", tmp_path / "checkins2.json"], tmp_path / "both")[1]
    assert events == [*expected, ("late", START_S + 10**6, 120, None)]
    write_csv(tmp_path / "other.csv", [("user", "time", "event"), ("u", START_S, "e")])
    with pytest.raises(IngestError, match=r"checkins1.json is check-ins of Swarm, .*other.csv is not; ingest them one"):
        store_of([tmp_path / "checkins1.json", tmp_path / "other.csv"], tmp_path / "mixed")


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
    offset_s = _offset_s(time_s)
    return iso(time_s + offset_s, f"+0{offset_s // 3600}:00")


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
    assert [(e.event, e.time_s, e.utc_offset_min, e.location) for e in asked.named_events(0)] == by_hand(
        variant, lambda t: _offset_s(t) // 60
    )
    _, events, lines = store_of(path, tmp_path / "alone")
    assert events == by_hand(variant, lambda t: 0)
    assert any("no offset: UTC is taken for local time (--timezone gives one)" in line for line in lines)
    assert any("if UTC is local time; --timezone gives the zone" in line for line in lines)


@pytest.mark.parametrize("variant", [swarm_without_offsets, knowledgec_without_offsets])
def test_events_without_an_offset_have_that_of_their_neighbor(tmp_path, variant):
    variant(tmp_path / "export", keep=(5,))
    _, events, lines = store_of(tmp_path / "export", tmp_path / "out")
    assert events == by_hand(variant, lambda t: 60)
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
        assert found == [(t, _offset_s(t) // 60 if zone is _berlin else 0) for t, _ in EVENTS]
    assert len(questions) == (0 if zone is _berlin else 4)


def _times_of(path, out):
    return [(event, time_s) for event, time_s, *_ in store_of(path, out)[1]]


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000])
def test_usage_events_by_other_names_of_columns_and_in_any_unit(tmp_path, factor):
    rows = [("RESUMED" if i % 2 else "activity_resumed", name, t * factor) for i, (t, name) in enumerate(EVENTS)]
    write_csv(tmp_path / "a.csv", [("type", "pkg", "time"), *rows, ("PAUSED", "mail", START_S * factor)])
    write_json(tmp_path / "b.json", {"events": [{"event_name": k, "app_package": n, "timeMs": t} for k, n, t in rows]})
    expected = [(name, t) for t, name in EVENTS]
    for path in sorted(tmp_path.iterdir()):
        assert _times_of(path, tmp_path / f"{path.name}-out") == expected


def test_further_forms_of_scrobbles(tmp_path):
    iso_times = [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S") for t, _ in EVENTS]
    names = [name for _, name in EVENTS]
    write_csv(tmp_path / "a.csv", [("Artist", "Track", "Timestamp"), *((n, "x", t) for t, n in EVENTS)])
    rows = [(t, n, "x") for t, n in zip(iso_times, names, strict=True)]
    write_csv(tmp_path / "b.csv", [("Date", "Artist Name", "Track Name"), *rows], ";")
    tracks = [{"artist": {"#text": n}, "name": "x", "date": {"uts": str(t)}} for t, n in EVENTS]
    write_json(tmp_path / "c.json", [{"recenttracks": {"track": tracks[:5]}}, {"recenttracks": {"track": tracks[5:]}}])
    write_json(tmp_path / "d.json", [{"track": tracks}])
    playing = {"artist": {"#text": "now"}, "name": "x", "@attr": {"nowplaying": "true"}}
    write_json(tmp_path / "e.json", {"recenttracks": {"track": [playing, *tracks], "@attr": {"user": "u"}}})
    for path in sorted(tmp_path.iterdir()):
        assert _times_of(path, tmp_path / f"{path.name}-out") == [(name, t) for t, name in EVENTS]


def test_phone_logs_that_name_the_start(tmp_path):
    rows = [(n, *datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S").split()) for t, n in EVENTS]
    write_csv(tmp_path / "log.csv", [("Application", "Start Date", "Start Time"), *rows])
    assert _times_of(tmp_path / "log.csv", tmp_path / "out") == [(name, t) for t, name in EVENTS]


def test_times_of_swarm_and_home_assistant_may_be_milliseconds(tmp_path):
    items = [{"createdAt": 1000 * t, "timeZoneOffset": 60, "venue": {"name": name}} for t, name in EVENTS]
    write_json(tmp_path / "swarm.json", {"items": items})
    assert store_of(tmp_path / "swarm.json", tmp_path / "out")[1] == by_hand(swarm_export, lambda t: 60)
