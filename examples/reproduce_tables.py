"""Make the tables of docs/experiments.md: one command per log.

    python examples/reproduce_tables.py foursquare --data FOLDER
    python examples/reproduce_tables.py tokyo --data FOLDER
    python examples/reproduce_tables.py atus --data FOLDER

FOLDER holds the research logs: foursquare_nyc/checkins.csv.gz, llmob_tokyo/trips_2019.csv.gz,
atus2014/activities.csv.gz. Everything is done by the commands of the README, which are printed as
they run. Finished checkpoints are kept; a killed run goes on where it was.
"""

import argparse
import json
from pathlib import Path

from research_logs import RESEARCH_LOGS, ingested
from verbs import run, train

from edgebehave_train.seed_intervals import mean_text

TAUS = ("0.25", "0.5", "1")
SHOWN = ("hr_at_1", "hr_at_3", "hr_at_5", "macro_recall", "tail_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", choices=RESEARCH_LOGS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="edge")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    log, out = RESEARCH_LOGS[args.log], args.out / args.log
    store = ingested(args.log, args.data, out)
    kinds = {"mixture": (), "plain": ("--no-habits",)}
    checkpoints = {
        kind: [out / f"{args.preset}-{kind}-{seed}" for seed in range(args.seeds)] for kind in kinds
    }
    for kind, options in kinds.items():
        for seed, checkpoint in enumerate(checkpoints[kind]):
            train(store, checkpoint, args.preset, seed, log.split, options)

    paths = [str(path) for kind in kinds for path in checkpoints[kind]]
    taus = [option for tau in TAUS for option in ("--adjust", tau)]
    figure = out / "frontier.png"
    command = ("evaluate", *paths, "--store", str(store), "--test", *taus)
    table = json.loads(run(*command, "--figure", str(figure), "--json"))
    (out / "table.json").write_text(json.dumps(table, indent=2))
    print_means(table, args.preset, args.seeds)


def print_means(table: dict, preset: str, num_seeds: int) -> None:
    """Markdown: baselines with their interval over users, models as mean and 95 % t interval over
    seeds; then what the first mixture has over every other row, paired over users."""
    by_name: dict[str, list[dict]] = {}
    for row in table["rows"]:
        name = row["name"]
        for seed in range(num_seeds):
            for kind in ("mixture", "plain"):
                name = name.replace(f"{preset}-{kind}-{seed}", kind)
        by_name.setdefault(name, []).append(row)
    print(f"| {table['part']}, {table['num_targets']:,} predictions | " + " | ".join(SHOWN) + " |")
    print("|---" * (1 + len(SHOWN)) + "|")
    for name, rows in by_name.items():
        cells = []
        for metric in SHOWN:
            values = [row["metrics"][metric][0] for row in rows]
            if len(values) > 1:
                cells.append(mean_text(values))
            else:
                cells.append("{:.3f} [{:.3f}, {:.3f}]".format(*rows[0]["metrics"][metric]))
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name in ("habits", f"{preset}-plain-0"):
        less = next(row for row in table["rows"] if row["name"] == name)["model_minus_this"]
        paired = ("{} {:+.3f} [{:+.3f}, {:+.3f}]".format(m, *less[m]) for m in SHOWN)
        print(f"\n{preset}-mixture-0 - {name}: " + ", ".join(paired))


if __name__ == "__main__":
    main()
