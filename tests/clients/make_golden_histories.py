"""Golden histories for the universal bundle of the package: what a client in another language must answer.

    python tests/clients/make_golden_histories.py runs/golden.jsonl.gz
    node examples/node/check_golden.js edgebehave/universal_bundle runs/golden.jsonl.gz

The file is not kept: the seed and this script make it. Half of the histories are random worlds (routines, chains,
clocks, bursts), half are noise with a long tail; they have 1 to 600 events, with and without locations and times of the
question, and no two events at once: the SDK counts the same event twice as one. Where the two best probabilities are
equal except for rounding, the history is drawn again.
"""

import argparse
import gzip
import hashlib
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from edgebehave import Predictor
from edgebehave.bundles.universal_bundle import SHIPPED
from edgebehave_train.simulator.random_worlds import random_world

SEED = 19
NUM_HISTORIES = 1000
MAX_EVENTS = 600
MIN_LEAD = 1e-5
"""Of the best probability over the second, which runtimes may round differently."""
_NAMES, _PLACES = 600, 60
_START_S = 1_767_225_600


def columns_of(rng: np.random.Generator, num_events: int) -> dict[str, np.ndarray]:
    """Ids of names and of locations (0: none), seconds since the event before, and offsets of one history."""
    if rng.random() < 0.5:
        world = random_world(rng, num_events)
        names, places = world.behavior % _NAMES, (world.location + 1) % _PLACES
        steps = np.diff(world.local_s, prepend=world.local_s[0]).clip(1)
    else:
        names = np.minimum(rng.zipf(rng.uniform(1.2, 2.5), num_events), _NAMES) - 1
        places = rng.integers(0, rng.integers(1, 12), num_events)
        steps = 1 + rng.exponential(10 ** rng.uniform(1, 5), num_events).astype(np.int64)
    offsets = np.full(num_events, rng.choice([-480, 0, 60, 345, 540]))
    if rng.random() < 0.2:  # a traveler
        offsets[num_events // 2 :] = rng.choice([-300, 330])
    return {"event": names, "location": places, "time_step_s": steps, "utc_offset_min": offsets}


def history(rng: np.random.Generator) -> dict | None:
    """A line of the file; None if rounding would decide which name is the best."""
    num_events = int(np.exp(rng.uniform(0, np.log(MAX_EVENTS + 1))))
    columns = columns_of(rng, num_events)
    columns["time_step_s"][0] = _START_S + int(rng.integers(0, 10**7))
    predictor, at = Predictor(max_ahead=None), 0
    for name, place, step, offset in zip(*(column.tolist() for column in columns.values()), strict=True):
        at += step
        told = {"location": f"place {place}" if place else None, "utc_offset_min": offset}
        predictor.observe("user", f"name {name}", at=at, **told)
    asked = int(at + rng.exponential(20_000)) if rng.random() < 0.8 else None
    offset = int(columns["utc_offset_min"][-1])
    expected = [list(one) for one in predictor.predict("user", 5, at=asked, utc_offset_min=offset)]
    if len(expected) > 1 and expected[0][1] - expected[1][1] < MIN_LEAD:
        return None
    values = {name: column.tolist() for name, column in columns.items()}
    return {**values, "at": asked, "at_utc_offset_min": offset, "expected": expected}


def write_golden_histories(
    out: Path, num_histories: int = NUM_HISTORIES, mark: Callable[[], int] = lambda: 0
) -> list[tuple[int, int]]:
    """Write a file for check_golden.js. Returns what `mark` gave before and after each of the histories was drawn."""
    manifest = hashlib.sha256((SHIPPED / "manifest.json").read_bytes()).hexdigest()
    names, places = [f"name {name}" for name in range(_NAMES)], [None, *(f"place {p}" for p in range(1, _PLACES))]
    marks: list[tuple[int, int]] = []
    with gzip.open(out, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"manifest": manifest, "events": names, "locations": places}) + "\n")
        for number in count():
            before = mark()
            line = history(np.random.default_rng([SEED, number]))
            if line is not None:
                file.write(json.dumps(line) + "\n")
                marks.append((before, mark()))
            if len(marks) == num_histories:
                return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--histories", type=int, default=NUM_HISTORIES)
    args = parser.parse_args()
    write_golden_histories(args.out, args.histories)


if __name__ == "__main__":
    main()
