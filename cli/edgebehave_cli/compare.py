"""`edgebehave compare`: training objectives side by side, on one log, over seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli.console import JsonOption, note, print_json, print_table
from edgebehave_cli.train import recipe_with
from edgebehave_cli.training_progress import TrainingProgress

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.training.recipes import TrainConfig

_OBJECTIVES = "ce,dro,dro:kappa=0,logit_adjusted,balanced_softmax,focal,class_balanced,group_dro"


def compare(
    store: Annotated[Path, typer.Argument(help="Event store, from `edgebehave ingest`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints, table and figure.")],
    objectives: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME:FIELD=VALUE,...",
            help="Objectives of `edgebehave train`, each with settings of its own.",
        ),
    ] = _OBJECTIVES,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per objective, seeds 0, 1, ...")] = 5,
    preset: Annotated[str, typer.Option(help="tiny, edge, base, large or paper.")] = "edge",
    adjust: Annotated[
        str, typer.Option(metavar="TAU,...", help="Post-hoc logit adjustment of each, beside none.")
    ] = "0.25,0.5,1",
    capacities: Annotated[
        str,
        typer.Option(metavar="C,...", help="Also shift the reference's prior to the worst case of Eq. 4."),
    ] = "",
    habits: Annotated[bool, typer.Option(help="Mix with the habit kernels; off = the paper's plain model.")] = True,
    split: Annotated[str, typer.Option(help="time: the last events of each user test; user: whole users do.")] = "time",
    part: Annotated[str, typer.Option(help="validation or test; each reading of test is recorded.")] = "validation",
    reference: Annotated[str, typer.Option(help="Objective whose curve the others are held against.")] = "ce",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, for all."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train objectives with several seeds and draw macro recall against HR@1.

    Each objective is shown as trained and after post-hoc logit adjustment, beside all baselines,
    and validation chooses one. Given again, the command goes on where it was stopped.

    Example: [bold]edgebehave compare runs/store -o runs/objectives --preset tiny --seeds 3[/bold]

    Example: [bold]edgebehave compare runs/store -o runs/dro --objectives
    ce,dro:capacity=1.3,dro:capacity=1.3:kappa=0 --no-habits --part test[/bold]
    """
    from edgebehave_train.evaluation.comparison import compare as compare_objectives
    from edgebehave_train.evaluation.figures import draw_comparison
    from edgebehave_train.logs.event_store import EventStore

    if any(setting.partition("=")[0] == "seed" for setting in set_ or []):
        raise ValueError("every objective runs with the seeds 0, 1, ...; leave --set seed out")
    shared = [f"habits={habits}", f"split.by={split}", *(set_ or [])]
    shared += [] if epochs is None else [f"epochs={epochs}"]
    configs: dict[str, TrainConfig] = {}
    for name in objectives.replace(" ", "").split(","):
        kind, *fields = name.split(":")
        own = [f"objective.{setting}" for setting in (f"name={kind}", *fields)]
        configs[name] = recipe_with(preset, [*shared, *own])
    with TrainingProgress() as progress:
        try:
            comparison = compare_objectives(
                EventStore.open(store),
                out,
                configs,
                num_seeds=seeds,
                part=part,
                adjust=_numbers("--adjust", adjust),
                capacities=_numbers("--capacities", capacities),
                reference=reference,
                device=device,
                on_line=note,
                on_progress=progress.report,
            )
        except KeyboardInterrupt:
            note("interrupted; the same command goes on where it was")
            raise
    draw_comparison(comparison, out / "frontier.png")
    note(f"table.json, table.md, frontier.png -> {out}")
    if json:
        print_json(comparison.to_json())
    else:
        print_table(comparison.title(), comparison.columns(), comparison.cells(), ["HR@5", "tail"])
        print(f"chosen: {comparison.chosen} ({comparison.rule})")


def _numbers(option: str, value: str) -> list[float]:
    try:
        return [float(number) for number in value.split(",") if number]
    except ValueError:
        raise ValueError(f"{option} takes numbers with commas between, got {value!r}") from None
