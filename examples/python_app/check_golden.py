"""Check that the SDK on this machine predicts what golden vectors say.

    python examples/python_app/check_golden.py BUNDLE GOLDEN [--first 100] [--at-least 1.0]

GOLDEN is a file of `edgebehave export --golden`, for any target. Needs numpy and onnxruntime alone;
`research/arm64/check.sh` runs it on arm64. Prints one line of JSON and fails if the best behavior
differs in more than 1 - at-least of the histories.
"""

import argparse
import gzip
import hashlib
import json
import platform
import sys
import time
from itertools import accumulate, islice
from pathlib import Path

from edgebehave import Predictor


def check(bundle: Path, golden: Path, first: int | None = None) -> dict[str, object]:
    """Shares of equal answers, and the largest difference of a probability.

    first  how many histories, from the first one on; None: all.
    """
    with gzip.open(golden, "rt", encoding="utf-8") as file:
        header = json.loads(next(file))
        lines = [json.loads(line) for line in islice(file, first)]
    if header["manifest"] != hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest():
        raise SystemExit(f"{golden} was not made from {bundle}; export both again")
    predictor = Predictor.load(bundle, state_mb=1e-6, max_ahead=None)
    same_top1 = same_top5 = 0
    largest, started = 0.0, time.perf_counter()
    for line in lines:
        columns = (line["event"], line["location"], line["utc_offset_min"])
        times = accumulate(line["time_step_s"])
        for event, location, offset, at in zip(*columns, times, strict=True):
            location = header["locations"][location]
            name = header["events"][event]
            predictor.observe("user", name, at=at, location=location, utc_offset_min=offset)
        expected = dict(line["expected"])
        answers = predictor.predict("user", len(expected), at=line["at"], utc_offset_min=line["at_utc_offset_min"])
        predictor.forget("user")
        same_top1 += answers[0].behavior == next(iter(expected))
        same_top5 += {answer.behavior for answer in answers} == set(expected)
        differences = [abs(a.probability - expected.get(a.behavior, a.probability)) for a in answers]
        largest = max(largest, *differences)
    return {
        "runtime": f"Python {platform.python_version()} on {platform.machine()}",
        "histories": len(lines),
        "same_top1": same_top1 / len(lines),
        "same_top5": same_top5 / len(lines),
        "largest_difference": largest,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--first", type=int, help="histories to check; all unless given")
    parser.add_argument("--at-least", type=float, default=1.0, help="share of equal top-1")
    given = parser.parse_args()
    report = check(given.bundle, given.golden, given.first)
    print(json.dumps(report))
    share = report["same_top1"]
    assert isinstance(share, float)
    sys.exit(share < given.at_least)


if __name__ == "__main__":
    main()
