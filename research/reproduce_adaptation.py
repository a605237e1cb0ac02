"""Make the tables of few-shot new behaviors.

    python research/reproduce_adaptation.py simulator                  validation part
    python research/reproduce_adaptation.py atus --data FOLDER         research log
    python research/reproduce_adaptation.py atus --data FOLDER --test  the same, test part

Two behaviors of about 5 %, 1 % and below 0.1 % each are deleted from the log before anything else,
so the checkpoint that is adapted has truly never seen them; then `edgebehave adapt` teaches it all
six at once from k examples of each, in every combination of what trains and what new rows begin
with. Beside it: the checkpoint as it was, the same model trained from scratch on the same examples
and the same replay, and full retraining on the undeleted log. Whole users are held out: a split by
time would move when events are deleted, and what pretraining learned from could be a target here.

Every seed pretrains anew and draws other examples. Verbs are printed as they run. Finished parts
are kept; a killed run goes on where it was.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from edgebehave_train.adaptation.adaptation import (
    TRAINED,
    AdaptConfig,
    adapt,
    examples_by_name,
    grown_vocabulary,
    train_at_log_shares,
)
from edgebehave_train.adaptation.new_rows import ROW_STARTS
from edgebehave_train.adaptation.scores import score_adaptation
from edgebehave_train.adaptation.support_set import choose_support
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.training_run import Start
from research_logs import LOGS, raw_log
from verbs import commit, is_finished, run, train

EXAMPLES = (5, 20, 100)
SIMULATOR = ("--users", "800", "--days", "42")


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """The behaviors that are deleted from a log, by frequency; behavior is their column."""

    behavior: str
    bands: dict[str, tuple[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for names in self.bands.values() for name in names)


DELETED = {
    "simulator": Deleted(
        behavior="behavior",
        bands={
            "5 %": ("editing video", "gaming"),
            "1 %": ("listening to podcasts", "job hunting"),
            "< 0.1 %": ("booking a doctor", "booking a hotel"),
        },
    ),
    "atus": Deleted(
        behavior="category",
        bands={
            "5 %": ("1807", "0301"),
            "1 %": ("5001", "1804"),
            "< 0.1 %": ("0303", "0805"),
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=DELETED)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs/adaptation"))
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of pretraining; default: that of the preset")
    parser.add_argument("--examples", type=int, nargs="+", default=EXAMPLES, metavar="K")
    parser.add_argument("--train", nargs="+", choices=TRAINED, default=TRAINED)
    parser.add_argument("--start", nargs="+", choices=ROW_STARTS, default=ROW_STARTS)
    parser.add_argument("--test", action="store_true", help="read the test part")
    args = parser.parse_args()
    started, part = time.monotonic(), "test" if args.test else "validation"
    deleted, out = DELETED[args.log], args.out / args.log
    out.mkdir(parents=True, exist_ok=True)
    stores = make_stores(args.log, args.data, deleted, out)
    require_same_users(*stores.values())
    print_deleted(stores["whole"], deleted)

    settings = ("--epochs", str(args.epochs)) if args.epochs else ()
    scores: dict[str, list[dict]] = {}
    for seed in range(args.seeds):
        known, retrained = (out / f"{args.preset}-{name}-{seed}" for name in ("known", "retrained"))
        train(out / "deleted", known, args.preset, seed, "user", settings)
        train(out / "whole", retrained, args.preset, seed, "user", settings)
        named = {"no adaptation": known, "full retraining": retrained}
        for k in args.examples:
            scratch = known.with_name(f"{known.name}-scratch-{k}")
            named[f"{k} | from scratch"] = scratch
            config = AdaptConfig(examples=k, seed=seed, epochs=60)
            adapt_once(stores["whole"], known, scratch, config, scratch=True)
            for trained in args.train:
                for start in args.start:
                    adapted = known.with_name(f"{known.name}-{trained}-{start}-{k}")
                    config = AdaptConfig(train=trained, start=start, examples=k, seed=seed)
                    adapt_once(stores["whole"], known, adapted, config)
                    named[f"{k} | {trained}, {start}"] = adapted
        for name, checkpoint in named.items():
            one = scored(stores["whole"], checkpoint, deleted.names, part)
            scores.setdefault(name, []).append(one)
    for habits in ("habits", "network alone"):
        print_table(scores, habits, deleted, part)
    print(
        f"commit {commit()}, data {stores['whole'].fingerprint[:12]}, preset {args.preset}, "
        f"seeds 0 to {args.seeds - 1}, {time.monotonic() - started:.0f} s"
    )


def make_stores(log: str, data: Path | None, deleted: Deleted, out: Path) -> dict[str, EventStore]:
    """The log as it is, and without the deleted behaviors."""
    source = raw_log(log, data, out, *SIMULATOR)
    names = ", ".join(f"'{name}'" for name in deleted.names)
    kept = {"whole": "true", "deleted": f"coalesce({deleted.behavior}, '') NOT IN ({names})"}
    for name, condition in kept.items():
        if not (out / name).exists():
            table = out / f"{name}.parquet"
            rows = f"SELECT * FROM read_csv('{source}', all_varchar = true) WHERE {condition}"
            duckdb.sql(f"COPY ({rows}) TO '{table}'")
            run("ingest", str(table), "-o", str(out / name), *LOGS[log].columns)
    return {name: EventStore.open(out / name) for name in kept}


def require_same_users(whole: EventStore, deleted: EventStore) -> None:
    """Users are held out by their positions in the store, which must be the same in both."""
    if whole.users() != deleted.users():
        raise ValueError("a user did nothing but what was deleted; delete other behaviors")


def from_scratch(
    store: EventStore, checkpoint: Checkpoint, out: Path, config: AdaptConfig, *, resume: bool = False
) -> Checkpoint:
    """The control of `adapt`: a new model of the same shape, trained on the same examples and the same
    replay by the checkpoint's own recipe."""
    vocabulary = grown_vocabulary(store, checkpoint)
    support = choose_support(store, checkpoint, vocabulary, config.examples, config.seed)
    start = Start(
        origin={
            "scratch": True,
            "examples": config.examples,
            "seed": config.seed,
            "num_examples": examples_by_name(support, vocabulary),
        },
        vocabulary=vocabulary,
        prepare=lambda model: train_at_log_shares(model, support),
        train_ranges=support.ranges,
        is_target=support.is_target,
    )
    train_config = replace(checkpoint.config, epochs=config.epochs, seed=config.seed)
    return pretrain(store, train_config, out, resume=resume, start=start)


