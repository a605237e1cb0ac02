"""Processor time of two versions of the runtime on one bundle: observe, predict, and opening, in alternating pairs.

    git worktree add ../old 559088b
    python research/compare_runtimes.py ../old . BUNDLE --pairs 30

Each version runs in a process of its own, which has told 10 users 600 events each. A pair asks both for 60 events of
each user, a prediction after every event, and then opens the bundle, in turns which of them begins. The time of a
thread is measured, so that other work on the machine counts little; the ratio is the median over pairs. The start of a
process, with all imports, is a part of the row "cold start", and has pairs of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

_CHILD = """
import json, sys, time
from pathlib import Path
from edgebehave import Predictor
bundle, clock = sys.argv[1], time.thread_time_ns
names = json.loads((Path(bundle) / "vocabulary.json").read_text(encoding="utf-8"))
events, places = names["events"][1:], names["locations"][1:] or [None]
users = [f"user {number}" for number in range(10)]
predictor = Predictor.load(bundle)

def event(number):
    return events[number * 7 % len(events)], 1_700_000_000 + number * 911, places[number % len(places)]

for number in range(600):
    for user in users:
        name, at, place = event(number)
        predictor.observe(user, name, at=at, location=place, utc_offset_min=60)
for user in users:
    predictor.predict(user, at=1_700_000_000 + 600 * 911)
for line in sys.stdin:
    observe, predict = [], []
    for number in range(number + 1, number + 61):
        name, at, place = event(number)
        for user in users:
            began = clock()
            predictor.observe(user, name, at=at, location=place, utc_offset_min=60)
            observed = clock()
            predictor.predict(user, at=at + 60)
            predict.append(clock() - observed)
            observe.append(observed - began)
    began = clock()
    Predictor.load(bundle)
    opened = clock() - began
    print(json.dumps([sorted(observe)[300] / 1e3, sorted(predict)[300] / 1e3, opened / 1e3]), flush=True)
"""
_START = "import sys; from edgebehave import Predictor; Predictor.load(sys.argv[1])"
ROWS = ("observe", "predict", "open a bundle", "cold start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs=2, type=Path, help="two source trees, the old one first")
    parser.add_argument("bundle", type=Path, help="a bundle that both can read")
    parser.add_argument("--pairs", type=int, default=30)
    given = parser.parse_args()
    bundle = str(given.bundle.resolve())
    children = [_child(tree, _CHILD, bundle) for tree in given.trees]
    pairs: list[list[list[float]]] = []
    for number in range(given.pairs):
        pair: list[list[float]] = [[], []]
        for which in (0, 1) if number % 2 else (1, 0):
            child = children[which]
            child.stdin.write("go\n")
            child.stdin.flush()
            pair[which] = [*json.loads(child.stdout.readline()), _cold_start_us(given.trees[which], bundle)]
        pairs.append(pair)
    for child in children:
        child.communicate()
    print("| | old, us | new, us | ratio, median of pairs | quartiles |\n|---|---:|---:|---:|---|")
    for row, name in enumerate(ROWS):
        old, new = ([pair[which][row] for pair in pairs] for which in (0, 1))
        ratios = [after / before for before, after in zip(old, new, strict=True)]
        first, middle, third = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        medians = statistics.median(old), statistics.median(new)
        print(f"| {name} | {medians[0]:,.1f} | {medians[1]:,.1f} | {middle:.3f} | {first:.3f}, {third:.3f} |")


def _child(tree: Path, code: str, bundle: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", code, bundle]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _cold_start_us(tree: Path, bundle: str) -> float:
    child = _child(tree, _START, bundle)
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{tree} cannot open {bundle}")
    return (usage.ru_utime + usage.ru_stime) * 1e6


if __name__ == "__main__":
    main()
