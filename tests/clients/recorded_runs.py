"""Runs of graphs by the SDK, recorded: what a client gives to a graph must be the same, and it gets the same answer."""

import contextlib
import hashlib
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from edgebehave import predictor
from edgebehave.bundles import network_state
from edgebehave.bundles.inference import BoundGraph, run_graph


def _write_named(file: BinaryIO, values: dict[str, bytes]) -> None:
    file.write(struct.pack(">i", len(values)))
    for name, value in values.items():
        file.write(struct.pack(">H", len(name.encode())) + name.encode() + value)


def _digest(tensor: np.ndarray) -> bytes:
    """SHA-256 of sizes, type and numbers."""
    is_whole = np.issubdtype(tensor.dtype, np.integer)
    assert is_whole or tensor.dtype == np.float32, tensor.dtype
    sizes = np.array(tensor.shape, ">i8").tobytes()
    kind, dtype = (b"i", ">i8") if is_whole else (b"f", ">f4")
    return hashlib.sha256(sizes + kind + tensor.astype(dtype).tobytes()).digest()


def run_bytes(inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> bytes:
    """One run as `Replay.kt` reads it."""
    file = io.BytesIO()
    _write_named(file, {name: _digest(np.asarray(value)) for name, value in inputs.items()})
    answers = {name: np.asarray(value, ">f4").ravel() for name, value in outputs.items()}
    _write_named(file, {name: struct.pack(">i", len(value)) + value.tobytes() for name, value in answers.items()})
    return file.getvalue()


@contextlib.contextmanager
def recorded_runs() -> Iterator[list[bytes]]:
    """A list to which every run of a graph in this block is added, but not those that open a bundle."""
    runs: list[bytes] = []
    run_bound = BoundGraph.run

    def bound(graph: BoundGraph) -> None:
        run_bound(graph)
        runs.append(run_bytes(graph._inputs, graph._outputs))

    def plain(session, outputs, inputs):
        answers = run_graph(session, outputs, inputs)
        runs.append(run_bytes(inputs, dict(zip(outputs, answers, strict=True))))
        return answers

    modules = (network_state, predictor)
    BoundGraph.run = bound
    for module in modules:
        module.run_graph = plain
    try:
        yield runs
    finally:
        BoundGraph.run = run_bound
        for module in modules:
            module.run_graph = run_graph
