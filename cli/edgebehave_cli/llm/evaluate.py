"""`edgebehave llm evaluate`: tuned language models beside other predictors."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import QuestionsBar


def evaluate(
    store: Annotated[Path, typer.Argument(help="Event store they were tuned on.")],
    models: Annotated[list[Path], typer.Argument(help="Tuned models; the first is compared with all others.")],
    edge: Annotated[
        list[Path] | None,
        typer.Option(
            help="Checkpoint of the same log and split: train it with --split user --set split.train=0.8; repeatable."
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="users: samples as they come; balanced: equally many of each behavior.")
    ] = "users",
    test: Annotated[bool, typer.Option("--test", help="Read the test part; each reading is recorded.")] = False,
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="A row for the first model's base, untuned.")] = False,
    habits: Annotated[bool, typer.Option(help="A row for the habit baseline.")] = True,
    samples: Annotated[int, typer.Option(min=0, help="Samples of the users protocol, at most; 0 = all.")] = 2000,
    per_behavior: Annotated[
        int, typer.Option(min=1, help="Samples of each behavior in the balanced protocol, at most.")
    ] = 500,
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure language models on the validation users of their log, or the test users.

    All rows predict the same samples among the same behaviors. Intervals are 95 % by bootstrap
    over users; --json also has paired differences from the first model.

    Example: [bold]edgebehave llm evaluate runs/store runs/llm --zero-shot[/bold]

    Example: [bold]edgebehave llm evaluate runs/store runs/ab runs/a --edge runs/edge
    --protocol balanced --test[/bold]
    """
    from edgebehave_train.llm.evaluation.comparison import ComparisonConfig, compare_language_models, comparison_json
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    config = ComparisonConfig(
        protocol=protocol,  # type: ignore[arg-type]  # the config checks it
        part="test" if test else "validation",
        max_samples=samples,
        per_behavior=per_behavior,
        zero_shot=zero_shot,
        habits=habits,
        num_resamples=resamples,
        seed=seed,
    )
    tuned = [TunedLLM.open(path) for path in models]
    with QuestionsBar() as bar:
        table = compare_language_models(
            EventStore.open(store),
            tuned,
            config,
            checkpoints=[Checkpoint.open(path) for path in edge or []],
            device=device,
            on_progress=bar.report,
        )
    if json:
        print_json(comparison_json(table, config, tuned))
        return
    note("")
    print(table.to_markdown())
