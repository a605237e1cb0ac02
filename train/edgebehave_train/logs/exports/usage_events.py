"""Reader of Android's usage events: the package of each event that brings an app to the foreground.

Forms: CSV and JSON with package (or packageName), eventType and timestamp (or timeStamp) in unix milliseconds, as
UsageEvents.Event has them (eventType 1 is MOVE_TO_FOREGROUND, since Android 10 called ACTIVITY_RESUMED), and the
text of `adb shell dumpsys usagestats`, whose lines read
`time="2021-05-20 14:13:27" type=MOVE_TO_FOREGROUND package=com.google.android.youtube ...`, in local time. The dump
shows an event in its daily, weekly, monthly and yearly section; it is taken once.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile, plain_name
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, microseconds_of_unix, moment_of_iso
from edgebehave_train.logs.reading.files import IngestError

_FOREGROUND = ("1", "1.0", "MOVE_TO_FOREGROUND", "ACTIVITY_RESUMED", "RESUMED", "FOREGROUND")
_LINE = re.compile(r'^\s*time="([^"]+)"\s+type=(\w+)\s+package=(\S+)', re.MULTILINE)
_PACKAGES = ("package", "packagename", "apppackage", "apppackagename", "pkg")
_TYPES = ("eventtype", "type", "event", "eventname")
_TIMES = ("timestamp", "eventtime", "time", "timestampms", "timems", "datetime")


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _is_event(names: Iterable[str]) -> bool:
    row = dict.fromkeys(map(plain_name, names), True)
    return all(_first(row, group) for group in (_PACKAGES, _TYPES, _TIMES))


def _list(content: Any) -> list[Any] | None:
    if isinstance(content, dict):
        content = next((value for value in content.values() if isinstance(value, list)), None)
    return content if isinstance(content, list) else None


def _recognizes(file: ExportFile) -> bool:
    if file.json_head is not None:
        events = _list(file.json_head)
        return events is not None and bool(events) and isinstance(events[0], dict) and _is_event(events[0])
    return _is_event(file.columns) or len(_LINE.findall(file.head_text)) > 1 or _is_dump(file)


def _is_dump(file: ExportFile) -> bool:
    return "usagestats" in file.head_text[:10_000].lower() and "package=" in file.head_text


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    if file.json_head is None and not _is_event(file.columns):
        return Export(events=_of_dump(file, left_out), zone="local", used="apps in the foreground", left_out=left_out)
    rows: Iterable[Any] = file.rows() if file.json_head is None else _list(file.json()) or []
    return Export(events=_of_rows(rows, left_out), zone="utc", used="apps in the foreground", left_out=left_out)


def _of_rows(rows: Iterable[dict[str, Any]], left_out: Counter[str]) -> Iterator[ExportEvent]:
    for given in rows:
        row = {plain_name(name): value for name, value in given.items()}
        package, kind, time = (_first(row, names) for names in (_PACKAGES, _TYPES, _TIMES))
        if str(kind).strip().upper() not in _FOREGROUND:
            left_out["other events than to the foreground"] += 1
        elif not package or time in (None, ""):
            left_out["without a package or a time"] += 1
        else:
            time_us, offset_min = _moment(time)
            yield ExportEvent(time_us, str(package), offset_min)


def _moment(time: Any) -> tuple[int, int | None]:
    """Unix microseconds of a number or of ISO 8601, and its offset. Raises ValueError."""
    try:
        return microseconds_of_unix(float(time)), None
    except ValueError:
        time_us, offset_min = moment_of_iso(str(time))
        if time_us is None:
            raise
        return time_us, offset_min


def _of_dump(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    with file.open_text() as text:
        found = _LINE.findall(text.read())
    seen: set[tuple[str, str]] = set()
    for time, kind, package in found:
        if kind not in _FOREGROUND:
            left_out["other events than to the foreground"] += 1
        elif (time, package) not in seen:
            seen.add((time, package))
            yield ExportEvent(time, package)
    if not seen:
        raise IngestError(
            f"{file.path} is a dump of usage stats without events to the foreground; its totals have no order"
        )


READER = LogReader(name="android-usage-events", title="usage events of Android", recognizes=_recognizes, read=_read)
