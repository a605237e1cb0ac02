"""The readers of exports by name: those of this package, and those that others register.

A package adds a reader by an entry point of the group `edgebehave.log_readers` that names a `LogReader`:

    [project.entry-points."edgebehave.log_readers"]
    my-app = "my_package.reader:READER"
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import LogReader
from edgebehave_train.logs.reading.files import IngestError

GROUP = "edgebehave.log_readers"

BUILT_IN = {
    "activitywatch": "activitywatch:READER",
    "android-usage-events": "usage_events:READER",
    "chrome": "browser_history:CHROME",
    "chrome-takeout": "chrome_takeout:READER",
    "daily-totals": "daily_totals:READER",
    "firefox": "browser_history:FIREFOX",
    "google-activity": "google_activity:READER",
    "home-assistant": "home_assistant:READER",
    "knowledgec": "knowledgec:READER",
    "lastfm": "lastfm:READER",
    "phone-log": "phone_log:READER",
    "safari": "browser_history:SAFARI",
    "swarm": "swarm:READER",
}
"""{name: module and attribute in this folder}, found without the metadata of an installed package."""


@cache
def readers() -> dict[str, LogReader]:
    """{name: reader}; a reader of another package comes before the built-in ones and may replace one by its name."""
    found: dict[str, LogReader] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in BUILT_IN and entry.value.startswith(f"{__package__}."):
            continue
        try:
            reader = entry.load()
        except Exception as error:  # any error of a foreign package, named with it
            raise IngestError(f"the log reader {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
        if not isinstance(reader, LogReader):
            raise IngestError(
                f"the log reader {entry.name!r} ({entry.value}) is no LogReader, got {type(reader).__name__}"
            )
        found[entry.name] = reader
    for name, where in BUILT_IN.items():
        if name not in found:
            module, _, attribute = where.partition(":")
            found[name] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found


def reader_of(file: ExportFile) -> LogReader | None:
    """The first reader that recognizes a file."""
    return next((reader for reader in readers().values() if reader.recognizes(file)), None)
