"""ONNX Runtime, loaded when the first graph is: one thread, and no silent surprises."""

import functools
import importlib
import warnings
from collections.abc import Sequence
from typing import Any

CPU = "CPUExecutionProvider"
CPU_DEVICE = "cpu"
"""Name of main memory, for binding."""

# Two packages that install the same module: the one that came last has overwritten the other.
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


@functools.cache
def load_onnxruntime() -> Any:
    """The module. Raises ImportError that says what to install; warns of a mixed installation."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            'a bundle needs ONNX Runtime: pip install "edgebehave[cpu]", or "edgebehave[gpu]" '
            f"for CUDA, never both ({error})"
        ) from error
    if all(_is_installed(package) for package in _PACKAGES):
        warnings.warn(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "uninstall both, then install the one that is wanted",
            RuntimeWarning,
            stacklevel=2,
        )
    return onnxruntime


def open_graph(model: bytes, providers: Sequence[str] | None = None) -> Any:
    """An inference session on one thread; `run(None, {input name: array})` gives its outputs.

    model      a whole ONNX file; graphs whose weights lie in other files do not load.
    providers  execution providers, best first; the CPU stands in for those that are not there.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    # These graphs are so small that a second thread costs more than it does.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # All of a run's memory at once from the C library, nothing in it used twice: 3 % quicker.
    options.enable_cpu_mem_arena = options.enable_mem_reuse = False
    available = set(onnxruntime.get_available_providers())
    wanted = [name for name in providers or () if name in available and name != CPU]
    return onnxruntime.InferenceSession(model, options, providers=[*wanted, CPU])


def running_providers(session: Any) -> tuple[str, ...]:
    """Execution providers that a session really has, best first."""
    return tuple(session.get_providers())


def _is_installed(package: str) -> bool:
    # Imported here: it takes a tenth of the time that importing the SDK may take.
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
