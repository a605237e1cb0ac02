"""Reader of Chrome's history in Google Takeout: the domain of each visit.

`{"Browser History": [{"page_transition": "LINK", "url": ..., "time_usec": unix microseconds, ...}]}`, in
BrowserHistory.json or History.json, as in https://github.com/MichaelCurrin/history-report (docs/usage.md). Frames
inside of pages are no visits of the user.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, domain_of

_FRAMES = ("AUTO_SUBFRAME", "MANUAL_SUBFRAME", "KEYWORD_GENERATED")


def _visits(content: Any) -> list[Any] | None:
    if isinstance(content, dict):
        content = content.get("Browser History")
    return content if isinstance(content, list) else None


def _recognizes(file: ExportFile) -> bool:
    visits = _visits(file.json_head)
    return (
        visits is not None and bool(visits) and isinstance(visits[0], dict) and visits[0].keys() >= {"url", "time_usec"}
    )


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    return Export(events=_events(file, left_out), zone="utc", used="domains of visits", left_out=left_out)


def _events(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    for visit in _visits(file.json()) or []:
        domain = domain_of(visit.get("url"))
        if visit.get("page_transition") in _FRAMES:
            left_out["frames of pages"] += 1
        elif domain is None:
            left_out["not of the web"] += 1
        else:
            yield ExportEvent(int(visit["time_usec"]), domain)


READER = LogReader(
    name="chrome-takeout", title="Chrome's history of Google Takeout", recognizes=_recognizes, read=_read
)
