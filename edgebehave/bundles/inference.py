"""ONNX Runtime: loaded with the first graph, one thread per graph, and a warning for every fallback."""

import atexit
import functools
import importlib
import os
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.manifest import BundleError

Array = npt.NDArray[np.generic]

CPU = "CPUExecutionProvider"
# Both packages install the same module: the one that was installed last has overwritten the other.
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


_LONGEST_RUN_S = 5.0
_inside: set[int] = set()
"""Threads that are inside ONNX Runtime."""
_exiting: list[int] = []
"""The thread that ends the process, once it does."""


def _enter() -> int:
    """Note that this thread enters ONNX Runtime; its number, for `_inside.discard`.

    Python stops daemon threads at exit where they take the interpreter's lock again. Inside ONNX Runtime that would end
    the process with "terminate called". So the exit waits for the threads inside, and others end before they enter.
    """
    thread = threading.get_ident()
    _inside.add(thread)
    if _exiting and thread != _exiting[0]:
        _inside.discard(thread)
        raise SystemExit  # of a daemon thread, which ends without a word
    return thread


def _wait_for_runs() -> None:
    _exiting.append(threading.get_ident())
    deadline = time.monotonic() + _LONGEST_RUN_S
    while _inside - {_exiting[0]} and time.monotonic() < deadline:
        time.sleep(0.001)


atexit.register(_wait_for_runs)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inside.clear)


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
    providers  execution providers, best first; the CPU replaces those that are not available.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    # These graphs are so small that a second thread costs more than it does.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    # All memory of a run comes from the C library at once and none of it is reused: 3 % quicker.
    options.enable_cpu_mem_arena = options.enable_mem_reuse = False
    available = set(onnxruntime.get_available_providers())
    wanted = [name for name in providers or () if name in available and name != CPU]
    thread = _enter()
    try:
        return onnxruntime.InferenceSession(model, options, providers=[*wanted, CPU])
    finally:
        _inside.discard(thread)


def run_graph(session: Any, outputs: Sequence[str], inputs: Mapping[str, Array]) -> Any:
    """Arrays of these outputs. Raises BundleError if the graph cannot be computed for these inputs."""
    thread = _enter()
    try:
        return session.run(outputs, inputs)
    # ONNX Runtime raises a dozen classes of its own, most of them plain RuntimeErrors.
    except Exception as error:
        raise _failed(error) from None
    finally:
        _inside.discard(thread)


def _failed(error: Exception) -> BundleError:
    return BundleError(f"a graph of the bundle fails: {said(error)}; export the bundle again from its checkpoint")


def said(error: Exception) -> str:
    """What ONNX Runtime says, on one line: names of a stranger's graph stand in it as they are."""
    return "".join(each if each.isprintable() else " " for each in str(error)[:400])


def _is_installed(package: str) -> bool:
    # Imported here: it takes a tenth of the time that importing the SDK may take.
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


class BoundGraph:
    """A session of ONNX Runtime with its inputs and outputs bound to arrays of ours.

    A run copies, converts and looks up nothing: for graphs this small, `session.run` spends as much time
    on that as on the graph. The arrays are kept alive; they must be contiguous.
    """

    def __init__(self, session: Any, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs: dict[str, Array] = {}
        for name, array in inputs.items():
            self.bind(name, array)
        self._outputs: dict[str, Array] = {}
        for name, array in outputs.items():
            self.bind_output(name, array)

    def bind(self, name: str, array: Array) -> None:
        """Take an input from another array from now on."""
        assert array.flags.c_contiguous, name
        self._inputs[name] = array
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def bind_output(self, name: str, array: Array) -> None:
        """Write an output into another array from now on; its sizes must be those of the output."""
        assert array.flags.c_contiguous, name
        self._outputs[name] = array
        self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Compute the outputs in place; errors as `run_graph`. Run options, even default ones, would cost 30 us."""
        thread = _enter()
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise _failed(error) from None
        finally:
            _inside.discard(thread)
