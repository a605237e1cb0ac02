"""Workers give the stream of one process, and none of them outlives its caller."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgebehave_train.simulator.random_worlds import random_worlds
from edgebehave_train.simulator.world_workers import worlds_of_workers

SCRIPT = """
import multiprocessing, time
from edgebehave_train.simulator.world_workers import worlds_of_workers

if __name__ == "__main__":
    with worlds_of_workers(seed=0, num_events=64, num_workers=2) as worlds:
        next(worlds)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        while True:
            time.sleep(0.05)
            next(worlds)
"""


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_give_the_stream_of_one_process(num_workers):
    with worlds_of_workers(seed=2, num_events=40, num_workers=num_workers, first=3) as worlds:
        found = list(islice(worlds, 50))
    for ours, theirs in zip(found, random_worlds(2, 40, first=3), strict=False):
        assert np.array_equal(ours.behavior, theirs.behavior)
        assert np.array_equal(ours.location, theirs.location)
        assert np.array_equal(ours.local_s, theirs.local_s)
    assert len(found) == 50


def test_workers_end_with_an_exception_in_the_block():
    before = set(multiprocessing.active_children())

    def train():
        with worlds_of_workers(seed=0, num_events=20, num_workers=2) as worlds:
            next(worlds)
            assert len(set(multiprocessing.active_children()) - before) == 2
            raise RuntimeError("loss is nan")

    with pytest.raises(RuntimeError, match="loss is nan"):
        train()
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.skipif(os.name != "posix", reason="sends signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_caller_that_is_stopped(sent, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    caller = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert caller.stdout is not None
        workers = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(workers) == 2
        caller.send_signal(sent)
        assert caller.wait(timeout=60) != 0
        deadline = time.monotonic() + 30
        while any(map(is_running, workers)):
            assert time.monotonic() < deadline, "a worker outlived its caller"
            time.sleep(0.05)
    finally:
        caller.kill()
        caller.communicate()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A container without an init process may never bury a dead worker.
    state = Path(f"/proc/{pid}/stat")
    try:
        return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_worker_is_refused():
    with (
        pytest.raises(ValueError, match="at least 1, got 0"),
        worlds_of_workers(seed=0, num_events=20, num_workers=0),
    ):
        pass
