"""Latency of a prediction: torch over a window against the graphs of a bundle and the SDK.

One prediction takes in an event and answers for the next one. All contenders run in one process, on one
thread, in short bursts that take turns, so that other work of the machine slows all of them alike.

    torch window      eager torch, the last `window` events computed anew, habits included
    window            the same in ONNX Runtime: the graphs for the web, `window` events in one run
    two graphs        observe.onnx for the event, predict.onnx for the answer, memory bound
    Predictor         the whole SDK: names, history, both graphs, the five best
    ... cold          the same with the processor's caches swept before each call
    ... many users    the same, each call for another of many users
    weight floor      one dot product over as many bytes as the matrices of observe.onnx have in int8
"""

# N events of a history, D width, V behaviors, U spare slots

import contextlib
import itertools
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx import ModelProto
from torch import Tensor

from edgebehave import Predictor
from edgebehave.answers.coverage import CoverageThresholds
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.inference import open_graph
from edgebehave.bundles.model_shape import GRAPHS, ModelShape
from edgebehave.bundles.network_state import RingState
from edgebehave.bundles.predict_graph import PredictGraph
from edgebehave.moments import Moment
from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import Vocabulary
from edgebehave_export.bench.model_answer import ModelAnswer
from edgebehave_export.bundle import export_graphs, model_shape
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.parity.gate import check_parity
from edgebehave_export.parity.gate_log import gate_log
from edgebehave_export.parity.replay import ClientHistory, Device
from edgebehave_export.quantization import quantize_graphs
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.training.checkpoint import Checkpoint

TORCH = "torch window"
FLOOR = "weight floor"
_BURST = 20
_SWEPT_BYTES = 64 << 20
_NUM_USERS = 200

