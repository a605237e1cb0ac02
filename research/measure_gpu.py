"""Measure training and inference on a CUDA machine: one table, in pieces of under ten minutes.

    python research/measure_gpu.py attention speed wide dro        # each piece writes a file into runs/gpu
    python research/measure_gpu.py memory
    python research/measure_gpu.py onnx
    python research/measure_gpu.py                                 # the table of the pieces that are there

    attention  error of each backend against float64, and its time forward and backward
    speed      events/s and model FLOPs utilization of edge, base, large and paper: eager, compiled, with CUDA graphs
    wide       12 layers of width 768: events/s, and the minutes of one epoch over 50 million events
    dro        events/s of dro beside ce, preset base
    memory     peak memory against events per step, preset paper
    onnx       events/s of ONNX Runtime on CUDA: the observe graph of the tests' bundle, many events in a call

Steps are those of `edgebehave train` on a simulated log, loader included; "waits" is the share of the time in which a
step waits for its batch. A backend or a provider that is not installed is listed as such. Model FLOPs of an event are
6 per weight of the matrices and 12 width window per layer for attention; the peak is that of bfloat16 without sparsity.
`--device cpu --tiny` is a dry run with small shapes, for the tests: its figures mean nothing.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgebehave_train.loading.loader import Loader, Step
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.model.attention import BACKENDS, choose_backend, plan_attention, sliding_window_attention
from edgebehave_train.training.objectives import ObjectiveConfig
from edgebehave_train.training.progress import Clock
from edgebehave_train.training.ranks import Ranks
from edgebehave_train.training.recipes import PRESETS, TrainConfig, large
from edgebehave_train.training.training_run import Start, TrainingRun
from verbs import commit, run

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40": 181.0, "4090": 165.0}
"""bfloat16, dense, by a word of the device's name."""
EPOCH_EVENTS = 50_000_000
GRAPH = Path(__file__).parents[1] / "tests" / "edgebehave" / "tiny_bundle" / "web" / "observe.onnx"


class Machine:
    """The device, and how much is measured on it."""

    def __init__(self, device: str, out: Path, *, tiny: bool, steps: int) -> None:
        self.device, self.out, self.tiny, self.steps = torch.device(device), out, tiny, steps
        is_cuda = self.device.type == "cuda"
        self.name = torch.cuda.get_device_name() if is_cuda else "cpu"
        self.peak = next((tflops for word, tflops in PEAK_TFLOPS.items() if word in self.name), None)

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def store(self) -> EventStore:
        """A simulated log, made unless it is there."""
        store = self.out / "store"
        if not store.exists():
            users = ("--users", "40", "--days", "8") if self.tiny else ("--users", "4000")
            run("simulate", str(self.out / "log.csv.gz"), *users)
            run("ingest", str(self.out / "log.csv.gz"), "-o", str(store), "--location", "location")
        return EventStore.open(store)

    def recipe(self, preset: str, **changes: Any) -> TrainConfig:
        """A preset with batches for a GPU; all of it small for a dry run."""
        config = {"row_events": 1024, "batch_events": 32_768, "learned_kernel": False, **changes}
        if self.tiny:
            config |= {"width": 16, "num_layers": 2, "num_heads": 1, "window": 8, "row_events": 32, "batch_events": 128}
        return PRESETS[preset](**config)

    def training(self, config: TrainConfig, how: str = "eager") -> dict[str, Any]:
        """Steps of a training: events/s, model FLOPs utilization, waiting and peak memory."""
        training = TrainingRun(
            self.store(), config, self.out / "unused", Ranks(device=self.device), Start(origin={}), "auto", None, False
        )
        for block in training.state.model.blocks if how != "eager" else ():
            block.compile(mode="reduce-overhead" if how == "CUDA graphs" else "default", dynamic=how == "compiled")
        warm_up = 2 if self.tiny else 5
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        clock, began = Clock(), time.perf_counter()
        for i, step in enumerate(clock.waiting_for(full_steps(training.loader, warm_up + self.steps))):
            if i == warm_up:
                self.sync()
                clock.restart()
                began = time.perf_counter()
            training.train_step(step, clock)
            training.state.step = min(training.state.step + 1, training.num_steps - 1)
        self.sync()
        seconds = time.perf_counter() - began
        events_per_s = clock.num_events / seconds
        flops = events_per_s * flops_of_event(training)
        return {
            "events_per_s": events_per_s,
            "mfu": flops / (self.peak * 1e12) if self.peak else None,
            "waits": clock.waited_s / seconds,
            "attention": training.losses.backend,
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if self.device.type == "cuda" else None,
        }


def full_steps(loader: Loader, num_steps: int) -> Iterator[Step]:
    """Steps of as many rows each, from one epoch after the other."""
    epochs = itertools.chain.from_iterable(map(loader.epoch, itertools.count()))
    full = loader.rows_per_step * loader.row_events
    return itertools.islice((step for step in epochs if step.num_events == full), num_steps)


def flops_of_event(training: TrainingRun) -> float:
    """Forward and backward of one event, by the weights of the matrices that multiply it and by attention."""
    config, model = training.model_config, training.state.model
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and is_matrix(name))
    return 6.0 * matrices + 12.0 * config.width * config.window * config.num_layers


def is_matrix(name: str) -> bool:
    """Whether a weight multiplies every event; rows of embeddings are looked up."""
    return name.startswith(("blocks.", "head_", "gate_"))


# -- the pieces -------------------------------------------------------------------------------


