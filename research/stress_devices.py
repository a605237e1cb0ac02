"""Fork a process whose threads are busy with one user, and forget on a full disk.

    python research/stress_devices.py --forks 200 --full-disks 50

Forks: four threads observe and predict for the same user without a pause, half of the forks with a bundle and half
without one. Each child observes and predicts for that user too, and compares the answer with that of a predictor made
anew from the user's export. A child that has not ended after 60 s counts as a deadlock.

Full disks: a history of 60 to 500 events forgets one while no file can grow over the size of this one (RLIMIT_FSIZE),
so that the copy without the forgotten event does not fit beside it. Then the file must open, with no room as with
room, keep every other event, and hold no byte of the forgotten one once there is room. Linux and macOS.
"""

import argparse
import json
import os
import random
import resource
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edgebehave import HistoryError, Predictor, SqliteHistory

TINY = Path(__file__).parents[1] / "tests" / "edgebehave" / "tiny_bundle" / "int8"
START_S = 1_767_268_800


def in_child(work: Callable[[], int], timeout_s: float = 60) -> int | None:
    """The exit status of a fork of this process, None if it had to be killed."""
    process = os.fork()
    if process == 0:
        status = 99
        try:
            status = work()
        finally:
            os._exit(status)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def fork_under_load(num_forks: int, with_bundle: bool) -> Counter[str]:
    """How the children ended: well, with another answer, with an error, or not at all."""

    def make() -> Predictor:
        return Predictor.load(TINY) if with_bundle else Predictor(model="habits")

    predictor = make()
    predictor.observe("ada", "mail", at=START_S)
    stop, errors = threading.Event(), []

    def work(number: int) -> None:
        at = START_S + number
        try:
            while not stop.is_set():
                at += 4
                predictor.observe("ada", f"event {at % 7}", at=at)
                predictor.predict("ada", at=at)
        except Exception as error:
            errors.append(error)

    def child() -> int:
        at = START_S + 10**7
        predictor.observe("ada", "mail", at=at)
        answer, known = predictor.predict("ada", at=at + 60), make()
        known.import_user("ada", predictor.export_user("ada"))
        return 0 if known.predict("ada", at=at + 60) == answer else 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    ends: Counter[str] = Counter()
    try:
        for _ in range(num_forks):
            status = in_child(child)
            ends["deadlocks" if status is None else {0: "well", 1: "other answers"}.get(status, "errors")] += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    ends["errors"] += len(errors)
    return ends


def forget_on_a_full_disk(folder: Path, draw: random.Random) -> Counter[str]:
    """What happened at one forgetting; raises AssertionError if the history is not as it must be."""
    path = folder / "history.db"
    num_events = draw.randint(60, 500)
    secret = f"secret-{draw.getrandbits(64):016x}"
    with SqliteHistory(path, survives_power_loss=False) as history:
        for i in range(num_events):
            history.append("ada", secret if i == 50 else f"app.{i % 9}", None, START_S + i, 0)
    limit = path.stat().st_size

    def forget() -> int:
        """0 forgotten and erased, 1 forgotten, 2 not forgotten; 10 more if it did not open without room."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        warnings.simplefilter("ignore", RuntimeWarning)
        history = SqliteHistory(path, survives_power_loss=False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            Predictor(history=history, model="habits").forget_event("ada", secret)
            status = 0
        except HistoryError as error:
            status = 1 if "it is forgotten, but traces are left" in str(error) else 2
        history.close()
        try:
            with SqliteHistory(path, survives_power_loss=False) as again:
                num_left = len(again.latest("ada", 1000)[1])  # type: ignore[index]
        except HistoryError:
            return status + 10
        return status if num_left == num_events - (status != 2) else 50

    status = in_child(forget)
    counts: Counter[str] = Counter({f"ended with {status}": 1, "opened on the full disk": int(status in (0, 1, 2))})
    with SqliteHistory(path, survives_power_loss=False) as history:
        history.check()
        if status in (2, 12):
            assert history.forget_events("ada", _match(secret)) == 1
        assert len(history.latest("ada", 1000)[1]) == num_events - 1  # type: ignore[index]
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    assert secret.encode() not in content, "a forgotten name is in the file"
    counts["erased when there was room"] += 1
    for file in folder.iterdir():
        file.unlink()
    return counts


def _match(event: str):  # type: ignore[no-untyped-def]
    from edgebehave.histories.history import Match

    return Match(event, None, 0, 2**33)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--forks", type=int, default=200)
    parser.add_argument("--full-disks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # forks of a process with threads are the subject
    draw, disks = random.Random(args.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.full_disks):
            disks += forget_on_a_full_disk(Path(folder), draw)
    forks = fork_under_load(args.forks // 2, True) + fork_under_load(args.forks - args.forks // 2, False)
    report = {"forks": args.forks, **forks, "full disks": args.full_disks, **disks}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