def adapt_once(store: EventStore, known: Path, out: Path, config: AdaptConfig, scratch: bool = False) -> None:
    """`edgebehave adapt` in this process: importing PEFT takes longer than adapting."""
    if is_finished(out):
        return
    resume = (out / "config.json").exists()
    if scratch:
        from_scratch(store, Checkpoint.open(known), out, config, resume=resume)
        return
    print(
        f"$ edgebehave adapt {known} --log {store.path} -o {out} --train {config.train} "
        f"--start {config.start} --examples {config.examples} --seed {config.seed}",
        file=sys.stderr,
        flush=True,
    )
    adapt(store, Checkpoint.open(known), out, config, resume=resume)


def scored(store: EventStore, checkpoint: Path, new: tuple[str, ...], part: str) -> dict:
    """Scores of a checkpoint, kept beside it: the test part is read once."""
    kept = checkpoint / f"adaptation-{part}.json"
    if not kept.exists():
        scores = score_adaptation(store, Checkpoint.open(checkpoint), new, part)
        kept.write_text(json.dumps({name: one.to_json() for name, one in scores.items()}))
    return json.loads(kept.read_text())


def print_deleted(store: EventStore, deleted: Deleted) -> None:
    behaviors = store.behavior[store.behavior > 0]
    print("| deleted | share | occurrences |\n|---|---|---|")
    for name in deleted.names:
        count = int((behaviors == store.vocabulary.behavior_id(name)).sum())
        print(f"| {name} | {count / len(behaviors):.3%} | {count:,} |")
    print(flush=True)


def print_table(scores: dict[str, list[dict]], habits: str, deleted: Deleted, part: str) -> None:
    """Markdown: mean over seeds and half width of its 95 % t interval."""
    before = [one[habits] for one in scores["no adaptation"]]
    columns = [f"recall {band}" for band in deleted.bands]
    columns += [f"@5 {band}" for band in deleted.bands]
    columns += ["macro recall", "HR@1", "HR@1 known", "change"]
    print(f"\n| {part}, {habits} | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name, seeds in scores.items():
        rows = [one[habits] for one in seeds]
        cells = [
            mean_text([pooled(row, metric, names) for row in rows])
            for metric in ("recall", "recall_at_5")
            for names in deleted.bands.values()
        ]
        cells += [mean_text([row[m] for row in rows]) for m in ("macro_recall", "hr_at_1")]
        cells.append(mean_text([row["hr_at_1_known"] for row in rows]))
        pairs = zip(rows, before, strict=True)
        change = mean_text([row["hr_at_1_known"] - then["hr_at_1_known"] for row, then in pairs], sign="+")
        cells.append("" if name == "no adaptation" else change)
        print(f"| {name.replace(' | ', ' examples: ')} | " + " | ".join(cells) + " |")
    print(flush=True)


def pooled(row: dict, metric: str, names: tuple[str, ...]) -> float:
    """Share of the targets of several behaviors together."""
    counts = [row["num_targets"][name] for name in names]
    hits = [row[metric][name] * count for name, count in zip(names, counts, strict=True) if count]
    return sum(hits) / sum(counts) if sum(counts) else math.nan


if __name__ == "__main__":
    main()
