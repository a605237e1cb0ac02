"""`edgebehave report`: one HTML page about a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli.console import note


def report(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint, from `edgebehave train`, or the folder of a demo.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", "-s", help="Event store that it was trained on; the folder of a demo contains it."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; default: report.html in the folder.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle of the checkpoint; adds its size and the effect of int8.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Measure on the test part; each reading is recorded.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the log; default: the folder of the store.")] = None,
) -> None:
    """Write an HTML report: verdict, baselines, where the model is right, size, data.

    The page is one file that any browser opens; it loads nothing from a network.

    Example: [bold]edgebehave report runs/demo[/bold]

    Example: [bold]edgebehave report runs/edge --store runs/store --bundle runs/bundle --test[/bold]
    """
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.report.report import write_report
    from edgebehave_train.training.checkpoint import Checkpoint

    folder = checkpoint
    if store is None and (folder / "store").is_dir() and (folder / "checkpoint").is_dir():  # of a demo
        checkpoint, store = folder / "checkpoint", folder / "store"
        bundle = bundle or (folder / "bundle" if (folder / "bundle").is_dir() else None)
    if store is None:
        raise ValueError(f"{folder} is not the folder of a demo: add --store")
    path = out or folder / "report.html"
    opened = Checkpoint.open(checkpoint)
    part = "test" if test else "validation"
    write_report(EventStore.open(store), opened, path, part=part, name=name, bundle=bundle, on_line=note)
    note(f"report -> {path}")
