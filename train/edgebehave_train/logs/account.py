"""The account of a store that ends an ingest: what a look at the numbers can show to be wrong."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave.arguments import MAX_NAME_BYTES, is_bounded
from edgebehave_train.files import read_json
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.reading.files import IngestError
from edgebehave_train.wording import counted

_SAMPLE = 2_000_000
"""Events at the front of a store that are looked at; users stand in the order of a hash."""
_MOST_COMPARED = 100_000
"""Names of a kind, above which they are not compared with each other."""
_MANY = 0.5
_FEWEST = 10  # events, before a share of them means anything


def account(store: Path, statistics: Mapping[str, Any], *, days_allowed: bool, has_zone: bool) -> list[str]:
    """Lines on span, ties, clock, gaps and the busiest hour.

    store         folder, complete.
    statistics    its statistics.
    days_allowed  times without a clock were asked for.
    has_zone      the local time is known: it is in the log, or offsets came with the log or the command.
    Raises IngestError if most events happen at midnight and days are not allowed.
    """
    num_events = statistics["num_events"]
    opened = EventStore.open(store)
    user_start, time_s = opened.user_start, np.array(opened.time_s[:_SAMPLE])
    local_s = time_s + 60 * np.array(opened.utc_offset_min[:_SAMPLE], np.int64)
    at_midnight = float(np.mean((time_s % 86_400 == 0) | (local_s % 86_400 == 0)))
    if at_midnight > _MANY and num_events >= _FEWEST and not days_allowed:
        raise IngestError(
            f"{at_midnight:.0%} of the events happen at midnight: the times seem to be days without a clock; give the "
            "clock too (--date DATES --time CLOCKS), or --days to keep days in the order of the file"
        )
    first, last = (datetime.fromtimestamp(statistics[f"{end}_time_s"], UTC) for end in ("first", "last"))
    lines = [f"span: {first:%Y-%m-%d %H:%M} .. {last:%Y-%m-%d %H:%M} UTC, {counted(statistics['num_users'], 'user')}"]
    if statistics["last_time_s"] > time.time() + 86_400:
        lines.append(
            "warning: the last event lies in the future; if the span is wrong, give --time-unit or --time-format"
        )
    if num_events >= _FEWEST and statistics["first_time_s"] == statistics["last_time_s"]:
        lines.append("warning: all events happen at one time, so nothing can be learned from their order in time")
    if num_events >= _FEWEST and statistics["num_event_names"] == num_events:
        lines.append("warning: no event name occurs twice, so none can be predicted; name a coarser column (--event)")
    vocabulary = read_json(store / "vocabulary.json")
    names = {"event": vocabulary["events"], "location": vocabulary["locations"]}
    if statistics["num_users"] <= _SAMPLE:
        names["user"] = read_json(store / "users.json", list)
    if sum(map(_is_json, names["event"])) > len(names["event"]) / 2:
        lines.append(
            f"warning: event names are JSON, as {names['event'][-1]!r:.60}; name a nested column, as --event data.app"
        )
    lines += _names_that_look_equal(names) + _long_names(names)
    share = statistics["tied_events"] / num_events
    if share:
        order = {
            "file": "in the order of the rows",
            "file, newest first": "in the order of the rows from the last to the first",
            "hash": "in the order of a hash, as the rows of a user do not stand in time order",
        }[statistics["order_of_ties"]]
        lines.append(f"ties: {share:.1%} of the events share their time with another of the same user, {order}")
    if at_midnight > 0.01 and num_events >= _FEWEST:
        lines.append(f"clock: {at_midnight:.1%} of the events have none, or happen at midnight")
    gaps = np.diff(time_s)
    is_within = np.ones(len(gaps), bool)
    ends = user_start[1:-1]
    is_within[ends[ends <= len(gaps)] - 1] = False
    hours = np.bincount(local_s // 3600 % 24, minlength=24)
    busiest = int(hours.argmax())
    zone = "" if has_zone else " if UTC is local time; --timezone gives the zone"
    gap = f"typical gap of a user: {_duration(float(np.median(gaps[is_within])))}; " if is_within.any() else ""
    lines.append(
        f"{gap}busiest local hour: {busiest:02}-{(busiest + 1) % 24:02} h, {hours[busiest] / len(local_s):.0%}{zone}"
    )
    return lines


def _names_that_look_equal(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Warnings about names of events and users that differ only in case or in blanks around them; names of a kind."""
    lines = []
    for kind in ("event", "user"):
        found = names.get(kind, ())
        if len(found) > _MOST_COMPARED:
            continue
        first: dict[str, str] = {}
        pairs = [(first[key], name) for name in found if first.setdefault(key := name.strip().casefold(), name) != name]
        if pairs:
            lines.append(
                f"warning: {len(pairs):,} of the names of {kind}s differ from another only in case or in blanks around "
                f"them, as {pairs[0][0]!r:.60} and {pairs[0][1]!r:.60}; write them alike if they mean the same"
            )
    return lines


def _long_names(names: Mapping[str, Sequence[str]]) -> list[str]:
    """A line about names that end in a hash."""
    counts = {kind: sum(map(is_bounded, texts)) for kind, texts in names.items()}
    shown = ", ".join(f"{count:,} of {kind}s" for kind, count in counts.items() if count)
    if not shown:
        return []
    return [
        f"names: {shown} had more than {MAX_NAME_BYTES:,} bytes and end in a hash now, as they do in the SDK; if each "
        "is used once, name a coarser column"
    ]


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _is_json(name: str) -> bool:
    """Whether a name is an object or a list of JSON; "[Work] mail" is a name."""
    if not name.startswith(("{", "[")):
        return False
    try:
        json.loads(name)
    except ValueError:
        return False
    return True
