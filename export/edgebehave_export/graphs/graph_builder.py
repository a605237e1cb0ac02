"""Graphs written node by node, with half the nodes that the exporter of torch writes."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid
from torch import Tensor, nn

FUSED = "com.microsoft"
"""Domain of the operators that ONNX Runtime has beyond the standard."""

OPSET = 18
"""The opset that the exporter of torch writes without converting; runtimes have had it since 2023."""

_IR_VERSION = 10
_OPERATORS = {schema.name for schema in onnx.defs.get_all_schemas()}


class GraphBuilder:
    """Nodes and constants of a graph; a method adds one and returns the name of its value.

    `graph.Gather(table, ids, axis=0)` adds a node, by the name of any standard operator.
    """

    def __init__(self, model: nn.Module) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        named = [*model.named_parameters(), *model.named_buffers()]
        self._names = {id(tensor): f"model.{name}" for name, tensor in named}

    def __getattr__(self, operator: str) -> Callable[..., str]:
        if operator not in _OPERATORS:
            raise AttributeError(f"ONNX has no operator {operator}")
        return partial(self.node, operator)

    def node(
        self,
        operator: str,
        *inputs: str | int | list[Any],
        name: str = "",
        outputs: Sequence[str] = (),
        **attributes: Any,
    ) -> str:
        """A node and its value under one name. Numbers among the inputs become int64 constants.

        outputs  names of the values, where there are several.
        """
        given = [value if isinstance(value, str) else self.integers(value) for value in inputs]
        name = name or f"{operator}_{len(self.nodes)}"
        self.nodes.append(make_node(operator, given, list(outputs) or [name], name=name, **attributes))
        return name

    def fused(self, operator: str, *inputs: str | int | list[Any], **attributes: Any) -> str:
        """A node of ONNX Runtime's own domain."""
        return self.node(operator, *inputs, domain=FUSED, **attributes)

    def split(self, given: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Consecutive parts of a value."""
        name = f"Split_{len(self.nodes)}"
        parts = [f"{name}_{part}" for part in range(len(sizes))]
        self.node("Split", given, list(sizes), name=name, outputs=parts, axis=axis)
        return parts

    def tensor(self, values: Tensor) -> str:
        """A parameter or a buffer of the model, under its own name."""
        return self.constant(values.detach().numpy(), self.name_of(values))

    def transposed(self, weight_NK: Tensor) -> str:
        """A weight of the model for a product x W^T, (K, N), under its own name."""
        return self.constant(weight_NK.detach().numpy().T, self.name_of(weight_NK))

    def name_of(self, values: Tensor) -> str:
        """Name of a parameter or a buffer in the graph."""
        return self._names[id(values)]

    def constant(self, values: npt.NDArray[Any], name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def integers(self, values: int | list[Any]) -> str:
        """int64, of the shape of the list."""
        name = f"integers_{values}".replace(" ", "")
        return name if name in self.constants else self.constant(np.array(values, np.int64), name)

    def floats(self, values: Any, name: str = "") -> str:
        """float32, of the shape of the values."""
        given = values.detach().numpy() if isinstance(values, Tensor) else values
        return self.constant(np.asarray(given, np.float32), name)

    def bytes_as_floats(self, values: npt.NDArray[Any], name: str) -> str:
        """float32 from whole numbers that a byte holds; quantization leaves them as they are."""
        return self.Cast(self.constant(values.astype(np.int8), f"{name}_int8"), name=name, to=TensorProto.FLOAT)

    def lookup(self, table: nn.Embedding, ids: str) -> str:
        return self.Gather(self.tensor(table.weight), ids, axis=0)

    def lookup_known(self, table: nn.Embedding, ids: str) -> str:
        """Rows of a table; ids beyond it get row 0, so that a client may use private ids for new names.

        Row 0 stands once more behind the last row: a minimum is one node less than a choice.
        """
        weight = table.weight.detach().numpy()
        name = self.constant(np.append(weight, weight[:1], 0), self.name_of(table.weight))
        return self.Gather(name, self.Min(ids, [len(weight)]), axis=0)

    def finished(self, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> ModelProto:
        graph = make_graph(self.nodes, "edgebehave", inputs, outputs, list(self.constants.values()))
        domains = [""] + [FUSED] * any(node.domain == FUSED for node in self.nodes)
        versions = {"": OPSET, FUSED: 1}
        proto = make_model(
            graph,
            opset_imports=[make_opsetid(domain, versions[domain]) for domain in domains],
            ir_version=_IR_VERSION,
            producer_name="edgebehave",
        )
        onnx.checker.check_model(proto)
        return proto


def graph_bytes(graphs: Mapping[str, ModelProto]) -> dict[str, bytes]:
    """Contents of the files: the same bytes for the same graph."""
    return {name: proto.SerializeToString(deterministic=True) for name, proto in graphs.items()}


@contextlib.contextmanager
def errors_only(logger_name: str | None = None) -> Iterator[None]:
    """A logger writes errors alone; None: the root logger."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
