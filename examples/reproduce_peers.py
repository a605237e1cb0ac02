"""Our model beside SASRec and HSTU on one log: one command, one table.

    python examples/reproduce_peers.py tokyo --data FOLDER [--test]
    python examples/reproduce_peers.py simulator
    python examples/reproduce_peers.py tokyo --data FOLDER --tune

Wants an environment of its own, with RecTools: pip install -e '.[cpu,train,cli,peers]'. Rows:

    sasrec          SASRec of RecTools, softmax over all behaviors; no query time
    rectools hstu   HSTU of RecTools; knows the time of each event and of the target
    hstu            our plain model with HSTU blocks; none and time are its query context
    plain           our plain model with softmax blocks
    mixture         our model with the habit kernels

Without --test the validation part is read. `CHOSEN` holds starting points from a few runs there;
the grid that --tune runs has not decided them yet. FOLDER is that of reproduce_tables.py. Whatever
is finished is kept; a killed run goes on where it was.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from reproduce_tables import SHOWN
from research_logs import LOGS, ingested
from verbs import commit, train

from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.evaluation import evaluate, predict_part
from edgebehave_train.event_store import EventStore
from edgebehave_train.metrics import evaluate_predictions
from edgebehave_train.peers import Peer, PeerConfig, train_peer
from edgebehave_train.ranking import Predictions
from edgebehave_train.seed_intervals import mean_text
from edgebehave_train.split import VALIDATION, SplitConfig

PEERS = {"sasrec": "sasrec", "rectools hstu": "hstu"}
OURS: dict[str, tuple[str, ...]] = {
    "mixture": (),
    "plain time": ("--no-habits",),
    "plain none": ("--no-habits", "--query-context", "none"),
    "hstu time": ("--no-habits", "--set", "attention=hstu"),
    "hstu none": ("--no-habits", "--query-context", "none", "--set", "attention=hstu"),
}
LONGER = {"epochs": 40, "patience": 6, "batch_events": 720}
START: dict[str, dict[str, Any]] = {
    "sasrec": {"learning_rate": 4e-3},
    "rectools hstu": {"learning_rate": 4e-3, "temperature": 0.05},
    "hstu none": {"learning_rate": 2e-3, **LONGER},
    "plain none": {"learning_rate": 2e-3, **LONGER},
}
"""Where the grid begins: for ours the preset tiny, with as many steps as the peers take."""

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
"""--tune tries each of the shared changes and of its own on every kind: nine runs for each."""

CHOSEN: dict[str, dict[str, Any]] = {
    "sasrec": START["sasrec"],
    "rectools hstu": START["rectools hstu"],
    "hstu": LONGER,
    "plain": LONGER,
    "mixture": {},
}
"""What the table is made with. The learning rate of ours is the preset's."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="tiny", help="of our own models")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test", action="store_true", help="read the test part; it is recorded")
    parser.add_argument("--tune", nargs="*", choices=START, help="the grid, of these kinds or all")
    args = parser.parse_args()
    started, out = time.monotonic(), args.out / args.log
    store = EventStore.open(ingested(args.log, args.data, out))
    runs = Runs(store, out, args.preset, LOGS[args.log].split)
    if args.tune is not None:
        tune(runs, args.tune or list(START))
    else:
        compare(runs, args.seeds, "test" if args.test else "validation")
    print(
        f"\ncommit {commit()}, data {store.fingerprint[:12]}, "
        f"seeds {1 if args.tune is not None else args.seeds}, "
        f"{(time.monotonic() - started) / 60:.1f} min"
    )


class Runs:
    """Trained models by kind and settings, each trained when it is first asked for."""

    def __init__(
        self, store: EventStore, out: Path, preset: str, split: Literal["time", "user"]
    ) -> None:
        self.store, self.out, self.preset, self.split = store, out, preset, split

    def peer(self, kind: str, settings: dict[str, Any], seed: int, name: str) -> Peer:
        """A model of RecTools."""
        split = SplitConfig(by=self.split)
        config = PeerConfig(kind=PEERS[kind], seed=seed, split=split, **settings)
        out = self.out / f"peer-{name}-{seed}"
        return train_peer(
            self.store, config, out, lambda line: print(f"# {out}: {line}", file=sys.stderr)
        )

    def checkpoint(self, kind: str, settings: dict[str, Any], seed: int, name: str) -> Checkpoint:
        """A model of our own, trained by the command line."""
        out = self.out / f"{self.preset}-{name}-{seed}"
        chosen = [f"--set={key}={value}" for key, value in settings.items()]
        train(self.store.path, out, self.preset, seed, self.split, (*OURS[kind], *chosen))
        return Checkpoint.open(out)


def tune(runs: Runs, kinds: list[str]) -> None:
    """The grid on the validation part, seed 0, one change at a time."""
    print("| kind | change | " + " | ".join(SHOWN) + " |")
    print("|---" * (2 + len(SHOWN)) + "|")
    for kind in kinds:
        for changes in (*SHARED_GRID, *OWN_GRID[kind]):
            settings = {**START[kind], **changes}
            if "learning_rate" in changes:
                settings["learning_rate"] *= START[kind]["learning_rate"]
            label = ", ".join(f"{key} {settings[key]}" for key in changes) or "start"
            name = "-".join(["tune", kind, *(f"{key}={settings[key]}" for key in changes)])
            predictions, counts = on_validation(runs, kind, settings, name.replace(" ", "-"))
            metrics = evaluate_predictions(predictions, counts)
            cells = [f"{metrics[metric]:.3f}" for metric in SHOWN]
            print(f"| {kind} | {label} | " + " | ".join(cells) + " |", flush=True)


def on_validation(
    runs: Runs, kind: str, settings: dict[str, Any], name: str
) -> tuple[Predictions, Any]:
    """Predictions of the validation part, and the counts of behaviors in training."""
    if kind in PEERS:
        peer = runs.peer(kind, settings, 0, name)
        targets = peer.behaviors.targets(peer.part == VALIDATION)
        return peer.predict(peer.behaviors, targets), peer.behaviors.train_counts
    checkpoint = runs.checkpoint(kind, settings, 0, name)
    return predict_part(runs.store, checkpoint), checkpoint.behavior_counts


def compare(runs: Runs, num_seeds: int, part: str) -> None:
    """The table of all kinds over seeds."""

    def named(kinds: Any) -> Iterator[tuple[str, int, str]]:
        for kind in kinds:
            for seed in range(num_seeds):
                yield kind, seed, f"{kind}, seed {seed}"

    checkpoints = {
        name: runs.checkpoint(kind, CHOSEN[kind.split()[0]], seed, kind.replace(" ", "-"))
        for kind, seed, name in named(OURS)
    }
    peers = {
        name: runs.peer(kind, CHOSEN[kind], seed, kind.replace(" ", "-")).predict
        for kind, seed, name in named(PEERS)
    }
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
