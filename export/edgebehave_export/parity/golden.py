"""Golden vectors: histories with the predictions that every client of a bundle must reproduce.

A gzip file of JSON Lines, beside a bundle and never inside it: its histories are as private as the log that
they come from. To publish it, make it from a simulated log. The first line describes the file:

    format     1
    manifest   SHA-256 of the bundle's manifest.json, which holds those of the other files
    histories  number of lines that follow
    events     names, for "event" below
    locations  names, for "location" below; the first is null, no location

Each further line is a history, a question, and the answer that a client must give:

    event, location, utc_offset_min   one number per event, oldest first
    time_step_s                       likewise: UTC seconds since the event before, first since 1970
    at, at_utc_offset_min             the moment to predict for; at is null if it is not known
    expected                          the most probable behaviors and their probabilities

A client starts anew for each line. At most MAX_HISTORIES lines of 512 events or the receptive
field: on check-in logs a megabyte, at most about five.
"""

# U users, A questions

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgebehave import Predictor
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.manifest import read_manifest
from edgebehave_train.files import file_digest, write_bytes
from edgebehave_train.logs.event_store import EventStore, NamedEvent
from edgebehave_train.logs.split import SplitConfig, part_bounds

FORMAT_VERSION = 1
MAX_HISTORIES = 1000
NUM_EXPECTED = 5

UNTIMED_EVERY = 8
"""One question in so many does not know its moment."""


class GoldenQuestion(NamedTuple):
    """A history, and the position in the store of the event to be predicted."""

    user: int
    start: int
    stop: int


def golden_questions(
    store: EventStore, split: SplitConfig, history_events: int, num_histories: int = MAX_HISTORIES
) -> list[GoldenQuestion]:
    """Choose behaviors of the validation part, of as many users as there are.

    history_events  the length to which a history is cut.
    Raises ValueError if the log has no validation part.
    """
    bounds_U4 = part_bounds(store, split)
    rng = np.random.default_rng(0)
    of_user = []
    for user, (start, train_stop, stop, _) in enumerate(bounds_U4.tolist()):
        first = max(train_stop, start + 1)
        asked = first + np.flatnonzero(np.asarray(store.behavior[first:stop]) > 0)
        if len(asked):
            of_user.append((user, start, rng.permutation(asked)))
    if not of_user:
        raise ValueError("the log has no validation part to take histories from; choose another")
    order = rng.permutation(len(of_user))
    questions: list[GoldenQuestion] = []
    for turn in range(max(len(asked) for _, _, asked in of_user)):
        for user, start, asked in (of_user[i] for i in order):
            if turn < len(asked) and len(questions) < num_histories:
                at = int(asked[turn])
                questions.append(GoldenQuestion(user, max(start, at - history_events), at))
    return questions


def write_golden(
    bundle: Path,
    store: EventStore,
    split: SplitConfig,
    out: Path,
    num_histories: int = MAX_HISTORIES,
) -> int:
    """Write the answers of the SDK with a bundle.

    Returns  the number of histories. Raises ValueError if the log has no validation part or the
             file would lie in a bundle.
    """
    check_golden_path(out, bundle)
    digest = read_manifest(bundle)["digest"]  # our own bundle, which may be large
    history_events = Bundle.open(bundle, digest=digest).shape.history_events
    questions = golden_questions(store, split, history_events, num_histories)
    predictor = Predictor.load(bundle, digest=digest, state_mb=1e-6, max_ahead=None, foreign="bundle")
    lines = list(_lines(predictor, store, questions))
    # Names in the order of their first use, each with its number.
    events: dict[str | None, int] = {}
    locations: dict[str | None, int] = {None: 0}
    for line in lines:
        line["event"] = [events.setdefault(name, len(events)) for name in line["event"]]
        line["location"] = [locations.setdefault(name, len(locations)) for name in line["location"]]
    header = {
        "format": FORMAT_VERSION,
        "manifest": file_digest(bundle / "manifest.json"),
        "histories": len(lines),
        "events": list(events),
        "locations": list(locations),
    }
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in (header, *lines))
    write_bytes(out, gzip.compress(text.encode(), mtime=0))
    return len(lines)


def check_golden_path(out: Path, bundle: Path) -> None:
    """Raises ValueError if golden vectors of a bundle must not be written here."""
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"{out} must be a file, in a folder that exists")
    if out.resolve().is_relative_to(bundle.resolve()):
        raise ValueError(
            f"{out} would lie in a bundle and ship users' histories with it; choose a file beside the bundle"
        )


def _lines(predictor: Predictor, store: EventStore, questions: list[GoldenQuestion]) -> Iterator[dict[str, Any]]:
    events: list[NamedEvent] = []
    user = -1
    for i, question in enumerate(questions):
        if question.user != user:
            user, events = question.user, list(store.named_events(question.user))
        first = int(store.user_start[user])
        history = events[question.start - first : question.stop - first]
        asked = events[question.stop - first]
        for event in history:
            event.observe_in(predictor, "user")
        at = None if i % UNTIMED_EVERY == UNTIMED_EVERY - 1 else asked.time_s
        expected = predictor.predict("user", NUM_EXPECTED, at=at, utc_offset_min=asked.utc_offset_min)
        predictor.forget("user")
        yield {
            "event": [event.event for event in history],
            "location": [event.location for event in history],
            "time_step_s": np.diff([event.time_s for event in history], prepend=0).tolist(),
            "utc_offset_min": [event.utc_offset_min for event in history],
            "at": at,
            "at_utc_offset_min": asked.utc_offset_min,
            "expected": [[p.behavior, round(p.probability, 6)] for p in expected],
        }
