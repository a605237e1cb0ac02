"""`edgebehave evaluate`: a checkpoint beside every baseline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli.console import JsonOption, note, print_json, print_table

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.evaluation.table import Table

_COLUMNS = {
    "HR@1": "hr_at_1",
    "HR@3": "hr_at_3",
    "HR@4": "hr_at_4",
    "HR@5": "hr_at_5",
    "NDCG@3": "ndcg_at_3",
    "macro recall": "macro_recall",
    "tail": "tail_accuracy",
    "switches": "hr_at_1_switches",
}


def evaluate(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoints; the first is compared with all others.")],
    store: Annotated[Path, typer.Option("--store", "-s", help="Event store they learned from.")],
    test: Annotated[bool, typer.Option("--test", help="Read the test part; each reading is recorded.")] = False,
    adjust: Annotated[
        list[float] | None,
        typer.Option(help="Add a row with post-hoc logit adjustment at this tau; repeatable."),
    ] = None,
    variants: Annotated[bool, typer.Option(help="Rows for the network alone, no query time, and asking early.")] = True,
    resamples: Annotated[int, typer.Option(min=10, help="Bootstrap resamples of users.")] = 1000,
    figure: Annotated[Path | None, typer.Option(help="Draw macro recall against HR@1 into this PNG or SVG.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure a model and every baseline on the validation part, or the test part.

    Intervals are 95 % by bootstrap over users; the last column is the paired difference of the
    first model's HR@1 from the row's.

    Example: [bold]edgebehave evaluate runs/edge --store runs/store --test[/bold]

    Example: [bold]edgebehave evaluate runs/ce runs/dro -s runs/store --adjust 0.5 --adjust 1[/bold]
    """
    from edgebehave_train.evaluation.table import evaluate as evaluate_checkpoints
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    table = evaluate_checkpoints(
        EventStore.open(store),
        [Checkpoint.open(path) for path in checkpoints],
        part="test" if test else "validation",
        adjust=adjust or [],
        variants=variants,
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


def show_table(table: "Table") -> None:
    """Print an evaluation as a table."""
    rows = []
    for row in table.rows:
        one = row.metrics["hr_at_1"]
        difference = row.model_minus_this and row.model_minus_this["hr_at_1"]
        rows.append(
            [
                row.name.replace("_", " "),
                f"{one.value:.3f}",
                f"{one.low:.3f}-{one.high:.3f}",
                *(f"{row.metrics[metric].value:.3f}" for metric in list(_COLUMNS.values())[1:]),
                f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" if difference else "",
            ]
        )
    unknown = f", {table.num_unknown:,} of them unknown to training" if table.num_unknown else ""
    reads = f"; test part read {table.test_reads} times" if table.part == "test" else ""
    title = f"{table.part}: {table.num_targets:,} predictions for {table.num_users:,} users{unknown}{reads}"
    model = next(row.name for row in table.rows if row.kind == "model")
    first, *others = _COLUMNS
    model_minus_row = f"{model} - row, HR@1"
    columns = ["predictor", first, "95 %", *others, model_minus_row]
    drop_first = ["NDCG@3", "HR@4", "switches", "HR@5", "tail", "95 %", model_minus_row]
    print_table(title, columns, rows, drop_first)
