"""Tuned language models beside other predictors, on the same samples of a log."""

# S samples, V behaviors (id 0 included)

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave_train.llm.evaluation.protocols import (
    PER_BEHAVIOR,
    Protocol,
    ProtocolTable,
    balanced_samples,
    checkpoint_probs,
    habit_sample_probs,
    protocol_table,
    random_samples,
    require_same_task,
)
from edgebehave_train.llm.prompts.samples import log_samples
from edgebehave_train.llm.scoring.language_model import load_language_model, merge_to_score
from edgebehave_train.llm.tuning.tuned_llm import TunedLLM, prompt_encoder, sample_probs
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.training.checkpoint import Checkpoint

ZERO_SHOT, HABITS = "zero-shot", "habits"
"""Names of the rows without a folder."""


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """The rows and samples of a comparison.

    protocol      "users": samples as they come; "balanced": equally many of each behavior.
    part          "validation" or "test"; a reading of the test part is recorded in each folder.
    max_samples   samples of the users protocol, drawn uniformly; 0 = all.
    per_behavior  samples of each behavior in the balanced protocol, at most.
    zero_shot     whether there is a row for the base of the first model, untuned.
    habits        whether there is a row for the habit baseline.
    num_resamples  of users, for the intervals.
    seed          of the draw and the resamples.
    """

    protocol: Protocol = "users"
    part: str = "validation"
    max_samples: int = 2000
    per_behavior: int = PER_BEHAVIOR
    zero_shot: bool = False
    habits: bool = True
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in ("users", "balanced"):
            raise ValueError(f"protocol must be users or balanced, got {self.protocol!r}")
        if self.part not in ("validation", "test"):
            raise ValueError(f"part must be validation or test, got {self.part!r}")
        for name, lowest in (("max_samples", 0), ("per_behavior", 1), ("num_resamples", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")


def compare_language_models(
    store: EventStore,
    models: Sequence[TunedLLM],
    config: ComparisonConfig,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    device: str = "auto",
    on_progress: Callable[[str, int, int], None] = lambda row, done, total: None,
) -> ProtocolTable:
    """A table with all rows on the same samples; the first model is the reference of the differences.

    models       tuned on the log of the store, with one split; rows have the names of the folders.
    checkpoints  BehaveGPT models of the same log and split.
    on_progress  called with the name of a row, its samples done and all of them.
    Raises ValueError for no models, for models that are not finished or of another log or split
    than the first, for a zero-shot row of a base that lacks the answers, and for two rows of one name.
    """
    if not models:
        raise ValueError("a comparison needs at least one tuned language model")
    first = models[0]
    if config.zero_shot and first.config.prompt.answers == "tokens":
        raise ValueError(
            f"{first.path} answers with tokens that its base does not have, so there is no zero-shot row; put a model "
            "first that answers with names, or leave the row out"
        )
    for model in models:
        model.require_finished()
        model.require_log(store)
        if model.config.split != first.config.split:
            raise ValueError(
                f"{model.path} was tuned with split {model.config.split}, {first.path} with "
                f"{first.config.split}; only models of one split share a test part"
            )
    folders = [*(model.path for model in models), *(one.path for one in checkpoints)]
    rows = [ZERO_SHOT, HABITS, *(folder.resolve().name for folder in folders)]
    if twice := next((name for name in rows if rows.count(name) > 1), None):
        raise ValueError(f"two rows would be called {twice!r}; rename one of the folders")
    longest = max(model.config.prompt.history for model in models)
    part = log_samples(store, config.part, first.config.split, first.vocabulary, longest)
    if config.protocol == "balanced":
        samples = balanced_samples(part, config.per_behavior, config.seed)
    else:
        samples = random_samples(part, config.max_samples or len(part), config.seed)
    for checkpoint in checkpoints:  # before the slow language models
        require_same_task(checkpoint, store, samples)
    probs: dict[str, npt.NDArray[np.floating]] = {}

    def add_row(row: str, llm: Any, tokenizer: Any, tuned: TunedLLM) -> None:
        on_progress(row, 0, len(samples))
        encoder = prompt_encoder(llm, tokenizer, tuned.names, tuned.config)
        probs[row] = sample_probs(llm, encoder, samples, on_progress=lambda done, total: on_progress(row, done, total))

    for tuned in models:
        llm, tokenizer = tuned.load(device)
        add_row(tuned.path.resolve().name, merge_to_score(llm), tokenizer, tuned)
        if config.part == "test":
            record_measurement(tuned.path, store, config.part)
    if config.zero_shot:
        add_row(ZERO_SHOT, *load_language_model(first.base, device=device), first)
    for checkpoint in checkpoints:
        probs[checkpoint.path.resolve().name] = checkpoint_probs(checkpoint, store, samples)
    if config.habits:
        probs[HABITS] = habit_sample_probs(store, samples)
    return protocol_table(
        config.protocol,
        samples,
        probs,
        reference=first.path.resolve().name,
        num_resamples=config.num_resamples,
        seed=config.seed,
    )


def comparison_json(table: ProtocolTable, config: ComparisonConfig, models: Sequence[TunedLLM]) -> Mapping[str, Any]:
    """The table with the settings, the log and the models."""
    return {
        **table.to_json(),
        "config": dataclasses.asdict(config),
        "data_fingerprint": models[0].description["data_fingerprint"],
        "models": {
            model.path.resolve().name: {
                "base": model.base,
                "base_version": model.description["base_version"],
                "stages": [stage["stage"] for stage in model.stages],
                "seed": model.config.seed,
            }
            for model in models
        },
    }
