"""`edgebehave train`: an event store becomes a checkpoint."""

from typing import Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import TrainingBar
from edgebehave_cli.settings import parse_settings, recipe, refuse_with_resume, starts_from_universal, with_settings

_SETTINGS = ("preset", "objective", "query_context", "habits", "from_", "split", "min_users", "epochs", "seed", "set_")


def train(
    context: typer.Context,
    store: options.StoreArgument,
    out: options.CheckpointOut,
    preset: options.Preset = "edge",
    objective: Annotated[
        str,
        typer.Option(
            help="ce; or, for the rare behaviors: dro, logit_adjusted, balanced_softmax, focal, "
            "class_balanced, group_dro; or one of an installed package. Settings of each: --set objective.NAME=VALUE."
        ),
    ] = "ce",
    query_context: options.QueryContext = "time",
    habits: options.Habits = True,
    from_: options.From = "auto",
    split: options.Split = "time",
    min_users: Annotated[
        int,
        typer.Option(
            min=1,
            help="Users of the training part who must have a name before it enters the vocabulary, which ships "
            "with the bundle; in a log of fewer users, all of them.",
        ),
    ] = 1,
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    set_: options.Set = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Pretrain a model on the training part of an event store.

    On a log that is not large the universal model of the package takes part: it is tuned to the log, and answers
    together with the trained model. If it is better as it is, that is kept instead, and a line says so.

    A run that was killed goes on with --resume and ends with the same weights.

    Example: [bold]edgebehave train runs/store -o runs/edge --preset edge[/bold]

    Example: [bold]edgebehave train runs/store -o runs/dro --objective dro --set dropout=0.3[/bold]
    """
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint
    from edgebehave_train.training.pretraining import pretrain

    log = EventStore.open(store)
    if resume:
        refuse_with_resume(context, _SETTINGS)
        config = Checkpoint.open(out).config
    else:
        is_plain = not habits or query_context == "none"
        settings: dict[str, Any] = {
            "query_context": query_context,
            "habits": habits,
            "from_universal": starts_from_universal(from_, log, is_plain=is_plain),
            "seed": seed,
            "split.by": split,
            "min_users": min_users,
            "objective.name": objective,
        }
        settings |= {} if epochs is None else {"epochs": epochs}
        config = with_settings(recipe(preset), settings | parse_settings(set_ or []))
    with TrainingBar(f"go on with: edgebehave train {store} -o {out} --resume") as bar:
        checkpoint = pretrain(log, config, out, resume=resume, device=device, on_progress=bar.report)
    note(f"checkpoint -> {out}")
    if json:
        print_json({**checkpoint.training.to_json(), "events_per_s": bar.events_per_s})
