"""Make the tables and figures of transfer between logs.

    python examples/reproduce_transfer.py --data FOLDER                    all pairs, validation
    python examples/reproduce_transfer.py --data FOLDER --test             the same, test part
    python examples/reproduce_transfer.py foursquare-tokyo --data FOLDER   one pair

FOLDER holds the research logs, as for reproduce_tables.py. Every strategy of `edgebehave transfer`
learns from 1 %, 10 % and 100 % of the target's training events, from sources pretrained with
cross-entropy and with dro, without habits, where the network is all there is; scratch, the paper's
strategy and ours also with habits. Source and target of a run have the same seed, and runs of one
seed learn from the same share, so that differences from scratch are paired.

Everything is done by the commands of the README, which are printed as they run. Seed 0 of
everything comes first. Finished checkpoints are kept; a killed run goes on where it was.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from research_logs import LOGS, ingested
from verbs import commit, finish, run, seconds_of

from edgebehave_train.event_store import EventStore
from edgebehave_train.seed_intervals import mean_interval
from edgebehave_train.transfer import STRATEGIES

matplotlib.use("Agg")  # no screen is needed to write a file
import matplotlib.pyplot as plt

PAIRS = {
    "simulator-foursquare": ("simulator", "foursquare"),
    "atus-tokyo": ("atus", "tokyo"),
    "foursquare-tokyo": ("foursquare", "tokyo"),
}
WITH_HABITS = ("scratch", "blocks-head", "drawn-ends")
SHOWN = {"HR@1": "hr_at_1", "HR@3": "hr_at_3", "macro recall": "macro_recall"}
# Okabe and Ito's colors, told apart by color-blind eyes too.
COLORS = {
    "scratch": "#000000",
    "blocks": "#56B4E9",
    "blocks-head": "#0072B2",
    "lora": "#E69F00",
    "ofa": "#009E73",
    "drawn-ends": "#D55E00",
}
MARKERS = dict(zip(COLORS, "sv^DPo", strict=True))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What distinguishes runs of one pair, but for the seed.

    share        of the target's training events, as it is written on the command line.
    pretraining  objective of the source: ce or dro; scratch has none of either.
    """

    strategy: str
    share: str
    pretraining: str = "ce"
    habits: bool = False

    def folder(self, seed: int) -> str:
        habits = "habits" if self.habits else "plain"
        return f"{self.strategy}-{self.share}-{self.pretraining}-{habits}-{seed}"

    @property
    def scratch(self) -> "Kind":
        """What it is compared with."""
        return Kind(strategy="scratch", share=self.share, habits=self.habits)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help=f"of {', '.join(PAIRS)}")
    parser.add_argument("--data", type=Path, required=True, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="of the sources; default: that of the preset")
    parser.add_argument("--shares", nargs="+", default=["0.01", "0.1", "1"])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--pretraining", nargs="+", default=["ce", "dro"], choices=["ce", "dro"])
    parser.add_argument("--no-habits", action="store_true", help="leave the runs with habits out")
    parser.add_argument("--test", action="store_true", help="read the test part; it is recorded")
    args = parser.parse_args()
    pairs = args.pairs or list(PAIRS)
    if unknown := set(pairs) - set(PAIRS):
        parser.error(f"there is no pair {unknown.pop()!r}; there are {', '.join(PAIRS)}")
    started = time.monotonic()
    logs = {log for pair in pairs for log in PAIRS[pair]}
    stores = {log: ingested(log, args.data, args.out / log) for log in logs}
    kinds = list(kinds_of(args.strategies, args.shares, args.pretraining, not args.no_habits))
    for seed in range(args.seeds):
        for pair in pairs:
            source, target = PAIRS[pair]
            for kind in kinds:
                checkpoint = pretrained(stores[source], source, kind, seed, args)
                out = args.out / "transfer" / f"{pair}-{args.preset}" / kind.folder(seed)
                settings = ("--strategy", kind.strategy, "--share", kind.share)
                settings += ("--seed", str(seed), "--split", LOGS[target].split)
                finish(out, ("transfer", str(checkpoint), "--log", str(stores[target])), settings)
    part = "test" if args.test else "validation"
    for pair in pairs:
        folder = args.out / "transfer" / f"{pair}-{args.preset}"
        rows = scored(folder, stores[PAIRS[pair][1]], kinds, args.seeds, part)
        print_tables(pair, part, rows, kinds, args.seeds, folder)
        draw(pair, part, rows, kinds, args.seeds, folder / f"{part}.png")
        fingerprints = [EventStore.open(stores[log]).fingerprint[:12] for log in PAIRS[pair]]
        minutes = sum(seconds_of(folder / kind.folder(0)) for kind in kinds) / 60
        print(
            f"commit {commit()}, data {' -> '.join(fingerprints)}, preset {args.preset}, "
            f"seeds 0..{args.seeds - 1}, {minutes:.0f} min of transfer runs for seed 0, "
            f"{(time.monotonic() - started) / 60:.0f} min this time; figure {folder / part}.png\n"
        )


