"""`edgebehave pull`: a checkpoint or a bundle comes from a hub."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note


def pull(
    repo_id: options.RepoId,
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the download.")],
    hub: options.Hub = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; default: the latest.")] = None,
    digest: Annotated[str | None, typer.Option(help="Digest that the download must have.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an older download in OUT.")] = False,
) -> None:
    """Download a checkpoint or a bundle from huggingface.co, or from a folder, and verify it.

    Example: [bold]edgebehave pull ada/next-app -o runs/bundle[/bold]

    Example: [bold]edgebehave pull ada/next-app-weights -o runs/edge --hub /srv/models[/bold]
    """
    from edgebehave_train.hub.hub import pull as download

    contents = download(repo_id, out, hub=hub, revision=revision, digest=digest, overwrite=overwrite)
    note(f"{contents.kind} -> {out}, digest {contents.digest}")
