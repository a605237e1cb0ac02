"""Make the table of distillation where rare behaviors are known from 20 examples.

    python examples/reproduce_distillation.py --make-log              the log, then
    edgebehave llm tune runs/distillation/few --base LM -o runs/llm   a teacher tuned on it, then
    python examples/reproduce_distillation.py --teacher runs/llm

The log is the simulator's. Users are held out as `edgebehave llm tune` does, 8:1:1. Of each tail
behavior (less than 1 % of the training part) all but 20 occurrences are deleted from the training
users' log; users who validate and test keep theirs. The same edge model is then trained on it with
a teacher's answers and without, over seeds. Beside it: logit adjustment after training, which costs
nothing, and the edge model on the whole log, which says what there is to learn.

The teacher may be a checkpoint, too: `runs/distillation/tiny-whole-0` has seen all of the tail.
Finished parts are kept; a killed run goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path

import duckdb
import numpy as np
from research_logs import SIMULATOR, raw_log
from verbs import commit, finish, run, seconds_of, train

from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.evaluation import ask, predict
from edgebehave_train.event_store import EventStore
from edgebehave_train.llm.samples import LLM_SPLIT
from edgebehave_train.mapped_log import behavior_counts, map_log, training_vocabulary
from edgebehave_train.metrics import TAIL_BELOW, evaluate_predictions
from edgebehave_train.seed_intervals import mean_text
from edgebehave_train.split import TRAIN, part_bounds, part_of_event

METRICS = {
    "hr_at_1": "HR@1",
    "hr_at_5": "HR@5",
    "head_accuracy": "head",
    "medium_accuracy": "medium",
    "tail_accuracy": "tail",
    "macro_recall": "macro recall",
}
TAUS = (0.0, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, help="tuned language model, or a checkpoint")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: that of the preset")
    parser.add_argument("--examples", type=int, default=20, help="of each tail behavior")
    parser.add_argument("--samples", type=int, default=4000, help="targets the teacher answers")
    parser.add_argument("--weight", type=float, nargs="+", default=[1.0])
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--name-embeddings", action="store_true", help="one more row, with them")
    parser.add_argument("--users", default="800", help="of the simulator, for 42 days")
    parser.add_argument("--no-habits", action="store_true", help="the network alone")
    parser.add_argument("--make-log", action="store_true", help="stop when the log is made")
    parser.add_argument("--test", action="store_true", help="read the test part")
    args = parser.parse_args()
    started, out = time.monotonic(), args.out
    out.mkdir(parents=True, exist_ok=True)
    whole, few = make_stores(out, args.users, args.examples)
    if args.make_log:
        return
    if args.teacher is None:
        parser.error("--teacher is missing: a language model tuned on the log of --make-log")

    settings = ("--set", f"split.train={LLM_SPLIT.train}")
    settings += ("--epochs", str(args.epochs)) if args.epochs else ()
    settings += ("--set", "habits=false") if args.no_habits else ()
    kind = f"{args.preset}{'-plain' if args.no_habits else ''}"
    teacher = args.teacher
    answers = out / f"{teacher.name}-{args.samples}.teacher.safetensors"
    recipe = ("--preset", args.preset, "--split", "user", *settings)
    asked = ("--samples", str(args.samples), "--answers", str(answers))
    scores: dict[str, list[dict[str, float]]] = {}
    part = "test" if args.test else "validation"
    for seed in range(args.seeds):
        plain, full = (out / f"{kind}-{name}-{seed}" for name in ("few", "whole"))
        train(few.path, plain, args.preset, seed, "user", settings)
        train(whole.path, full, args.preset, seed, "user", settings)
        students = {}
        for weight in args.weight:
            soft = ("--weight", str(weight), "--temperature", str(args.temperature))
            for names in (False, True)[: 1 + args.name_embeddings]:
                label = f"distilled, weight {weight:g}" + (", names" if names else "")
                made_of = f"{teacher.name}-{args.samples}-w{weight:g}-t{args.temperature:g}"
                student = out / f"{kind}-{made_of}{'-names' if names else ''}-{seed}"
                command = ("distill", str(few.path), "--teacher", str(teacher), *asked, *recipe)
                command += (*soft, "--seed", str(seed), *(("--name-embeddings",) if names else ()))
                finish(student, command, ())
                students[label] = student
        for name, checkpoint, taus in (
            ("without a teacher", plain, TAUS),
            *((label, student, TAUS) for label, student in students.items()),
            ("whole log", full, TAUS[:1]),
        ):
            store = whole if checkpoint == full else few
            for tau, one in zip(taus, scored(store, whole, checkpoint, part, taus), strict=True):
                label = f"{name}, adjusted tau {tau:g}" if tau else name
                scores.setdefault(label, []).append(one)
    print_table(scores, f"{part}, habits {'off' if args.no_habits else 'on'}")
    print_seconds = {
        name: seconds_of(path) for name, path in (("without", plain), *students.items())
    }
    print(
        f"teacher {teacher}, "
        f"{args.samples} answers, temperature {args.temperature:g}, preset {args.preset}, seeds 0 "
        f"to {args.seeds - 1}, commit {commit()}, data {few.fingerprint[:12]}, seconds of the "
        f"last seed {json.dumps({name: round(s) for name, s in print_seconds.items()})}, "
        f"{time.monotonic() - started:.0f} s"
    )


def make_stores(out: Path, users: str, examples: int) -> tuple[EventStore, EventStore]:
    """The log as it is, and with so many occurrences of each tail behavior that train."""
    source = raw_log("simulator", None, out, "--users", users, "--days", "42")
    if not (out / "whole").exists():
        run("ingest", str(source), "-o", str(out / "whole"), *SIMULATOR.columns)
    whole = EventStore.open(out / "whole")
    if not (out / "few").exists():
        rows = (
            f"SELECT *, row_number() OVER () AS row FROM read_csv('{source}', all_varchar = true)"
        )
        duckdb.sql(f"CREATE TABLE log AS {rows}")
        bounds = part_bounds(whole, LLM_SPLIT)
        names = whole.users()
        training = [names[u] for u in np.flatnonzero(bounds[:, 1] > bounds[:, 0])]
        duckdb.sql(
            "CREATE TABLE training AS SELECT unnest($users) AS user", params={"users": training}
        )
        duckdb.sql(
            "CREATE TABLE tail AS SELECT unnest($names) AS behavior",
            params={"names": tail_of(whole)},
        )
        # The order of a hash is a draw that does not depend on anything else.
        duckdb.sql(
            "CREATE TABLE deleted AS SELECT row FROM (SELECT row, row_number() OVER (PARTITION BY "
            "behavior ORDER BY hash(row)) AS place FROM log WHERE user IN (FROM training) AND "
            f"behavior IN (FROM tail)) WHERE place > {examples}"
        )
        kept = "SELECT * EXCLUDE (row) FROM log WHERE row NOT IN (FROM deleted) ORDER BY row"
        duckdb.sql(f"COPY ({kept}) TO '{out / 'few.parquet'}'")
        run("ingest", str(out / "few.parquet"), "-o", str(out / "few"), *SIMULATOR.columns)
    few = EventStore.open(out / "few")
    if whole.users() != few.users():
        raise ValueError("a user did nothing but what was deleted; take other --users")
    return whole, few


def tail_of(store: EventStore) -> list[str]:
    """Behaviors with less than 1 % of the training part."""
    counts, names = training_counts(store)
    return [
        name for name, n in zip(names, counts, strict=True) if 0 < n < TAIL_BELOW * counts.sum()
    ]


def training_counts(store: EventStore) -> tuple[np.ndarray, list[str]]:
    is_train = part_of_event(store, LLM_SPLIT) == TRAIN
    vocabulary = training_vocabulary(store, is_train)
    return behavior_counts(store, is_train, vocabulary), list(vocabulary.behaviors)


def scored(
    store: EventStore, whole: EventStore, checkpoint: Path, part: str, taus: tuple[float, ...]
) -> list[dict[str, float]]:
    """Metrics of a checkpoint for each tau, kept beside it; groups are those of the
    whole log."""
    kept = checkpoint / f"distillation-{part}.json"
    if not kept.exists():
        model = Checkpoint.open(checkpoint)
        counts, names = training_counts(whole)
        count_of = dict(zip(names, counts.tolist(), strict=True))
        counts = np.array([count_of.get(name, 0) for name in model.vocabulary.behaviors])
        asked = ask(map_log(store, model.vocabulary), part_of_event(store, LLM_SPLIT), part)
        metrics = [evaluate_predictions(one, counts) for one in predict(model, asked, taus)]
        kept.write_text(json.dumps(metrics))
    return json.loads(kept.read_text())


def print_table(scores: dict[str, list[dict[str, float]]], title_of_all: str) -> None:
    """Markdown: mean over seeds with its 95 % t interval, then the paired differences."""
    plain = scores["without a teacher"]
    for title in (title_of_all, "minus without a teacher"):
        print(f"\n| {title} | " + " | ".join(METRICS.values()) + " |")
        print("|---" * (1 + len(METRICS)) + "|")
        for name, seeds in scores.items():
            if title == "minus without a teacher":
                pairs = list(zip(seeds, plain, strict=True))
                cells = [mean_text([a[m] - b[m] for a, b in pairs], sign="+") for m in METRICS]
            else:
                cells = [mean_text([one[m] for one in seeds]) for m in METRICS]
            if title == title_of_all or name != "without a teacher":
                print(f"| {name} | " + " | ".join(cells) + " |")
    print(flush=True)


if __name__ == "__main__":
    main()