def attention(machine: Machine) -> dict[str, Any]:
    events, heads, width, window = (64, 2, 8, 8) if machine.tiny else (8192, 16, 64, 90)
    generator = torch.Generator().manual_seed(0)
    shape = (1, events, heads, width)
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64).to(machine.device) for _ in range(3)]
    query, key, value = exact
    segment = (torch.arange(events, device=machine.device) // (events // 4))[None]
    wanted = sliding_window_attention(query, key, value, plan_attention(segment, window, "dense"))
    found: dict[str, Any] = {}
    for backend in BACKENDS:
        is_varlen = backend in ("flash_attn", "varlen")
        for dtype in (torch.bfloat16,) if is_varlen else (torch.float32,):
            try:
                if is_varlen and machine.device.type != "cuda":
                    raise ValueError("needs CUDA")
                if backend == "varlen":
                    choose_backend(machine.device, dtype)
                query, key, value = (x.to(dtype).requires_grad_() for x in exact)
                plan = plan_attention(segment, window, backend)

                def once(query=query, key=key, value=value, plan=plan) -> torch.Tensor:
                    attended = sliding_window_attention(query, key, value, plan)
                    attended.sum().backward()
                    return attended

                error = float((once().detach().double() - wanted).abs().max())
                found[f"{backend}, {str(dtype).removeprefix('torch.')}"] = {"error": error, "ms": timed(machine, once)}
            except ImportError:
                found[backend] = "not installed"
            except (ValueError, RuntimeError) as problem:
                found[backend] = str(problem).splitlines()[0]
    return found


def timed(machine: Machine, action: Callable[[], Any]) -> float:
    """Milliseconds of an action, the mean of many."""
    for _ in range(3):
        action()
    machine.sync()
    repeats, began = 3 if machine.tiny else 50, time.perf_counter()
    for _ in range(repeats):
        action()
    machine.sync()
    return (time.perf_counter() - began) / repeats * 1e3


def speed(machine: Machine) -> dict[str, Any]:
    ways = ("eager", "compiled", "CUDA graphs") if machine.device.type == "cuda" else ("eager",)
    found = {}
    for preset in ("edge", "base", "large", "paper"):
        for how in ways:
            found[f"{preset}, {how}"] = attempt(partial(machine.training, machine.recipe(preset), how))
    return found


def wide(machine: Machine) -> dict[str, Any]:
    shape = large(width=768, num_layers=12, num_heads=12)
    changes = {name: getattr(shape, name) for name in ("width", "num_layers", "num_heads")}
    found = attempt(partial(machine.training, machine.recipe("large", **changes)))
    if isinstance(found, dict):
        found["minutes_of_50_million"] = EPOCH_EVENTS / found["events_per_s"] / 60
    return {"12 layers x 768": found}


def dro(machine: Machine) -> dict[str, Any]:
    return {
        name: attempt(partial(machine.training, machine.recipe("base", objective=ObjectiveConfig(name=name))))
        for name in ("ce", "dro")
    }


def memory(machine: Machine) -> dict[str, Any]:
    sizes = (64, 128) if machine.tiny else (8_192, 16_384, 32_768, 65_536, 131_072)
    return {
        f"{events:,} events": attempt(partial(machine.training, machine.recipe("paper", batch_events=events)))
        for events in sizes
    }


def onnx(machine: Machine) -> dict[str, Any]:
    """The graph that reads many events in one call, with the provider of the device."""
    import onnxruntime

    provider = "CUDAExecutionProvider" if machine.device.type == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        return {GRAPH.parent.name: "onnxruntime-gpu is not installed"}
    session = onnxruntime.InferenceSession(GRAPH, providers=[provider])
    found = {}
    for events in (8,) if machine.tiny else (64, 512, 4096):
        inputs = {}
        for wanted in session.get_inputs():
            unknown = events if len(wanted.shape) == 1 else 0  # events of the call; rows of the cache
            shape = [size if isinstance(size, int) else unknown for size in wanted.shape]
            inputs[wanted.name] = np.zeros(shape, np.float32 if wanted.type == "tensor(float)" else np.int64)
        ms = timed(machine, partial(session.run, None, inputs))
        found[f"{events:,} events a call"] = {"provider": provider, "events_per_s": events / ms * 1e3}
    return found


def attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    """What a measurement found, or in a few words why it found nothing."""
    try:
        return measure()
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory"


PIECES: dict[str, Callable[[Machine], dict[str, Any]]] = {
    "attention": attention,
    "speed": speed,
    "wide": wide,
    "dro": dro,
    "memory": memory,
    "onnx": onnx,
}


def print_table(out: Path) -> None:
    """Markdown: a row for each measurement of the pieces that are there."""
    print("| piece | what | found |\n|---|---|---|")
    for piece in PIECES:
        file = out / f"{piece}.json"
        if not file.exists():
            print(f"| {piece} | | not measured |")
            continue
        content = json.loads(file.read_text())
        for name, found in content["found"].items():
            text = (
                found if isinstance(found, str) else ", ".join(f"{key} {shown(value)}" for key, value in found.items())
            )
            print(f"| {piece} | {name} | {text} |")
    for file in sorted(out.glob("*.json")):
        content = json.loads(file.read_text())
        print(f"\n{file.stem}: {content['device']}, torch {content['torch']}, commit {content['commit']}", end="")
    print()


def shown(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pieces", nargs="*", choices=[[], *PIECES], help="what to measure; none: the table")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=30, help="measured steps of each training")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a dry run")
    args = parser.parse_args()
    if args.pieces and args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here: nothing is measured; --device cpu --tiny is a dry run")
    args.out.mkdir(parents=True, exist_ok=True)
    for piece in args.pieces:
        machine = Machine(args.device, args.out, tiny=args.tiny, steps=args.steps)
        found = PIECES[piece](machine)
        content = {"device": machine.name, "torch": torch.__version__, "commit": commit(), "found": found}
        (args.out / f"{piece}.json").write_text(json.dumps(content, indent=2))
    print_table(args.out)


if __name__ == "__main__":
    main()
