"""How long a prediction takes: torch over a window against the graphs of a bundle.

One prediction is "an event came, what is next": torch computes the last `window` events anew, the
graphs take one step from the cache. All contenders run in one process, on one thread, in turns,
so that whatever else the machine does hits them alike.
"""

# N events of a history, D width, V behaviors, U spare slots, K kernels

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from edgebehave.habits import HABIT_EVENTS
from edgebehave.time_features import weekday_and_slot
from edgebehave_export.bundle import export_graphs, graph_bytes
from edgebehave_export.gate_log import gate_log
from edgebehave_export.graphs import Predict
from edgebehave_export.parity import check_parity
from edgebehave_export.quantization import quantize_graphs
from edgebehave_export.replay import Device, History
from edgebehave_train.attention import plan_attention
from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.event_store import EventStore
from edgebehave_train.mapped_log import map_log
from edgebehave_train.model import BehaviorModel

TORCH = "torch window"


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One contender: median and 99th percentile in microseconds, over `count` calls."""

    name: str
    p50_us: float
    p99_us: float
    count: int


@dataclass(frozen=True, kw_only=True)
class BenchTable:
    """What `benchmark` measured.

    rows            latencies; a "stream" is its observe and its predict, measured together.
    model_bytes     bytes of both graphs by precision.
    top1_agreement  share of predictions on which int8 and fp32 agree; None without a log.
    num_compared    predictions behind it.
    warm_up         calls of each contender that were not counted.
    environment     machine and versions.
    """

    rows: list[BenchRow]
    model_bytes: dict[str, int]
    top1_agreement: float | None
    num_compared: int
    warm_up: int
    environment: dict[str, str]

    @property
    def size_ratio(self) -> float:
        """int8 bytes per fp32 byte."""
        return self.model_bytes["int8"] / self.model_bytes["fp32"]

    @property
    def remark(self) -> str:
        """Where the time of the int8 stream goes."""
        p50 = {row.name.strip(): row.p50_us for row in self.rows}
        observe, predict = p50["observe int8"], p50["predict int8"]
        slower, share = max(("observe", observe), ("predict", predict), key=lambda part: part[1])
        return (
            f"stream int8 is {p50[TORCH] / p50['stream int8']:.1f} times as fast as the torch "
            f"window; {share / (observe + predict):.0%} of it is {slower}"
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"size_ratio": self.size_ratio}

    def to_text(self) -> str:
        """The table, for people."""
        machine = ", ".join(f"{name} {value}" for name, value in self.environment.items())
        lines = [f"{'one thread, batch 1':<24}{'p50 us':>10}{'p99 us':>10}"]
        lines += [f"{row.name:<24}{row.p50_us:>10.1f}{row.p99_us:>10.1f}" for row in self.rows]
        lines.append(self.remark)
        sizes = ", ".join(f"{name} {size:,} bytes" for name, size in self.model_bytes.items())
        lines.append(f"graphs: {sizes}, ratio {self.size_ratio:.3f}")
        if self.top1_agreement is not None:
            lines.append(
                f"int8 keeps the top-1 of fp32 in {self.top1_agreement:.2%} "
                f"of {self.num_compared:,} predictions"
            )
        lines.append(
            f"{self.rows[0].count} calls each, {self.warm_up} before as warm-up; {machine}"
        )
        return "\n".join(lines)


def benchmark(
    checkpoint: Path,
    store: Path | None = None,
    num_calls: int = 1000,
    warm_up: int = 100,
    num_predictions: int = 1000,
) -> BenchTable:
    """Time predictions of a checkpoint and of the bundles it would become.

    store            a log for real histories and for the agreement; None: random events.
    num_calls        of each contender.
    num_predictions  compared for the agreement.
    Raises ValueError for a folder that is no checkpoint or no store.
    """
    if num_calls < 1:
        raise ValueError(f"num_calls must be at least 1, got {num_calls}")
    opened = Checkpoint.open(checkpoint)
    model = opened.load_model()
    protos = export_graphs(model)
    graphs = {
        "fp32": graph_bytes(protos),
        "int8": graph_bytes(quantize_graphs(protos)),
    }
    log = EventStore.open(store) if store is not None else None
    history = _random_history(model) if log is None else _longest_history(opened, log)
    asked = _question(Device(model.config, graphs["fp32"]), history)
    contenders: dict[str, Callable[[], object]] = {TORCH: _torch_window(model, history, asked)}
    for precision, contents in graphs.items():
        for part, call in _stream(Device(model.config, contents), history).items():
            contenders[f"{part} {precision}"] = call
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = _in_turns(contenders, num_calls, warm_up)
    finally:
        torch.set_num_threads(num_threads)
    agreement, num_compared = None, 0
    if log is not None:
        report = check_parity(opened, model, log, **graphs, num_predictions=num_predictions)
        agreed = next(
            check for check in report.checks if check.name.startswith("fp32 - int8, same")
        )
        agreement, num_compared = agreed.value, agreed.count
    return BenchTable(
        rows=[_row(name, times) for name, times in seconds.items()],
        model_bytes={name: sum(map(len, files.values())) for name, files in graphs.items()},
        top1_agreement=agreement,
        num_compared=num_compared,
        warm_up=warm_up,
        environment=_environment(),
    )


def _in_turns(
    contenders: dict[str, Callable[[], object]], num_calls: int, warm_up: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Seconds of each call, by contender, (num_calls,) each."""
    seconds = {name: np.empty(num_calls) for name in contenders}
    names, rng = list(contenders), np.random.default_rng(0)
    for i in range(-warm_up, num_calls):
        # Who comes after torch finds the processor's caches full of torch: it must not always be
        # the same one.
        for name in (names[k] for k in rng.permutation(len(names))):
            call = contenders[name]
            started = time.perf_counter()
            call()
            ended = time.perf_counter()
            if i >= 0:
                seconds[name][i] = ended - started
    return seconds


