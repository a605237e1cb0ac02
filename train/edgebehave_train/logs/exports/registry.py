"""The readers of exports by name: those of this package, and those that others register.

A package adds a reader by an entry point of the group `edgebehave.log_readers` that names a `LogReader`:

    [project.entry-points."edgebehave.log_readers"]
    my-app = "my_package.reader:READER"
"""

from functools import cache
from importlib import import_module

from edgebehave_train.extensions import LOG_READER_GROUP, extension_names, load_extension
from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import LogReader
from edgebehave_train.logs.reading.files import IngestError

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
    """{name: reader}; those of other packages come before the built-in ones."""
    found: dict[str, LogReader] = {}
    for name in extension_names(LOG_READER_GROUP, BUILT_IN):
        reader = load_extension(LOG_READER_GROUP, name)
        if not isinstance(reader, LogReader):
            raise IngestError(f"the log reader {name!r} is no LogReader, got {type(reader).__name__}")
        found[name] = reader
    for name, where in BUILT_IN.items():
        module, _, attribute = where.partition(":")
        found[name] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found


def reader_of(file: ExportFile) -> LogReader | None:
    """The first reader that recognizes a file."""
    return next((reader for reader in readers().values() if reader.recognizes(file)), None)
