"""Threads of a training run on a CPU: as many as there are cores that nothing else uses.

A step is hundreds of small parallel loops, and each waits for its slowest thread. Beside another job that keeps the
cores busy, two threads on two cores take many times as long as one: a thread that waits for the other spins, while the
other has no core.
"""

import os
import time
from pathlib import Path

import torch

_SAMPLE_S = 0.3


def choose_threads() -> int:
    """Set and return the threads of torch in this process: those of OMP_NUM_THREADS, or one for each free core.

    Never more than torch has now, and at least 1. Sums depend on the number of threads in the last bit.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > 1:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), round(free_cores()))))
    return torch.get_num_threads()


def free_cores() -> float:
    """Cores that are idle now: measured for a moment on Linux, elsewhere by the load of the last minute."""
    num_cores = os.cpu_count() or 1
    before = _idle_s()
    if before is None:
        return num_cores - os.getloadavg()[0] if hasattr(os, "getloadavg") else num_cores
    started = time.monotonic()
    time.sleep(_SAMPLE_S)
    after = _idle_s()
    assert after is not None
    return min(float(num_cores), (after - before) / (time.monotonic() - started))


def _idle_s() -> float | None:
    """Seconds that the cores have been idle since the system began, summed; None where it is not known."""
    try:
        _, *columns = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
        return sum(map(int, columns[3:5])) / os.sysconf("SC_CLK_TCK")  # idle, and waiting for a disk
    except (OSError, ValueError, IndexError, AttributeError):
        return None
