"""`edgebehave push`: a checkpoint or a bundle goes to a hub."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note


def push(
    folder: Annotated[Path, typer.Argument(help="Checkpoint or bundle.")],
    repo_id: options.RepoId,
    hub: options.Hub = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    license: Annotated[str, typer.Option(help="License of the weights, for example apache-2.0.")] = "other",
    log: Annotated[str, typer.Option(help="Name of the training log, for the card.")] = "an event log",
    data: Annotated[
        list[str] | None, typer.Option(metavar="LINE", help="A line of the card about the log; may be repeated.")
    ] = None,
) -> None:
    """Upload a checkpoint or a bundle to huggingface.co, or to a folder, with a card.

    Only the files of the format are uploaded. One of them is the vocabulary: anyone who can read the repository can
    read the names of the log. New repositories are private.

    Example: [bold]edgebehave push runs/bundle ada/next-app --license apache-2.0[/bold]

    Example: [bold]edgebehave push runs/edge ada/next-app-weights --hub /srv/models[/bold]
    """
    from edgebehave_train.hub.hub import push_to_hub

    where = push_to_hub(folder, repo_id, hub=hub, private=not public, license=license, log=log, data=data or ())
    note(f"{folder} -> {where}")
