"""The events of all made-up exports, and how they are written: JSON, CSV or an SQLite database."""

import csv
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

START_S = 1_774_747_800  # 2026-03-29 01:30 UTC: daylight saving began half an hour ago in Berlin
NAMES = ("mail", "maps", "chat", "mail", "mail", "music")
EVENTS = [(START_S - 3600 * 24 + 3600 * 7 * i + i, NAMES[i % 6]) for i in range(12)]


def iso(time_s, zone="+00:00"):
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.250000") + zone


def offset_s(time_s):
    """The offset of Berlin, daylight saving included."""
    return 3600 if time_s < 1_774_746_000 else 7200


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
