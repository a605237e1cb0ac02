"""Torch modules to ONNX: standard operators, dynamic lengths, the same bytes for the same weights."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from edgebehave.bundles.model_shape import LOCATION_INPUTS
from edgebehave_export.graphs.generation_graphs import NextLocation, WaitingTimes
from edgebehave_export.graphs.graph_builder import OPSET, errors_only
from edgebehave_export.graphs.web_observe import Observe, require_exportable
from edgebehave_train.model.behavior_model import BehaviorModel


def export_observe(model: BehaviorModel) -> ModelProto:
    """observe.onnx of a model for the web, in standard operators, fp32.

    Inputs   event, location, time_s, utc_offset_min (N,) int64; position () int64;
             cache (2 L, C, H, E) float32.
    Outputs  hidden (N, D) float32; new_rows (2 L, N, H, E) float32, to be appended to the cache,
             of which the client keeps the last window - 1.

    The cached rows stand in the order of time, oldest first. For a single event any order gives
    the same state except for rounding: keys are rotated already, and all of them are in the window.
    Raises ValueError as `require_exportable`.
    """
    config = model.config
    require_exportable(config)
    num_new, num_cached = torch.export.Dim("num_new"), torch.export.Dim("num_cached")
    ids = torch.arange(3)  # lengths of 0 or 1 would be taken for constants
    cache = torch.zeros(2 * config.num_layers, 5, config.num_heads, config.head_width)
    inputs = {
        "event": (ids, {0: num_new}),
        "location": (ids, {0: num_new}),
        "time_s": (ids, {0: num_new}),
        "utc_offset_min": (ids, {0: num_new}),
        "position": (torch.tensor(7), None),
        "cache": (cache, {1: num_cached}),
    }
    return _finished(_export(Observe(model), inputs, ["hidden", "new_rows"]))


def export_wait(model: BehaviorModel) -> ModelProto:
    """wait.onnx of a model with generation heads, fp32; inputs and outputs as in `WaitingTimes`."""
    inputs = {
        "hidden": (torch.zeros(1, model.config.width), None),
        "history": _history()["history"],
        "num_real": (torch.tensor(5), None),
    }
    return _finished(_export(WaitingTimes(model), inputs, ["gap_s", "probs"]))


def export_location(model: BehaviorModel) -> ModelProto:
    """place.onnx of a model that generates, fp32; inputs and outputs as in `NextLocation`."""
    examples = _history() | {
        "z": (torch.zeros(1, model.config.width), None),
        "event": (torch.tensor([1]), None),
        "time_s": (torch.tensor([10_000]), None),
        "utc_offset_min": (torch.tensor([60]), None),
        "num_real": (torch.tensor(5), None),
    }
    inputs = {name: examples[name] for name in LOCATION_INPUTS}
    return _finished(_export(NextLocation(model), inputs, ["probs", "copied"]))


def _history() -> dict[str, tuple[Tensor, Any]]:
    """Example and dynamic axes of a history and its events."""
    num_history = torch.export.Dim("num_history")
    return {
        "history": (torch.arange(20).reshape(4, 5), {1: num_history}),
        "history_event": (torch.arange(5), {0: num_history}),
    }


def _export(module: nn.Module, inputs: dict[str, tuple[Tensor, Any]], output_names: Sequence[str]) -> ModelProto:
    """inputs: name -> (example, dynamic axes)."""
    # The exporter logs, warns and prints about packages and axes.
    with (
        errors_only("torch.onnx"),
        warnings.catch_warnings(action="ignore"),
        contextlib.redirect_stdout(io.StringIO()),
        torch.no_grad(),
    ):
        program = torch.onnx.export(
            module.eval(),
            # Copies: the exporter takes one tensor that is given twice for one input.
            tuple(example.clone() for example, _ in inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(output_names),
            dynamic_shapes=tuple(axes for _, axes in inputs.values()),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _finished(proto: ModelProto) -> ModelProto:
    """The graph without traces of the machine and of the code that exported it, checked."""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    values = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for item in values:
        item.ClearField("doc_string")
        del item.metadata_props[:]
    graph.ClearField("doc_string")
    graph.name = "edgebehave"
    proto.producer_name, proto.producer_version = "edgebehave", ""
    proto.ClearField("doc_string")
    check_standard(proto)
    return proto


def check_standard(proto: ModelProto) -> None:
    """Raises onnx.checker.ValidationError or AssertionError for a graph that is no plain ONNX."""
    onnx.checker.check_model(proto, full_check=True)
    domains = {node.domain for node in proto.graph.node}
    assert domains <= {""}, f"operators outside the standard: {sorted(domains)}"
    assert not proto.functions, "the graph calls functions of its own"
