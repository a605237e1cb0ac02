"""`edgebehave llm demo`: the whole of BehaviorLM on a made-up log, with the verbs a user types."""

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from edgebehave_cli.console import note
from edgebehave_train.files import require_writable

_DEMO_FILE = "llm-demo.json"


class _Step(NamedTuple):
    """A command of the chain.

    command  as it is typed behind `edgebehave`.
    made     file that it leaves behind; one that says `finished` is there before that is true.
             None: the command only prints.
    """

    title: str
    command: str
    made: Path | None = None


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")] = Path("runs/llm-demo"),
    base: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub id of a causal language model; default: a small stand-in that is "
            "trained here from scratch on made-up text."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Tune a language model in two stages, measure it, teach the edge model, export, predict.

    Every command is printed before it runs. Interrupted, the same command goes on: what is
    finished is kept. Without --base the language model is a stand-in of half a million
    parameters that has read about the simulator's world; its figures say nothing about a real one.

    Example: [bold]edgebehave llm demo[/bold]

    Example: [bold]edgebehave llm demo --base HuggingFaceTB/SmolLM2-135M-Instruct[/bold]
    """
    started = time.monotonic()
    _claim(out, {"base": base, "seed": seed})
    for step in _steps(out, base, seed):
        note(f"\n[{time.monotonic() - started:5.0f} s] {step.title}")
        note(f"$ edgebehave {step.command}")
        if step.made is not None and _is_done(step.made):
            note(f"kept from before: {step.made}")
            continue
        if step.made is not None and step.made.parent != out and step.made.parent.exists():
            shutil.rmtree(step.made.parent)  # half done by an earlier demo
        _run(context, step.command)
    note(f"\n[{time.monotonic() - started:5.0f} s] done; everything is in {out}")


def _claim(out: Path, wanted: dict[str, object]) -> None:
    """Make the folder, or go on in one that a demo of the same options made.

    What is half done is deleted in it, and what is finished is kept: neither may happen to what
    somebody else made, or to what came of other options.
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
        for name in (
            *("log.csv.gz", "store", "small_lm", "a", "ab", "edge", "distilled", "bundle"),
            "llm-onnx",
        )
    )
    yield _Step("Simulate a log", f"simulate {log} --seed {seed}", out / "log.csv.gz")
    yield _Step(
        "Ingest it into an event store",
        f"ingest {log} -o {store} --location location --utc-offset utc_offset_min --behavior behavior",
        out / "store" / "statistics.json",
    )
    tuning = f"--seed {seed}"
    if base is None:
        yield _Step(
            "Train a small stand-in for a language model, on text about everyday life",
            f"llm pretrain -o {small_lm} --seed {seed}",
            out / "small_lm" / "pretraining.json",
        )
        # A stand-in learns little from small steps, and cannot read a list of candidates.
        settings = {
            "tuning.learning_rate": "2e-3",
            "balanced_tuning.learning_rate": "1e-3",
            "lora.rank": "16",
            "lora.alpha": "32",
            "prompt.history": "10",
            "prompt.candidates": "none",
            "selection.pool": "3",
        }
        tuning += f" --auxiliary {small_lm}/conversations.jsonl --samples 2000 --epochs 3"
        tuning += "".join(f" --set {name}={value}" for name, value in settings.items())
    yield _Step(
        "A-tuning: the frequent behaviors, and 5 % conversation",
        f"llm tune {store} --base {shlex.quote(base) if base else small_lm} -o {a} --stages anchor {tuning}",
        out / "a" / "behaviorlm.json",
    )
    yield _Step(
        "B-tuning: 20 hard samples of every behavior",
        f"llm tune {store} --base {a} -o {ab}",
        out / "ab" / "behaviorlm.json",
    )
    # Whole users train, validate or test, 8:1:1, as language models are tuned.
    student = f"--preset tiny --split user --set split.train=0.8 --epochs 5 --seed {seed}"
    yield _Step(
        "Train the edge model without its help",
        f"train {store} -o {edge} {student}",
        out / "edge" / "training.json",
    )
    yield _Step(
        "Teach the edge model: the language model's answers beside what came",
        f"distill {store} --teacher {ab} -o {distilled} --samples 1500 {student}",
        out / "distilled" / "training.json",
    )
    yield _Step(
        "Compare them on unseen users, as many samples of rare behaviors as of frequent ones",
        f"llm evaluate {store} {ab} {a} --zero-shot --edge {distilled} --edge {edge} --test "
        "--protocol balanced --per-behavior 15",
    )
    yield _Step(
        "Export the taught edge model for the device",
        f"export {distilled} -o {bundle} --store {store}",
        out / "bundle" / "manifest.json",
    )
    yield _Step(
        "Export the language model: merged, ONNX, int8",
        f"llm export {ab} -o {onnx} --store {store}",
        out / "llm-onnx" / "export.json",
    )
    asked = f"--store {store} --user user_00159 -k 3"
    yield _Step("Ask the language model", f"llm predict {ab} {asked}")
    yield _Step("Ask the SDK, as on a device", f"predict {bundle} {asked}")
    yield _Step("What a prediction costs", f"bench {distilled} --store {store} --calls 300 --llm {onnx}")


def _is_done(made: Path) -> bool:
    if not made.exists():
        return False
    finished: bool = made.suffix != ".json" or json.loads(made.read_text()).get("finished", True)
    return finished


def _run(context: typer.Context, command: str) -> None:
    """Run a verb, as if it had been typed."""
    root = context.find_root()
    root.command.main(shlex.split(command), prog_name=root.info_name, standalone_mode=False)
