"""The machine of a training run: device, precision, threads, memory allocator.

On a CPU a run takes as many threads as there are cores that nothing else uses. A step is hundreds of small parallel
loops, and each waits for its slowest thread. Beside another job that keeps the cores busy, two threads on two cores
take many times as long as one: a thread that waits for the other spins, while the other has no core.
"""

import contextlib
import ctypes
import os
import platform
import time
from pathlib import Path

import torch

_SAMPLE_S = 0.3


def fast_precision(device: torch.device, wanted: str = "auto") -> torch.dtype:
    """bfloat16 where the hardware multiplies it, unless float32 or bfloat16 is wanted."""
    if wanted == "float32":
        return torch.float32
    if wanted == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        flags = torch.cpu.get_capabilities()
        fast = flags.get("avx512_bf16", False) or flags.get("amx_bf16", False)
        return torch.bfloat16 if fast else torch.float32
    return torch.float32


def choose_device(name: str = "auto") -> torch.device:
    """CUDA if it is there, else the CPU, unless a device is named.

    Apple's GPU has to be asked for ("mps"): it was never measured, and a run on it resumes with other random numbers.
    Raises ValueError for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device must be auto, cpu, cuda or mps, got {name!r}")
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device mps was asked for, but it is not there; use --device cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch sees no CUDA GPU; use --device cpu")
    return device


def keep_buffers_in_heap() -> None:
    """Let glibc reuse large buffers instead of returning them to the system after every step.

    Saves page faults: a third of the training time of a small model on a CPU.
    """
    if platform.system() != "Linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another libc: nothing to gain
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mmap_threshold, trim_threshold = -3, -1  # malloc.h
        mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, 2**31 - 1)


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
