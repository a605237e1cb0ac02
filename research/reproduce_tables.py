"""Make the tables of docs/experiments.md: one command per log.

    python research/reproduce_tables.py foursquare --data FOLDER
    python research/reproduce_tables.py tokyo --data FOLDER
    python research/reproduce_tables.py atus --data FOLDER

FOLDER holds the research logs: foursquare_nyc/checkins.csv.gz, llmob_tokyo/trips_2019.csv.gz,
atus2014/activities.csv.gz. Everything is done by the commands of the README, which are printed as
they run. Finished checkpoints are kept; a killed run goes on where it was.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgebehave_train.evaluation.figures import draw_frontier
from edgebehave_train.evaluation.table import Row, Table, evaluate
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.bootstrap import paired_mean_differences
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.ranking import Predictions
from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.training.checkpoint import Checkpoint
from research_logs import RESEARCH_LOGS, ingested
from verbs import commit, finish, seconds_of, train

TAUS = (0.25, 0.5, 1.0)
NUM_TEACHERS = 3
COMPARED = (
    ("mixture", "habits"),
    ("mixture", "plain"),
    ("distilled", "mixture"),
    ("distilled", "plain"),
)
SHOWN = ("hr_at_1", "hr_at_3", "hr_at_5", "macro_recall", "tail_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=RESEARCH_LOGS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="edge")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--students", type=int, default=3, help=f"of the first {NUM_TEACHERS} mixtures; 0: none")
    args = parser.parse_args()
    if args.students and args.seeds < NUM_TEACHERS:
        parser.error(f"students need {NUM_TEACHERS} mixtures; give --seeds 3, or --students 0")
    log, out = RESEARCH_LOGS[args.log], args.out / args.log
    store = ingested(args.log, args.data, out)
    kinds: dict[str, tuple[str, ...]] = {"mixture": (), "plain": ("--no-habits",)}
    checkpoints = {kind: [out / f"{args.preset}-{kind}-{seed}" for seed in range(args.seeds)] for kind in kinds}
    for kind, options in kinds.items():
        for seed, checkpoint in enumerate(checkpoints[kind]):
            train(store, checkpoint, args.preset, seed, log.split, options)
    if args.students:
        kinds["distilled"] = ()
        seeds = range(NUM_TEACHERS, NUM_TEACHERS + args.students)  # none of a teacher's
        checkpoints["distilled"] = [out / f"{args.preset}-distilled-{seed}" for seed in seeds]
        teachers = checkpoints["mixture"][:NUM_TEACHERS]
        for seed, checkpoint in zip(seeds, checkpoints["distilled"], strict=True):
            distill(store, checkpoint, teachers, args.preset, seed)

    opened = EventStore.open(store)
    names = {kind: [f"{kind}, seed {path.name.rpartition('-')[2]}" for path in checkpoints[kind]] for kind in kinds}
    table = evaluate(
        opened,
        [Checkpoint.open(path) for kind in kinds for path in checkpoints[kind]],
        names=[name for kind in kinds for name in names[kind]],
        part="test",
        adjust=TAUS,
        on_row=lambda name: print(f"# scored {name}", file=sys.stderr),
    )
    later = tuple(name for kind in kinds for name in names[kind][1:])
    of_first = [row for row in table.rows if not row.name.startswith(later)]
    draw_frontier(dataclasses.replace(table, rows=of_first), out / "frontier.png")
    (out / "table.json").write_text(json.dumps(table.to_json(), indent=2))
    print_means(table)
    predictions = {kind: [table.row(name).predictions for name in names[kind]] for kind in kinds} | {
        "habits": [table.row("habits").predictions]
    }
    counts = Checkpoint.open(checkpoints["mixture"][0]).behavior_counts
    print()
    for kind, other in COMPARED:
        if kind in predictions:
            print_differences(kind, other, predictions, counts)
    seconds = {kind: [seconds_of(path) for path in checkpoints[kind]] for kind in kinds}
    spent = ", ".join(f"{kind} {min(s):.0f} to {max(s):.0f} s" for kind, s in seconds.items())
    print(f"\ncommit {commit()}, data {opened.fingerprint[:16]}, training: {spent}")


def distill(store: Path, checkpoint: Path, teachers: Sequence[Path], preset: str, seed: int) -> None:
    """`edgebehave distill`, finished: a student of what several networks answer on average."""
    named = tuple(text for teacher in teachers for text in ("--teacher", str(teacher)))
    answers = ("--answers", str(checkpoint.with_name(f"{preset}-teachers.safetensors")))
    settings = ("--preset", preset, "--seed", str(seed), "--weight", "3", "--temperature", "1")
    finish(checkpoint, ("distill", str(store), *named, *answers, *settings), ())


def print_means(table: Table) -> None:
    """Markdown: baselines with their interval over users, models as mean and 95 % t interval over
    seeds."""
    by_name: dict[str, list[Row]] = {}
    for row in table.rows:
        by_name.setdefault(re.sub(", seed [0-9]+", "", row.name), []).append(row)
    print(f"| {table.part}, {table.num_targets:,} predictions | " + " | ".join(SHOWN) + " |")
    print("|---" * (1 + len(SHOWN)) + "|")
    for name, rows in by_name.items():
        cells = []
        for metric in SHOWN:
            intervals = [row.metrics[metric] for row in rows]
            if len(intervals) > 1:
                cells.append(mean_text([interval.value for interval in intervals]))
            else:
                (of_users,) = intervals
                cells.append(f"{of_users.value:.3f} [{of_users.low:.3f}, {of_users.high:.3f}]")
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_differences(kind: str, other: str, predictions: dict[str, list[Predictions]], counts_V: Any) -> None:
    """The mean of the runs of a kind minus that of another, paired over users; in round brackets
    the t interval over seeds, of mixture and plain alone: students share their teachers."""
    runs, others = predictions[kind], predictions[other]
    over_users = paired_mean_differences(runs, others, counts_V)
    of_runs, of_others = ([evaluate_predictions(one, counts_V) for one in of_kind] for of_kind in (runs, others))
    texts = []
    for metric in SHOWN:
        of_users = over_users[metric]
        text = f"{metric} {of_users.value:+.4f} [{of_users.low:+.4f}, {of_users.high:+.4f}]"
        if (kind, other) == ("mixture", "plain") and len(runs) > 1:
            pairs = zip(of_runs, of_others, strict=True)
            differences = [one[metric] - another[metric] for one, another in pairs]
            text += f" ({mean_text(differences, digits=4, sign='+')})"
        texts.append(text)
    print(f"- {kind} - {other}: " + ", ".join(texts))


if __name__ == "__main__":
    main()
