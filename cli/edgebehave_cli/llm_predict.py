"""`edgebehave llm predict`: ask a tuned language model what a user of a log does next."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli.console import JsonOption, print_json, print_table
from edgebehave_cli.predict import parse_moment


def predict(
    model: Annotated[Path, typer.Argument(help="Tuned model, from `edgebehave llm tune`.")],
    store: Annotated[Path, typer.Option("--store", "-s", help="Event store with the user's past.")],
    user: Annotated[str, typer.Option(help="Name of the user.")],
    at: Annotated[
        str | None,
        typer.Option(help="Moment to predict for, ISO 8601 with a zone; default: the last event's."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many behaviors to show.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Print the most probable next behaviors of a user, out of those that the model knows.

    Example: [bold]edgebehave llm predict runs/llm -s runs/store --user u17[/bold]
    """
    from edgebehave_train.llm.prompts.next_sample import next_sample
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM, sample_probs
    from edgebehave_train.logs.event_store import EventStore

    moment = None if at is None else parse_moment(at)
    tuned = TunedLLM.open(model)
    tuned.require_finished()
    sample = next_sample(
        EventStore.open(store),
        user,
        tuned.vocabulary,
        at=moment,
        history=tuned.config.prompt.history,
    )
    llm, tokenizer = tuned.load(device)
    probs = sample_probs(llm, tuned.encoder(llm, tokenizer), [sample])[0]
    best = [b for b in (-probs).argsort(kind="stable").tolist() if b > 0][:k]
    behaviors = tuned.vocabulary.behaviors
    if json:
        print_json([{"behavior": behaviors[b], "name": tuned.names[b], "probability": float(probs[b])} for b in best])
        return
    has_names = any(behaviors[b] != tuned.names[b] for b in best)
    print_table(
        f"next behavior of {user}, {f'at {moment.isoformat()}' if moment else 'right away'}",
        ["behavior", *(["name"] if has_names else []), "probability"],
        [[behaviors[b], *([tuned.names[b]] if has_names else []), f"{probs[b]:.3f}"] for b in best],
    )