def kinds_of(
    strategies: list[str], shares: list[str], pretrainings: list[str], habits: bool
) -> Iterator[Kind]:
    """The runs of one pair and seed; what matters most first."""
    for pretraining in pretrainings:
        for share in shares:
            for strategy in strategies:
                if strategy != "scratch" or pretraining == pretrainings[0]:
                    yield Kind(
                        strategy=strategy,
                        share=share,
                        pretraining="ce" if strategy == "scratch" else pretraining,
                    )
    for share in shares if habits else ():
        for strategy in WITH_HABITS:
            if strategy in strategies:
                yield Kind(strategy=strategy, share=share, habits=True)


def pretrained(store: Path, log: str, kind: Kind, seed: int, args: argparse.Namespace) -> Path:
    """The source of a run, trained unless it is there."""
    name = f"{args.preset}-source-{kind.pretraining}-{'habits' if kind.habits else 'plain'}-{seed}"
    out = args.out / log / name
    settings = ("--preset", args.preset, "--objective", kind.pretraining, "--seed", str(seed))
    settings += ("--split", LOGS[log].split, "--habits" if kind.habits else "--no-habits")
    settings += ("--epochs", str(args.epochs)) if args.epochs else ()
    finish(out, ("train", str(store)), settings)
    return out


def scored(
    folder: Path, store: Path, kinds: list[Kind], num_seeds: int, part: str
) -> dict[str, dict[str, float]]:
    """Metrics by row of the evaluation: baselines, and runs by folder. Read once and kept."""
    names = [kind.folder(seed) for seed in range(num_seeds) for kind in kinds]
    kept = folder / f"{part}.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    unread = [str(folder / name) for name in names if name not in rows]
    if unread:
        command = ("evaluate", *unread, "--store", str(store))
        command += ("--test",) if part == "test" else ()
        # Intervals over users are not shown: those over seeds are.
        table = json.loads(run(*command, "--no-variants", "--resamples", "10", "--json"))
        for row in table["rows"]:
            rows[row["name"]] = {m: row["metrics"][m][0] for m in SHOWN.values()}
        kept.write_text(json.dumps(rows, indent=2))
    return rows


def over_seeds(
    rows: dict[str, dict[str, float]], kind: Kind, metric: str, num_seeds: int, paired: bool
) -> tuple[float, float]:
    """Mean and half width over seeds, of a metric or of its difference from scratch."""
    values = [
        rows[kind.folder(seed)][metric] - paired * rows[kind.scratch.folder(seed)][metric]
        for seed in range(num_seeds)
    ]
    return mean_interval(values)


