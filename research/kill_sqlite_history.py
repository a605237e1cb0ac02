"""Test that acknowledged events of an SQLite history survive kill -9.

    python research/kill_sqlite_history.py --kills 1000

In each round two processes observe events in one file, each of a user of its own, as fast as they
can, forget one now and then, and say after each step that it is done. At a random moment they are
killed. Then the file must be whole, each user's history must be that after the steps acknowledged,
or after the one step more that was under way, and predictions over it must be equal to the bit to
those of a predictor in memory. The next round goes on from there. Linux and macOS.
"""

import argparse
import json
import os
import random
import select
import signal
import sqlite3
import tempfile
import time
from pathlib import Path

from edgebehave import Predictor, SqliteHistory

START_S = 1_767_268_800


def step(predictor: Predictor, user: str, number: int, batch: int) -> None:
    """One step of a process: observe, and every ninth time forget."""
    if number % 9 == 8:
        predictor.forget_event(user, at=START_S + 60 * batch * (number - 4))
        return
    numbers = range(batch * number, batch * (number + 1))
    events, locations = ([f"app.{i % 7}.open" for i in numbers], [f"place {i % 3}" for i in numbers])
    # Every fifth event comes late.
    at = [START_S + 60 * i - (150 if i % 5 == 4 else 0) for i in numbers]
    if batch == 1:
        predictor.observe(user, events[0], at=at[0], location=locations[0])
    else:
        predictor.observe_many([user] * batch, events, at=at, location=locations)


def work(path: Path, user: str, number: int, batch: int, acknowledge: int) -> None:
    """Take steps and acknowledge them through a pipe, until killed."""
    predictor = Predictor(history=SqliteHistory(path, timeout_s=60))
    while True:
        step(predictor, user, number, batch)
        os.write(acknowledge, b".")
        number += 1


def start(path: Path, user: str, number: int, batch: int) -> tuple[int, int]:
    """Start a process that works from a step on. Returns its id and the pipe of its acknowledgments."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            work(path, user, number, batch, writing)
        finally:
            os._exit(1)
    os.close(writing)
    return process, reading


class Model:
    """A user in memory, who takes the same steps."""

    def __init__(self, user: str, batch: int) -> None:
        self.user, self.batch = user, batch
        self.predictor = Predictor()
        self.num_steps = 0

    def advance(self, num_steps: int) -> None:
        for number in range(self.num_steps, self.num_steps + num_steps):
            step(self.predictor, self.user, number, self.batch)
        self.num_steps += num_steps

    def equals(self, other: Predictor) -> bool:
        """True if another predictor has the same events and predictions, to the bit."""
        return answers(self.predictor, self.user) == answers(other, self.user)


def answers(predictor: Predictor, user: str) -> tuple[int, list[str], bytes]:
    names, probs = predictor.probabilities(user, at=START_S + 10**8)
    return predictor.num_events(user), names, probs.tobytes()


def round_of_kills(path: Path, models: list[Model], draw: random.Random) -> tuple[int, int]:
    """Run one process per user and kill all together. Returns the numbers of steps that were acknowledged and that
    were done without it.

    Raises AssertionError if an acknowledged step is lost, HistoryError if the file is damaged.
    """
    processes = [start(path, model.user, model.num_steps, model.batch) for model in models]
    # Wait for the first step of any, then for a moment in some later one.
    select.select([reading for _, reading in processes], [], [])
    time.sleep(draw.uniform(0, 0.2))
    for process, _ in processes:
        os.kill(process, signal.SIGKILL)
    acknowledged = [0] * len(models)
    for i, (process, reading) in enumerate(processes):
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "a process ended by itself: see what it printed"
        while received := os.read(reading, 65536):
            acknowledged[i] += len(received)
        os.close(reading)
    num_more = 0
    with SqliteHistory(path) as history:
        history.check()
        predictor = Predictor(history=history)
        for model, num_steps in zip(models, acknowledged, strict=True):
            model.advance(num_steps)
            if not model.equals(predictor):
                model.advance(1)
                num_more += 1
            assert model.equals(predictor), f"{model.user}: {num_steps} steps were acknowledged"
    return sum(acknowledged), num_more


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="rounds, each kills all processes")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="events a step observes together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the file goes; default: a temporary one")
    args = parser.parse_args()
    draw, began = random.Random(args.seed), time.perf_counter()
    num_steps = num_more = 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "history.db"
        models = [Model(f"user {i}", args.batch) for i in range(args.processes)]
        for _ in range(args.kills):
            acknowledged, more = round_of_kills(path, models, draw)
            num_steps += acknowledged
            num_more += more
    report = {
        "sqlite": sqlite3.sqlite_version,
        "rounds": args.kills,
        "events_in_a_step": args.batch,
        "processes_killed": args.kills * args.processes,
        "steps_acknowledged": num_steps,
        "acknowledged_steps_lost": 0,
        "steps_done_but_not_acknowledged": num_more,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
