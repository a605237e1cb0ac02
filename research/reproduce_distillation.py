"""Make the tables of distillation where rare behaviors are known from 20 examples.

    python research/reproduce_distillation.py --make-log              the log, then
    edgebehave llm tune runs/distillation/few --base LM -o runs/llm   a teacher tuned on it, then
    python research/reproduce_distillation.py --teacher runs/llm

or, with people whose rules are known instead of a language model,

    python research/reproduce_distillation.py --log atus --data FOLDER --others 0.5 --teacher others

How the log is made stands in few_shot_log.py. The same edge model is trained on it with a
teacher's answers and without, over seeds. Teachers: a folder (a tuned language model or a
checkpoint), `whole` (a model of the log before the cut), `others` (a model of other people's log,
--others), and on the simulator `oracle` (knows the process and every person) and `stranger` (knows
the process and no person; what knowledge of the world can give at most). Beside them: logit
adjustment after training, which costs nothing, the edge model on the log before the cut, which
says what there is to learn, and with --ceiling the rows of oracle and stranger themselves.

Logit adjustment is a curve, so the last tables read off it: the most of the tail, and the highest
macro recall, that a model has on its curve without having less HR@1 than asked for. Macro recall
is the overall accuracy of a test set with as many samples of each behavior.
Finished parts are kept; a killed run goes on where it was.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np

from edgebehave_train.distillation.teacher_answers import TeacherAnswers, collect_answers, targets_to_ask
from edgebehave_train.distillation.teachers import is_language_model
from edgebehave_train.evaluation.part_predictions import part_targets, predict
from edgebehave_train.llm.prompts.samples import LLM_SPLIT
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, part_of_event
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.prior_shift import adjusted_scores, adjustment_divisor
from edgebehave_train.metrics.ranking import rank_in_blocks
from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.simulator.log import SimulatorConfig
from edgebehave_train.training.checkpoint import Checkpoint
from few_shot_log import FewShotLog, counts_in, make_few_shot_log, tail_of
from research_logs import LOGS
from simulator_teachers import KINDS, SimulatorTeachers
from verbs import commit, finish, seconds_of, train

METRICS = {
    "hr_at_1": "HR@1",
    "hr_at_5": "HR@5",
    "head_accuracy": "head",
    "medium_accuracy": "medium",
    "tail_accuracy": "tail",
    "macro_recall": "macro recall",
    "tail_category_accuracy": "tail, mean of behaviors",
}
CURVES = ("tail_accuracy", "tail_category_accuracy", "macro_recall")
TAUS = tuple(n / 10 for n in range(11))
BELOW = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05)
"""HR@1 that may be given up, counted from the model without a teacher."""
PLAIN = "without a teacher"
TEACHER_SEED = 100
Curve = list[dict[str, float]]
"""Metrics at each of TAUS."""


def parsed_arguments() -> argparse.Namespace:
    """The command line, checked, with the default of --out filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=sorted(LOGS), default="simulator")
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--teacher", help="a folder, whole, others, oracle or stranger")
    parser.add_argument("--teacher-preset", help="of whole and others; default: --preset")
    parser.add_argument("--out", type=Path, help="default: runs/distillation[-LOG]")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: that of the preset")
    parser.add_argument("--examples", type=int, default=20, help="of each tail behavior")
    parser.add_argument("--others", type=float, default=0.0, help="share of people apart")
    parser.add_argument("--samples", type=int, default=4000, help="targets the teacher answers")
    parser.add_argument("--weight", type=float, nargs="+", default=[1.0])
    parser.add_argument("--temperature", type=float, nargs="+", default=[2.0])
    parser.add_argument("--name-embeddings", action="store_true", help="one more row, with them")
    parser.add_argument("--users", default="800", help="of the simulator, for 42 days")
    parser.add_argument("--no-habits", action="store_true", help="the network alone")
    parser.add_argument("--ceiling", action="store_true", help="rows of oracle and stranger")
    parser.add_argument("--no-whole", action="store_true", help="no model of the uncut log")
    parser.add_argument("--make-log", action="store_true", help="stop when the log is made")
    parser.add_argument("--test", action="store_true", help="read the test part")
    args = parser.parse_args()
    is_simulated = args.log == "simulator"
    args.out = args.out or Path("runs/distillation" + ("" if is_simulated else f"-{args.log}"))
    if args.make_log:
        return args
    if args.teacher is None:
        parser.error("--teacher is missing: a language model tuned on the log of --make-log")
    if (args.ceiling or args.teacher in KINDS) and not is_simulated:
        parser.error("the process behind a real log is not known; take --log simulator")
    if args.teacher == "others" and not args.others:
        parser.error("--teacher others needs --others, the share of people that it learns from")
    return args


