"""Reader of ActivityWatch: the app in the foreground, events that begin while the user is away left out.

Forms: the export of all buckets or of one (web interface, `/api/0/export`, `/api/0/buckets/ID/export`), the list of
events of `/api/0/buckets/ID/events`, and the CSV of a bucket. The data model is described at
https://docs.activitywatch.net/en/latest/buckets-and-events.html: a window event has `data.app`, one of the browser
`data.url`, one of the AFK watcher `data.status`. Of browsers the domain is taken, if there is no window watcher.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import (
    Export,
    ExportEvent,
    LogReader,
    domain_of,
    microseconds_of_iso,
    moment_of_iso,
)
from edgebehave_train.logs.reading.files import IngestError


def _recognizes(file: ExportFile) -> bool:
    head = file.json_head
    if isinstance(head, dict):
        buckets = head.get("buckets")
        return isinstance(buckets, dict) and all(
            isinstance(b, dict) and ("events" in b or "type" in b) for b in buckets.values()
        )
    if isinstance(head, list):
        return bool(head) and isinstance(head[0], dict) and head[0].keys() >= {"timestamp", "duration", "data"}
    return file.columns.keys() >= {"timestamp", "duration", "app"}


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    if file.columns:
        rows = [{"timestamp": r.get("timestamp"), "data": {"app": r.get("app")}} for r in file.rows()]
        return Export(events=_events(rows, [], left_out), zone="utc", used="apps in the foreground", left_out=left_out)
    content = file.json()
    buckets = list(content["buckets"].values()) if isinstance(content, dict) else [{"events": content}]
    found = [(b, [e for e in b.get("events") or [] if isinstance(e, dict)]) for b in buckets if isinstance(b, dict)]
    for key, used in (("app", "apps in the foreground"), ("url", "domains of the browser")):
        chosen = [(b, events) for b, events in found if any(key in _data(e) for e in events)]
        if key == "app":  # editors name the app too, but the window watcher sees every app
            chosen = [(b, e) for b, e in chosen if b.get("type") in (None, "currentwindow")] or chosen
        if chosen:
            events = _of_buckets(chosen, _away(found), left_out)
            return Export(events=events, zone="utc", used=used, left_out=left_out)
    raise IngestError(
        f"{file.path} is an ActivityWatch export without events of windows or browsers; export the bucket "
        "aw-watcher-window, or all of them"
    )


def _data(event: dict[str, Any]) -> dict[str, Any]:
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def _of_buckets(
    chosen: list[tuple[Any, list[dict[str, Any]]]], away: dict[Any, list[tuple[int, int]]], left_out: Counter[str]
) -> Iterator[ExportEvent]:
    for bucket, events in chosen:
        yield from _events(events, away.get(bucket.get("hostname"), []), left_out)


def _events(events: list[dict[str, Any]], away: list[tuple[int, int]], left_out: Counter[str]) -> Iterator[ExportEvent]:
    starts = [start for start, _ in away]
    for event in events:
        data = _data(event)
        name = data.get("app") or domain_of(data.get("url"))
        time_us, offset_min = moment_of_iso(str(event.get("timestamp")))
        if not name or time_us is None:
            left_out["without an app, a domain or a time"] += 1
            continue
        i = bisect_right(starts, time_us) - 1
        if i >= 0 and time_us < away[i][1]:
            left_out["while away from keyboard"] += 1
            continue
        yield ExportEvent(time_us, str(name), offset_min)


def _away(buckets: list[tuple[Any, list[dict[str, Any]]]]) -> dict[Any, list[tuple[int, int]]]:
    """{host: spans in which nobody was there, in order and apart}."""
    spans: dict[Any, list[tuple[int, int]]] = {}
    for bucket, events in buckets:
        for event in events:
            if _data(event).get("status") == "afk":
                start = microseconds_of_iso(str(event.get("timestamp")))
                if start is not None:
                    length = int(1_000_000 * float(event.get("duration") or 0))
                    spans.setdefault(bucket.get("hostname"), []).append((start, start + length))
    merged: dict[Any, list[tuple[int, int]]] = {}
    for host, host_spans in spans.items():
        kept = merged.setdefault(host, [])
        for start, end in sorted(host_spans):
            if kept and start <= kept[-1][1]:
                kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
            else:
                kept.append((start, end))
    return merged


READER = LogReader(name="activitywatch", title="an ActivityWatch export", recognizes=_recognizes, read=_read)
