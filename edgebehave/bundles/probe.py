"""One run of every graph of a bundle when it is opened: a graph whose answers are no probabilities is not used."""

# n behaviors of a history, V behaviors, U spare slots

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgebehave.bundles.inference import Array, BoundGraph, run_graph
from edgebehave.bundles.manifest import BundleError
from edgebehave.bundles.model_shape import (
    LOCATION_GRAPH,
    LOCATION_INPUTS,
    NEXT_GRAPH,
    OBSERVE_GRAPH,
    PREDICT_GRAPH,
    WAIT_GRAPH,
    WAIT_INPUTS,
    ModelShape,
    Target,
)

_AT_S = 1_767_225_600
"""2026-01-01: the moment of the latest event of the probe."""

_STEP_S = 4_321
"""Between the events of the probe; they fall on all half hours and weekdays."""

_GAPS_S = (0, 1, 40, 900, 86_400, 900_000)
"""Between the events of a life."""

_OWN_IDS = 100_000
"""Beyond the ids of a vocabulary: names of a user's own, more than a history can hold."""

_POSITIONS = (511, 512, 1023, 12_345_678)
"""Numbers of events before an event: around the period of the rotary tables, and beyond."""

_MAX_S = 1.0
"""Processor time of all first runs; those of exports take a hundredth of a second on a computer."""

_SLACK = 1e-3
"""Probabilities are float32 and may sum to a little more than one."""


def probe(shape: ModelShape, target: Target, graphs: Mapping[str, Any], num_quantiles: int | None) -> None:
    """Observe some events, predict, and run the graphs of generation, with the smallest and the largest ids.

    graphs         sessions by the name of the file.
    num_quantiles  of `GenerationHeads`; None if the bundle cannot generate.
    Raises BundleError that names the graph or what ONNX Runtime says.
    """
    until_s = time.thread_time() + _MAX_S
    hidden = _observe(shape, target, graphs[OBSERVE_GRAPH], until_s)
    _require(np.isfinite(hidden).all(), OBSERVE_GRAPH, "a state that is not finite")
    # The SDK asks the kernels about users with a behavior alone.
    life = _life(shape, min(30, shape.habit_events))
    for history in (_varied(shape, 1), _varied(shape, shape.habit_events), life):
        given = _inputs(shape, hidden, history)
        for tail, time_known, time_s in ((0, 1, _AT_S), (1, 0, 0), (1, 1, _AT_S + 10_000_000)):
            asked = {**given, "tail": np.array(tail, np.float32), "time_known": np.array([time_known])}
            asked["time_s"] = np.array([time_s])
            inputs = {name: asked[name] for name in shape.predict_inputs()}
            (probs,) = run_graph(graphs[PREDICT_GRAPH], ["probs"], inputs)
            check_probabilities(probs, PREDICT_GRAPH)
            _check_time(until_s, PREDICT_GRAPH)
        _probe_generation(shape, graphs, num_quantiles, given)


def _check_time(until_s: float, graph: str) -> None:
    _require(time.thread_time() < until_s, graph, f"its answers too slowly: first runs take more than {_MAX_S:.0f} s")


def check_probabilities(probs: Array, graph: str) -> None:
    """Raises BundleError unless these are finite, not negative, and sum to at most one: at each prediction, too."""
    # A number that is not finite makes one of the two so, and no comparison with it holds.
    _require(
        np.minimum.reduce(probs) >= 0 and np.add.reduce(probs) <= 1 + _SLACK, graph, "numbers that are no probabilities"
    )


def check_waiting_times(gap_s: Array, probs: Array, num_past: int = 0, num_quantiles: int | None = None) -> None:
    """Raises BundleError unless wait.onnx gave finite times, not negative, and their probabilities.

    num_past       behaviors of the history, if it matters which times are those of the bins: these stand first.
    num_quantiles  as of `probe`.
    """
    in_bins = len(gap_s) - num_past
    fits = in_bins > 0 and in_bins % (num_quantiles or 1) == 0
    _require(fits, WAIT_GRAPH, f"{len(gap_s)} waiting times for {num_past} behaviors")
    are_valid = gap_s.shape == probs.shape and gap_s.min() >= 0 and gap_s.max() < 1 << 40
    _require(are_valid, WAIT_GRAPH, "numbers that are no waiting times")
    check_probabilities(probs, WAIT_GRAPH)


def check_next(shape: ModelShape, probs: Array, scores: Array, z: Array) -> None:
    """Raises BundleError unless next.onnx gave probabilities, a score of each event, and a state."""
    sizes = (probs.shape, scores.shape, z.shape)
    fit = sizes == ((shape.num_behaviors + shape.num_spare,), (shape.num_events,), (1, shape.width))
    _require(fit and np.isfinite(scores).all() and np.isfinite(z).all(), NEXT_GRAPH, "scores that are not finite")
    check_probabilities(probs, NEXT_GRAPH)


def check_location(shape: ModelShape, known: Array, copied: Array, num_past: int) -> None:
    """Raises BundleError unless place.onnx gave probabilities of the locations, and of those of the past."""
    fit = (known.shape, copied.shape) == ((shape.num_locations,), (num_past,))
    _require(fit, LOCATION_GRAPH, f"{copied.size} copies of {num_past} locations")
    check_probabilities(np.append(known, copied), LOCATION_GRAPH)