Graphs = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One contender: median and 99th percentile in microseconds, over `count` calls."""

    name: str
    p50_us: float
    p99_us: float
    count: int

    @classmethod
    def of_seconds(cls, name: str, seconds: npt.NDArray[np.float64]) -> "BenchRow":
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
        return cls(name=name, p50_us=float(p50), p99_us=float(p99), count=len(seconds))


@dataclass(frozen=True, kw_only=True)
class BenchTable:
    """Latencies and sizes of one model.

    shape           width and layers of the model.
    num_history     behaviors that a prediction looks back on.
    rows            latencies.
    model_bytes     bytes of observe.onnx and predict.onnx by precision.
    state_bytes     memory that a user's network state takes.
    resident_mb     memory of this process at its largest, torch included.
    top1_agreement  share of predictions on which int8 and fp32 agree; None without a log.
    num_compared    predictions behind it.
    warm_up         calls of each contender that were not counted.
    environment     machine and versions.
    """

    shape: str
    num_history: int
    rows: list[BenchRow]
    model_bytes: dict[str, int]
    state_bytes: int
    resident_mb: float
    top1_agreement: float | None
    num_compared: int
    warm_up: int
    environment: dict[str, str]

    @property
    def size_ratio(self) -> float:
        """int8 bytes per fp32 byte."""
        return self.model_bytes["int8"] / self.model_bytes["fp32"]

    def p50_us(self, name: str) -> float:
        """Median of a row."""
        return next(row.p50_us for row in self.rows if row.name == name)

    def speedup(self, name: str) -> float:
        """Median of the torch window divided by the median of a row."""
        return self.p50_us(TORCH) / self.p50_us(name)

    def to_json(self) -> dict[str, Any]:
        speedups = {row.name: self.speedup(row.name) for row in self.rows}
        return asdict(self) | {"size_ratio": self.size_ratio, "speedup": speedups}

    def to_text(self) -> str:
        """The table as text."""
        machine = ", ".join(f"{name} {value}" for name, value in self.environment.items())
        heading = f"{self.shape}, one thread"
        lines = [f"{heading:<34}{'p50 us':>10}{'p99 us':>10}{'torch / it':>12}"]
        lines += [
            f"{row.name:<34}{row.p50_us:>10.1f}{row.p99_us:>10.1f}{self.speedup(row.name):>11.1f}x" for row in self.rows
        ]
        sizes = ", ".join(f"{name} {size:,} bytes" for name, size in self.model_bytes.items())
        lines.append(f"graphs: {sizes}, ratio {self.size_ratio:.3f}")
        lines.append(f"a user's state {self.state_bytes:,} bytes, {self.num_history} behaviors looked back on")
        if self.top1_agreement is not None:
            lines.append(
                f"int8 keeps the top-1 of fp32 in {self.top1_agreement:.2%} of {self.num_compared:,} predictions"
            )
        lines.append(f"{self.rows[0].count} calls each, {self.warm_up} before as warm-up; {machine}")
        return "\n".join(lines)


def benchmark(
    checkpoint: Path,
    store: Path | None = None,
    num_calls: int = 1000,
    warm_up: int = 100,
    num_predictions: int = 1000,
) -> BenchTable:
    """Time predictions of a checkpoint and of the bundles it would become, a lookup left out.

    store            a log for real histories and for the agreement; None: random events.
    num_calls        of each contender.
    num_predictions  compared for the agreement.
    Raises ValueError for a folder that is no checkpoint or no store.
    """
    opened = Checkpoint.open(checkpoint)
    model = opened.load_model()
    model.lookup = None
    log = EventStore.open(store) if store is not None else None
    history = _random_history(model.config) if log is None else _longest_history(opened, log)
    table, graphs = _measure(model, opened.vocabulary, history, num_calls, warm_up)
    if log is None:
        return table
    report = check_parity(opened, model, log, graphs["fp32"], graphs["int8"], num_predictions=num_predictions)
    agreed = next(check for check in report.checks if check.name.startswith("fp32 - int8, same"))
    return replace(table, top1_agreement=agreed.value, num_compared=agreed.count)


def benchmark_shape(config: ModelConfig, num_calls: int = 1000, warm_up: int = 100) -> BenchTable:
    """Time a model of some shape with random weights, which take as long as trained ones."""
    torch.manual_seed(0)
    model = BehaviorModel(config).eval()
    vocabulary = Vocabulary.identity(
        [f"event {i}" for i in range(1, config.num_events)],
        [f"location {i}" for i in range(1, config.num_locations)],
    )
    return _measure(model, vocabulary, _random_history(config), num_calls, warm_up)[0]


def _measure(
    model: BehaviorModel, vocabulary: Vocabulary, history: ClientHistory, num_calls: int, warm_up: int
) -> tuple[BenchTable, dict[str, Graphs]]:
    """The table without an agreement, and the graphs by precision."""
    if num_calls < 1:
        raise ValueError(f"num_calls must be at least 1, got {num_calls}")
    graphs, web_graphs = (_by_precision(export_graphs(model, target)) for target in ("native", "web"))
    asked = _question(Device(model.config, graphs["fp32"]), history)
    contenders: dict[str, Callable[[], object]] = {TORCH: _torch_window(model, history, asked)}
    for precision, contents in graphs.items():
        contenders[f"window {precision}"] = _onnx_window(web_graphs[precision], model.config, history, asked)
        bundle = opened_bundle(model, vocabulary, contents)
        contenders |= {f"{name} {precision}": call for name, call in _stream(bundle, history, asked).items()}
        contenders[f"Predictor {precision}"] = _sdk(bundle, history, 1)
    contenders["Predictor int8, many users"] = _sdk(bundle, history, _NUM_USERS)
    for name in (TORCH, "two graphs int8", "Predictor int8"):
        contenders[f"{name}, cold"] = contenders[name]
    num_weights = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    weights = np.ones(max(1, num_weights // 4), np.float32)  # as many bytes as they have in int8
    contenders[FLOOR] = lambda: weights @ weights
    with one_thread():
        seconds = _in_turns(contenders, num_calls, warm_up)
    config = model.config
    table = BenchTable(
        shape=f"width {config.width}, {config.num_layers} layers",
        num_history=asked["history"].shape[1] if config.habits else 0,
        rows=[BenchRow.of_seconds(name, times) for name, times in seconds.items()],
        model_bytes={name: sum(len(files[file]) for file in GRAPHS) for name, files in graphs.items()},
        state_bytes=8 * config.num_layers * config.window * config.width,
        resident_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        top1_agreement=None,
        num_compared=0,
        warm_up=warm_up,
        environment=_environment(),
    )
    return table, graphs


def _by_precision(graphs: dict[str, ModelProto]) -> dict[str, Graphs]:
    return {"fp32": graph_bytes(graphs), "int8": graph_bytes(quantize_graphs(graphs))}


def _in_turns(
    contenders: dict[str, Callable[[], object]], num_calls: int, warm_up: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Seconds of each call, by contender, (num_calls,) each.

    In bursts, whose first call is not counted: it finds the processor's caches full of another contender's data.
    The cold rows measure that.
    """
    seconds = {name: np.empty(num_calls) for name in contenders}
    names, rng = list(contenders), np.random.default_rng(0)
    swept = np.zeros(_SWEPT_BYTES // 8)
    for call in contenders.values():
        for _ in range(warm_up):
            call()
    for first in range(0, num_calls, _BURST):
        for name in (names[k] for k in rng.permutation(len(names))):
            call, is_cold = contenders[name], name.endswith("cold")
            call()
            for i in range(first, min(first + _BURST, num_calls)):
                if is_cold:
                    swept += 1
                started = time.perf_counter()
                call()
                seconds[name][i] = time.perf_counter() - started
    return seconds


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def opened_bundle(model: BehaviorModel, vocabulary: Vocabulary, graphs: Graphs) -> Bundle:
    """An opened bundle without a folder."""
    return Bundle(
        path=Path(),
        manifest={},
        target="native",
        shape=ModelShape(**model_shape(model.config)),
        vocabulary=vocabulary,
        class_priors=np.zeros(model.config.num_behaviors, np.float32),
        log_ratio=np.zeros(model.config.num_behaviors),
        thresholds=CoverageThresholds(coverage=np.array([0.5]), threshold=np.array([0.0])),
        observe=open_graph(graphs["observe.onnx"]),
        predict=open_graph(graphs["predict.onnx"]),
    )


def _stream(bundle: Bundle, history: ClientHistory, asked: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    """One step from a full cache, one prediction from a full history, and both in a row."""
    state, predict = RingState(bundle, 0), PredictGraph(bundle)
    columns = (history.event, history.location, history.time_s, history.utc_offset_min)
    rows = [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]
    for row in rows[-2 * bundle.shape.window :]:
        state.step(*row)
    moment = Moment(*rows[-1][2:])
    past = asked.get("history", np.zeros((4, 0), np.int64))

    def observe() -> None:
        state.step(*rows[-1])

    def answer() -> npt.NDArray[np.float32]:
        return predict.probs(state.hidden, moment, 0, past)

    def both() -> npt.NDArray[np.float32]:
        observe()
        return answer()

    return {"two graphs": both, "  observe": observe, "  predict": answer}


def _sdk(bundle: Bundle, history: ClientHistory, num_users: int) -> Callable[[], object]:
    """`observe` and `predict` for users with full histories, each call for the next user."""
    predictor = Predictor(bundle, state_mb=1e5, max_ahead=None)
    names = _names(bundle.vocabulary, history)
    users = [f"user {u}" for u in range(num_users)]
    events = list(zip(*names, history.time_s.tolist(), history.utc_offset_min.tolist(), strict=True))
    kept = events[-bundle.shape.history_events :]
    for user in users:
        for event, location, time_s, offset_min in kept:
            predictor.observe(user, event, at=time_s, location=location, utc_offset_min=offset_min)
        predictor.predict(user, at=kept[-1][2])
    turns, last_s = itertools.count(1), kept[-1][2]

    def call() -> object:
        turn = next(turns)
        user, (event, location, _, offset_min) = users[turn % num_users], kept[turn % len(kept)]
        at = last_s + 60 * turn
        predictor.observe(user, event, at=at, location=location, utc_offset_min=offset_min)
        return predictor.predict(user, k=5, at=at)

    return call


def _names(vocabulary: Vocabulary, history: ClientHistory) -> tuple[list[str], list[str | None]]:
    """Names of the events and locations of a history; made-up ones for private ids."""
    events = [
        vocabulary.events[i] if 0 < i < vocabulary.num_events else f"own event {i}" for i in history.event.tolist()
    ]
    locations = [
        None if i == 0 else vocabulary.locations[i] if i < vocabulary.num_locations else f"own {i}"
        for i in history.location.tolist()
    ]
    return events, locations


def _question(device: Device, history: ClientHistory) -> dict[str, Any]:
    """Inputs of predict for the moment of the latest event, except for the state, which is 0."""
    moment = int(history.time_s[-1]), int(history.utc_offset_min[-1])
    state = np.zeros(device.config.width, np.float32)
    return device.predict_inputs(device.question(state, history, len(history), moment))


def _onnx_window(
    graphs: Graphs, config: ModelConfig, history: ClientHistory, asked: Mapping[str, Any]
) -> Callable[[], npt.NDArray[np.float32]]:
    """The last `window` events in one run of observe.onnx for the web, from an empty cache; then predict.onnx."""
    observe, predict = open_graph(graphs["observe.onnx"]), open_graph(graphs["predict.onnx"])
    columns = ("event", "location", "time_s", "utc_offset_min")
    events = {name: getattr(history, name)[-config.window :] for name in columns}
    cache = np.zeros((2 * config.num_layers, 0, config.num_heads, config.head_width), np.float32)
    events |= {"position": np.array(0), "cache": cache}

    def run() -> npt.NDArray[np.float32]:
        (hidden,) = observe.run(["hidden"], events)
        probs: npt.NDArray[np.float32] = predict.run(["probs"], {**asked, "hidden": hidden[-1:]})[0]
        return probs

    return run


def _torch_window(model: BehaviorModel, history: ClientHistory, asked: Mapping[str, Any]) -> Callable[[], Tensor]:
    """The same prediction in torch, without a state: everything from the last `window` events.

    asked  inputs of predict.onnx; the state among them is computed anew.
    """
    config = model.config
    window = slice(-config.window, None)

    def ids(column: npt.NDArray[np.int64], table_size: int) -> Tensor:
        return torch.from_numpy(column[window] * (column[window] < table_size))[None]

    moment = (int(asked["time_s"][0]), int(asked["utc_offset_min"][0])) if "time_s" in asked else None
    past = asked.get("history", np.zeros((4, 0), np.int64))
    answer = ModelAnswer(model, past, moment, int(asked.get("location", [0])[0]))

    @torch.inference_mode()
    def run() -> Tensor:
        weekday, slot = weekday_and_slot(history.time_s[window], history.utc_offset_min[window])
        event = ids(history.event, config.num_events)
        plan = plan_attention(torch.zeros_like(event), config.window, "blockwise")
        location = ids(history.location, config.num_locations)
        times = torch.from_numpy(weekday)[None], torch.from_numpy(slot)[None]
        return answer(model.hidden(event, location, *times, plan)[0, -1:])

    return run


def _longest_history(checkpoint: Checkpoint, store: EventStore) -> ClientHistory:
    gate = gate_log(store, checkpoint.config.split, checkpoint.model_config.window)
    log = map_log(gate.store, checkpoint.vocabulary)
    return ClientHistory.of_log(log, int(np.diff(log.user_start).argmax()))


def _random_history(config: ModelConfig) -> ClientHistory:
    """Events every hour, more than any counter holds."""
    rng = np.random.default_rng(0)
    num_events = config.history_events + config.window
    events = rng.integers(1, max(2, config.num_events), num_events)
    return ClientHistory(
        event=events,
        location=rng.integers(0, config.num_locations, num_events),
        behavior=np.minimum(events, config.num_behaviors - 1),
        time_s=1_700_000_000 + 3600 * np.arange(num_events),
        utc_offset_min=np.zeros(num_events, np.int64),
    )


def _environment() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "cpus": str(os.cpu_count()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
