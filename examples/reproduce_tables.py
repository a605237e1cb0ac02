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
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from edgebehave_train.seed_intervals import mean_interval

TAUS = ("0.25", "0.5", "1")
SHOWN = ("hr_at_1", "hr_at_3", "hr_at_5", "macro_recall", "tail_accuracy")


@dataclass(frozen=True, kw_only=True)
class Log:
    """Where a log lies below the data folder, its columns, and how it is split."""

    file: str
    columns: tuple[str, ...]
    split: str = "time"
    select: str = "*"


LOGS = {
    # 890 check-ins have a blank category name; its number stands in, as in the reference figures.
    "foursquare": Log(
        file="foursquare_nyc/checkins.csv.gz",
        columns=(
            *("--user", "user_id", "--time", "unix_utc", "--event", "category"),
            *("--location", "poi_id", "--utc-offset", "tz_offset_min"),
        ),
        select="*, coalesce(category_name, '?' || category_idx) as category",
    ),
    "tokyo": Log(
        file="llmob_tokyo/trips_2019.csv.gz",
        columns=(
            *("--user", "user_id", "--time", "local_time", "--event", "category"),
            *("--location", "place"),
        ),
    ),
    "atus": Log(
        file="atus2014/activities.csv.gz",
        columns=(
            *("--user", "respondent", "--time", "start_local", "--event", "activity"),
            *("--behavior", "category", "--location", "place"),
        ),
        split="user",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="edge")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    log, out = LOGS[args.log], args.out / args.log
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


def ingested(name: str, data: Path | None, out: Path) -> Path:
    """The event store in a folder, made unless it is there; "simulator" needs no data."""
    out.mkdir(parents=True, exist_ok=True)
    store = out / "store"
    if store.exists():
        return store
    if name == "simulator":
        table = out / "log.csv"
        columns = ("--location", "location", "--utc-offset", "utc_offset_min")
        columns += ("--behavior", "behavior")
        run("simulate", str(table))
    else:
        log, table = LOGS[name], out / "log.parquet"
        columns = log.columns
        source = f"read_csv('{data / log.file}', all_varchar = true)"
        duckdb.sql(f"COPY (SELECT {log.select} FROM {source}) TO '{table}'")
    run("ingest", str(table), "-o", str(store), *columns)
    return store


def train(
    store: Path, checkpoint: Path, preset: str, seed: int, split: str, options: tuple[str, ...]
) -> None:
    """Train a checkpoint unless it is there; go on with one that is half done."""
    started = time.monotonic()
    if not (checkpoint / "config.json").exists():
        settings = ("--preset", preset, "--seed", str(seed), "--split", split, *options)
        run("train", str(store), "-o", str(checkpoint), *settings)
    elif not json.loads((checkpoint / "training.json").read_text())["finished"]:
        run("train", str(store), "-o", str(checkpoint), "--resume")
    else:
        return
    print(f"# {checkpoint}: {time.monotonic() - started:.0f} s", file=sys.stderr)


def run(*arguments: str) -> str:
    """Run a verb of the command line; its standard output."""
    print("$ edgebehave", " ".join(arguments), file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "edgebehave_cli.app", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


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
                mean, half_width = mean_interval(values)
                cells.append(f"{mean:.3f} ± {half_width:.3f}")
            else:
                cells.append("{:.3f} [{:.3f}, {:.3f}]".format(*rows[0]["metrics"][metric]))
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name in ("habits", f"{preset}-plain-0"):
        less = next(row for row in table["rows"] if row["name"] == name)["model_minus_this"]
        paired = ("{} {:+.3f} [{:+.3f}, {:+.3f}]".format(m, *less[m]) for m in SHOWN)
        print(f"\n{preset}-mixture-0 - {name}: " + ", ".join(paired))


if __name__ == "__main__":
    main()
