"""Reader of phone logs with date and clock in two columns: the app that was opened.

The columns are App (or App name), Date, Time and perhaps Duration; dates and clocks in the form of the phone, as
`"2/4/17","2:00:08 PM"` of the Android app "App Usage". Times are local.
"""

from collections import Counter
from collections.abc import Iterator

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader

APPS = ("app", "appname", "application", "apptitle", "package", "packagename")
_DATES = ("date", "day", "startdate", "opendate")
_CLOCKS = ("time", "starttime", "clock", "opened", "opentime", "timeopened", "openedat")


def _column(file: ExportFile, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in file.columns), None)


def _recognizes(file: ExportFile) -> bool:
    return all(_column(file, names) for names in (APPS, _DATES, _CLOCKS))


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    return Export(events=_events(file, left_out), zone="local", used="apps", left_out=left_out)


def _events(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    app, date, clock = (_column(file, names) or "" for names in (APPS, _DATES, _CLOCKS))
    for row in file.rows():
        if not all(row.get(name, "").strip() for name in (app, date, clock)):
            left_out["without an app, a date or a clock"] += 1
        else:
            day = row[date].strip().removesuffix(" 00:00:00")  # as a workbook shows a day
            yield ExportEvent(f"{day} {row[clock].strip()}", row[app])


READER = LogReader(name="phone-log", title="a phone log", recognizes=_recognizes, read=_read)
