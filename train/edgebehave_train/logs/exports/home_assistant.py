"""Reader of Home Assistant's recorder: what people switch, with its new state; sensors change by themselves.

New databases keep names of entities in states_meta and times as unix seconds (schema 42, as in
https://github.com/JacobsenKim/ha2mariadb), old ones entity_id and times as texts in UTC in states (as in
https://github.com/lmagyar/homeassistant-addon-mariadb-inmemory). The CSV of the history page has entity_id, state and
last_changed. A row whose last change is older than its last update changed attributes alone, as the brightness.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from edgebehave_train.logs.exports.export_file import ExportFile
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader, microseconds_of_unix, moment_of_iso
from edgebehave_train.logs.reading.files import IngestError

DOMAINS = (
    "light", "switch", "media_player", "fan", "cover", "lock", "climate", "humidifier", "water_heater", "valve",
    "vacuum", "lawn_mower", "siren", "remote", "alarm_control_panel", "scene", "script", "button", "input_boolean",
    "input_button", "input_select", "input_number", "input_text", "input_datetime", "select", "number",
)  # fmt: skip
"""Kinds of entities that people operate."""

_NO_STATE = ("unavailable", "unknown", "", None)
_TIMES = ("last_updated_ts", "last_updated", "last_changed_ts", "last_changed")


def _recognizes(file: ExportFile) -> bool:
    states = file.tables.get("states", frozenset())
    if states:
        return "state" in states and ("metadata_id" in states or "entity_id" in states) and bool(states & set(_TIMES))
    names = file.columns.keys()
    return names >= {"entityid", "state"} and any(name.replace("_", "") in names for name in _TIMES)


def _read(file: ExportFile) -> Export:
    left_out: Counter[str] = Counter()
    rows = _rows_of_database(file) if file.tables else _rows_of_csv(file)
    return Export(
        events=_events(file, rows, left_out), zone="utc", user="home", used="states of devices", left_out=left_out
    )


def _rows_of_database(file: ExportFile) -> Iterator[tuple[Any, ...]]:
    states = file.tables["states"]
    new = "metadata_id" in states and "states_meta" in file.tables
    entity = "m.entity_id" if new else "s.entity_id"
    if new and "entity_id" in states:  # rows from before the change keep their name
        entity = "coalesce(m.entity_id, s.entity_id)"
    join = "LEFT JOIN states_meta m ON m.metadata_id = s.metadata_id" if new else ""

    def first(*names: str) -> str:
        found = [f"s.{name}" for name in names if name in states] + ["NULL", "NULL"]
        return f"coalesce({', '.join(found)})"

    order = "s.state_id" if "state_id" in states else "s.rowid"
    yield from file.query(
        f"SELECT {entity}, s.state, {first('last_updated_ts', 'last_updated')}, "
        f"{first('last_changed_ts', 'last_changed')} FROM states s {join} ORDER BY {order}"
    )


def _rows_of_csv(file: ExportFile) -> Iterator[tuple[Any, ...]]:
    for row in file.rows():
        updated = row.get("lastupdatedts") or row.get("lastupdated")
        yield row.get("entityid"), row.get("state"), updated, row.get("lastchangedts") or row.get("lastchanged")


def _moment(time: Any) -> tuple[int | None, int | None]:
    """Unix microseconds of seconds, of their text, or of a date, UTC where it names no zone; and its offset."""
    if time in (None, ""):
        return None, None
    try:
        return microseconds_of_unix(float(time)), None
    except ValueError:
        return moment_of_iso(str(time))


def _events(file: ExportFile, rows: Iterable[tuple[Any, ...]], left_out: Counter[str]) -> Iterator[ExportEvent]:
    others: Counter[str] = Counter()
    has_devices = False
    for entity, state, updated, changed in rows:
        domain = str(entity or "").partition(".")[0]
        if domain not in DOMAINS:
            others[domain] += 1
            left_out["of sensors and others that change by themselves"] += 1
            continue
        has_devices = True
        changed_us, offset_min = _moment(changed)
        time_us = changed_us
        if (moment := _moment(updated))[0] is not None:
            time_us, offset_min = moment
        if state in _NO_STATE:
            left_out["unavailable or unknown"] += 1
        elif time_us is None:
            left_out["without a time"] += 1
        elif changed_us is not None and changed_us < time_us:
            left_out["changes of attributes alone"] += 1
        else:
            yield ExportEvent(time_us, f"{entity} {state}", offset_min)
    if not has_devices:
        found = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(3)) or "none"
        raise IngestError(
            f"{file.path} is an export of Home Assistant without lights, switches or other devices that people operate "
            f"(it has: {found}); sensors change by themselves and are no behavior"
        )


READER = LogReader(name="home-assistant", title="states of Home Assistant", recognizes=_recognizes, read=_read)
