"""Reader of Apple's knowledgeC.db: the app in the foreground, with the offset of the clock at that time.

ZOBJECT holds rows of many streams; `/app/inFocus` (iOS, macOS) or `/app/usage` (macOS) are the apps, as their bundle
ids. ZSTARTDATE counts seconds since 2001, ZSECONDSFROMGMT the offset, if it is there. Schema with ZSTRUCTUREDMETADATA
and ZSOURCE as in https://github.com/LongRangeBehaviorModificationSpecialist/SQL_Queries (iOS/knowledgeC). A CSV of
these columns is read as well.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Y2001_S, Export, ExportEvent, LogReader, microseconds
from edgebehave_train.logs.reading.files import IngestError

_STREAMS = ("/app/inFocus", "/app/usage")
_COLUMNS = ("zstreamname", "zvaluestring", "zstartdate")


def _recognizes(file: ExportFile) -> bool:
    return file.tables.get("zobject", frozenset()) >= set(_COLUMNS) or file.columns.keys() >= set(_COLUMNS[1:])


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    if file.tables:
        streams = {name for (name,) in file.query("SELECT DISTINCT ZSTREAMNAME FROM ZOBJECT")}
        stream = next((name for name in _STREAMS if name in streams), None)
        if stream is None:
            shown = ", ".join(sorted(name for name in streams if name)[:5]) or "none"
            raise IngestError(
                f"{file.path} is a knowledgeC database without the stream {_STREAMS[0]} (it has: {shown}); newer "
                "systems keep it in Biome, which cannot be read"
            )
        offset = "ZSECONDSFROMGMT" if "zsecondsfromgmt" in file.tables["zobject"] else "NULL"
        order = "ZSTARTDATE, Z_PK" if "z_pk" in file.tables["zobject"] else "ZSTARTDATE, rowid"
        rows: Iterable[Any] = file.query(
            f"SELECT ZSTARTDATE, ZVALUESTRING, {offset} FROM ZOBJECT WHERE ZSTREAMNAME = '{stream}' ORDER BY {order}"
        )
    else:
        stream = _STREAMS[0]
        rows = (
            (row["zstartdate"], row.get("zvaluestring"), row.get("zsecondsfromgmt"))
            for row in file.rows()
            if row.get("zstreamname", stream) == stream
        )
    return Export(events=_events(rows, left_out), zone="own", used=f"apps of {stream}", left_out=left_out)


def _events(rows: Iterable[Any], left_out: Counter[str]) -> Iterator[ExportEvent]:
    for start, app, offset_s in rows:
        if app in (None, "") or start in (None, ""):
            left_out["without an app or a time"] += 1
            continue
        offset_min = None if offset_s in (None, "") else round(float(offset_s) / 60)
        yield ExportEvent(microseconds(float(start) + Y2001_S), str(app), offset_min)


READER = LogReader(name="knowledgec", title="Apple's knowledgeC database", recognizes=_recognizes, read=_read)
