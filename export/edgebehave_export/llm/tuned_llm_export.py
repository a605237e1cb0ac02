"""A tuned language model leaves its folder: merged weights, graphs, and what asking it takes.

Beside what `llm_onnx` writes:

    behaviorlm.json   as it was tuned: prompts, readable names, stages
    vocabulary.json   names and their ids
    candidates.json   the answer of each behavior in token ids, entry c is behavior c + 1
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebehave_export.llm.llm_onnx import (
    HUGGING_FACE,
    export_folder,
    export_language_model,
    require_optimum,
    save_merged,
)
from edgebehave_train.files import write_json
from edgebehave_train.llm.evaluation.protocols import random_samples
from edgebehave_train.llm.prompts.samples import log_samples
from edgebehave_train.llm.tuning.tuned_llm import DESCRIPTION_FILE, TunedLLM
from edgebehave_train.logs.event_store import EventStore


def export_tuned_llm(
    tuned: TunedLLM,
    out: Path,
    store: EventStore | None,
    *,
    num_prompts: int = 200,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a folder that needs neither the base nor the log.

    store        the log that the model was tuned on, on whose validation users the graphs are
                 compared with torch; None: merged weights alone, no graphs.
    num_prompts  so many of their samples, drawn uniformly.
    Returns      what export.json holds; {} without graphs.
    Raises ValueError if the model is not finished, `out` may not be replaced, or a graph disagrees
    with torch.
    """
    tuned.require_finished()
    result: dict[str, Any] = {}
    if store is not None:
        require_optimum()
        tuned.require_log(store)
    with export_folder(out, overwrite) as made:
        model, tokenizer = tuned.load("cpu", "float32")
        encoder = tuned.encoder(model, tokenizer)
        if store is None:
            save_merged(model, tokenizer, made / HUGGING_FACE)
        else:
            split, history = tuned.config.split, tuned.config.prompt.history
            samples = log_samples(store, "validation", split, tuned.vocabulary, history)
            asked = random_samples(samples, num_prompts, tuned.config.seed)
            result = export_language_model(
                model,
                tokenizer,
                made,
                prompts=[encoder.encode(sample).prompt_ids for sample in asked],
                candidate_ids=encoder.candidates,
                report=report,
            ).to_json()
        for name in (DESCRIPTION_FILE, "vocabulary.json"):
            shutil.copy(tuned.path / name, made / name)
        write_json(made / "candidates.json", {"candidate_ids": encoder.candidates})
    return result
