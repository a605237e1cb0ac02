"""The folder of a tuned language model: its adapters and all that a prediction needs, except the base.

    behaviorlm.json   base and its state, readable names, configuration, stages, data, versions
    vocabulary.json   names of the training part; their order gives the ids of the behaviors
    adapter/          the adapters, as PEFT writes them: adapter_config.json and safetensors
    selection.json    the samples of the balanced stage, if there was one
    README.md         card
    resume-*.safetensors  only while a stage runs
    predicted.json    only while samples are predicted for the balanced stage

Each file is replaced atomically. The base itself is not copied.
"""

# V behaviors, id 0 included; S samples

import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.files import read_json, write_json, write_text
from edgebehave_train.llm.prompts.encoding import ChatFormat, PromptEncoder, answer_ids
from edgebehave_train.llm.prompts.samples import Sample
from edgebehave_train.llm.prompts.wording import PromptConfig
from edgebehave_train.llm.scoring.bases import base_version, template_version
from edgebehave_train.llm.scoring.behavior_tokens import add_behavior_tokens, behavior_tokens
from edgebehave_train.llm.scoring.candidates import score_candidates
from edgebehave_train.llm.scoring.language_model import (
    context_length,
    load_adapter,
    load_language_model,
    save_adapter,
)
from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
from edgebehave_train.logs.event_store import EventStore

FORMAT_VERSION = 1
DESCRIPTION_FILE = "behaviorlm.json"
SELECTION_FILE = "selection.json"
_ADAPTER = "adapter"


