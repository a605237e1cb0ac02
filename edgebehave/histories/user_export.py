"""The history of one user as JSON text, to move, to back up, or to read."""

import json

from edgebehave.arguments import check_name
from edgebehave.histories.history import NamedEvents
from edgebehave.moments import EARLIEST_S, LATEST_S, check_offset

FORMAT = "edgebehave user history"
FORMAT_VERSION = 1

_FIELDS = ("event", "location", "time_s", "utc_offset_min")


def write_user(num_events: int, events: NamedEvents) -> bytes:
    """The text that `read_user` reads: ASCII, one event a line.

    num_events  events observed, retained or not; at least as many as `events`.
    """
    lines = ",\n".join(json.dumps(dict(zip(_FIELDS, row, strict=True))) for row in events.rows())
    head = f'"format": "{FORMAT}", "version": {FORMAT_VERSION}, "num_events": {num_events}'
    return f'{{{head}, "events": [\n{lines}\n]}}\n'.encode()


def read_user(data: bytes | str) -> tuple[int, NamedEvents]:
    """The number of events observed, and the retained events.

    Raises TypeError or ValueError that says where the data differs from what `write_user` writes.
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
    checked = []
    for number, row in enumerate(rows):
        try:
            checked.append(_checked(row))
        except (TypeError, ValueError) as error:
            raise ValueError(f"event {number} of the data: {error}") from None
    return num_events, NamedEvents.of(checked)


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
