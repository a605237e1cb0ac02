"""Further forms of exports: other column names, units of time, workbooks."""

from datetime import UTC, datetime

import pytest
from export_events import EVENTS, START_S, offset_s, write_csv, write_json
from export_variants import expected_events, store_of
from phone_exports import phone_log, swarm_export

from edgebehave_train.logs.ingest import IngestError


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
    assert store_of(tmp_path / "swarm.json", tmp_path / "out")[1] == expected_events(swarm_export, lambda t: 60)


def test_workbooks_of_phones(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")

    def workbook(name, rows):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    local = [(n, datetime.fromtimestamp(t + offset_s(t), UTC).replace(tzinfo=None)) for t, n in EVENTS]
    rows = [("App name", "Date", "Time"), *((n, datetime(*at.timetuple()[:3]), at.time()) for n, at in local)]
    events = store_of(workbook("usage.xlsx", rows), tmp_path / "out", timezone="Europe/Berlin")[1]
    assert events == expected_events(phone_log, lambda t: offset_s(t) // 60)
    totals = [("App", datetime(2026, 3, 1), datetime(2026, 3, 2), "Total Usage"), ("Chat", "1h", "5m", "1h 5m")]
    with pytest.raises(IngestError, match="holds totals per day"):
        store_of(workbook("stayfree.xlsx", totals), tmp_path / "totals")
