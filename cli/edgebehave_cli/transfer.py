"""`edgebehave transfer`: a checkpoint goes on learning on a log of another domain."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgebehave_cli.console import JsonOption, note, print_json
from edgebehave_cli.train import is_given, parse_settings, with_settings
from edgebehave_cli.training_progress import TrainingProgress

_SETTINGS = ("strategy", "share", "habits", "split", "objective", "epochs", "seed", "set_")


def transfer(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="What was learned, from `edgebehave train`.")],
    log: Annotated[Path, typer.Option("--log", help="Event store of the other log, from `edgebehave ingest`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new checkpoint.")],
    strategy: Annotated[
        str,
        typer.Option(help="scratch, blocks, blocks-head (the paper's), lora, ofa or drawn-ends."),
    ] = "blocks-head",
    share: Annotated[float, typer.Option(help="Share of the log's training events to learn from, in (0, 1].")] = 1.0,
    habits: Annotated[
        bool | None,
        typer.Option(help="Mix with the habit kernels; default: as the checkpoint does."),
    ] = None,
    split: Annotated[str, typer.Option(help="time: the last events of each user test; user: whole users do.")] = "time",
    objective: Annotated[str, typer.Option(help="ce, or dro for the rare behaviors.")] = "ce",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random, the share included.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT, with its own settings.")] = False,
    json: JsonOption = False,
) -> None:
    """Train on another log with what a model learned before.

    Weekday and time embeddings, blocks and the hidden layer of the head are taken along; events,
    locations and behaviors start anew. The result is a checkpoint like any other.

    Example: [bold]edgebehave transfer runs/edge --log runs/other -o runs/moved --share 0.1[/bold]

    Example: [bold]edgebehave transfer runs/edge --log runs/other -o runs/ofa --strategy ofa[/bold]
    """
    from edgebehave_train.adaptation.transfer import transfer as train_on_other_log
    from edgebehave_train.adaptation.transfer import transfer_config
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    source = Checkpoint.open(checkpoint)
    if resume:
        given = [name for name in _SETTINGS if is_given(context, name)]
        if given:
            option = given[0].strip("_").replace("_", "-")
            raise ValueError(f"--resume goes on with the run's own settings; leave --{option} out")
        begun = Checkpoint.open(out)
        if "strategy" not in begun.training.origin:
            raise ValueError(f"{out} was not begun by `edgebehave transfer`; resume with the command that began it")
        config, strategy = begun.config, begun.training.origin["strategy"]
    else:
        settings: dict[str, Any] = {
            "seed": seed,
            "split.by": split,
            "objective.name": objective,
        }
        if habits is not None:
            settings["habits"] = habits
        if epochs is not None:
            settings["epochs"] = epochs
        settings |= parse_settings(set_ or [])
        config = with_settings(transfer_config(source.config, share), settings)
    with TrainingProgress() as progress:
        try:
            moved = train_on_other_log(
                source,
                EventStore.open(log),
                config,
                out,
                strategy,
                resume=resume,
                device=device,
                on_progress=progress.report,
            )
        except KeyboardInterrupt:
            note(f"interrupted; go on with: edgebehave transfer {checkpoint} --log {log} -o {out} --resume")
            raise
    note(f"checkpoint -> {out}")
    if json:
        print_json({**moved.training.to_json(), "events_per_s": progress.events_per_s})
