"""Make the scaling table of docs/experiments.md: one command per log.

    python research/reproduce_scaling.py worlds
    python research/reproduce_scaling.py simulator
    python research/reproduce_scaling.py foursquare --data FOLDER

FOLDER holds the research logs, as for reproduce_tables.py. `worlds` is a log of random worlds (docs/random_worlds.md),
each a user of its own; 3 sizes x 6 data amounts as in BehaveGPT's scaling study (arXiv 2505.17631), whole worlds
validate. Everything is done by the commands of the README, which are printed as they run; options that this script does
not know go to `edgebehave scale`, after its own. Finished runs are kept; a killed grid goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.simulator.random_worlds import world
from research_logs import LOGS, ingested
from verbs import commit, run

PAPER_EXPONENTS = {"size_exponent": 0.51, "data_exponent": 0.23}
"""alpha and beta of BehaveGPT (arXiv 2505.17631)."""
WORLDS_GRID = ("--widths", "16,32,64", "--shares", "0.03125,0.0625,0.125,0.25,0.5,1", "--epochs", "8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=("worlds", *LOGS))
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each size and share")
    parser.add_argument("--worlds", type=int, default=1200, help="random worlds in the log `worlds`")
    parser.add_argument("--world-events", type=int, default=256, help="events of each")
    args, options = parser.parse_known_args()
    started, cpu_started = time.monotonic(), time.process_time()
    out = args.out / args.log
    if args.log == "worlds":
        store, plan = worlds_store(out, args.worlds, args.world_events), ("--split", "user", *WORLDS_GRID)
    else:
        store, plan = ingested(args.log, args.data, out), ("--split", LOGS[args.log].split)
    command = ("scale", str(store), "-o", str(out / "scaling"), "--seeds", str(args.seeds))
    report = json.loads(run(*command, *plan, *options, "--json"))
    print_report(report)
    print(
        f"\ncommit {commit()}, data {report['data_fingerprint'][:16]}, seeds 0..{args.seeds - 1}, "
        f"wall time of this command {time.monotonic() - started:.0f} s, processor time "
        f"{time.process_time() - cpu_started:.0f} s; figure {out / 'scaling' / 'scaling.png'}"
    )


def worlds_store(out: Path, num_worlds: int, num_events: int) -> Path:
    """The event store of the first random worlds of seed 0, each a user, made unless it is there.

    Names and locations are numbers in the order of a world's first use: equal numbers of two worlds have nothing else
    in common, so a model can learn from them only how people's logs behave.
    """
    store = out / "store"
    if store.exists():
        return store
    out.mkdir(parents=True, exist_ok=True)
    worlds = [world(0, i, num_events) for i in range(num_worlds)]
    behavior, location, local_s = (
        np.concatenate([getattr(one, name) for one in worlds]) for name in ("behavior", "location", "local_s")
    )
    columns = {
        "user": [f"world {i:06d}" for i in range(num_worlds) for _ in range(num_events)],
        "time": local_s,
        "event": [f"name {name}" for name in behavior],
        "location": [f"location {place}" if place >= 0 else None for place in location],
    }
    pq.write_table(pa.table(columns), out / "log.parquet")
    run("ingest", str(out / "log.parquet"), "-o", str(store), "--location", "location")
    return store


def print_report(report: dict) -> None:
    """Markdown: loss of each size on each share, then the prediction, the law, the optimum."""
    losses: dict[int, dict[float, list[float]]] = {}
    sizes, events = {}, {}
    for one in report["runs"]:
        losses.setdefault(one["width"], {}).setdefault(one["share"], []).append(one["loss"])
        sizes[one["width"]] = one["size"]
        events[one["share"]] = one["events"]
    shares = sorted(events)
    print("| validation loss, nats | " + " | ".join(f"D {events[s]:,}" for s in shares) + " |")
    print("|---" + "|---:" * len(shares) + "|")
    for width in sorted(losses):
        cells = [mean_text(losses[width][share], digits=4) for share in shares]
        cells[-1] += " (held out)" if width == max(losses) else ""
        print(f"| N {sizes[width]:,} (width {width}) | " + " | ".join(cells) + " |")
    held_out, law = report["held_out"], report["law"]
    value, low, high = held_out["predicted"]
    print("\n| largest run, mean of its seeds | loss | off by |\n|---|---:|---:|")
    print(f"| measured | {held_out['measured']:.4f} | |")
    print(f"| predicted by the law | {value:.4f} [{low:.4f}, {high:.4f}] | {off(held_out)} |")
    print(f"| lowest smaller run | {held_out['copied']:.4f} | {off(held_out, '_of_copied')} |")
    print("\n| law of all runs | value | 95 % | the paper |\n|---|---:|---:|---:|")
    for name in ("size_constant", "size_exponent", "data_constant", "data_exponent", "floor"):
        value, low, high = law[name]
        of_paper = PAPER_EXPONENTS.get(name, "")
        print(f"| {name.replace('_', ' ')} | {value:.4g} | {low:.4g} to {high:.4g} | {of_paper} |")
    print("\n| 6 N D | best N | best D | D / N | loss |\n|---:|---:|---:|---:|---:|")
    for at in report["compute_optimum"]:
        value, low, high = at["events_per_parameter"]
        print(
            f"| {at['compute']:.1e} | {at['parameters']:,.0f} | {at['events']:,.0f} | "
            f"{value:.3g} [{low:.3g}, {high:.3g}] | {at['loss']:.4f} |"
        )
    for line in report["doubts"]:
        print(f"\nNot known: {line}.")


def off(held_out: dict, of: str = "") -> str:
    return f"{held_out['error' + of]:+.2%}"


if __name__ == "__main__":
    main()