def check_some(probs: Array, graph: str) -> None:
    """Raises BundleError unless one of the candidates has a probability: what is drawn must be one of them."""
    _require(np.add.reduce(probs) > 0, graph, "no candidate a probability")


def _probe_generation(
    shape: ModelShape, graphs: Mapping[str, Any], num_quantiles: int | None, given: Mapping[str, Array]
) -> None:
    num_past = given["history"].shape[1]
    if WAIT_GRAPH in graphs:
        gap_s, probs = run_graph(graphs[WAIT_GRAPH], ["gap_s", "probs"], {name: given[name] for name in WAIT_INPUTS})
        check_waiting_times(gap_s, probs, num_past, num_quantiles)
    if num_quantiles is not None:
        inputs = {name: given[name] for name in shape.next_inputs()}
        probs, scores, z = run_graph(graphs[NEXT_GRAPH], ["probs", "event_scores", "z"], inputs)
        check_next(shape, probs, scores, z)
        for event in (0, shape.num_events + shape.num_behaviors + shape.num_spare - 1):
            asked = {**given, "z": z, "event": np.array([event])}
            inputs = {name: asked[name] for name in LOCATION_INPUTS}
            known, copied = run_graph(graphs[LOCATION_GRAPH], ["probs", "copied"], inputs)
            check_location(shape, known, copied, num_past)


def _varied(shape: ModelShape, num_past: int) -> Array:
    """A history with ids of all sizes, the latest event a minute before the moment, (4, n)."""
    number = np.arange(num_past)
    ids = shape.num_behaviors + shape.num_spare
    # The last two columns hold the largest ids.
    behavior = (ids - 1 - number[::-1] * 7) % ids
    location = (shape.num_locations - 1 - number[::-1] * 5) % (shape.num_locations + _OWN_IDS)
    time_s = _AT_S - 60 - _STEP_S * number[::-1]
    return np.stack([behavior, location, time_s, np.full(num_past, -480)]).astype(np.int64)


def _life(shape: ModelShape, num_past: int) -> Array:
    """A history in which behaviors and locations come again, some of a user's own, with gaps of all sizes, (4, n)."""
    number = np.arange(num_past)
    behavior = 1 + number**2 % max(1, shape.num_behaviors - 1 + min(shape.num_spare, 2))
    location = number**2 * 5 % (shape.num_locations + 2)
    time_s = _AT_S - 60 - np.cumsum(np.resize(_GAPS_S, num_past))[::-1]
    return np.stack([behavior, location, time_s, np.full(num_past, -90)]).astype(np.int64)


def _inputs(shape: ModelShape, hidden: Array, history: Array) -> dict[str, Array]:
    """Inputs of all graphs but observe.onnx."""
    return {
        "hidden": hidden,
        "time_s": np.array([_AT_S]),
        "utc_offset_min": np.array([330]),
        "location": np.array([shape.num_locations - 1]),
        "history": history,
        "history_event": shape.num_events + history[0],
        "num_real": np.array(history.shape[1]),
    }


def _observe(shape: ModelShape, target: Target, session: Any, until_s: float) -> Array:
    """The state after some events: the smallest ids, the largest, and ids of a user's own; late positions, too."""
    largest = (shape.num_events - 1, shape.num_locations - 1, _AT_S, -480)
    own = (shape.num_events + _OWN_IDS, shape.num_locations + _OWN_IDS, _AT_S, 330)
    steps = [((0, 0, 0, 0), 0, 0), (largest, shape.window - 1, shape.window - 1)]
    steps += [(own, position, 1) for position in _POSITIONS]
    # The first ids of a user's own, and ids between the smallest and the largest.
    for number, time_s in enumerate(_life(shape, 16)[2].tolist()):
        event = shape.num_events + number // 3 if number % 3 == 0 else number**2 % shape.num_events
        place = shape.num_locations + number // 4 if number % 4 == 0 else number**2 % shape.num_locations
        steps.append(((event, place, time_s, -90), number, min(number, shape.window - 1)))
    ids = np.zeros((4, 1), np.int64)
    position, num_cached = np.array(0), np.array(0)
    given: dict[str, Array] = dict(zip(("event", "location", "time_s", "utc_offset_min"), ids, strict=True))
    given["position"] = position
    hidden = np.zeros((1, shape.width), np.float32)
    if target == "web":
        one_row = shape.empty_cache()
        for row, at, count in steps:
            ids[:, 0], position[...] = row, at
            inputs = {**given, "cache": np.repeat(one_row, count, 1) if count else one_row}
            hidden, one_row = run_graph(session, ["hidden", "new_rows"], inputs)
            _check_time(until_s, OBSERVE_GRAPH)
            _require(one_row.shape[1] == 1 and hidden.shape[0] == 1, OBSERVE_GRAPH, "more than one row for an event")
        return hidden
    ring = (1, shape.num_heads, shape.window, shape.head_width)
    caches = {name: np.zeros(ring, np.float32) for name in shape.cache_names()}
    graph = BoundGraph(
        session,
        {**given, "num_cached": num_cached, **caches},
        {"hidden": hidden, **{f"new_{name}": cache for name, cache in caches.items()}},
    )
    for row, at, count in steps:
        ids[:, 0], position[...], num_cached[...] = row, at, count
        graph.run()
        _check_time(until_s, OBSERVE_GRAPH)
    return hidden


def _require(is_so: bool | np.bool_, graph: str, instead: str) -> None:
    if not is_so:
        raise BundleError(f"{graph} gives {instead}; export the bundle again from its checkpoint")
