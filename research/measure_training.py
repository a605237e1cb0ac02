"""Speed and memory of training: the loader alone, steps of a recipe, and the same beside another job.

    python research/measure_training.py loader STORE...
    python research/measure_training.py steps STORE... --recipe tiny edge --steps 40
    python research/measure_training.py steps STORE... --against CHECKOUT --pairs 3
    python research/measure_training.py steps STORE --busy 2
    python research/measure_training.py epoch STORE...

`loader` makes every batch of an epoch and trains nothing, without and with the past that kernels look back on; nothing
is cached. `steps` trains for some steps, `epoch` for a whole one with its validation; each in a process of its own. CPU
seconds are those of steps alone; with `--against`, the other checkout and this one take turns, and a ratio is the
median over the pairs. `--busy` processes that only count run beside it. Every minute a line tells how far a long epoch
is and what it has needed, so that one that is stopped says something too.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PACKAGES = (".", "train", "export", "cli")
_WARM_STEPS = 3
_REPORT_EVERY_S = 60.0
_BUSY = "while True: pass"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure_loader(store_path: Path, recipe: str, habits: bool, max_seconds: float) -> dict[str, Any]:
    """Batches of an epoch, or of the first so many seconds of one."""
    import torch

    from edgebehave_train.loading.batches import TrainingLog
    from edgebehave_train.loading.loader import Loader
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.log_parts import LogParts
    from edgebehave_train.training.recipes import PRESETS

    torch.set_num_threads(1)
    store, config = EventStore.open(store_path), PRESETS[recipe]()
    started = time.monotonic()
    parts = LogParts.of(store, config)
    setup_s = time.monotonic() - started
    data = TrainingLog(store, parts.vocabulary, parts.bounds, torch.device("cpu"), habits=habits)
    shape = {"row_events": config.row_events, "batch_events": config.batch_events, "seed": config.seed}
    loader = Loader(data, parts.train_ranges, **shape)
    num_events, started, cpu_started = 0, time.monotonic(), time.process_time()
    for step in loader.epoch(0):
        num_events += step.num_events
        if max_seconds and time.monotonic() - started > max_seconds:
            break
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_started
    return {
        "events": store.num_events,
        "share": num_events / loader.num_events,
        "setup_s": setup_s,
        "events_per_s": num_events / wall_s,
        "events_per_cpu_s": num_events / cpu_s,
        "peak_mb": peak_mb(),
    }


class Enough(Exception):  # noqa: N818  a signal, not an error
    pass


def measure_steps(store_path: Path, recipe: str, steps: int) -> dict[str, Any]:
    """Some steps of a recipe, or one epoch and its validation; runs in older checkouts too."""
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.pretraining import pretrain
    from edgebehave_train.training.recipes import PRESETS

    store, config = EventStore.open(store_path), PRESETS[recipe](epochs=1 if not steps else 18)
    found: dict[str, Any] = {"events": store.num_events}
    begun: dict[str, float] = {"reported": time.monotonic()}

    def on_progress(progress: Any) -> None:
        if progress.kind == "step":
            now = {"cpu": time.process_time(), "wall": time.monotonic(), "step": progress.step}
            if progress.step == _WARM_STEPS:
                begun.update(now)
            elif progress.step > _WARM_STEPS:
                num_events = (progress.step - begun["step"]) * config.batch_events
                found["events_per_cpu_s"] = num_events / (now["cpu"] - begun["cpu"])
                found["events_per_s"] = num_events / (now["wall"] - begun["wall"])
                found["waiting"] = getattr(progress, "waiting", float("nan"))
                found["loss"], found["steps"] = progress.loss, progress.step
            if progress.step > _WARM_STEPS and now["wall"] - begun["reported"] > _REPORT_EVERY_S:
                begun["reported"] = now["wall"]
                print(
                    f"step {progress.step:,} of {progress.num_steps:,}, {now['cpu']:.0f} CPU s, "
                    f"{found['events_per_cpu_s']:,.0f} events per CPU second, peak {peak_mb():.0f} MB, "
                    f"loss {progress.loss:.4f}",
                    file=sys.stderr,
                    flush=True,
                )
        if progress.kind == "validation":
            found["validation_nll"] = progress.validation_nll
        if steps and progress.kind == "step" and progress.step >= steps:
            raise Enough

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as out, suppress(Enough):
        pretrain(store, config, Path(out) / "run", device="cpu", on_progress=on_progress)
    return {**found, "wall_s": time.monotonic() - started, "peak_mb": peak_mb()}


def in_process(checkout: Path, *arguments: str) -> dict[str, Any]:
    """A measurement in a process of its own, with the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(checkout / name) for name in _PACKAGES)}
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_loader(stores: list[Path], recipe: str, max_seconds: float) -> None:
    print("| store | events | with the past | share read | set-up s | events/s | events/CPU s | peak MB |")
    print("|---|--:|---|--:|--:|--:|--:|--:|")
    for store in stores:
        for habits in (False, True):
            found = in_process(ROOT, "loader", str(store), recipe, str(int(habits)), str(max_seconds))
            print(
                f"| {store.name} | {found['events']:,} | {'yes' if habits else 'no'} | {found['share']:.0%} | "
                f"{found['setup_s']:.1f} | {found['events_per_s']:,.0f} | {found['events_per_cpu_s']:,.0f} | "
                f"{found['peak_mb']:,.0f} |",
                flush=True,
            )


def print_steps(stores: list[Path], options: argparse.Namespace, steps: int) -> None:
    print("| store | recipe | code | steps | events/s | events/CPU s | waiting | loss | wall s | peak MB | ratio |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    checkouts = [ROOT] if options.against is None else [options.against, ROOT]
    for store in stores:
        for recipe in options.recipe:
            ratios = []
            for _ in range(options.pairs if len(checkouts) > 1 else 1):
                speeds = []
                for checkout in checkouts:
                    found = in_process(checkout, "steps", str(store), recipe, str(steps))
                    speeds.append(found["events_per_cpu_s"])
                    ratios += [speeds[1] / speeds[0]] if len(speeds) > 1 else []
                    ratio = f"{statistics.median(ratios):.2f}" if len(speeds) > 1 else ""
                    print(
                        f"| {store.name} | {recipe} | {'this' if checkout == ROOT else 'other'} | {found['steps']:,} | "
                        f"{found['events_per_s']:,.0f} | {found['events_per_cpu_s']:,.0f} | {found['waiting']:.1%} | "
                        f"{found['loss']:.4f} | {found['wall_s']:.0f} | {found['peak_mb']:,.0f} | {ratio} |",
                        flush=True,
                    )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        task, store, recipe, *numbers = sys.argv[2:]
        if task == "loader":
            found = measure_loader(Path(store), recipe, numbers[0] == "1", float(numbers[1]))
        else:
            found = measure_steps(Path(store), recipe, int(numbers[0]))
        print(json.dumps(found))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["loader", "steps", "epoch"])
    parser.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    parser.add_argument("--recipe", nargs="+", default=["tiny"])
    parser.add_argument("--steps", type=int, default=40, help="of training, the first three not counted")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, to take turns with")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes that run beside it")
    parser.add_argument("--seconds", type=float, default=0.0, help="of an epoch that the loader reads; 0 = all")
    options = parser.parse_args()
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(options.busy)]
    try:
        if options.task == "loader":
            print_loader(options.stores, options.recipe[0], options.seconds)
        else:
            print_steps(options.stores, options, options.steps if options.task == "steps" else 0)
    finally:
        for process in busy:
            process.kill()


if __name__ == "__main__":
    main()
