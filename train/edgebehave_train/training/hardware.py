"""The machine of a training run: device, precision, memory allocator."""

import contextlib
import ctypes
import platform

import torch


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
