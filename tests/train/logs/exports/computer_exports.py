"""Exports of EVENTS by programs of a computer: ActivityWatch, Google Takeout, browsers, Home Assistant.

Each function writes one; its docstring names what it is modelled on.
"""

import json
import sqlite3
from datetime import UTC, datetime

from export_events import EVENTS, NAMES, START_S, iso, write_csv, write_database, write_json

OPEN_DATABASES: list[sqlite3.Connection] = []
"""Connections that a variant leaves open; the test closes them."""

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
    OPEN_DATABASES.append(con)


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
