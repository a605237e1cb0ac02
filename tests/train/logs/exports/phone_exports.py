"""Exports of EVENTS by phones and their services: knowledgeC, Last.fm, Swarm, Android, phone logs.

Each function writes one; its docstring names what it is modelled on.
"""

from datetime import UTC, datetime

from export_events import EVENTS, START_S, iso, offset_s, write_csv, write_database, write_json

# Apple's knowledgeC.db: ZSECONDSFROMGMT is the offset of local time


def knowledgec(path):
    """With ZSTRUCTUREDMETADATA and ZSOURCE, as in .../SQL_Queries (iOS/knowledgeC/knowledgeC_app_install.sql)."""
    script = """CREATE TABLE ZSTRUCTUREDMETADATA(Z_PK INTEGER PRIMARY KEY, ZTITLE VARCHAR);
        CREATE TABLE ZSOURCE(Z_PK INTEGER PRIMARY KEY, ZBUNDLEID VARCHAR);
        CREATE TABLE ZOBJECT(Z_PK INTEGER PRIMARY KEY, ZSECONDSFROMGMT INTEGER, ZSTRUCTUREDMETADATA INTEGER,
        ZSOURCE INTEGER, ZCREATIONDATE TIMESTAMP, ZENDDATE TIMESTAMP, ZSTARTDATE TIMESTAMP,
        ZSTREAMNAME VARCHAR, ZVALUESTRING VARCHAR)"""
    apple = [(t - 978_307_200 + 0.25, n, offset_s(t)) for t, n in EVENTS]
    rows = [(i, off, 1, None, t, t + 60, t, "/app/inFocus", n) for i, (t, n, off) in enumerate(apple)]
    rows += [(90, 3600, 1, None, 1.0, 2.0, START_S - 978_307_200.0, "/app/install", "com.new")]
    rows += [(91, 3600, 1, None, 1.0, 2.0, START_S - 978_307_200.0, "/app/inFocus", None)]
    write_database(path, script, ZOBJECT=rows, ZSTRUCTUREDMETADATA=[(1, None)])


def knowledgec_of_a_mac(path):
    """The stream /app/usage, which macOS writes (APOLLO's module knowledge_app_usage)."""
    script = "CREATE TABLE ZOBJECT(Z_PK INTEGER PRIMARY KEY, ZSTREAMNAME, ZVALUESTRING, ZSTARTDATE, ZSECONDSFROMGMT)"
    rows = [(i, "/app/usage", n, t - 978_307_200, offset_s(t)) for i, (t, n) in enumerate(EVENTS)]
    write_database(path, script, ZOBJECT=[*rows, (90, "/display/isBacklit", None, 1, 3600)])


def knowledgec_csv(path):
    """A dump of the table."""
    rows = [(n, t - 978_307_200, offset_s(t)) for t, n in EVENTS]
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
         "timeZoneOffset": offset_s(t) // 60, "venue": {"id": f"v{i}", "name": n}, "comments": {"count": 0}}
        for i, (t, n) in enumerate(EVENTS)
    ]  # fmt: skip
    write_json(path, {"items": [*items, {"id": "x", "createdAt": "2026-03-02 07:00:00", "timeZoneOffset": 60}]})


def swarm_api(path):
    """https://github.com/heug/4sq-viz (stubs/checkIn1.js): an answer of users/self/checkins."""
    items = [
        {"id": str(i), "createdAt": t, "type": "checkin", "timeZoneOffset": offset_s(t) // 60,
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
            local = datetime.fromtimestamp(t + offset_s(t), UTC)
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
        local = datetime.fromtimestamp(t + offset_s(t), UTC)
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
