"""The shape of a bundle's model, and the inputs and outputs that its graphs have for it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

INT64, FLOAT = 7, 1
"""Types of elements, numbers as in onnx.proto."""

Dims = tuple[int | None, ...]
"""Sizes of a value that enters or leaves a graph; None: may vary."""

Target = Literal["native", "web"]
"""The runtime that a bundle is made for.

native  ONNX Runtime of a phone or a computer: fused operators, the cache is changed in place.
web     ONNX Runtime in a browser: standard operators, the new rows of the cache are returned.
"""

CACHE_PARTS = ("key", "value")
"""The parts of the cache of a layer."""

OBSERVE_GRAPH, PREDICT_GRAPH = "observe.onnx", "predict.onnx"
GRAPHS = (OBSERVE_GRAPH, PREDICT_GRAPH)
"""The graphs of every bundle."""

WAIT_GRAPH = "wait.onnx"
NEXT_GRAPH, LOCATION_GRAPH = "next.onnx", "place.onnx"

LOOKUP_GRAPH = "lookup.onnx"
"""The graph of the universal model in the bundle of a model that was trained from it."""

WAIT_INPUTS = ("hidden", "history", "num_real")
LOCATION_INPUTS = ("z", "event", "time_s", "utc_offset_min", "history", "history_event", "num_real")

_OBSERVE_INPUTS = {"event", "location", "time_s", "utc_offset_min", "position"}

MOST = {
    "width": 8192,
    "num_layers": 64,
    "num_heads": 256,
    "head_width": 1024,
    "window": 8192,
    "receptive_field": 64 * 8192,
    "history_events": 1 << 20,
    "habit_events": 8192,
    "num_spare": 8192,
    "num_events": 1 << 20,
    "num_locations": 1 << 20,
    "num_behaviors": 1 << 20,
}
"""The largest numbers of a model that this runtime reads."""


class Interface(NamedTuple):
    """Inputs and outputs of a graph: name -> type of elements and sizes; None: a size that varies."""

    inputs: Mapping[str, tuple[int, Dims]]
    outputs: Mapping[str, tuple[int, Dims]]


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The part of the manifest that describes the model; names as in the training config.

    window           events that one layer looks back on, itself included.
    receptive_field  events that rebuild the state exactly: num_layers (window - 1) + 1.
    history_events   events that a device keeps per user.
    habit_events     events, the latest, that the habit kernels look back on.
    num_spare        candidates for behaviors of a user's own.
    num_events, num_locations, num_behaviors  sizes of the vocabulary, id 0 included.
    """

    width: int
    num_layers: int
    num_heads: int
    head_width: int
    window: int
    receptive_field: int
    history_events: int
    habit_events: int
    query_context: Literal["none", "time", "time_location"]
    habits: bool
    num_spare: int
    num_events: int
    num_locations: int
    num_behaviors: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "query_context":
                is_valid = value in ("none", "time", "time_location")
            elif name == "habits":
                is_valid = isinstance(value, bool)
            else:
                least = {"num_spare": 0, "window": 2}.get(name, 1)
                is_valid = isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST[name]
            if not is_valid:
                raise ValueError(f"{name}: {value!r:.60}")
        if self.width != self.num_heads * self.head_width:
            raise ValueError(f"width: {self.width} for {self.num_heads} heads of {self.head_width}")
        if self.receptive_field != self.num_layers * (self.window - 1) + 1:
            raise ValueError(f"receptive_field: {self.receptive_field}")

    def empty_cache(self) -> npt.NDArray[np.float32]:
        """Keys and values of no event, (2 L, 0, H, E) float32."""
        return np.zeros((2 * self.num_layers, 0, self.num_heads, self.head_width), np.float32)

    def cache_names(self) -> list[str]:
        """key_0, value_0, key_1, ...: the caches of native graphs."""
        return [f"{part}_{layer}" for layer in range(self.num_layers) for part in CACHE_PARTS]

    def observe_inputs(self, target: Target) -> set[str]:
        """Names of the inputs of observe.onnx."""
        if target == "web":
            return _OBSERVE_INPUTS | {"cache"}
        return _OBSERVE_INPUTS | {"num_cached", *self.cache_names()}

    def predict_inputs(self) -> set[str]:
        """Names of the inputs of predict.onnx."""
        names = {"hidden", "tail"}
        if self.query_context != "none":
            names |= {"time_s", "utc_offset_min", "time_known"}
        if self.query_context == "time_location":
            names |= {"location"}
        if self.habits:
            names |= {"history"}
        return names

    def next_inputs(self) -> set[str]:
        """Names of the inputs of next.onnx."""
        names = self.predict_inputs() - {"tail", "time_known"}
        return names | {"num_real"} if self.habits else names

    def interface(self, graph: str, target: Target) -> Interface:
        """Inputs and outputs of one of the graphs, by the name of its file."""
        if graph == OBSERVE_GRAPH:
            return self._observe_interface(target)
        one, state, varying = (INT64, (1,)), (FLOAT, (1, self.width)), (FLOAT, (None,))
        probs = (FLOAT, (self.num_behaviors + self.num_spare,))
        types: dict[str, tuple[int, Dims]] = dict.fromkeys(("time_s", "utc_offset_min", "time_known", "location"), one)
        types |= {"hidden": state, "z": state, "tail": (FLOAT, ()), "num_real": (INT64, ()), "event": one}
        types |= {"history": (INT64, (4, None)), "history_event": (INT64, (None,))}
        choice: dict[str, tuple[Collection[str], dict[str, tuple[int, Dims]]]] = {
            PREDICT_GRAPH: (self.predict_inputs(), {"probs": probs}),
            WAIT_GRAPH: (WAIT_INPUTS, {"gap_s": varying, "probs": varying}),
            NEXT_GRAPH: (
                self.next_inputs(),
                {"probs": probs, "event_scores": (FLOAT, (self.num_events,)), "z": state},
            ),
            LOCATION_GRAPH: (LOCATION_INPUTS, {"probs": (FLOAT, (self.num_locations,)), "copied": varying}),
        }
        names, outputs = choice[graph]
        return Interface({name: types[name] for name in names}, outputs)

    def most(self, graph: str, name: str, dims: Dims) -> tuple[int, ...]:
        """Sizes of an input as `check_sizes` takes them: of observe.onnx one event, and the cache of the others."""
        of_observe = 1 - self.window if name == "cache" else 1
        varying = of_observe if graph == OBSERVE_GRAPH else -self.habit_events
        return tuple(varying if size is None else size for size in dims)

    def _observe_interface(self, target: Target) -> Interface:
        if target == "web":
            cache = (2 * self.num_layers, None, self.num_heads, self.head_width)
            inputs = dict.fromkeys(_OBSERVE_INPUTS - {"position"}, (INT64, (None,)))
            return Interface(
                {**inputs, "position": (INT64, ()), "cache": (FLOAT, cache)},
                {"hidden": (FLOAT, (None, self.width)), "new_rows": (FLOAT, cache)},
            )
        ring = (FLOAT, (1, self.num_heads, self.window, self.head_width))
        names = self.cache_names()
        return Interface(
            {
                **dict.fromkeys(_OBSERVE_INPUTS - {"position"}, (INT64, (1,))),
                **dict.fromkeys(("position", "num_cached"), (INT64, ())),
                **dict.fromkeys(names, ring),
            },
            {"hidden": (FLOAT, (1, self.width)), **{f"new_{name}": ring for name in names}},
        )
