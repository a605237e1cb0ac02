"""`edgebehave llm demo`: all steps of BehaviorLM on a simulated log, as commands of a user."""

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note
from edgebehave_train.files import require_writable

_DEMO_FILE = "llm-demo.json"


_STAND_IN = {
    "tuning.learning_rate": "2e-3",
    "balanced_tuning.learning_rate": "1e-3",
    "lora.rank": "16",
    "lora.alpha": "32",
    "prompt.format": "sampled",
    "prompt.history": "10",
    "prompt.candidates": "none",
    "selection.pool": "3",
}
"""Settings of a stand-in, which learns little from small steps and cannot read a list of candidates."""


class _Step(NamedTuple):
    """A command of the demo.

    command  as it is typed behind `edgebehave`.
    made     file that it leaves behind, relative to the folder of the demo; a JSON file may say
             that it is not finished yet. Empty: the command only prints.
    """

    title: str
    command: str
    made: str = ""


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")] = Path("runs/llm-demo"),
    base: Annotated[
        str | None,
        typer.Option(
            help="Folder, GGUF file or hub id of a causal language model, or smollm2; default: a small "
            "stand-in that the demo trains from scratch on made-up text."
        ),
    ] = None,
    seed: options.Seed = 0,
) -> None:
    """Tune a language model in two stages, measure it, teach the edge model, export, predict.

    Every command is printed before it runs. After an interruption the same command goes on and
    keeps finished steps. Without --base the language model is a stand-in of half a million
    parameters, trained on text about the simulator's world; its figures say nothing about a real one.

    Example: [bold]edgebehave llm demo[/bold]

    Example: [bold]edgebehave llm demo --base smollm2[/bold]
    """
    started = time.monotonic()
    _claim(out, {"base": base, "seed": seed})
    for step in _steps(out, base, seed):
        note(f"\n[{time.monotonic() - started:5.0f} s] {step.title}")
        note(f"$ edgebehave {step.command}")
        made = out / step.made
        if step.made and _is_done(made):
            note(f"kept from before: {made}")
            continue
        if step.made and made.parent != out and made.parent.exists():
            shutil.rmtree(made.parent)  # half done by an earlier demo
        _run(context, step.command)
    note(f"\n[{time.monotonic() - started:5.0f} s] done; everything is in {out}")


def _claim(out: Path, wanted: dict[str, object]) -> None:
    """Make the folder, or accept one that a demo with the same options made.

    The demo deletes unfinished steps in its folder and keeps finished ones, so the folder must
    hold nothing else, and no results of other options.
    """
    file = out / _DEMO_FILE
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before != wanted:
            given = ", ".join(f"{name} {value}" for name, value in before.items())
            raise ValueError(f"{out} holds a demo of {given}; name another folder by --out")
        return
    require_writable(out, "a demo")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(wanted) + "\n", encoding="utf-8")


def _steps(out: Path, base: str | None, seed: int) -> Iterator[_Step]:
    log, store, small_lm, a, ab, edge, distilled, bundle, onnx = (
        shlex.quote(str(out / name))
        for name in ("log.csv.gz", "store", "small_lm", "a", "ab", "edge", "distilled", "bundle", "llm-onnx")
    )
    yield _Step("Simulate a log", f"simulate {log} --seed {seed}", "log.csv.gz")
    columns = "--location location --utc-offset utc_offset_min --behavior behavior"
    yield _Step("Ingest it into an event store", f"ingest {log} -o {store} {columns}", "store/statistics.json")
    tuning = f"--seed {seed}"
    if base is None:
        title = "Train a small stand-in for a language model, on text about everyday life"
        yield _Step(title, f"llm pretrain -o {small_lm} --seed {seed}", "small_lm/pretraining.json")
        tuning += f" --auxiliary {small_lm}/conversations.jsonl --samples 2000 --epochs 3"
        tuning += "".join(f" --set {name}={value}" for name, value in _STAND_IN.items())
    start = shlex.quote(base) if base else small_lm
    yield _Step(
        "A-tuning: the frequent behaviors, and 5 % conversation",
        f"llm tune {store} --base {start} -o {a} --stages anchor {tuning}",
        "a/behaviorlm.json",
    )
    title = "B-tuning: 20 hard samples of every behavior"
    yield _Step(title, f"llm tune {store} --base {a} -o {ab}", "ab/behaviorlm.json")
    # Whole users train, validate or test, 8:1:1, as language models are tuned.
    student = f"--preset tiny --split user --set split.train=0.8 --epochs 5 --seed {seed}"
    title = "Train the edge model without the language model"
    yield _Step(title, f"train {store} -o {edge} {student}", "edge/training.json")
    yield _Step(
        "Train the edge model on the language model's answers, too",
        f"distill {store} --teacher {ab} -o {distilled} --samples 1500 {student}",
        "distilled/training.json",
    )
    yield _Step(
        "Compare them on unseen users, as many samples of rare behaviors as of frequent ones",
        f"llm evaluate {store} {ab} {a} --zero-shot --edge {distilled} --edge {edge} --test "
        "--protocol balanced --per-behavior 15",
    )
    title = "Export the distilled edge model for the device"
    yield _Step(title, f"export {distilled} -o {bundle} --store {store}", "bundle/manifest.json")
    title = "Export the language model: merged, ONNX, int8"
    yield _Step(title, f"llm export {ab} -o {onnx} --store {store}", "llm-onnx/export.json")
    asked = f"--store {store} --user user_00159 -k 3"
    yield _Step("Predict with the language model", f"llm predict {ab} {asked}")
    yield _Step("Predict with the SDK, as on a device", f"predict {bundle} {asked}")
    yield _Step("Measure a prediction of both", f"bench {distilled} --store {store} --calls 300 --llm {onnx}")


def _is_done(made: Path) -> bool:
    if not made.exists():
        return False
    finished: bool = made.suffix != ".json" or json.loads(made.read_text()).get("finished", True)
    return finished


def _run(context: typer.Context, command: str) -> None:
    """Run a verb, as if it had been typed."""
    root = context.find_root()
    root.command.main(shlex.split(command), prog_name=root.info_name, standalone_mode=False)
