"""`edgebehave adapt`: a checkpoint learns behaviors that its pretraining never saw."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json, print_table
from edgebehave_cli.progress import TrainingBar

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.adaptation.scores import AdaptationScores


def adapt(
    checkpoint: Annotated[Path, typer.Argument(help="Finished checkpoint, from `train`.")],
    log: Annotated[Path, typer.Option("--log", "-l", help="Event store with the new behaviors in it.")],
    out: options.CheckpointOut,
    train: Annotated[
        str, typer.Option(help="What is trained: all, head, lora, or new-rows. The new rows always are.")
    ] = "all",
    start: Annotated[
        str, typer.Option(help="Initial values of new rows: prototype, cooccurrence or noise.")
    ] = "prototype",
    examples: Annotated[
        int, typer.Option(min=0, help="Examples of each new behavior; 0: the whole training part.")
    ] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Largest number of passes over the examples.")] = 20,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate; default: depends on --train.")
    ] = None,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters of lora.")] = 8,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    resume: options.ResumeSame = False,
    json: options.Json = False,
) -> None:
    """Teach a checkpoint the new behaviors of a log without forgetting the known ones.

    Prints metrics of the validation part before and after, with habits and without.

    Example: [bold]edgebehave adapt runs/edge --log runs/new_store -o runs/adapted[/bold]

    Example: [bold]edgebehave adapt runs/edge -l runs/new_store -o runs/few --examples 20 --train
    lora[/bold]
    """
    from edgebehave_train.adaptation.adaptation import AdaptConfig, new_behaviors
    from edgebehave_train.adaptation.adaptation import adapt as adapt_checkpoint
    from edgebehave_train.adaptation.scores import score_adaptation
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    config = AdaptConfig(
        train=train,  # type: ignore[arg-type]  # the config checks it
        start=start,  # type: ignore[arg-type]  # the config checks it
        examples=examples,
        epochs=epochs,
        learning_rate=learning_rate,
        rank=rank,
        seed=seed,
    )
    store, known = EventStore.open(log), Checkpoint.open(checkpoint)
    with TrainingBar("go on with the same command and --resume") as bar:
        adapted = adapt_checkpoint(store, known, out, config, resume=resume, device=device, on_progress=bar.report)
    note(f"checkpoint -> {out}")
    new = new_behaviors(known, adapted)
    scores = {name: score_adaptation(store, model, new) for name, model in (("before", known), ("after", adapted))}
    num_examples = adapted.training.origin["num_examples"]
    if json:
        content: dict[str, Any] = {
            name: {habits: one.to_json() for habits, one in row.items()} for name, row in scores.items()
        }
        print_json({**content, "num_examples": num_examples})
        return
    show_scores(scores, num_examples)


def show_scores(scores: dict[str, dict[str, "AdaptationScores"]], num_examples: dict[str, int]) -> None:
    """Print metrics of known and new behaviors before and after, then every new behavior."""
    rows = []
    for name, row in scores.items():
        for habits, one in row.items():
            change = one.hr_at_1_known - scores["before"][habits].hr_at_1_known
            shown = f"{change:+.3f}" if name == "after" else ""
            recalls = f"{one.hr_at_1:.3f}", f"{one.hr_at_1_known:.3f}", shown, f"{one.macro_recall:.3f}"
            rows.append([f"{name}, {habits}", *recalls])
    columns = ["validation", "HR@1", "HR@1 known", "change", "macro recall"]
    print_table("known behaviors before and after", columns, rows)
    main = next(iter(scores["after"]))
    before, after = scores["before"][main], scores["after"][main]
    alone = scores["after"]["network alone"]
    recalls_of = (before.recall, after.recall, alone.recall, after.recall_at_5)
    rows = [
        [behavior, str(count), str(after.num_targets[behavior]), *(f"{recall[behavior]:.3f}" for recall in recalls_of)]
        for behavior, count in num_examples.items()
    ]
    columns = ["new behavior", "examples", "targets", "before", "after", "network alone", "after, @5"]
    print_table("recall of the new behaviors", columns, rows, drop_first=["after, @5"])
