"""Reader of check-ins of Swarm and Foursquare: the name of the venue, with the offset of the place.

Forms: checkins1.json, ... of the data export, whose createdAt is a text in UTC, and the answers of the API
(`{"response": {"checkins": {"items": [...]}}}`, https://github.com/heug/4sq-viz, stubs/checkIn1.js), whose createdAt
counts unix seconds. timeZoneOffset is minutes.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, microseconds, microseconds_of_iso


def _items(content: Any) -> list[Any] | None:
    for key in ("response", "checkins"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if isinstance(content, dict):
        content = content.get("items")
    return content if isinstance(content, list) else None


def _recognizes(file: ExportFile) -> bool:
    items = _items(file.json_head)
    return (
        items is not None
        and bool(items)
        and isinstance(items[0], dict)
        and items[0].keys() >= {"createdAt", "timeZoneOffset"}
    )


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    return Export(events=_events(file, left_out), zone="own", used="venues of check-ins", left_out=left_out)


def _events(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    offset_min = 0
    for item in _items(file.json()) or []:
        venue, created = item.get("venue"), item.get("createdAt")
        name = venue.get("name") if isinstance(venue, dict) else None
        time_us = microseconds(created) if isinstance(created, int | float) else microseconds_of_iso(str(created))
        if not name or time_us is None:
            left_out["without a venue or a time"] += 1
            continue
        if item.get("timeZoneOffset") is not None:  # of one without: that of the check-in before
            offset_min = int(item["timeZoneOffset"])
        yield ExportEvent(time_us, str(name), offset_min)


READER = LogReader(name="swarm", title="check-ins of Swarm", recognizes=_recognizes, read=_read)
