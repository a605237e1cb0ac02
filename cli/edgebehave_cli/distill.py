"""`edgebehave distill`: an edge model is trained on a log and on the predictions of teachers."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import ProgressBar, TrainingBar
from edgebehave_cli.settings import given_options, parse_settings, recipe, with_settings

if TYPE_CHECKING:  # the annotations must not import torch
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.recipes import TrainConfig

_TEACHER = "The teacher"


def distill(
    context: typer.Context,
    store: options.StoreArgument,
    out: options.CheckpointOut,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a teacher: a tuned language model, from `edgebehave llm tune`, or a checkpoint. May be "
            "repeated: the mean of the probabilities counts.",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    student: Annotated[
        Path | None, typer.Option("--from", help="Checkpoint to start from; default: from scratch.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of training targets that the teacher predicts, rare behaviors first; default: 4000 for a "
            "language model, all for checkpoints.",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the teacher's answers; default: OUT.teacher.safetensors. An unfinished file is "
            "completed; a finished one needs no --teacher.",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    weight: Annotated[
        float,
        typer.Option(
            min=0,
            help="Weight of the teacher's answers; 1: as much as the log. Best in our tables: 10 if a teacher answered "
            "every target, 1 if it answered some, 3 for three networks of the same log.",
            rich_help_panel=_TEACHER,
        ),
    ] = 1.0,
    temperature: Annotated[
        float,
        typer.Option(
            min=1, help="The higher, the more do the unlikely behaviors of an answer count.", rich_help_panel=_TEACHER
        ),
    ] = 2.0,
    name_embeddings: Annotated[
        bool,
        typer.Option(
            "--name-embeddings",
            help="Start the rows of events and behaviors from the language model's embeddings of their names.",
            rich_help_panel=_TEACHER,
        ),
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option(help="Folder of the base of the language model, if it was moved.", rich_help_panel=_TEACHER),
    ] = None,
    preset: options.Preset = "edge",
    split: Annotated[
        str | None,
        typer.Option(help="time or user, as in `train`; default: the teacher's, if it was trained on this log."),
    ] = None,
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    set_: options.Set = None,
    resume: options.ResumeSame = False,
    json: options.Json = False,
) -> None:
    """Train a checkpoint on a log and on a teacher's probabilities.

    The teacher gives the probability of every behavior at targets of the training part. The student learns from these
    and from the behaviors of the log. The result is a checkpoint like any other.

    Example: [bold]edgebehave distill runs/store --teacher runs/llm -o runs/taught
    --name-embeddings[/bold]

    Example: [bold]edgebehave distill runs/store --teacher runs/seed0 --teacher runs/seed1 --teacher
    runs/seed2 -o runs/taught --weight 3 --temperature 1[/bold]
    """
    from edgebehave_train.distillation.distillation import distill as distill_checkpoint
    from edgebehave_train.distillation.distillation import student_config
    from edgebehave_train.distillation.teacher_answers import answers_of
    from edgebehave_train.distillation.teachers import language_names
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    log, teachers = EventStore.open(store), teacher or []
    known = None if student is None else Checkpoint.open(student)
    if known is None:
        config = _recipe(log, teachers, preset, split, epochs, seed)
    else:
        if given := given_options(context, ("preset", "split")):
            raise ValueError(f"--from brings its own {given[0]}; leave --{given[0]} out")
        config = student_config(known, epochs=epochs or known.config.epochs, seed=seed)
    config = with_settings(config, parse_settings(set_ or []))
    if name_embeddings and len(teachers) != 1:
        raise ValueError("--name-embeddings needs a language model as the only --teacher")
    names = language_names(teachers[0], base=base) if name_embeddings else None
    file = answers or out.with_name(f"{out.name}.teacher.safetensors")
    go_on = f"go on with all else as it was: edgebehave distill {store} -o {out} ... --resume"
    with ProgressBar(go_on) as bar:
        teacher_answers = answers_of(
            log,
            teachers,
            config.split,
            file,
            samples=samples,
            device=device,
            base=base,
            on_progress=lambda done, total: bar.show(done / total, f"teacher {done:,}/{total:,}", "answers"),
        )
    if teachers:
        note(f"{len(teacher_answers.event):,} answers of the teacher -> {file}")
    with TrainingBar(go_on) as training_bar:
        checkpoint = distill_checkpoint(
            log,
            config,
            out,
            teacher_answers,
            weight=weight,
            temperature=temperature,
            student=known,
            names=names,
            resume=resume and (out / "config.json").exists(),
            device=device,
            on_progress=training_bar.report,
        )
    note(f"checkpoint -> {out}")
    if json:
        print_json({**checkpoint.training.to_json(), "events_per_s": training_bar.events_per_s})


def _recipe(
    store: "EventStore", teachers: list[Path], preset: str, split: str | None, epochs: int | None, seed: int
) -> "TrainConfig":
    """The recipe of a preset, with the split of the teachers unless another is given."""
    from edgebehave_train.distillation.teachers import split_of_teachers
    from edgebehave_train.logs.split import SplitConfig

    theirs = split_of_teachers(store, teachers) if split is None else None
    config = recipe(preset)
    return dataclasses.replace(
        config,
        seed=seed,
        epochs=epochs or config.epochs,
        split=theirs or SplitConfig(by=split or "time"),  # type: ignore[arg-type]  # SplitConfig checks the name
    )
