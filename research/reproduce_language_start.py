"""Training of a behavior network from the weights of a language model, beside training from noise.

    python research/reproduce_language_start.py simulator --llm FOLDER
    python research/reproduce_language_start.py tokyo --llm FOLDER --data FOLDER --seeds 5

BehaveGPT (arXiv 2505.17631, Fig. 7) starts its transformer from a language model and from noise,
and compares the two over sizes of the training data. Here both networks have the blocks of the
language model in FOLDER, learn from the same 1 %, 10 % and 100 % of the training part, and are
scored without habits, where the network is all there is. Validation part, differences paired by
seed. What kind of language model it is decides what the table says: see its card.

Finished checkpoints are kept; a killed run goes on where it was.
"""

import argparse
import sys
import time
from pathlib import Path

from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.recipes import edge
from language_start import language_start
from research_logs import LOGS, ingested
from verbs import commit

STARTS = {"language model": False, "noise": True}
"""True if the blocks are fresh."""
_SECONDS = "seconds.txt"
SHOWN = {"HR@1": "hr_at_1", "HR@3": "hr_at_3", "macro recall": "macro_recall"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--llm", required=True, help="folder or hub id of the language model")
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help="at 100 %%; fewer data, more epochs")
    parser.add_argument("--shares", nargs="+", default=["0.01", "0.1", "1"])
    args = parser.parse_args()
    started = time.monotonic()
    store = EventStore.open(ingested(args.log, args.data, args.out / args.log))
    folder = args.out / "language-start" / args.log
    for seed in range(args.seeds):
        for share in args.shares:
            for start in STARTS:
                train(store, folder, share, start, seed, args)
    print_table(folder, store, args)
    print(
        f"commit {commit()}, data {store.fingerprint[:12]}, language model "
        f"{args.llm}, seeds 0..{args.seeds - 1}, {(time.monotonic() - started) / 60:.0f} min"
    )


def checkpoint(folder: Path, share: str, start: str, seed: int) -> Path:
    return folder / f"{start.replace(' ', '-')}-{share}-{seed}"


def train(store: EventStore, folder: Path, share: str, start: str, seed: int, args: argparse.Namespace) -> None:
    # A hundredth of the data is a hundredth of the steps: small shares get more epochs and smaller
    # batches, both starts the same, and validation chooses the epoch.
    rows = max(1, round(8 * float(share) ** 0.5))
    config = edge(
        habits=False,
        split=SplitConfig(by=LOGS[args.log].split),
        seed=seed,
        epochs=round(args.epochs * min(6, float(share) ** -0.5)),
        data_share=float(share),
        batch_events=180 * rows,
        learning_rate=0.0005,
    )
    config, begin = language_start(config, args.llm, fresh=STARTS[start])
    out, started = checkpoint(folder, share, start, seed), time.monotonic()
    print(f"# {out}", file=sys.stderr, flush=True)
    if (out / "config.json").exists() and Checkpoint.open(out).training.finished:
        return
    pretrain(store, config, out, resume=(out / "config.json").exists(), start=begin)
    (out / _SECONDS).write_text(f"{time.monotonic() - started:.1f}\n")


def print_table(folder: Path, store: EventStore, args: argparse.Namespace) -> None:
    """Mean over seeds with 95 % intervals, and the paired difference of the two starts."""
    print("| share | start | " + " | ".join(SHOWN) + " | train s |")
    print("|" + "---|" * (3 + len(SHOWN)))
    for share in args.shares:
        figures: dict[str, dict[str, list[float]]] = {}
        for start in STARTS:
            folders = [checkpoint(folder, share, start, seed) for seed in range(args.seeds)]
            rows = [model_row(store, one) for one in folders]
            figures[start] = {name: [row[key] for row in rows] for name, key in SHOWN.items()}
            cells = [mean_text(values) for values in figures[start].values()]
            seconds = sum(float((one / _SECONDS).read_text()) for one in folders) / len(folders)
            print(f"| {float(share):.0%} | {start} | {' | '.join(cells)} | {seconds:.0f} |")
        gains = [
            mean_text(
                [a - b for a, b in zip(*(figures[s][name] for s in STARTS), strict=True)],
                sign="+",
            )
            for name in SHOWN
        ]
        print(f"| {float(share):.0%} | difference | {' | '.join(gains)} | |")


def model_row(store: EventStore, folder: Path) -> dict[str, float]:
    """Metrics of one checkpoint on the validation part."""
    opened = Checkpoint.open(folder)
    return evaluate_predictions(predict_part(store, opened), opened.behavior_counts)


if __name__ == "__main__":
    main()