def print_tables(
    pair: str,
    part: str,
    rows: dict[str, dict[str, float]],
    kinds: list[Kind],
    num_seeds: int,
    folder: Path,
) -> None:
    """Markdown: what costs nothing once, then a table per share; ± is the 95 % interval."""
    print(f"\n## {' to '.join(PAIRS[pair])}, {part}\n")
    print("| baselines, with all of the past | " + " | ".join(SHOWN) + " |")
    print("|---" * (1 + len(SHOWN)) + "|")
    for name in (name for name in rows if not (folder / name).is_dir()):  # runs have folders
        cells = [f"{rows[name][metric]:.3f}" for metric in SHOWN.values()]
        print(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    differences = {f"{label} - scratch": metric for label, metric in SHOWN.items()}
    for share in dict.fromkeys(kind.share for kind in kinds):
        columns = [*SHOWN, *differences, "epoch"]
        print(f"\n| {float(share):.0%} of the training events | " + " | ".join(columns) + " |")
        print("|---" * (1 + len(columns)) + "|")
        for kind in (kind for kind in kinds if kind.share == share):
            cells = [cell(*over_seeds(rows, kind, m, num_seeds, False)) for m in SHOWN.values()]
            if kind != kind.scratch and kind.scratch in kinds:
                cells += [
                    cell(*over_seeds(rows, kind, metric, num_seeds, True), sign="+")
                    for metric in differences.values()
                ]
            else:
                cells += [""] * len(differences)
            training = [read_training(folder / kind.folder(seed)) for seed in range(num_seeds)]
            epoch = sum(one["best_epoch"] for one in training) / num_seeds
            print(f"| {label_of(kind)} | " + " | ".join(cells) + f" | {epoch:.1f} |")
    print()


def label_of(kind: Kind) -> str:
    label = kind.strategy
    if kind.strategy != "scratch" and kind.pretraining == "dro":
        label += ", source with dro"
    return label + (", habits" if kind.habits else "")


def cell(mean: float, half_width: float, sign: str = "") -> str:
    spread = "" if math.isnan(half_width) else f" ± {half_width:.3f}"
    return f"{mean:{sign}.3f}{spread}"


def read_training(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "training.json").read_text())


def draw(
    pair: str,
    part: str,
    rows: dict[str, dict[str, float]],
    kinds: list[Kind],
    num_seeds: int,
    path: Path,
) -> None:
    """Strategies side by side at each share, without habits; hollow: the source had dro."""
    metrics = {"HR@1": "hr_at_1", "macro recall": "macro_recall"}
    shares = list(dict.fromkeys(kind.share for kind in kinds))
    plain = [kind for kind in kinds if not kind.habits]
    slots = list(dict.fromkeys((kind.strategy, kind.pretraining) for kind in plain))
    figure, panels = plt.subplots(1, len(metrics), figsize=(10, 4), layout="constrained")
    for axes, (label, metric) in zip(panels, metrics.items(), strict=True):
        for kind in plain:
            slot = slots.index((kind.strategy, kind.pretraining))
            x = shares.index(kind.share) + 0.8 * ((slot + 0.5) / len(slots) - 0.5)
            mean, half_width = over_seeds(rows, kind, metric, num_seeds, False)
            is_dro = kind.pretraining == "dro"
            axes.errorbar(
                x,
                mean,
                yerr=0 if math.isnan(half_width) else half_width,
                color=COLORS[kind.strategy],
                marker=MARKERS[kind.strategy],
                markerfacecolor="white" if is_dro else COLORS[kind.strategy],
                markersize=6,
                capsize=2,
                linestyle="none",
                label=label_of(kind) if kind.share == shares[0] else None,
            )
        for i, share in enumerate(shares):
            kind = Kind(strategy="scratch", share=share)
            if kind in plain:
                mean, _ = over_seeds(rows, kind, metric, num_seeds, False)
                axes.hlines(mean, i - 0.42, i + 0.42, color="black", linewidth=0.8, linestyle=":")
        for name, style in (("most_popular", "-."), ("most_frequently_used", "--")):
            axes.axhline(
                rows[name][metric],
                color="gray",
                linewidth=0.8,
                linestyle=style,
                label=name.replace("_", " "),
            )
        axes.set_xticks(range(len(shares)), [f"{float(share):.0%}" for share in shares])
        axes.set_xlabel("share of the target's training events")
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
    source, target = PAIRS[pair]
    figure.suptitle(
        f"{source} to {target}, {part}, no habits; seeds 0..{num_seeds - 1}, bars: 95 % interval",
        fontsize=10,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
