"""`edgebehave transfer`: a checkpoint goes on learning on a log of another domain."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import TrainingBar
from edgebehave_cli.settings import parse_settings, refuse_with_resume, with_settings

_SETTINGS = ("strategy", "share", "habits", "split", "objective", "epochs", "seed", "set_")


def transfer(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint to start from, from `edgebehave train`.")],
    log: Annotated[Path, typer.Option("--log", help="Event store of the other log, from `edgebehave ingest`.")],
    out: options.CheckpointOut,
    strategy: Annotated[
        str, typer.Option(help="scratch, blocks, blocks-head (the paper's), lora, ofa or drawn-ends.")
    ] = "blocks-head",
    share: Annotated[float, typer.Option(help="Share of the log's training events to learn from, in (0, 1].")] = 1.0,
    habits: Annotated[
        bool | None, typer.Option(help="Mix with the habit kernels; default: as in the checkpoint.")
    ] = None,
    split: options.Split = "time",
    objective: Annotated[str, typer.Option(help="ce, or dro for the rare behaviors.")] = "ce",
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    set_: options.Set = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Train on another log, starting from the weights of a checkpoint.

    The embeddings of weekday and time, the blocks and the hidden layer of the head are kept; events, locations and
    behaviors start from new weights. The result is a checkpoint like any other.

    Example: [bold]edgebehave transfer runs/edge --log runs/other -o runs/moved --share 0.1[/bold]

    Example: [bold]edgebehave transfer runs/edge --log runs/other -o runs/ofa --strategy ofa[/bold]
    """
    from edgebehave_train.adaptation.transfer import transfer as train_on_other_log
    from edgebehave_train.adaptation.transfer import transfer_config
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    source = Checkpoint.open(checkpoint)
    if resume:
        refuse_with_resume(context, _SETTINGS)
        begun = Checkpoint.open(out)
        if "strategy" not in begun.training.origin:
            raise ValueError(f"{out} was not begun by `edgebehave transfer`; resume with the command that began it")
        config, strategy = begun.config, begun.training.origin["strategy"]
    else:
        settings: dict[str, Any] = {"seed": seed, "split.by": split, "objective.name": objective}
        settings |= {} if habits is None else {"habits": habits}
        settings |= {} if epochs is None else {"epochs": epochs}
        settings |= parse_settings(set_ or [])
        config = with_settings(transfer_config(source.config, share), settings)
    with TrainingBar(f"go on with: edgebehave transfer {checkpoint} --log {log} -o {out} --resume") as bar:
        moved = train_on_other_log(
            source, EventStore.open(log), config, out, strategy, resume=resume, device=device, on_progress=bar.report
        )
    note(f"checkpoint -> {out}")
    if json:
        print_json({**moved.training.to_json(), "events_per_s": bar.events_per_s})