def main() -> None:
    args = parsed_arguments()
    started = time.monotonic()
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    log = make_few_shot_log(args.log, args.data, out, examples=args.examples, others=args.others, users=args.users)
    if args.make_log:
        return
    settings = ("--set", f"split.train={LLM_SPLIT.train}")
    settings += ("--epochs", str(args.epochs)) if args.epochs else ()
    settings += ("--set", "habits=false") if args.no_habits else ()
    kind = f"{args.preset}{f'-e{args.epochs}' if args.epochs else ''}"
    kind += "-plain" if args.no_habits else ""
    teacher, answers = answers_of(log, out, args, kind, settings)
    part = "test" if args.test else "validation"
    scores: dict[str, list[Curve]] = {}
    for seed in range(args.seeds):
        plain, full = (out / f"{kind}-{name}-{seed}" for name in ("few", "whole"))
        # From scratch, as a student is: `train` alone would begin with the universal model, which students do not have.
        train(log.few.path, plain, args.preset, seed, "user", ("--from", "scratch", *settings))
        if not args.no_whole:
            train(log.whole.path, full, args.preset, seed, "user", ("--from", "scratch", *settings))
        rows = {PLAIN: (plain, log.few)}
        command = ("distill", str(log.few.path), "--answers", str(answers))
        command += ("--samples", str(args.samples), "--seed", str(seed))
        command += ("--teacher", str(teacher)) if teacher else ()
        command += ("--preset", args.preset, "--split", "user", *settings)
        for weight, temperature, names in variants(args):
            label = f"distilled, weight {weight:g}, T {temperature:g}"
            made_of = f"{answers.name.partition('.')[0]}-w{weight:g}-t{temperature:g}"
            student = out / f"{kind}-{made_of}{'-names' if names else ''}-{seed}"
            own = ("--weight", str(weight), "--temperature", str(temperature))
            finish(student, (*command, *own, *(("--name-embeddings",) if names else ())), ())
            rows[label + (", names" if names else "")] = student, log.few
        if not args.no_whole:
            rows["log before the cut"] = full, log.whole
        for name, (checkpoint, store) in rows.items():
            scores.setdefault(name, []).append(curve_of(checkpoint, store, log.whole, part))
    if teacher and not is_language_model(teacher):
        scores["the teacher itself"] = [curve_of(teacher, log.whole, log.whole, part)]
    if args.ceiling:
        for name in KINDS:
            scores[name] = [ceiling_curve(name, log.whole, out, args.users, part)]
    print_tables(scores, f"{args.log}, {part}, habits {'off' if args.no_habits else 'on'}")
    tail_mass(log, answers)
    print(
        f"teacher {args.teacher}, preset {kind}, seeds 0 to {args.seeds - 1}, commit {commit()}, "
        f"data {log.few.fingerprint[:12]}, {seconds_of(plain):.0f} s for the last model {PLAIN}, "
        f"{seconds_of(student):.0f} s with one, {time.monotonic() - started:.0f} s in all"
    )


def variants(args: argparse.Namespace) -> list[tuple[float, float, bool]]:
    """Weight, temperature and whether names are embedded, of each student."""
    names = (False, True)[: 1 + args.name_embeddings]
    return [(w, t, n) for w in args.weight for t in args.temperature for n in names]


def answers_of(
    log: FewShotLog, out: Path, args: argparse.Namespace, kind: str, settings: tuple[str, ...]
) -> tuple[Path | None, Path]:
    """Folder of the teacher, None for one without, and the file of its answers."""
    if args.teacher in KINDS:
        answers = out / f"{args.teacher}-{args.samples}.teacher.safetensors"
        if not answers.exists():
            knows = SimulatorTeachers(simulator_config(args.users), log.few).teacher(args.teacher)
            event = targets_to_ask(log.few, LLM_SPLIT, knows.can_answer, args.samples)
            collect_answers(knows, log.few, event, answers)
        return None, answers
    teacher = Path(args.teacher)
    stores = {"whole": log.whole, "others": log.others}
    if store := stores.get(args.teacher):
        preset = args.teacher_preset or args.preset
        teacher = out / f"teacher-{args.teacher}-{kind.replace(args.preset, preset, 1)}"
        train(store.path, teacher, preset, TEACHER_SEED, "user", ("--from", "scratch", *settings))
    return teacher, out / f"{teacher.name}-{args.samples}.teacher.safetensors"


def simulator_config(users: str) -> SimulatorConfig:
    """The simulator's config of the log that `few_shot_log` makes."""
    return SimulatorConfig(num_users=int(users), num_days=42)


def curve_of(checkpoint: Path, store: EventStore, whole: EventStore, part: str) -> Curve:
    """Metrics of a checkpoint, kept beside it; head, medium and tail are those of the whole log."""
    kept = checkpoint / f"few-shot-{part}.json"
    if not kept.exists():
        model = Checkpoint.open(checkpoint)
        counts = counts_in(whole, model.vocabulary.behaviors)
        asked = part_targets(map_log(store, model.vocabulary), part_of_event(store, LLM_SPLIT), part)
        metrics = [evaluate_predictions(one, counts) for one in predict(model, asked, TAUS)]
        kept.write_text(json.dumps(metrics))
    return json.loads(kept.read_text())


