"""Small logs in files, and what a store made of them holds."""

from datetime import UTC, datetime, timedelta

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest

NOON = 1_400_000_000  # 2014-05-13T16:53:20Z
EVENTS = ("mail", "music", "maps", "mail", "music", "chat")
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MOMENTS = [START + timedelta(minutes=10 * i) for i in range(6)]
SECONDS = [int(moment.timestamp()) for moment in MOMENTS]


def write_log(folder, times=(), name="log.csv", *, rows=None, header="user,time,event", delimiter=","):
    """A log of one user with the times, or of rows, as quoted CSV."""
    if rows is None:
        rows = [("u", time, event) for time, event in zip(times, EVENTS, strict=False)]
    lines = [header, *(delimiter.join(f'"{cell}"' for cell in row) for row in rows)]
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(log, out, **options):
    """The store, its statistics, and the lines that were said."""
    lines = []
    options = {"user": "user", "time": "time", "event": "event", "max_bad": 0.0, "threads": 1} | options
    statistics = ingest(IngestConfig(log=log, out=out, memory_limit="300MB", **options), lines.append)
    return EventStore.open(out), statistics, lines


def times_of(store):
    """(second, offset) of every event."""
    return list(zip(store.time_s.tolist(), store.utc_offset_min.tolist(), strict=True))


def names_of(store, user=0):
    """(event, location) of every event of a user."""
    return [(event.event, event.location) for event in store.named_events(user)]
