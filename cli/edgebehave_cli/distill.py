"""`edgebehave distill`: what teachers know of behaviors goes into an edge model."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli.console import JsonOption, note, print_json
from edgebehave_cli.progress_bar import ProgressBar
from edgebehave_cli.train import is_given, parse_settings, recipe_with, with_settings
from edgebehave_cli.training_progress import TrainingProgress

if TYPE_CHECKING:  # the annotations must not import torch
    from edgebehave_train.distillation.teacher_probs import TeacherProbs
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint
    from edgebehave_train.training.recipes import TrainConfig


_LANGUAGE_MODEL_SAMPLES = 4000
"""It is slow to ask; a checkpoint says all it knows within minutes."""


def distill(
    context: typer.Context,
    store: Annotated[Path, typer.Argument(help="Event store, from `edgebehave ingest`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the checkpoint.")],
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="Who teaches: a tuned language model, from `edgebehave llm tune`, or a "
            "checkpoint. Of several, the mean of what they answer."
        ),
    ] = None,
    student: Annotated[
        Path | None,
        typer.Option("--from", help="Checkpoint to start from; default: from scratch."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training targets the teacher answers, rare behaviors first; default: 4000 of a "
            "language model, all of checkpoints.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the teacher's answers; default: OUT.teacher.safetensors. One "
            "that is there is gone on with, and enough without --teacher."
        ),
    ] = None,
    weight: Annotated[
        float,
        typer.Option(
            min=0,
            help="Of the teacher's answers; 1: as much as what came. 10 was best where a "
            "teacher answered every target, 1 where it answered some; three networks of the same "
            "log taught with 3.",
        ),
    ] = 1.0,
    temperature: Annotated[float, typer.Option(min=1, help="High: unlikely behaviors of an answer count more.")] = 2.0,
    name_embeddings: Annotated[
        bool,
        typer.Option(
            "--name-embeddings",
            help="Rows of events and behaviors start as the language model sees their names.",
        ),
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option(help="Where the base of the language model is now, if it moved."),
    ] = None,
    preset: Annotated[str, typer.Option(help="tiny, edge, base, large or paper; --from brings its own.")] = "edge",
    split: Annotated[
        str | None,
        typer.Option(
            help="time or user, as in `train`; default: the teacher's, if it learned on this log. "
            "--from brings its own."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT; all else as it was.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a checkpoint on a log and on a teacher's answers.

    The teacher says of training targets how likely it finds every behavior; the student learns
    from that beside what came. The result is a checkpoint like any other.

    Example: [bold]edgebehave distill runs/store --teacher runs/llm -o runs/taught
    --name-embeddings[/bold]

    Example: [bold]edgebehave distill runs/store --teacher runs/seed0 --teacher runs/seed1 --teacher
    runs/seed2 -o runs/taught --weight 3 --temperature 1[/bold]
    """
    from edgebehave_train.distillation.distillation import distill as distill_checkpoint
    from edgebehave_train.distillation.teachers import language_names
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    log = EventStore.open(store)
    known = None if student is None else Checkpoint.open(student)
    given = [name for name in ("preset", "split") if known and is_given(context, name)]
    if given:
        raise ValueError(f"--from brings its own {given[0]}; leave --{given[0]} out")
    teachers = teacher or []
    config = _config(known, log, teachers, preset, split, epochs, seed, set_ or [])
    names = None
    if name_embeddings:
        if len(teachers) != 1:
            raise ValueError("--name-embeddings needs the language model: name it, and nobody else, by --teacher")
        names = language_names(teachers[0], base=base)
    kept = answers or out.with_name(f"{out.name}.teacher.safetensors")
    command = f"edgebehave distill {store} -o {out} ... --resume"
    try:
        known_answers = _answers(log, config, teachers, kept, samples, device, base)
        with TrainingProgress() as progress:
            checkpoint = distill_checkpoint(
                log,
                config,
                out,
                known_answers,
                weight=weight,
                temperature=temperature,
                student=known,
                names=names,
                resume=resume and (out / "config.json").exists(),
                device=device,
                on_progress=progress.report,
            )
    except KeyboardInterrupt:
        note(f"interrupted; go on with all else as it was: {command}")
        raise
    note(f"checkpoint -> {out}")
    if json:
        print_json({**checkpoint.training.to_json(), "events_per_s": progress.events_per_s})


def _config(
    student: "Checkpoint | None",
    store: "EventStore",
    teachers: list[Path],
    preset: str,
    split: str | None,
    epochs: int | None,
    seed: int,
    settings: list[str],
) -> "TrainConfig":
    """The recipe of a preset, or the student's own, with what was set."""
    from edgebehave_train.distillation.distillation import student_config
    from edgebehave_train.distillation.teachers import split_of_teacher

    if student is not None:
        own = student_config(student, epochs=epochs or student.config.epochs, seed=seed)
        return with_settings(own, parse_settings(settings))
    given = [f"seed={seed}"]
    splits = (split_of_teacher(store, teacher) for teacher in teachers if split is None)
    theirs = next((one for one in splits if one is not None), None)
    if theirs is not None:
        given += [f"split.{name}={value}" for name, value in dataclasses.asdict(theirs).items()]
    else:
        given += [f"split.by={split or 'time'}"]
    given += [] if epochs is None else [f"epochs={epochs}"]
    return recipe_with(preset, [*given, *settings])


def _answers(
    store: "EventStore",
    config: "TrainConfig",
    teachers: list[Path],
    file: Path,
    samples: int | None,
    device: str,
    base: Path | None,
) -> "TeacherProbs":
    """The teacher's answers: those of the file, or asked for now and kept there."""
    from edgebehave_train.distillation.distillation import targets_to_ask
    from edgebehave_train.distillation.teacher_probs import TeacherProbs, ask
    from edgebehave_train.distillation.teachers import is_language_model, open_teachers

    if not teachers:
        if not file.exists():
            raise ValueError("nobody teaches; name a teacher by --teacher, or its --answers")
        return TeacherProbs.open(file)
    asked = open_teachers(store, teachers, config.split, device=device, base=base)
    if samples is None and any(is_language_model(path) for path in teachers):
        samples = _LANGUAGE_MODEL_SAMPLES
    event = targets_to_ask(store, config.split, asked.can_answer, samples)
    with ProgressBar() as bar:
        bar.restart(0.0)
        answers = ask(
            asked,
            store,
            event,
            file,
            on_progress=lambda done, total: bar.show(done / total, f"teacher {done:,}/{total:,}", "answers"),
        )
    note(f"{len(answers.event):,} answers of the teacher -> {file}")
    return answers