def ceiling_curve(kind: str, whole: EventStore, out: Path, users: str, part: str) -> Curve:
    """Metrics of predictions by the known process, adjusted by the shares of the whole log."""
    kept = out / f"{kind}-{part}.json"
    if not kept.exists():
        config = simulator_config(users)
        vocabulary = training_vocabulary(whole, part_of_event(whole, LLM_SPLIT) == TRAIN)
        counts = counts_in(whole, vocabulary.behaviors)
        targets = part_targets(map_log(whole, vocabulary), part_of_event(whole, LLM_SPLIT), part).targets
        probs = SimulatorTeachers(config, whole).probs_in(kind, targets.event, vocabulary.behaviors)
        divisors = [adjustment_divisor(counts, probs.shape[1], tau) for tau in TAUS]
        curve = [rank_in_blocks(targets, [(slice(None), adjusted_scores(probs, divisor))]) for divisor in divisors]
        kept.write_text(json.dumps([evaluate_predictions(one, counts) for one in curve]))
    return json.loads(kept.read_text())


def best_at(curve: Curve, metric: str, hr_at_1: float) -> float:
    """The highest value on a curve, straight between its points, where HR@1 is no lower; NaN if
    it never is."""
    points = np.linspace(0, len(curve) - 1, 50 * (len(curve) - 1) + 1)
    hits, values = (np.interp(points, range(len(curve)), [one[m] for one in curve]) for m in ("hr_at_1", metric))
    reached = hits >= hr_at_1 - 1e-12
    return float(values[reached].max()) if reached.any() else math.nan


def print_tables(scores: dict[str, list[Curve]], title: str) -> None:
    """Markdown: means over seeds with 95 % t intervals, and differences paired by seed."""
    plain = scores[PLAIN]
    # What has no seeds is the same beside each of them.
    curves = {n: c if len(c) == len(plain) else c * len(plain) for n, c in scores.items()}
    trained = {name: [pick(curve[0]) for curve in seeds] for name, seeds in scores.items()}
    adjusted = {
        f"{name}, adjusted tau 0.5": [pick(curve[TAUS.index(0.5)]) for curve in seeds] for name, seeds in scores.items()
    }
    print_table(title, list(METRICS.values()), trained | adjusted)
    print_differences(
        list(METRICS.values()),
        {name: [pick(curve[0]) for curve in seeds] for name, seeds in curves.items()},
    )
    columns = [f"HR@1 - {below:g}" if below else f"HR@1 of {PLAIN}" for below in BELOW]
    for metric in CURVES:
        cells = {
            name: [
                [best_at(curve, metric, base[0]["hr_at_1"] - below) for below in BELOW]
                for curve, base in zip(seeds, plain, strict=True)
            ]
            for name, seeds in curves.items()
        }
        print_table(f"{METRICS[metric]} at", columns, cells)
        print_differences(columns, cells)


def pick(metrics: dict[str, float]) -> list[float]:
    return [metrics[name] for name in METRICS]


def print_differences(columns: list[str], rows: dict[str, list[list[float]]]) -> None:
    differences = {
        name: [[a - b for a, b in zip(one, base, strict=True)] for one, base in zip(seeds, rows[PLAIN], strict=True)]
        for name, seeds in rows.items()
        if name != PLAIN
    }
    print_table(f"minus {PLAIN}", columns, differences, sign="+")


def print_table(title: str, columns: list[str], rows: dict[str, list[list[float]]], sign: str = "") -> None:
    """Rows: one list of values for each seed; a dash where a seed has none."""
    print(f"\n| {title} | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name, seeds in rows.items():
        cells = [
            "-" if any(map(math.isnan, column)) else mean_text(column, sign=sign) for column in zip(*seeds, strict=True)
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def tail_mass(log: FewShotLog, answers: Path) -> None:
    """Share of the tail in the log, before the cut, and in the answers."""
    kept = TeacherAnswers.open(answers)
    tail = tail_of(log.whole)
    mass = kept.probs[:, [name in tail for name in kept.behaviors]].sum(1)
    shares = {}
    for name, store in (("before the cut", log.whole), ("after it", log.few)):
        counts = counts_in(store, ("?", *store.vocabulary.behaviors[1:]))
        is_tail = [one in tail for one in store.vocabulary.behaviors]
        shares[name] = float(counts[is_tail].sum() / counts.sum())
    listed = ", ".join(f"{share:.4f} {name}" for name, share in shares.items())
    print(
        f"\n{len(tail)} tail behaviors: share of what happened {listed}; mean probability in "
        f"{len(kept.event):,} answers {mass.mean():.4f}, first in {(mass > 0.5).mean():.4f}"
    )


if __name__ == "__main__":
    main()
