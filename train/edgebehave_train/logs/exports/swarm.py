"""Reader of check-ins of Swarm and Foursquare: the name of the venue, with the offset of the place.

Forms: checkins1.json, ... of the data export, whose createdAt is a text in UTC, and the answers of the API
(`{"response": {"checkins": {"items": [...]}}}`, https://github.com/heug/4sq-viz, stubs/checkIn1.js), whose createdAt
counts unix seconds. timeZoneOffset is minutes; a file without it does not know its local time.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, microseconds_of_unix, moment_of_iso


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
        and "createdAt" in items[0]
        and bool(items[0].keys() & {"timeZoneOffset", "venue"})
    )


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    return Export(events=_events(file, left_out), zone="own", used="venues of check-ins", left_out=left_out)


def _events(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    for item in _items(file.json()) or []:
        venue, created = item.get("venue"), item.get("createdAt")
        name = venue.get("name") if isinstance(venue, dict) else None
        time_us, offset_min = (
            (microseconds_of_unix(created), None) if isinstance(created, int | float) else moment_of_iso(str(created))
        )
        if not name or time_us is None:
            left_out["without a venue or a time"] += 1
            continue
        given = item.get("timeZoneOffset")
        yield ExportEvent(time_us, str(name), int(given) if given is not None else offset_min or None)


READER = LogReader(name="swarm", title="check-ins of Swarm", recognizes=_recognizes, read=_read)
