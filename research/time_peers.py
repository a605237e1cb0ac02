"""Time of training to the same accuracy: ours beside SASRec and HSTU of RecTools, and one target per window.

    python research/time_peers.py foursquare --data FOLDER [--rows sasrec ours]

Wants the environment of reproduce_peers.py, with RecTools. SASRec trains until it stops; the bar is its best HR@3 on
the validation part. Every other row is the processor time (and wall time) of training until its validation HR@3 is
there; the measurement of HR@3 itself is not counted. Every epoch is told as it ends. Ours is the mixture, preset tiny;
`plain` has no habit kernels. Below stand the targets per second of our training, packed, and of a loop that gives each
target a window of its own, which is what a training step on single windows does. All on --threads threads; FOLDER is
that of reproduce_tables.py.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.loading.loader import Step
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.packing import Pieces
from edgebehave_train.logs.split import TRAIN, VALIDATION, SplitConfig
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.hardware import keep_buffers_in_heap
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.progress import Clock, Progress
from edgebehave_train.training.ranks import Ranks
from edgebehave_train.training.recipes import TrainConfig, tiny
from edgebehave_train.training.training_run import Start, TrainingRun
from research_logs import LOGS, ingested
from verbs import commit

ROWS: dict[str, dict[str, Any] | None] = {
    "sasrec": None,
    "rectools hstu": None,
    "ours": {},
    "ours, plain": {"habits": False},
}
"""Rows of the table: changes of the preset tiny, or None for a model of RecTools."""


@dataclass
class Curve:
    """HR@3 on the validation part after each epoch, and the time of training until then.

    points  (processor seconds, wall seconds, HR@3) of each epoch.
    """

    points: list[tuple[float, float, float]] = field(default_factory=list)
    _uncounted: tuple[float, float] = (0.0, 0.0)
    _began: tuple[float, float] = field(default_factory=lambda: (time.process_time(), time.monotonic()))

    def epoch(self, hr_at_3: Callable[[], float]) -> None:
        """Note an epoch that has just ended."""
        now = time.process_time(), time.monotonic()
        passed = [at - start - out for at, start, out in zip(now, self._began, self._uncounted, strict=True)]
        self.points.append((passed[0], passed[1], hr_at_3()))
        told = f"epoch {len(self.points)}: {passed[0]:.1f} processor s, HR@3 {self.points[-1][2]:.4f}"
        print(told, file=sys.stderr, flush=True)
        after = time.process_time(), time.monotonic()
        self._uncounted = (
            self._uncounted[0] + after[0] - now[0],
            self._uncounted[1] + after[1] - now[1],
        )

    @property
    def best(self) -> float:
        return max(value for _, _, value in self.points)

    def until(self, wanted: float) -> tuple[float, float] | None:
        """Processor and wall seconds until HR@3 was reached; None if it never was."""
        return next(((cpu, wall) for cpu, wall, value in self.points if value >= wanted), None)


def curve_of_ours(store: EventStore, config: TrainConfig, out: Path) -> Curve:
    """A training of ours; HR@3 of the best weights so far."""
    curve = Curve()

    def measured() -> float:
        checkpoint = Checkpoint.open(out)
        return float(evaluate_predictions(predict_part(store, checkpoint), checkpoint.behavior_counts)["hr_at_3"])

    def on_progress(progress: Progress) -> None:
        if progress.kind == "validation":
            curve.epoch(measured if progress.is_best else lambda: curve.points[-1][2])

    pretrain(store, config, out, device="cpu", on_progress=on_progress)
    return curve


def curve_of_peer(store: EventStore, kind: str, split: SplitConfig) -> Curve:
    """A training of RecTools, with the settings of the table of peers."""
    from peers import Peer, PeerConfig
    from reproduce_peers import CHOSEN, PEERS, settings_of

    settings = settings_of(kind, CHOSEN[kind])
    peer = Peer(store, PeerConfig(kind=PEERS[kind], split=split, **settings))
    targets = peer.behaviors.targets(peer.part == VALIDATION)
    curve = Curve()

    def measured() -> float:
        predictions = peer.predict(peer.behaviors, targets)
        return float(evaluate_predictions(predictions, peer.behaviors.train_counts)["hr_at_3"])

    peer.train(lambda line: curve.epoch(measured))
    return curve


def targets_per_s(store: EventStore, config: TrainConfig, num_steps: int, *, one_per_window: bool) -> float:
    """Targets of training steps per second of processor time, packed or each with a window of its own."""
    keep_buffers_in_heap()  # as `pretrain` does
    run = TrainingRun(store, config, Path("unused"), Ranks(), Start(origin={}), "auto", None, False)
    following, is_target = run.parts.log.next_behavior, run.parts.is_target
    starts = np.repeat(run.parts.train_ranges[:, 0], np.diff(run.parts.train_ranges)[:, 0].clip(0))
    positions = np.concatenate([np.arange(*ends) for ends in run.parts.train_ranges])
    asked = (following[positions] >= 0) & is_target[following[positions]]
    starts, positions = starts[asked], positions[asked]
    batch_rows = max(1, config.batch_events // config.window)
    order = np.random.default_rng(0).permutation(len(positions))
    packed = itertools.cycle(run.loader.epoch(0))
    num_targets = 0
    began = time.process_time()
    for number in range(num_steps):
        if one_per_window:
            chosen = order[np.arange(number * batch_rows, (number + 1) * batch_rows) % len(order)]
            at = positions[chosen]
            windows = Pieces(np.arange(len(at)), np.maximum(starts[chosen], at - config.window + 1), at + 1, at)
            batches = run.data.batches(windows, [len(at)], TRAIN, config.window)
            step = Step(int((windows.stop - windows.start).sum()), [0], batches)
        else:
            step = next(packed)
        num_targets += sum(len(batch.target) for batch in step.batches)
        run.train_step(step, Clock())
    return num_targets / (time.process_time() - began)


def print_table(curves: dict[str, Curve], speeds: dict[str, float]) -> None:
    """Markdown; the first curve sets the bar."""
    first, bar = next(iter(curves.items()))
    of_bar = bar.until(bar.best)
    assert of_bar is not None
    print(f"| until HR@3 {bar.best:.4f}, the best of {first} | processor s | wall s | of {first} | own best HR@3 |")
    print("|---|---:|---:|---:|---:|")
    for name, curve in curves.items():
        taken = curve.until(bar.best)
        cells = (
            ("never", "", "")
            if taken is None
            else (f"{taken[0]:.0f}", f"{taken[1]:.0f}", f"{taken[0] / of_bar[0]:.2f}")
        )
        print(f"| {name} | " + " | ".join(cells) + f" | {curve.best:.4f} |")
    print("\n| training, preset tiny | targets per processor second |\n|---|---:|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="measured steps of the two loops")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="trainings; one of a peer is first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = args.out / args.log
    store = EventStore.open(ingested(args.log, args.data, out))
    split = SplitConfig(by=LOGS[args.log].split)
    curves = {}
    for name in args.rows:
        print(name, file=sys.stderr, flush=True)
        if (changes := ROWS[name]) is None:
            curves[name] = curve_of_peer(store, name, split)
        else:
            folder = out / f"timed-{name.replace(', ', '-')}-{int(time.time())}"
            curves[name] = curve_of_ours(store, tiny(split=split, **changes), folder)
    speeds = {
        name: targets_per_s(store, tiny(split=split), args.steps, one_per_window=alone)
        for name, alone in (("packed", False), ("one target per window", True))
    }
    print_table(curves, speeds)
    print(f"\ncommit {commit()}, data {store.fingerprint[:12]}, {args.threads} threads, seed 0")


if __name__ == "__main__":
    main()
