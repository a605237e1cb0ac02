"""Make the scaling table of docs/experiments.md: one command per log.

    python research/reproduce_scaling.py simulator
    python research/reproduce_scaling.py foursquare --data FOLDER

FOLDER holds the research logs, as for reproduce_tables.py. Everything is done by the commands of
the README, which are printed as they run; options that this script does not know go to `edgebehave
scale`. Finished runs are kept; a killed grid goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path

from edgebehave_train.metrics.seed_intervals import mean_text
from research_logs import LOGS, ingested
from verbs import commit, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each size and share")
    args, options = parser.parse_known_args()
    started = time.monotonic()
    out = args.out / args.log
    store, split = ingested(args.log, args.data, out), ("--split", LOGS[args.log].split)
    command = ("scale", str(store), "-o", str(out / "scaling"), "--seeds", str(args.seeds))
    report = json.loads(run(*command, *split, *options, "--json"))
    print_report(report)
    print(
        f"\ncommit {commit()}, data {report['data_fingerprint'][:16]}, seeds 0..{args.seeds - 1}, "
        f"wall time of this command {time.monotonic() - started:.0f} s; figure "
        f"{out / 'scaling' / 'scaling.png'}"
    )


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
    print("\n| law of all runs | value | 95 % |\n|---|---:|---:|")
    for name in ("size_constant", "size_exponent", "data_constant", "data_exponent", "floor"):
        value, low, high = law[name]
        print(f"| {name.replace('_', ' ')} | {value:.4g} | {low:.4g} to {high:.4g} |")
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
