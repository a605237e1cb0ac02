"""`edgebehave universal`: a model for any log, trained on random worlds alone."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import UniversalBar
from edgebehave_cli.settings import refuse_with_resume

_SETTINGS = ("steps", "seed")


def universal(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model.")],
    steps: Annotated[
        int, typer.Option(min=1, help="Number of batches of worlds; the default takes 15 to 60 minutes.")
    ] = 6000,
    seed: options.Seed = 0,
    workers: Annotated[int, typer.Option(min=0, help="Number of processes that draw worlds during training.")] = 1,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Train a universal model, which predicts on any log from the user's own past alone.

    It learns from random worlds, which are made-up users of random character (docs/random_worlds.md), and from no log.
    The same seed gives the same model, however often the run was stopped and with any number of workers.
    `edgebehave evaluate --universal OUT` measures it on a log.

    Example: [bold]edgebehave universal -o runs/universal[/bold]

    Example: [bold]edgebehave universal -o runs/trial --steps 500 --seed 1[/bold]
    """
    from edgebehave_train.universal.pretraining import UniversalTrainConfig, pretrain_universal, universal_config

    if resume:
        refuse_with_resume(context, _SETTINGS)
        config = universal_config(out)
    else:
        config = UniversalTrainConfig(steps=steps, seed=seed)
    with UniversalBar(f"go on with: edgebehave universal -o {out} --resume") as bar:
        model = pretrain_universal(config, out, resume=resume, workers=workers, on_progress=bar.report)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if json:
        print_json({"out": str(out), "steps": config.steps, "loss": bar.loss, "num_parameters": num_parameters})
    else:
        note(f"{num_parameters:,} parameters, mean loss of the last worlds {bar.loss:.4f} nats -> {out}")
