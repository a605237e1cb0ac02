"""Our model beside SASRec and HSTU on one log: one command, one table.

    python research/reproduce_peers.py tokyo --data FOLDER [--test]
    python research/reproduce_peers.py simulator
    python research/reproduce_peers.py tokyo --data FOLDER --tune [--changes 4]

Wants an environment of its own, with RecTools: pip install -e '.[cpu,train,cli,peers]'. Rows:

    sasrec          SASRec of RecTools, softmax over all behaviors; no query time
    rectools hstu   HSTU of RecTools; knows the time of each event and of the target
    hstu            our plain model with HSTU blocks; none and time are its query context
    plain           our plain model with softmax blocks
    mixture         our model with the habit kernels

Without --test the validation part is read. `CHOSEN` is what --tune found best there, one change at
a time, by HR@1 on Tokyo. FOLDER is that of reproduce_tables.py. Whatever is finished is kept; a
killed run goes on where it was.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

import hstu  # noqa: F401  # adds the blocks of `attention=hstu`
from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.evaluation.table import evaluate
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import VALIDATION, SplitConfig
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.ranking import Predictions
from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.training.checkpoint import Checkpoint
from peers import Peer, PeerConfig, train_peer
from reproduce_tables import SHOWN
from research_logs import LOGS, ingested
from verbs import commit, train

PEERS = {"sasrec": "sasrec", "rectools hstu": "hstu"}
OURS: dict[str, tuple[str, ...]] = {
    "mixture": (),
    "plain time": ("--no-habits",),
    "plain none": ("--no-habits", "--query-context", "none"),
    "hstu time": ("--no-habits", "--set", "attention=hstu"),
    "hstu none": ("--no-habits", "--query-context", "none", "--set", "attention=hstu"),
}
LONGER = {"epochs": 40, "patience": 6, "batch_events": 720, "choose_by": "rank"}
START: dict[str, dict[str, Any]] = {
    "sasrec": {"learning_rate": 4e-3},
    "rectools hstu": {"learning_rate": 4e-3, "temperature": 0.05},
    "hstu": {"learning_rate": 2e-3, **LONGER},
    "plain": {"learning_rate": 2e-3, **LONGER},
    "mixture": {},
}
"""Start of the grid: for ours the preset tiny, with as many steps as the peers take and, like
theirs, with the epoch of the best validation rank. The mixture is the recipe as it is."""

SHARED_GRID: tuple[dict[str, Any], ...] = (
    {},
    {"learning_rate": 2.0},  # times that of the start
    {"learning_rate": 0.5},
    {"dropout": 0.4},
    {"width": 128, "num_heads": 4},
    {"num_layers": 1},
    {"num_layers": 4},
)
OWN_GRID: dict[str, tuple[dict[str, Any], ...]] = {
    "sasrec": ({"loss": "gBCE"}, {"window": 45}),
    "rectools hstu": ({"temperature": 0.1}, {"window": 45}),
    "hstu none": ({"epochs": 12, "batch_events": 1440}, {"window": 45}),
    "plain none": ({"epochs": 12, "batch_events": 1440}, {"window": 45}),
}
"""--tune tries the shared changes, then its own, on each of these: nine runs for a kind, the first
N of them with --changes N."""

CHOSEN: dict[str, dict[str, Any]] = {
    "sasrec": {"num_layers": 1},
    "rectools hstu": {"learning_rate": 0.5},
    "hstu": {"width": 128, "num_heads": 4},
    "plain": {"num_layers": 1},
}
"""Changes that the table is made with, by family, beside START; none where nothing is named."""


def family(kind: str) -> str:
    """Kinds that are tuned together: our models with another query context share their settings."""
    return kind if kind in PEERS else kind.split()[0]


def settings_of(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    """START with changes; a learning rate among them is a factor."""
    start = START[family(kind)]
    settings = {**start, **changes}
    if "learning_rate" in changes:
        settings["learning_rate"] = start["learning_rate"] * changes["learning_rate"]
    return settings


def name_of(kind: str, changes: dict[str, Any]) -> str:
    """The folder of a run, which the grid and the table share."""
    settings = settings_of(kind, changes)
    return "-".join([kind, *(f"{key}={settings[key]}" for key in changes)]).replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="tiny", help="of our own models")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=[*PEERS, *OURS], choices=[*PEERS, *OURS])
    parser.add_argument("--test", action="store_true", help="read the test part; it is recorded")
    parser.add_argument("--tune", nargs="*", choices=OWN_GRID, help="the grid, of these or all")
    parser.add_argument("--changes", type=int, help="of the grid, the first; default: all")
    args = parser.parse_args()
    if not set(args.kinds) & set(OURS):
        parser.error(f"a table needs one of our own kinds too: {', '.join(OURS)}")
    started, out = time.monotonic(), args.out / args.log
    store = EventStore.open(ingested(args.log, args.data, out))
    runs = Runs(store, out, args.preset, LOGS[args.log].split)
    if args.tune is not None:
        tune(runs, args.tune or list(OWN_GRID), args.changes)
    else:
        compare(runs, args.kinds, args.seeds, "test" if args.test else "validation")
    print(
        f"\ncommit {commit()}, data {store.fingerprint[:12]}, "
        f"seeds {1 if args.tune is not None else args.seeds}, "
        f"{(time.monotonic() - started) / 60:.1f} min"
    )


class Runs:
    """Trained models by kind and settings, each trained when it is first asked for."""

    def __init__(self, store: EventStore, out: Path, preset: str, split: Literal["time", "user"]) -> None:
        self.store, self.out, self.preset, self.split = store, out, preset, split

    def peer(self, kind: str, changes: dict[str, Any], seed: int) -> Peer:
        """A model of RecTools."""
        settings, split = settings_of(kind, changes), SplitConfig(by=self.split)
        config = PeerConfig(kind=PEERS[kind], seed=seed, split=split, **settings)
        out = self.out / f"peer-{name_of(kind, changes)}-{seed}"
        return train_peer(self.store, config, out, lambda line: print(f"# {out}: {line}", file=sys.stderr))

    def checkpoint(self, kind: str, changes: dict[str, Any], seed: int) -> Checkpoint:
        """A model of our own, trained by the command line."""
        out = self.out / f"{self.preset}-{name_of(kind, changes)}-{seed}"
        settings = [f"--set={key}={value}" for key, value in settings_of(kind, changes).items()]
        train(self.store.path, out, self.preset, seed, self.split, (*OURS[kind], *settings))
        return Checkpoint.open(out)


def tune(runs: Runs, kinds: list[str], num_changes: int | None) -> None:
    """The grid on the validation part, seed 0, one change at a time; all kinds side by side."""
    print("| kind | change | " + " | ".join(SHOWN) + " | epoch |")
    print("|---" * (3 + len(SHOWN)) + "|")
    grid = [(*SHARED_GRID, *own)[:num_changes] for own in OWN_GRID.values()]
    for changes_of_kind in zip(*grid, strict=True):
        for kind, changes in zip(OWN_GRID, changes_of_kind, strict=True):
            if kind not in kinds:
                continue
            settings = settings_of(kind, changes)
            label = ", ".join(f"{key} {settings[key]}" for key in changes) or "start"
            predictions, counts, best_epoch = on_validation(runs, kind, changes)
            metrics = evaluate_predictions(predictions, counts)
            cells = [f"{metrics[metric]:.3f}" for metric in SHOWN]
            cells += [str(best_epoch)]
            print(f"| {kind} | {label} | " + " | ".join(cells) + " |", flush=True)


def on_validation(runs: Runs, kind: str, changes: dict[str, Any]) -> tuple[Predictions, Any, int]:
    """Predictions of the validation part, the counts of behaviors in training, and the best epoch."""
    if kind in PEERS:
        peer = runs.peer(kind, changes, 0)
        targets = peer.behaviors.targets(peer.part == VALIDATION)
        return peer.predict(peer.behaviors, targets), peer.behaviors.train_counts, peer.training["best_epoch"]
    checkpoint = runs.checkpoint(kind, changes, 0)
    return predict_part(runs.store, checkpoint), checkpoint.behavior_counts, checkpoint.training.best_epoch


def compare(runs: Runs, kinds: list[str], num_seeds: int, part: str) -> None:
    """The table of some kinds over seeds; seed 0 of all comes first."""
    checkpoints, peers = {}, {}
    for seed in range(num_seeds):
        for kind in kinds:
            name, changes = f"{kind}, seed {seed}", CHOSEN.get(family(kind), {})
            if kind in PEERS:
                peers[name] = runs.peer(kind, changes, seed).predict
            else:
                checkpoints[name] = runs.checkpoint(kind, changes, seed)
    table = evaluate(
        runs.store,
        list(checkpoints.values()),
        names=list(checkpoints),
        part=part,
        variants=False,
        peers=peers,
        num_resamples=200,
        on_row=lambda name: print(f"# scored {name}", file=sys.stderr),
    )
    (runs.out / f"peers-{part}.json").write_text(json.dumps(table.to_json(), indent=2))
    print(f"| {part}, {table.num_targets:,} predictions | " + " | ".join(SHOWN) + " |")
    print("|---" * (1 + len(SHOWN)) + "|")
    rows: dict[str, list[Any]] = {}
    for row in table.rows:
        rows.setdefault(row.name.partition(", seed ")[0], []).append(row)
    for name, of_seeds in rows.items():
        cells = [mean_text([row.metrics[metric].value for row in of_seeds]) for metric in SHOWN]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
