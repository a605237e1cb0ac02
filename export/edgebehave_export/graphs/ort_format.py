"""Graphs in ONNX Runtime's own format, for builds of it that read nothing else.

A .ort file is a graph as ONNX Runtime holds it in memory after optimizing: it opens faster, and the
smallest builds for phones read only this. It suits the ONNX Runtime that wrote it and newer ones,
and differs by some bytes each time it is written.
"""

import contextlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path


def ort_files(graphs: Mapping[str, bytes]) -> dict[str, bytes]:
    """observe.onnx -> observe.ort and so on, optimized for any processor.

    Raises RuntimeError if ONNX Runtime cannot convert a graph.
    """
    # Imported late: it brings all of onnxruntime's tools along.
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in graphs.items():
            (folder / file).write_bytes(content)
        with contextlib.redirect_stdout(io.StringIO()):
            convert_onnx_models_to_ort(folder, optimization_styles=[OptimizationStyle.Fixed])
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.ort"))}
