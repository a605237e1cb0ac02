"""Memory that the histories of many users take, and the time of an event.

    python research/measure_histories.py --users 1000000 --events 90

Fills a `MemoryHistory` through `Predictor.observe` and prints the resident memory that the process
gained, in bytes per user, events per second, and the time of a first and of a second prediction.
Users are told about in turns, an event each (`--in-turns`, which is how events arrive), or one
user after the other. Linux and macOS.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

from edgebehave import MemoryHistory, Predictor

START_S = 1_767_268_800


def resident_bytes() -> int:
    """Resident memory now; where the system does not say, the most there ever was."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def measure(num_users: int, num_events: int, num_names: int, in_turns: bool) -> dict[str, float]:
    """Fill a history and report; names are drawn from `num_names` events and as many locations."""
    history = MemoryHistory()
    predictor = Predictor(history=history)
    events = [f"app.{i}.open" for i in range(num_names)]
    locations = [f"place {i}" for i in range(num_names)]
    before = resident_bytes()
    start = time.perf_counter()
    for i in range(num_users * num_events):
        turn, user = divmod(i, num_users) if in_turns else divmod(i, num_events)[::-1]
        name = (i * 7919) % num_names
        predictor.observe(
            f"user-{user}",
            events[name],
            at=START_S + 3600 * turn,
            location=locations[name],
            utc_offset_min=60,
        )
    seconds = time.perf_counter() - start
    gained = resident_bytes() - before
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first: list[float] = []
    second: list[float] = []
    for user in range(0, num_users, max(1, num_users // 200)):
        for times in (first, second):
            asked = time.perf_counter()
            predictor.predict(f"user-{user}", at=START_S + 3600 * num_events)
            times.append(time.perf_counter() - asked)
    return {
        "num_users": num_users,
        "num_events_per_user": num_events,
        "in_turns": in_turns,
        "resident_bytes": resident_bytes(),
        "most_resident_bytes": most if sys.platform == "darwin" else most * 1024,
        "gained_bytes_per_user": round(gained / num_users, 1),
        "observe_us": round(seconds / (num_users * num_events) * 1e6, 2),
        "first_prediction_us": round(statistics.median(first) * 1e6, 1),
        "second_prediction_us": round(statistics.median(second) * 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=90, help="per user")
    parser.add_argument("--names", type=int, default=1000, help="different events, and places")
    parser.add_argument("--in-turns", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    print(json.dumps(measure(args.users, args.events, args.names, args.in_turns), indent=2))


if __name__ == "__main__":
    main()
