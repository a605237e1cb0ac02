"""Reader of scrobbles of Last.fm: the artist of each track.

Forms: artist, album, track and `21 Mar 2026 20:07` without a header (lastfm-to-csv); date, clock, artist and track
without a header (https://github.com/emkor/lastfm-backup-cli); with the columns uts, utc_time, artist, ...
(https://lastfm.ghan.nl/export); Artist;Album;AlbumId;Track;Date#NAME in unix milliseconds (lastfmstats.com); other
columns artist, track and a time; the tracks of the API's user.getRecentTracks as JSON
(https://www.last.fm/api/show/user.getRecentTracks), in one or many pages. All times are UTC.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile, plain_name
from edgebehave_train.logs.exports.reader import (
    Export,
    ExportEvent,
    LogReader,
    microseconds_of_iso,
    microseconds_of_unix,
)

_DATE = re.compile(r"^\d{1,2} [A-Z][a-z]{2} \d{4},? \d{2}:\d{2}$")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


_TRACKS = ("track", "trackname", "name", "song", "title")
_ARTISTS = ("artist", "artistname")
_TIMES = ("uts", "timestamp", "date", "datetime", "utctime", "time", "playedat", "scrobbledat")


def _form(file: ExportFile) -> str | None:
    cells, names = file.header, file.columns.keys()
    if file.json_head is not None:
        track = next(_tracks(file.json_head), None)
        return "api" if track is not None else None
    if names & {*_ARTISTS} and names & {*_TRACKS} and _time_column(list(names)) is not None:
        return "header"
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
    for artist, time in _api_rows(file) if _form(file) == "api" else _csv_rows(file):
        try:
            time_us = _time_us(time)
        except ValueError:
            time_us = 0
        if time_us <= 0 or not artist:  # Last.fm writes 1970 where it does not know
            left_out["without an artist or a time"] += 1
        else:
            yield ExportEvent(time_us, artist)


def _csv_rows(file: ExportFile) -> Iterator[tuple[str, str]]:
    """Artist and time of each row."""
    form, records = _form(file), file.records()
    artist, when = (2, 0) if form == "backup" else (0, 3)
    if form == "header":
        names = [plain_name(name) for name in next(records)]
        artist = next(i for i, name in enumerate(names) if name in _ARTISTS)
        when = _time_column(names) or 0
    for row in records:
        if len(row) <= max(artist, when):
            yield "", ""
        else:
            yield row[artist], f"{row[0]} {row[1]}" if form == "backup" else row[when]


def _time_column(names: Sequence[str]) -> int | None:
    """Position of the column of times, the first of _TIMES that is there."""
    found = [(_TIMES.index(plain), i) for i, name in enumerate(names) if (plain := name.partition("#")[0]) in _TIMES]
    return min(found)[1] if found else None


def _tracks(content: Any) -> Iterator[dict[str, Any]]:
    """Tracks of answers of the API, in pages or not."""
    if isinstance(content, list):
        for item in content:
            yield from _tracks(item)
    elif isinstance(content, dict):
        if isinstance(content.get("artist"), dict | str) and isinstance(content.get("date"), dict):
            yield content
        else:
            yield from _tracks(content.get("recenttracks") or content.get("track"))


def _api_rows(file: ExportFile) -> Iterator[tuple[str, str]]:
    for track in _tracks(file.json()):
        artist = track["artist"]
        name = artist if isinstance(artist, str) else artist.get("#text") or artist.get("name")
        yield str(name or ""), str(track["date"].get("uts") or "")


def _time_us(text: str) -> int:
    """Unix microseconds of a number, of ISO 8601 or of `21 Mar 2026 20:07`. Raises ValueError."""
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        return microseconds_of_unix(float(text))
    return microseconds_of_iso(text) or _minute(text)


def _minute(text: str) -> int:
    """Unix microseconds of `21 Mar 2026 20:07`. Raises ValueError."""
    day, month, year, clock = text.replace(",", "").split()
    hour, minute = clock.split(":")
    time = datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute))
    return microseconds_of_iso(time.isoformat()) or 0


READER = LogReader(
    name="lastfm", title="scrobbles of Last.fm", recognizes=lambda file: _form(file) is not None, read=_read
)
