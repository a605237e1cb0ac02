"""`edgebehave evaluate`: a checkpoint beside every baseline."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.evaluation_table import UNIVERSAL, show_table

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.evaluation.baselines import Baseline


def evaluate(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoints; the first one is compared with all rows.")],
    store: Annotated[Path, typer.Option("--store", "-s", help="Event store that they were trained on.")],
    test: Annotated[bool, typer.Option("--test", help="Read the test part; each reading is recorded.")] = False,
    adjust: Annotated[
        list[float] | None,
        typer.Option(help="Add a row with logit adjustment after training, with this tau; may be repeated."),
    ] = None,
    universal: Annotated[
        Path | None,
        typer.Option(help="Add a row for a universal model, and columns for repeated and for new behaviors."),
    ] = None,
    variants: Annotated[
        bool, typer.Option(help="Add rows for the network alone, for no query time, and for early predictions.")
    ] = True,
    resamples: options.Resamples = 1000,
    figure: Annotated[Path | None, typer.Option(help="Draw macro recall against HR@1 into this PNG or SVG.")] = None,
    json: options.Json = False,
) -> None:
    """Measure a model and every baseline on the validation part, or the test part.

    Intervals are 95 % by bootstrap over users. The last column is the HR@1 of the first model minus that of the row,
    on the same events.

    Example: [bold]edgebehave evaluate runs/edge --store runs/store --test[/bold]

    Example: [bold]edgebehave evaluate runs/ce runs/dro -s runs/store --adjust 0.5 --adjust 1[/bold]

    Example: [bold]edgebehave evaluate runs/edge --store runs/store --universal runs/universal[/bold]
    """
    from edgebehave_train.evaluation.table import evaluate as evaluate_checkpoints
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    peers: dict[str, Baseline] = {}
    if universal is not None:
        from edgebehave_train.universal.answers import predict_targets
        from edgebehave_train.universal.pretraining import load_universal

        peers[UNIVERSAL] = partial(predict_targets, load_universal(universal))
    table = evaluate_checkpoints(
        EventStore.open(store),
        [Checkpoint.open(path) for path in checkpoints],
        part="test" if test else "validation",
        adjust=adjust or [],
        variants=variants,
        peers=peers,
        num_resamples=resamples,
        on_row=lambda name: note(f"  scored: {name}"),
    )
    if figure:
        from edgebehave_train.evaluation.figures import draw_frontier

        draw_frontier(table, figure)
        note(f"figure -> {figure}")
    if json:
        print_json(table.to_json())
    else:
        show_table(table)
