"""Readers of the histories of Chrome, Firefox and Safari: the domain of each visit, in their SQLite databases.

Chrome   `History` of a profile: visits.visit_time in microseconds since 1601. transition & 0xFF is the type, and the
         high bits tell where a visit stands in a chain of redirects (Chromium's ui/base/page_transition_types.h).
Firefox  places.sqlite: moz_historyvisits.visit_date in unix microseconds, visit_type as TRANSITION_... of
         nsINavHistoryService.idl.
Safari   History.db: history_visits.visit_time in seconds since 2001 (schema as in Beam's SafariImporter.swift and
         plaso's safari.py).

Frames, downloads and pages that only redirected are no visits of the user. Edge, Brave, Opera and Vivaldi write
Chrome's database.
"""

from collections import Counter
from collections.abc import Iterator

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Y2001_S, Export, ExportEvent, LogReader, domain_of

_Y1601_US = 11_644_473_600 * 1_000_000
_CHROME_FRAMES = (3, 4, 10)  # AUTO_SUBFRAME, MANUAL_SUBFRAME, KEYWORD_GENERATED
_CHAIN, _CHAIN_END = 0xF0000000, 0x20000000
_FIREFOX_SEEN = (1, 2, 3, 5, 6, 9)  # not EMBED, DOWNLOAD, FRAMED_LINK


def _is_chrome(file: ExportFile) -> bool:
    tables = file.tables
    return "visit_time" in tables.get("visits", ()) and "url" in tables.get("urls", ())


def _read_chrome(file: ExportFile) -> Export:
    transition = "v.transition" if "transition" in file.tables["visits"] else "0"
    frames = f"({transition} & 255) IN {_CHROME_FRAMES}"
    passed = f"({transition} & {_CHAIN}) <> 0 AND ({transition} & {_CHAIN_END}) = 0"
    return _export(
        file,
        f"SELECT v.visit_time - {_Y1601_US}, u.url, CASE WHEN {frames} THEN 'frames of pages' "
        f"WHEN {passed} THEN 'redirects' END "
        "FROM visits v JOIN urls u ON u.id = v.url ORDER BY v.visit_time, v.id",
    )


def _is_firefox(file: ExportFile) -> bool:
    tables = file.tables
    return "visit_date" in tables.get("moz_historyvisits", ()) and "url" in tables.get("moz_places", ())


def _read_firefox(file: ExportFile) -> Export:
    return _export(
        file,
        f"SELECT v.visit_date, p.url, CASE WHEN v.visit_type NOT IN {_FIREFOX_SEEN} THEN 'frames and downloads' "
        "WHEN EXISTS (SELECT 1 FROM moz_historyvisits n WHERE n.from_visit = v.id AND n.visit_type IN (5, 6)) "
        "THEN 'redirects' END "
        "FROM moz_historyvisits v JOIN moz_places p ON p.id = v.place_id ORDER BY v.visit_date, v.id",
    )


def _is_safari(file: ExportFile) -> bool:
    tables = file.tables
    return "visit_time" in tables.get("history_visits", ()) and "url" in tables.get("history_items", ())


def _read_safari(file: ExportFile) -> Export:
    columns = file.tables["history_visits"]
    failed = "v.load_successful = 0" if "load_successful" in columns else "0"
    passed = "v.redirect_destination IS NOT NULL" if "redirect_destination" in columns else "0"
    return _export(
        file,
        f"SELECT CAST(round((v.visit_time + {Y2001_S}) * 1000000.0) AS INTEGER), i.url, "
        f"CASE WHEN {passed} THEN 'redirects' WHEN {failed} THEN 'not loaded' END "
        "FROM history_visits v JOIN history_items i ON i.id = v.history_item ORDER BY v.visit_time, v.id",
    )


def _export(file: ExportFile, sql: str) -> Export:
    """sql  rows of (unix microseconds, URL, reason to leave it out or NULL)."""
    left_out: Counter[str] = Counter()

    def events() -> Iterator[ExportEvent]:
        for time_us, url, reason in file.query(sql):
            domain = domain_of(url)
            if reason is None and (domain is None or time_us is None):
                reason = "not of the web"
            if reason is not None or domain is None:
                left_out[reason] += 1
            else:
                yield ExportEvent(time_us, domain)

    return Export(events=events(), zone="utc", used="domains of visits", left_out=left_out)


CHROME = LogReader(name="chrome", title="a history of Chrome", recognizes=_is_chrome, read=_read_chrome)
FIREFOX = LogReader(name="firefox", title="a history of Firefox", recognizes=_is_firefox, read=_read_firefox)
SAFARI = LogReader(name="safari", title="a history of Safari", recognizes=_is_safari, read=_read_safari)
