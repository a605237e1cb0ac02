"""Totals per day, as StayFree and screen-time apps export them: recognized and refused, as they hold no events."""

import re

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.phone_log import APPS
from edgebehave_train.logs.exports.reader import Export, LogReader
from edgebehave_train.logs.reading.files import IngestError

_AMOUNTS = re.compile(r"usage|total|duration|minutes|seconds|hours|timespent|launches|foreground")
_DAY = re.compile(
    r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}$|^\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}$|"
    r"^([A-Z][a-z]{2,8},? )?([A-Z][a-z]{2,8}\.? \d{1,2}|\d{1,2}\.? [A-Z][a-z]{2,8}\.?)(,? \d{4})?$"
)


def _recognizes(file: ExportFile) -> bool:
    names = file.columns.keys()
    if not names & {*APPS, "device", "website"} and file.header[:1] not in ((" ",), ("",)):
        return False
    days = sum(bool(_DAY.match(cell.strip().removesuffix(" 00:00:00"))) for cell in file.header)
    if days > 1:
        return True
    clocks = {"time", "starttime", "timestamp", "start", "opened", "clock", "datetime"}
    return "date" in names and not names & clocks and any(_AMOUNTS.search(name) for name in names)


def _read(file: ExportFile) -> Export:
    raise IngestError(
        f"{file.path} holds totals per day, as StayFree exports them, and no single events: nothing follows from "
        "anything; use a log of the opened apps, as of ActivityWatch or Android's usage events"
    )


READER = LogReader(name="daily-totals", title="totals per day", recognizes=_recognizes, read=_read)