def _row(name: str, seconds: npt.NDArray[np.float64]) -> BenchRow:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
    return BenchRow(name=name, p50_us=float(p50), p99_us=float(p99), count=len(seconds))


def _stream(device: Device, history: History) -> dict[str, Callable[[], object]]:
    """One step from a full cache, one prediction from a full history, and both in a row."""
    last = len(history) - 1
    _, cache = device.stream(history.take(slice(0, last)))
    hidden, _ = device.observe(history, slice(last, last + 1), cache, last)
    # What a client keeps ready; assembling it is the SDK's time, not the graph's.
    inputs = _question(device, history) | {"hidden": hidden}

    def observe() -> npt.NDArray[np.float32]:
        hidden_D: npt.NDArray[np.float32] = device.observe(
            history, slice(last, last + 1), cache, last
        )[0][0]
        return hidden_D

    def predict() -> npt.NDArray[np.float32]:
        return device.predict(inputs)

    def both() -> npt.NDArray[np.float32]:
        return device.predict(inputs | {"hidden": observe()[None]})

    return {"stream": both, "  observe": observe, "  predict": predict}


def _question(device: Device, history: History) -> dict[str, Any]:
    """Inputs of predict for the moment of the latest event, but for the state, which is 0."""
    moment = int(history.time_s[-1]), int(history.utc_offset_min[-1])
    state = np.zeros(device.config.width, np.float32)
    return device.predict_inputs(state, history, len(history), moment)


def _torch_window(
    model: BehaviorModel, history: History, inputs: Mapping[str, Any]
) -> Callable[[], Tensor]:
    """The same prediction in torch, stateless: everything from the last `window` events.

    inputs  of the predict graph; the state among them is computed anew.
    """
    config = model.config
    window = slice(-config.window, None)

    def ids(column: npt.NDArray[np.int64], table_size: int) -> Tensor:
        return torch.from_numpy(column[window] * (column[window] < table_size))[None]

    predict = Predict(model).eval()
    given = {name: torch.from_numpy(np.asarray(inputs[name])) for name in predict.input_names}

    @torch.inference_mode()
    def run() -> Tensor:
        weekday, slot = weekday_and_slot(history.time_s[window], history.utc_offset_min[window])
        event = ids(history.event, config.num_events)
        plan = plan_attention(torch.zeros_like(event), config.window, "blockwise")
        given["hidden"] = model.hidden(
            event,
            ids(history.location, config.num_locations),
            torch.from_numpy(weekday)[None],
            torch.from_numpy(slot)[None],
            plan,
        )[0, -1:]
        probs: Tensor = predict(*given.values())
        return probs

    return run


def _longest_history(checkpoint: Checkpoint, store: EventStore) -> History:
    gate = gate_log(store, checkpoint.config.split, checkpoint.model_config.window)
    log = map_log(gate.store, checkpoint.vocabulary)
    return History.of_log(log, int(np.diff(log.user_start).argmax()))


def _random_history(model: BehaviorModel) -> History:
    """Events every hour, more than any counter holds."""
    config, rng = model.config, np.random.default_rng(0)
    num_events = HABIT_EVENTS + config.window
    return History(
        event=rng.integers(0, config.num_events, num_events),
        location=rng.integers(0, config.num_locations, num_events),
        behavior=rng.integers(1, max(2, config.num_behaviors), num_events),
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
