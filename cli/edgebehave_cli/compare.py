"""`edgebehave compare`: training objectives compared on one log, over seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json, print_table
from edgebehave_cli.progress import TrainingBar
from edgebehave_cli.settings import parse_numbers, parse_settings, recipe, with_settings

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.training.recipes import TrainConfig

_OBJECTIVES = "ce,dro,dro:kappa=0,logit_adjusted,balanced_softmax,focal,class_balanced,group_dro"


def compare(
    store: options.StoreArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints, table and figure.")],
    objectives: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME:FIELD=VALUE,...", help="Objectives of `edgebehave train`, each with its own settings."
        ),
    ] = _OBJECTIVES,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per objective, seeds 0, 1, ...")] = 5,
    preset: options.Preset = "edge",
    adjust: Annotated[
        str,
        typer.Option(
            metavar="TAU,...",
            help="Values of tau for logit adjustment after training; the unadjusted model is always shown.",
        ),
    ] = "0.25,0.5,1",
    capacities: Annotated[
        str,
        typer.Option(
            metavar="C,...",
            help="Also shift the prior of the reference to the worst case of BehaveGPT's Eq. 4, at these capacities.",
        ),
    ] = "",
    habits: options.Habits = True,
    split: options.Split = "time",
    part: Annotated[str, typer.Option(help="validation or test; each reading of test is recorded.")] = "validation",
    reference: Annotated[str, typer.Option(help="Objective with whose curve the others are compared.")] = "ce",
    epochs: options.Epochs = None,
    device: options.Device = "auto",
    set_: options.Set = None,
    json: options.Json = False,
) -> None:
    """Train objectives with several seeds and draw macro recall against HR@1.

    Each objective is shown as trained and after logit adjustment, beside all baselines, and the validation part chooses
    one. After an interruption the same command continues.

    Example: [bold]edgebehave compare runs/store -o runs/objectives --preset tiny --seeds 3[/bold]

    Example: [bold]edgebehave compare runs/store -o runs/dro --objectives
    ce,dro:capacity=1.3,dro:capacity=1.3:kappa=0 --no-habits --part test[/bold]
    """
    from edgebehave_train.evaluation.comparison import compare as compare_objectives
    from edgebehave_train.evaluation.figures import draw_comparison
    from edgebehave_train.logs.event_store import EventStore

    if any(setting.partition("=")[0] == "seed" for setting in set_ or []):
        raise ValueError("every objective runs with the seeds 0, 1, ...; leave --set seed out")
    shared: dict[str, Any] = {"habits": habits, "split.by": split}
    shared |= {} if epochs is None else {"epochs": epochs}
    shared |= parse_settings(set_ or [])
    configs: dict[str, TrainConfig] = {}
    for name in objectives.replace(" ", "").split(","):
        kind, *fields = name.split(":")
        own = parse_settings([f"objective.{setting}" for setting in (f"name={kind}", *fields)])
        configs[name] = with_settings(recipe(preset), shared | own)
    with TrainingBar("the same command goes on where it was") as bar:
        comparison = compare_objectives(
            EventStore.open(store),
            out,
            configs,
            num_seeds=seeds,
            part=part,
            adjust=parse_numbers("--adjust", adjust, float),
            capacities=parse_numbers("--capacities", capacities, float),
            reference=reference,
            device=device,
            on_line=note,
            on_progress=bar.report,
        )
    draw_comparison(comparison, out / "frontier.png")
    note(f"table.json, table.md, frontier.png -> {out}")
    if json:
        print_json(comparison.to_json())
    else:
        print_table(comparison.title(), comparison.columns(), comparison.cells(), ["HR@5", "tail"])
        print(f"chosen: {comparison.chosen} ({comparison.rule})")
