"""The memory of a Predictor stays within `state_mb`, and threads of the app do not keep its process from ending."""

import subprocess
import sys
import tracemalloc

import pytest
from combined_bundle import write_combined
from lives import START_S, TINY

from edgebehave import Predictor


@pytest.mark.parametrize(
    ("what", "num_names", "num_users"),
    [
        *(("named", 40, 80), ("combined", 40, 60), ("universal", 40, 60), ("habits", 40, 50)),
        *(("named", 400, 50), ("universal", 400, 20), ("habits", 400, 10)),
    ],
)
def test_the_state_of_many_users_stays_within_state_mb(what, num_names, num_users, tmp_path):
    """However many names of their own they have; a user with 400 takes up to seven times as much as one with few."""
    if what != "habits":
        pytest.importorskip("onnxruntime")
    if what in ("named", "combined"):
        bundle = write_combined(tmp_path / "bundle") if what == "combined" else TINY / "int8"
        predictor = Predictor.load(bundle, state_mb=2, foreign="bundle")
    else:
        predictor = Predictor(model=what, state_mb=2)
    users = [f"user {number}" for number in range(num_users)]
    for user in users:
        rows = [(f"event {number % num_names}", START_S + 900 * number) for number in range(max(200, num_names))]
        names, times = zip(*rows, strict=True)
        predictor.observe_many([user] * len(rows), names, at=list(times), location="home", utc_offset_min=0)
    predictor.predict(users[0], at=START_S + 10**6)
    predictor._users.drop(users[0])
    tracemalloc.start()
    try:
        for user in users:
            predictor.predict(user, at=START_S + 10**6)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(predictor._users) < len(users)
    assert 500_000 < held < 2_000_000


_DAEMONS = """
import sys, threading, time
from edgebehave import Predictor, SqliteHistory
from edgebehave.histories.memory import MemoryHistory
history = SqliteHistory(sys.argv[1]) if len(sys.argv) > 1 else MemoryHistory()
predictor = Predictor(history=history, max_ahead=None)
def work(number):
    at = 1_700_000_000
    while True:
        at += 60
        predictor.observe(f"user {number}", f"event {at % 7}", at=at)
        predictor.predict(f"user {number}", at=at)
for number in range(4):
    threading.Thread(target=work, args=(number,), daemon=True).start()
deadline = time.monotonic() + 60
while len(predictor.users) < 4 and time.monotonic() < deadline:
    time.sleep(0.05)
time.sleep(0.3)
"""


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_process_with_busy_daemon_threads_ends(tmp_path, on_disk):
    """Python stops daemon threads wherever they are; neither a crash nor a lock may come of it."""
    given = [str(tmp_path / "h.db")] if on_disk else []
    done = subprocess.run([sys.executable, "-c", _DAEMONS, *given], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    if on_disk:
        from edgebehave import SqliteHistory

        assert len(Predictor(history=SqliteHistory(given[0])).users) == 4
