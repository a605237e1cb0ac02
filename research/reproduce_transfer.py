"""Make the tables and figures of transfer between logs.

    python research/reproduce_transfer.py --data FOLDER                    all pairs, validation
    python research/reproduce_transfer.py --data FOLDER --test             the same, test part
    python research/reproduce_transfer.py foursquare-tokyo --data FOLDER   one pair

FOLDER holds the research logs, as for reproduce_tables.py. Every strategy of `edgebehave transfer`
learns from 1 %, 10 % and 100 % of the target's training events, from sources pretrained with
cross-entropy and with dro, without habits, where the network is all there is; scratch, the paper's
strategy and ours also with habits. Source and target of a run have the same seed, and runs of one
seed learn from the same share, so that differences from scratch are paired.

Everything is done by the commands of the README, which are printed as they run. Seed 0 of
everything comes first. Finished checkpoints are kept; a killed run goes on where it was. With
--finished nothing is trained: tables and figure are made of the runs that are there, so that
shares which train long can have fewer seeds.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

from edgebehave_train.adaptation.transfer import STRATEGIES
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.seed_intervals import mean_interval
from research_logs import LOGS, ingested
from verbs import commit, finish, is_finished, run, seconds_of

matplotlib.use("Agg")  # no screen is needed to write a file
import matplotlib.pyplot as plt

PAIRS = {
    "simulator-foursquare": ("simulator", "foursquare"),
    "atus-tokyo": ("atus", "tokyo"),
    "foursquare-tokyo": ("foursquare", "tokyo"),
}
WITH_HABITS = ("scratch", "blocks-head", "drawn-ends")
SHOWN = {"HR@1": "hr_at_1", "HR@3": "hr_at_3", "macro recall": "macro_recall"}
VALIDATION_NLL = "validation_nll"
"""Beside what is shown of a part: nats, the loss that chose the epoch, of the validation part."""
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
    """Settings that distinguish runs of one pair, without the seed.

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
        """The run from scratch that this kind is compared with."""
        return Kind(strategy="scratch", share=self.share, habits=self.habits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--finished", action="store_true", help="train nothing, show what is there")
    parser.add_argument("--test", action="store_true", help="read the test part; it is recorded")
    args = parser.parse_args()
    pairs = args.pairs or list(PAIRS)
    if unknown := set(pairs) - set(PAIRS):
        parser.error(f"there is no pair {unknown.pop()!r}; there are {', '.join(PAIRS)}")
    started = time.monotonic()
    logs = {log for pair in pairs for log in PAIRS[pair]}
    stores = {log: ingested(log, args.data, args.out / log) for log in logs}
    kinds = list(kinds_of(args.strategies, args.shares, args.pretraining, not args.no_habits))
    for seed in range(0 if args.finished else args.seeds):
        for pair in pairs:
            source, target = PAIRS[pair]
            for kind in kinds:
                out = args.out / "transfer" / f"{pair}-{args.preset}" / kind.folder(seed)
                if kind.strategy == "scratch":
                    borrow_scratch(out, target, args)
                checkpoint = pretrained(stores[source], source, kind, seed, args)
                settings = ("--strategy", kind.strategy, "--share", kind.share)
                settings += ("--seed", str(seed), "--split", LOGS[target].split)
                finish(out, ("transfer", str(checkpoint), "--log", str(stores[target])), settings)
    part = "test" if args.test else "validation"
    for pair in pairs:
        folder = args.out / "transfer" / f"{pair}-{args.preset}"
        names = [kind.folder(seed) for seed in range(args.seeds) for kind in kinds]
        names = [name for name in names if is_finished(folder / name)]
        if not names:
            raise SystemExit(f"{folder} holds no finished run; leave --finished out")
        results = Results(
            pair=pair,
            part=part,
            rows=scored(folder, names, stores[PAIRS[pair][1]], part),
            kinds=[kind for kind in kinds if any(kind.folder(s) in names for s in range(args.seeds))],
            num_seeds=args.seeds,
        )
        print_tables(results)
        draw(results, folder / f"{part}.png")
        fingerprints = [EventStore.open(stores[log]).fingerprint[:12] for log in PAIRS[pair]]
        minutes = sum(seconds_of(folder / name) for name in names) / 60
        print(
            f"commit {commit()}, data {' -> '.join(fingerprints)}, preset {args.preset}, "
            f"{len(names)} transfer runs in {minutes:.0f} min, "
            f"{(time.monotonic() - started) / 60:.0f} min this time; figure {folder / part}.png\n"
        )


def kinds_of(strategies: list[str], shares: list[str], pretrainings: list[str], habits: bool) -> Iterator[Kind]:
    """The runs of one pair and seed, the most important first."""
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


def borrow_scratch(out: Path, target: str, args: argparse.Namespace) -> None:
    """Copy the run from scratch of another pair with this target: it does not depend on the source."""
    for pair in (pair for pair in PAIRS if PAIRS[pair][1] == target):
        twin = args.out / "transfer" / f"{pair}-{args.preset}" / out.name
        if is_finished(twin) and not out.exists():
            shutil.copytree(twin, out)


def pretrained(store: Path, log: str, kind: Kind, seed: int, args: argparse.Namespace) -> Path:
    """The source of a run, trained unless it is there."""
    name = f"{args.preset}-source-{kind.pretraining}-{'habits' if kind.habits else 'plain'}-{seed}"
    out = args.out / log / name
    settings = ("--preset", args.preset, "--objective", kind.pretraining, "--seed", str(seed))
    settings += ("--split", LOGS[log].split, "--habits" if kind.habits else "--no-habits")
    settings += ("--epochs", str(args.epochs)) if args.epochs else ()
    finish(out, ("train", str(store)), settings)
    return out


def scored(folder: Path, names: list[str], store: Path, part: str) -> dict[str, dict[str, float]]:
    """Metrics by row of the evaluation: baselines, and runs by folder. Read once and kept."""
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
    for name in names:
        training = json.loads((folder / name / "training.json").read_text())
        rows[name][VALIDATION_NLL] = min(training["validation_nll"])
    return rows


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of the runs of a pair.

    rows   metrics by row of the evaluation: baselines by name, runs by folder.
    kinds  those with a run.
    """

    pair: str
    part: str
    rows: dict[str, dict[str, float]]
    kinds: list[Kind]
    num_seeds: int

    @property
    def shares(self) -> list[str]:
        return sorted({kind.share for kind in self.kinds}, key=float)

    def seeds(self, *kinds: Kind) -> list[int]:
        """The seeds for which all of some kinds have a run."""
        return [s for s in range(self.num_seeds) if all(k.folder(s) in self.rows for k in kinds)]

    def level(self, kind: Kind, metric: str) -> tuple[float, float]:
        """Mean and half width over seeds."""
        return mean_interval([self.rows[kind.folder(s)][metric] for s in self.seeds(kind)])

    def gain(self, kind: Kind, metric: str) -> tuple[float, float]:
        """Mean and half width over seeds of the difference from scratch."""
        return mean_interval(
            [
                self.rows[kind.folder(s)][metric] - self.rows[kind.scratch.folder(s)][metric]
                for s in self.seeds(kind, kind.scratch)
            ]
        )


def print_tables(results: Results) -> None:
    """Markdown, a table per metric: rows are strategies, columns shares; baselines without training first.

    ± is the 95 % interval over seeds, in brackets the paired difference from scratch, bold where
    it is beyond its interval.
    """
    print(f"\n## {' to '.join(PAIRS[results.pair])}, {results.part}")
    strategies = list(dict.fromkeys(replace(kind, share="") for kind in results.kinds))
    for label, metric in {**SHOWN, "validation loss, nats": VALIDATION_NLL}.items():
        columns = [label, *(f"{float(share):.0%}" for share in results.shares), "seeds"]
        print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
        for name, row in results.rows.items():
            if "-" not in name and metric in row:  # the folders of runs begin with a strategy
                cells = [""] * (len(results.shares) - 1) + [f"{row[metric]:.3f}", ""]
                print(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
        for strategy in strategies:
            of_share = [replace(strategy, share=share) for share in results.shares]
            cells = [table_cell(results, kind, metric) for kind in of_share]
            cells.append(", ".join(str(len(results.seeds(kind))) for kind in of_share))
            print(f"| {label_of(strategy)} | " + " | ".join(cells) + " |")
    print()


def table_cell(results: Results, kind: Kind, metric: str) -> str:
    if not results.seeds(kind):
        return ""
    text = cell(*results.level(kind, metric))
    if kind == kind.scratch or not results.seeds(kind, kind.scratch):
        return text
    mean, half_width = results.gain(kind, metric)
    gain = cell(mean, half_width, sign="+")
    return f"{text} (**{gain}**)" if abs(mean) > half_width else f"{text} ({gain})"


def label_of(kind: Kind) -> str:
    label = kind.strategy
    if kind.strategy != "scratch" and kind.pretraining == "dro":
        label += ", source with dro"
    return label + (", habits" if kind.habits else "")


def cell(mean: float, half_width: float, sign: str = "") -> str:
    spread = "" if math.isnan(half_width) else f" ± {half_width:.3f}"
    return f"{mean:{sign}.3f}{spread}"


def draw(results: Results, path: Path) -> None:
    """Strategies side by side at each share, without habits; hollow: the source had dro."""
    metrics = {"HR@1": "hr_at_1", "macro recall": "macro_recall"}
    shares = results.shares
    plain = [kind for kind in results.kinds if not kind.habits]
    slots = list(dict.fromkeys((kind.strategy, kind.pretraining) for kind in plain))
    figure, panels = plt.subplots(1, len(metrics), figsize=(10, 4), layout="constrained")
    for axes, (label, metric) in zip(panels, metrics.items(), strict=True):
        for kind in plain:
            slot = slots.index((kind.strategy, kind.pretraining))
            x = shares.index(kind.share) + 0.8 * ((slot + 0.5) / len(slots) - 0.5)
            mean, half_width = results.level(kind, metric)
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
                mean, _ = results.level(kind, metric)
                axes.hlines(mean, i - 0.42, i + 0.42, color="black", linewidth=0.8, linestyle=":")
        for name, style in (("most_popular", "-."), ("most_frequently_used", "--")):
            axes.axhline(
                results.rows[name][metric],
                color="gray",
                linewidth=0.8,
                linestyle=style,
                label=name.replace("_", " "),
            )
        axes.set_xticks(range(len(shares)), [f"{float(share):.0%}" for share in shares])
        axes.set_xlabel("share of the target's training events")
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
    source, target = PAIRS[results.pair]
    most = max(len(results.seeds(kind)) for kind in plain)
    figure.suptitle(
        f"{source} to {target}, {results.part}, no habits; up to {most} seeds, bars: 95 % interval",
        fontsize=10,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
