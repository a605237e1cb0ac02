"""Reader of My Activity of Google Takeout: the title of each activity, from JSON or HTML.

JSON is a list of objects with `header`, `title` and `time` in UTC. HTML has one cell of the class `content-cell` per
activity, its parts between `<br>`: the title, perhaps details, and the time with its zone, in the form of the
language; both as read by https://github.com/purarue/google_takeout_parser. Only times in English can be read.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, moment_of_iso
from edgebehave_train.logs.reading.files import IngestError

_CELL = re.compile(r'<div class="content-cell [^"]*mdl-typography--body-1">(.*?)</div>', re.DOTALL)
_BREAK = re.compile(r"<br\s*/?>|<p>|</p>")
_TAG = re.compile(r"<[^>]*>")
_TIME = re.compile(r"\d{4},? .*\d{1,2}:\d{2}|\d{1,2}:\d{2}.*\d{4}")


def _recognizes(file: ExportFile) -> bool:
    head = file.json_head
    if isinstance(head, list) and head and isinstance(head[0], dict):
        return head[0].keys() >= {"header", "title", "time"}
    return "<html" in file.head_text[:1000].lower() and _has_cells(file)


def _has_cells(file: ExportFile) -> bool:
    with file.open_text() as text:  # a long style sheet comes first
        return 'class="content-cell ' in text.read(1 << 20)


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    if file.json_head is not None:
        return Export(events=_of_json(file, left_out), zone="utc", used="titles of activities", left_out=left_out)
    return Export(events=_of_html(file, left_out), zone="own", used="titles of activities", left_out=left_out)


def _of_json(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    for activity in file.json():
        title = activity.get("title") if isinstance(activity, dict) else None
        time_us, offset_min = moment_of_iso(str(activity.get("time"))) if title else (None, None)
        if time_us is None or not isinstance(title, str):
            left_out["without a title or a time"] += 1
        else:
            yield ExportEvent(time_us, title, offset_min)


def _of_html(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    with file.open_text() as text:
        content = text.read()
    num_found = 0
    for cell in _CELL.finditer(content):
        parts = [" ".join(html.unescape(_TAG.sub("", part)).split()) for part in _BREAK.split(cell[1])]
        time = next((part for part in parts[1:] if _TIME.search(part)), None)
        if time is None or not parts[0]:
            left_out["without a title or a time"] += any(parts)
        else:
            num_found += 1
            yield ExportEvent(time, parts[0])
    if not num_found:
        raise IngestError(
            f"{file.path} holds no activity that can be read; choose JSON for My Activity in Google Takeout"
        )


READER = LogReader(name="google-activity", title="My Activity of Google Takeout", recognizes=_recognizes, read=_read)
