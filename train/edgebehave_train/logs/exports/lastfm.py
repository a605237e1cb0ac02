"""Reader of scrobbles of Last.fm: the artist of each track.

Forms: artist, album, track and `21 Mar 2026 20:07` without a header (lastfm-to-csv); date, clock, artist and track
without a header (https://github.com/emkor/lastfm-backup-cli); with the columns uts, utc_time, artist, ...
(https://lastfm.ghan.nl/export); Artist;Album;AlbumId;Track;Date#NAME in unix milliseconds (lastfmstats.com). All times
are UTC.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, microseconds_of_iso

_DATE = re.compile(r"^\d{1,2} [A-Z][a-z]{2} \d{4},? \d{2}:\d{2}$")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _form(file: ExportFile) -> str | None:
    cells = file.header
    if file.columns.keys() >= {"artist", "track"}:
        if "uts" in file.columns:
            return "uts"
        if any(name.startswith("date#") for name in file.columns):
            return "stats"
        return None
    if len(cells) == 4 and _DATE.match(cells[3]):
        return "plain"
    if len(cells) == 4 and not any(map(_DATE.match, cells[:3])) and cells[3] == "":
        # The track that plays while the list is made has no time.
        lines = file.head_text.splitlines()[1:3]
        return "plain" if lines and all(_DATE.match(line.rpartition(",")[2].strip('"')) for line in lines) else None
    is_clock = re.match(r"^\d{2}:\d{2}:\d{2}$", cells[1]) if len(cells) == 4 else None
    return "backup" if is_clock and re.match(r"^\d{4}-\d{2}-\d{2}$", cells[0]) else None


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    return Export(events=_events(file, left_out), zone="utc", used="artists", left_out=left_out)


def _events(file: ExportFile, left_out: Counter[str]) -> Iterator[ExportEvent]:
    form = _form(file)
    records = file.records()
    header = [name.lower() for name in next(records)] if form in ("uts", "stats") else []
    artist = header.index("artist") if header else 0 if form == "plain" else 2
    when = next((i for i, name in enumerate(header) if name == "uts" or name.startswith("date#")), 3)
    for row in records:
        try:
            if form == "backup":
                time_us = microseconds_of_iso(f"{row[0]} {row[1]}") or 0
            elif form == "plain":
                time_us = _minute(row[when])
            else:
                time_us = int(row[when]) * (1_000_000 if form == "uts" else 1000)
        except (ValueError, IndexError):
            time_us = 0
        if time_us <= 0 or not row[artist]:  # Last.fm writes 1970 where it does not know
            left_out["without an artist or a time"] += 1
        else:
            yield ExportEvent(time_us, row[artist])


def _minute(text: str) -> int:
    """Unix microseconds of `21 Mar 2026 20:07`. Raises ValueError."""
    day, month, year, clock = text.replace(",", "").split()
    hour, minute = clock.split(":")
    time = datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute))
    return microseconds_of_iso(time.isoformat()) or 0


READER = LogReader(
    name="lastfm", title="scrobbles of Last.fm", recognizes=lambda file: _form(file) is not None, read=_read
)
