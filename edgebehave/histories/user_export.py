"""One user's history as text: to take along, to back up, to read."""

import json
from typing import Any

import numpy as np

from edgebehave.histories.history import NamedColumn, NamedEvents
from edgebehave.moments import EARLIEST_S, LATEST_S, check_offset
from edgebehave.names import check_name

FORMAT = "edgebehave user history"
FORMAT_VERSION = 1

_FIELDS = ("event", "location", "time_s", "utc_offset_min")


def write_user(num_events: int, events: NamedEvents) -> bytes:
    """What `read_user` reads: ASCII, one event a line.

    num_events  events observed, retained or not; at least as many as `events`.
    """
    columns = (
        events.event.rows(),
        events.location.rows(),
        events.time_s.tolist(),
        events.utc_offset_min.tolist(),
    )
    rows = (json.dumps(dict(zip(_FIELDS, row, strict=True))) for row in zip(*columns, strict=True))
    head = f'"format": "{FORMAT}", "version": {FORMAT_VERSION}, "num_events": {num_events}'
    lines = ",\n".join(rows)
    return f'{{{head}, "events": [\n{lines}\n]}}\n'.encode()


def read_user(data: bytes | str) -> tuple[int, NamedEvents]:
    """The number of events observed, and those retained.

    Raises TypeError or ValueError that says what is wrong, in whatever way.
    """
    if not isinstance(data, bytes | bytearray | str):
        raise TypeError(f"data must be what export_user returned, got {type(data).__name__}")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the data is not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"the data is JSON, but not of the format {FORMAT!r}")
    version = fields.get("version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(f"the data is of version {version!r:.20}, this edgebehave reads {FORMAT_VERSION}")
    rows = fields.get("events")
    if not isinstance(rows, list) or not rows:
        raise ValueError("events must be a list of at least one event")
    num_events = fields.get("num_events")
    if type(num_events) is not int or not len(rows) <= num_events < 2**62:
        raise ValueError(
            f"num_events must be an integer, at least the {len(rows)} events there are, got {num_events!r:.40}"
        )
    columns: tuple[list[Any], ...] = ([], [], [], [])
    for number, row in enumerate(rows):
        try:
            for column, value in zip(columns, _checked(row), strict=True):
                column.append(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"event {number} of the data: {error}") from None
    event, location, time_s, offset_min = columns
    events = NamedEvents(
        NamedColumn.of(event),
        NamedColumn.of(location),
        np.array(time_s, np.int64),
        np.array(offset_min, np.int64),
    )
    events.check()
    return num_events, events


def _checked(row: object) -> tuple[str, str | None, int, int]:
    if not isinstance(row, dict) or row.keys() != set(_FIELDS):
        raise ValueError(f"expected an object of {', '.join(_FIELDS)}")
    location, time_s = row["location"], row["time_s"]
    if type(time_s) is not int or not EARLIEST_S <= time_s < LATEST_S:
        raise ValueError(f"time_s must be whole seconds in 1990..2100, got {time_s!r:.40}")
    return (
        check_name(row["event"], "event"),
        None if location is None else check_name(location, "location"),
        time_s,
        check_offset(row["utc_offset_min"]),
    )
