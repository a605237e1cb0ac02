"""A bundle that generates, with graphs whose answers are known: next event after an hour, at the latest location."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from lives import TINY

from edgebehave.bundles.bundle import BundleParts
from edgebehave.bundles.manifest import digested_manifest

GENERATION = {"num_quantiles": 1, "clock_rate": [[1 / 48] * 48] * 2}


def write_generating(folder: Path, *, generation: Any = None, **graphs: Any) -> Path:
    """The tiny int8 bundle with wait.onnx, next.onnx and place.onnx.

    generation  in place of GENERATION.
    graphs      "wait", "next", "place" -> {name of an output: values}, in place of those that the graph gives.
    """
    shutil.copytree(TINY / "int8", folder)
    shape = BundleParts.read(folder).shape
    probs = np.zeros(shape.num_behaviors + shape.num_spare, np.float32)
    probs[[0, 1]] = 0.25, 0.75
    known = {
        "wait": {"gap_s": [3600.0, "60 n"], "probs": [1.0, "0 n"]},
        "next": {"probs": probs, "event_scores": np.zeros(shape.num_events, np.float32), "z": "hidden"},
        "place": {"probs": np.full(shape.num_locations, 1 / shape.num_locations, np.float32), "copied": ["0 n"]},
    }
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["generation"] = GENERATION if generation is None else generation
    for name, outputs in known.items():
        content = _graph(shape.interface(f"{name}.onnx", "native"), outputs | graphs.get(name, {}))
        (folder / f"{name}.onnx").write_bytes(content)
        listed = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest["files"][f"{name}.onnx"] = listed
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))
    return folder


def _graph(interface: Any, outputs: dict[str, Any]) -> bytes:
    """A graph that gives constants; "60 n" stands for n times 60, where n is the number of past behaviors."""
    from onnx import helper, numpy_helper

    nodes, weights = [], []

    def constant(values: Any) -> str:
        name = f"c{len(weights)}"
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    for output, values in outputs.items():
        if isinstance(values, str):
            nodes.append(helper.make_node("Identity", [values], [output]))
        elif isinstance(values, list):
            parts = []
            for number, part in enumerate(values):
                if isinstance(part, str):
                    seconds, cast, times, row = (f"{output}{number}{what}" for what in ("s", "c", "t", "r"))
                    nodes.append(helper.make_node("Gather", ["history", constant(np.array(0))], [row], axis=0))
                    nodes.append(helper.make_node("Cast", [row], [cast], to=1))
                    nodes.append(helper.make_node("Mul", [cast, constant(np.float32(0))], [times]))
                    nodes.append(helper.make_node("Add", [times, constant(np.float32(part.split()[0]))], [seconds]))
                    parts.append(seconds)
                else:
                    parts.append(constant(np.array([part], np.float32)))
            nodes.append(helper.make_node("Concat", parts, [output], axis=0))
        else:
            nodes.append(helper.make_node("Identity", [constant(values)], [output]))

    def ends(of: Any) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, kind, ["n" if size is None else size for size in dims])
            for name, (kind, dims) in of.items()
        ]

    graph = helper.make_graph(nodes, "g", ends(interface.inputs), ends(interface.outputs), weights)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