@dataclass(frozen=True, kw_only=True)
class TunedLLM:
    """A tuned language model opened for use.

    base         the model that was tuned: a folder, a GGUF file, a hub id or `smollm2`.
    vocabulary   of the training part.
    names        (V,) readable names by behavior id.
    description  behaviorlm.json as it is.
    """

    path: Path
    base: str
    config: BehaviorLMConfig
    vocabulary: Vocabulary
    names: tuple[str, ...]
    description: dict[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> "TunedLLM":
        """Raises ValueError if the folder is not a tuned language model, or not of this version."""
        path = Path(path)
        if not (path / DESCRIPTION_FILE).is_file():
            raise ValueError(f"{path} is not a tuned language model; make one with `edgebehave llm tune`")
        content = read_json(path / DESCRIPTION_FILE)
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path} is of version {content.get('format_version')}, this is version {FORMAT_VERSION}; tune it again"
            )
        try:
            tuned = cls(
                path=path,
                base=content["base"],
                config=BehaviorLMConfig.from_json(content["config"]),
                vocabulary=Vocabulary.load(path / "vocabulary.json"),
                names=tuple(content["readable_names"]),
                description=content,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path / DESCRIPTION_FILE} is damaged: {error}") from None
        if len(tuned.names) != tuned.vocabulary.num_behaviors:
            raise ValueError(
                f"{path / DESCRIPTION_FILE} is damaged: {len(tuned.names)} names for "
                f"{tuned.vocabulary.num_behaviors} behaviors"
            )
        return tuned

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The finished stages with their results."""
        stages: list[dict[str, Any]] = self.description["stages"]
        return stages

    @property
    def is_finished(self) -> bool:
        return bool(self.description["finished"])

    def load(
        self, device: str = "auto", precision: str = "auto", *, base: str | Path | None = None, trainable: bool = False
    ) -> tuple[Any, Any]:
        """The base with the adapters in it, in evaluation mode, and the tokenizer.

        base       folder of the base, if it moved.
        trainable  whether the adapters can be tuned further.
        Raises ValueError if nothing was tuned yet, or the base is not the one that was tuned.
        """
        if not self.stages:
            raise ValueError(f"{self.path} has no adapters yet; finish it with `edgebehave llm tune --resume`")
        if not (self.path / _ADAPTER).is_dir() and (self.path / "candidates.json").is_file():
            raise ValueError(
                f"{self.path} is an export, whose adapters are merged into the weights; give the "
                "folder that it was exported from"
            )
        model, tokenizer = load_base(
            base or self.base, self.names, self.config.prompt, device=device, precision=precision
        )
        state = base_version(base or self.base, model)
        if state != self.description["base_version"]:
            raise ValueError(
                f"{base or self.base} is not the model that {self.path} was tuned from: it is "
                f"{state or 'of no known state'}, expected {self.description['base_version']}"
            )
        # Folders of older versions have none.
        expected = self.description.get("template_version", "")
        if expected and template_version(base or self.base) != expected:
            raise ValueError(
                f"{base or self.base} has another chat template or other tokenizer settings than "
                f"when {self.path} was tuned from it; bring back tokenizer_config.json and "
                "chat_template.jinja as they were"
            )
        return load_adapter(model, self.path / _ADAPTER, trainable=trainable), tokenizer

    def encoder(self, model: Any, tokenizer: Any) -> PromptEncoder:
        """The encoder of samples that the model was tuned with."""
        return prompt_encoder(model, tokenizer, self.names, self.config)

    def require_finished(self) -> None:
        """Raises ValueError if a stage is missing: the adapters are those before it."""
        if not self.is_finished:
            raise ValueError(f"{self.path} is not finished; go on with it by `edgebehave llm tune --resume`")

    def require_log(self, store: EventStore) -> None:
        """Raises ValueError unless the store is the log that the model was tuned on.

        On another log, test users could be users that the model was tuned on.
        """
        if store.fingerprint != self.description["data_fingerprint"]:
            raise ValueError(
                f"{self.path} was tuned on another log than {store.path}; use the event store that it was tuned on"
            )

    def save_adapter(self, model: Any) -> None:
        """Replace the adapters in the folder by those of a model."""
        folder = self.path / _ADAPTER
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path, prefix=".adapter") as partial:
            save_adapter(model, Path(partial))
            for file in Path(partial).iterdir():
                os.replace(file, folder / file.name)

    def with_stages(self, stages: Sequence[Mapping[str, Any]], finished: bool) -> "TunedLLM":
        """Record these stages as done, and open the folder again."""
        content = {**self.description, "stages": list(stages), "finished": finished}
        _write(self.path, content, self.vocabulary)
        return TunedLLM.open(self.path)


def write_tuned_llm(
    path: Path,
    *,
    base: str,
    model: Any,
    config: BehaviorLMConfig,
    vocabulary: Vocabulary,
    names: Sequence[str],
    train_counts: npt.NDArray[np.integer],
    data_fingerprint: str,
    origin: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]] = (),
) -> TunedLLM:
    """Write everything that is known before the first step: all but the adapters.

    model   the base as it was loaded, whose state is recorded.
    origin  start of the run: auxiliary corpus, an earlier tuned model, the device.
    stages  of an earlier tuned model.
    """
    path.mkdir(parents=True, exist_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        "base": base,
        "base_version": base_version(base, model),
        "template_version": template_version(base),
        "behaviors": list(vocabulary.behaviors),
        "readable_names": list(names),
        "train_counts": [int(count) for count in train_counts],
        "config": config.to_json(),
        "data_fingerprint": data_fingerprint,
        "origin": dict(origin),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
        },
        "stages": list(stages),
        "finished": False,
    }
    _write(path, content, vocabulary)
    return TunedLLM.open(path)


def load_base(
    base: str | Path,
    names: Sequence[str],
    prompt: PromptConfig,
    *,
    device: str = "auto",
    precision: str = "auto",
) -> tuple[Any, Any]:
    """An untuned model, as `load_language_model`, with tokens of the behaviors if the prompts ask for these.

    names  (V,) readable names by behavior id.
    """
    model, tokenizer = load_language_model(base, device=device, precision=precision)
    if prompt.answers == "tokens":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing chat template the encoder warns
            chat = ChatFormat(tokenizer)
        add_behavior_tokens(model, [ids[:-1] for ids in answer_ids(names, chat)])
    return model, tokenizer


def prompt_encoder(model: Any, tokenizer: Any, names: Sequence[str], config: BehaviorLMConfig) -> PromptEncoder:
    """The encoder of samples for a model, tuned or not.

    Raises ValueError if the config asks for tokens of behaviors, and the model has none.
    """
    tokens = behavior_tokens(model) if config.prompt.answers == "tokens" else ()
    # A model that states no context reads any length.
    max_context = context_length(model) or 1 << 30
    return PromptEncoder(ChatFormat(tokenizer), names, config.prompt, max_context, tokens)


def sample_probs(
    model: Any,
    encoder: PromptEncoder,
    samples: Sequence[Sample],
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.float32]:
    """(S, V) probabilities of every behavior for each sample; rows sum to 1, column 0 is 0."""
    return score_candidates(
        model,
        [encoder.encode(sample).prompt_ids for sample in samples],
        encoder.candidates,
        on_progress=on_progress,
    )


def _write(path: Path, content: dict[str, Any], vocabulary: Vocabulary) -> None:
    vocabulary.save(path / "vocabulary.json")
    write_text(path / "README.md", _card(content))
    write_json(path / DESCRIPTION_FILE, content)


def _card(content: Mapping[str, Any]) -> str:
    config = content["config"]
    stages = "\n".join(
        f"| {stage['stage']} | {stage['num_samples']:,} | {stage['num_auxiliary']:,} | "
        f"{stage['best_epoch']} | {stage['validation_loss'][stage['best_epoch'] - 1]:.4f} |"
        for stage in content["stages"]
    )
    return f"""---
base_model: {content["base"]}
library_name: peft
---
# Next-behavior language model

Low-rank adapters (rank {config["lora"]["rank"]}) tuned as BehaviorLM (arXiv 2505.17682) does.

| stage | samples | conversations | best epoch | validation loss, nats per token |
|---|---|---|---|---|
{stages or "| none yet | | | | |"}

| | |
|---|---|
| base | {content["base"]} |
| state of the base | `{content["base_version"]}` |
| predicts | {len(content["behaviors"]) - 1} behaviors |
| anchors | more than {config["anchor_threshold"]:.2%} of the training events |
| split | by {config["split"]["by"]}, {config["split"]["train"]:.0%} train |
| data fingerprint | `{content["data_fingerprint"]}` |
| seed | {config["seed"]} |
| finished | {"yes" if content["finished"] else "no; go on with `edgebehave llm tune --resume`"} |

The license of the base applies. The names of behaviors come from the log; look through
`vocabulary.json` before you publish this. Predictions are made for people whose events look like
those of the log; for others, measure it first.
"""
