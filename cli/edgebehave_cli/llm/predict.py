"""`edgebehave llm predict`: the next behavior of a user of a log, from a tuned language model."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import print_json, print_table
from edgebehave_cli.settings import parse_moment


def predict(
    model: Annotated[Path, typer.Argument(help="Tuned model, from `edgebehave llm tune`.")],
    store: options.PastStore,
    user: options.PastUser,
    at: Annotated[
        str | None, typer.Option(help="Moment to predict for, ISO 8601 with a zone; default: the last event's.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many behaviors to show.")] = 5,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Print the most probable next behaviors of a user, among those that the model was tuned on.

    Example: [bold]edgebehave llm predict runs/llm -s runs/store --user u17[/bold]
    """
    from edgebehave_train.llm.prompts.samples import next_sample
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM, sample_probs
    from edgebehave_train.logs.event_store import EventStore

    tuned = TunedLLM.open(model)
    tuned.require_finished()
    history, moment = tuned.config.prompt.history, parse_moment(at)
    sample = next_sample(EventStore.open(store), user, tuned.vocabulary, at=moment, history=history)
    llm, tokenizer = tuned.load(device)
    probs = sample_probs(llm, tuned.encoder(llm, tokenizer), [sample])[0]
    best = [b for b in (-probs).argsort(kind="stable").tolist() if b > 0][:k]
    behaviors = tuned.vocabulary.behaviors
    if json:
        print_json([{"behavior": behaviors[b], "name": tuned.names[b], "probability": float(probs[b])} for b in best])
        return
    has_names = any(behaviors[b] != tuned.names[b] for b in best)
    print_table(
        f"next behavior of {user}, {f'at {moment.isoformat()}' if moment else 'at the time of the last event'}",
        ["behavior", *(["name"] if has_names else []), "probability"],
        [[behaviors[b], *([tuned.names[b]] if has_names else []), f"{probs[b]:.3f}"] for b in best],
    )
