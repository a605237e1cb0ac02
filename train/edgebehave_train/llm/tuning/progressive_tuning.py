"""BehaviorLM (arXiv 2505.17682): a language model tuned in stages on the log of an event store.

Each stage draws its samples, tunes the adapters of the stage before, and writes them. A run that
is killed goes on with its stage and ends with the same adapters.
"""

# V behaviors, id 0 included; N samples of the training part

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave_train.files import file_digest, names_in, one_writer, read_json, require_writable, write_json
from edgebehave_train.llm.prompts.behavior_names import read_name_table, readable_names
from edgebehave_train.llm.prompts.conversations import encode_conversations, read_conversations
from edgebehave_train.llm.prompts.encoding import TokenizedSample
from edgebehave_train.llm.prompts.samples import LogSamples, log_samples
from edgebehave_train.llm.scoring.bases import base_version, resolve_base, template_version
from edgebehave_train.llm.scoring.language_model import add_adapter
from edgebehave_train.llm.scoring.shared_prefix import shared_length
from edgebehave_train.llm.tuning.anchor_selection import anchor_behaviors, draw, with_auxiliary
from edgebehave_train.llm.tuning.balanced_selection import KINDS, SelectionConfig, select_balanced
from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig, Stage
from edgebehave_train.llm.tuning.tuned_llm import (
    DESCRIPTION_FILE,
    SELECTION_FILE,
    TunedLLM,
    load_base,
    prompt_encoder,
    sample_probs,
    write_tuned_llm,
)
from edgebehave_train.llm.tuning.tuning_loop import TuningProgress, tune
from edgebehave_train.logs.event_store import EventStore

OnProgress = Callable[[TuningProgress], None]

PREDICTED_FILE = "predicted.json"
_PREDICTED_AT_ONCE = 64  # samples between two moments at which a selection can save what it predicted
_SAVE_EVERY_S = 45.0  # and the time of 64 samples: a minute

# Streams of random numbers, one per purpose, so that a change of one leaves the others.
_TRAINING, _VALIDATION, _AUXILIARY, _SELECTION = range(4)


def tune_progressively(
    store: EventStore,
    base: str | Path,
    config: BehaviorLMConfig,
    out: Path,
    *,
    names: Path | None = None,
    auxiliary: Path | None = None,
    device: str = "auto",
    on_progress: OnProgress = lambda progress: None,
) -> TunedLLM:
    """Tune a language model on the training part of a store, stage by stage.

    base       a causal language model, see `scoring/bases.py`; or the folder of a tuned one, whose
               adapters the stages tune: then split, prompt, lora and names must be its own.
    out        a new folder.
    names      table of readable names, see `read_name_table`; default: those of the vocabulary.
    auxiliary  corpus of conversations, see `read_conversations`; needed by stages that use some.
    Raises ValueError if `out` holds something or another process is writing it, or a stage has nothing to train on.
    """
    with one_writer(out):
        require_writable(
            out,
            "a tuned language model",
            lambda out: set() if (out / DESCRIPTION_FILE).is_file() else names_in(out),
            instead="use --resume",
        )
        table = read_name_table(names) if names else None
        run = StagedTuning(store, base, config, out, table, auxiliary, None, device)
        return run.run(on_progress)


def resume_tuning(
    store: EventStore, out: Path, *, device: str = "auto", on_progress: OnProgress = lambda progress: None
) -> TunedLLM:
    """Continue a run of `tune_progressively` that was killed, with its own base and settings.

    Raises ValueError if `out` holds no such run, its log, base or corpus has changed, or another process is writing it.
    """
    with one_writer(out):
        begun = TunedLLM.open(out)
        if begun.is_finished:
            for file in out.glob("resume-*.safetensors"):  # left by a run that was killed at its end
                file.unlink()
            raise ValueError(f"{out} is finished; nothing to resume")
        begun.require_log(store)
        origin = begun.description["origin"]
        table = dict(zip(begun.vocabulary.behaviors[1:], begun.names[1:], strict=True))
        auxiliary = origin["auxiliary"] and Path(origin["auxiliary"])
        base = origin["start"] or begun.base
        run = StagedTuning(store, base, begun.config, out, table, auxiliary, begun, device)
        return run.run(on_progress)


class StagedTuning:
    """A run of `tune_progressively`: the samples, the model, and the folder that it fills."""

    def __init__(
        self,
        store: EventStore,
        base: str | Path,
        config: BehaviorLMConfig,
        out: Path,
        table: Mapping[str, str] | None,
        auxiliary_file: Path | None,
        begun: TunedLLM | None,
        device: str,
    ) -> None:
        """
        table  readable names of behaviors.
        begun  the folder `out` of a run that was killed; None: a new run.
        """
        self.config = config
        self.train = log_samples(store, "train", config.split, history=config.prompt.history)
        vocabulary = self.train.vocabulary
        self.validation = log_samples(store, "validation", config.split, vocabulary, config.prompt.history)
        self.anchor_V = anchor_behaviors(self.train.train_counts, config.anchor_threshold)
        if self.anchor_V[1:].all():
            warnings.warn(
                f"every behavior makes up more than {config.anchor_threshold:.2%} of the training "
                "events: there is no tail, and the category of a prediction says nothing",
                stacklevel=3,
            )
        if not config.auxiliary_ratio or not {"anchor", "tail"} & {*config.stages}:
            auxiliary_file = None
        elif auxiliary_file is None:
            raise ValueError(
                f"an auxiliary ratio of {config.auxiliary_ratio} needs a corpus of conversations; "
                "give one, or a ratio of 0"
            )
        names = readable_names(vocabulary, table)
        start = TunedLLM.open(base) if (Path(base) / DESCRIPTION_FILE).is_file() else None
        if start is not None:
            names = names if table else start.names
            _require_same(start, store, config, self.train, names)
            model, tokenizer = start.load(device, trainable=True)
        else:
            model, tokenizer = load_base(base, names, config.prompt, device=device)
        # Mistakes are found before the folder is made.
        self.encoder = prompt_encoder(model, tokenizer, names, config)
        self.encoder.encode(self.train[0])  # of one that cannot be written this tells why
        both = zip(names[1:], self.encoder.answers, self.encoder.candidates, strict=True)
        begin = [name for name, answer, scored in both if len(answer) == len(scored)]
        if begin and config.prompt.format == "compact" and config.prompt.answers == "names":
            warnings.warn(
                f"{len(begin)} names of behaviors begin others, as {begin[0]!r}: the end of their answers is scored, "
                "too; a table of other readable names (--names) avoids that",
                stacklevel=3,
            )
        for stage in config.stages:
            for samples in (self.train, self.validation):
                if not len(_of_category(stage, samples, self.anchor_V)):
                    raise ValueError(
                        f"the {samples.part} part holds no sample for stage {stage}: of {len(samples)} samples "
                        f"{self.anchor_V[samples.behavior].sum()} are of anchors; leave the stage out, or change "
                        f"the anchor threshold, now {config.anchor_threshold}"
                    )
        stages = start.stages if start else []
        origin: dict[str, Any] = {
            "start": str(start.path.resolve()) if start else None,
            "start_stages": [stage["stage"] for stage in stages],
            "auxiliary": None,
            "device": next(model.parameters()).device.type,
        }
        self.auxiliary: Sequence[TokenizedSample] = ()
        if auxiliary_file is not None:
            max_context = self.encoder.max_context
            max_tokens = min(config.max_tokens or max_context, max_context)
            corpus = read_conversations(auxiliary_file)
            self.auxiliary = encode_conversations(corpus, self.encoder.chat, max_tokens).samples
            origin["auxiliary"] = str(auxiliary_file.resolve())
            origin["auxiliary_sha256"] = file_digest(auxiliary_file)
        source = start.base if start else resolve_base(base)
        if begun is not None:
            _require_unchanged(begun, origin, base_version(source, model), template_version(source))
        self.tuned = begun or write_tuned_llm(
            out,
            base=source,
            model=model,
            config=config,
            vocabulary=vocabulary,
            names=names,
            train_counts=self.train.train_counts,
            data_fingerprint=store.fingerprint,
            origin=origin,
            stages=stages,
        )
        self.num_before = len(stages)  # of an earlier tuned model
        if len(self.tuned.stages) > self.num_before:
            # The adapters of the stages that are done.
            model, tokenizer = self.tuned.load(device, trainable=True)
        elif start is None:
            model = add_adapter(model, config.lora, config.seed)
        self.model = model

    def run(self, on_progress: OnProgress) -> TunedLLM:
        for stage in self.config.stages:
            self._run_stage(stage, on_progress)
        return self.tuned

    def _run_stage(self, stage: Stage, on_progress: OnProgress) -> None:
        """Run one stage unless it is done already."""
        state_file = self.tuned.path / f"resume-{stage}.safetensors"
        if stage in [done["stage"] for done in self.tuned.stages[self.num_before :]]:
            state_file.unlink(missing_ok=True)  # left by a run that was killed at its end
            return
        started = time.monotonic()

        def report(progress: TuningProgress) -> None:
            on_progress(dataclasses.replace(progress, stage=stage))

        notes: dict[str, Any] = {}
        if stage == "balanced":
            train, notes = self._balanced(report)
        else:
            train, notes["num_too_long"] = self._encoded(self.train, self._of_stage(stage, "training"))
        num_samples = len(train)
        shared = train[0].prompt_ids[: shared_length([one.prompt_ids for one in train])] if train else ()
        if stage in ("anchor", "tail"):
            train = with_auxiliary(train, self.auxiliary, self.config.auxiliary_ratio, self._rng(_AUXILIARY))
        validation, _ = self._encoded(self.validation, self._of_stage(stage, "validation"))
        result = tune(
            self.model,
            train,
            validation,
            self.config.tuning_of(stage),
            shared=shared,
            state_file=state_file,
            on_progress=report,
        )
        self.tuned.save_adapter(self.model)
        done = {
            "stage": stage,
            "num_samples": num_samples,
            "num_auxiliary": len(train) - num_samples,
            "num_validation": len(validation),
            **notes,
            **dataclasses.asdict(result),
            "seconds": round(time.monotonic() - started, 1),
        }
        is_last = stage == self.config.stages[-1]
        self.tuned = self.tuned.with_stages([*self.tuned.stages, done], finished=is_last)
        state_file.unlink(missing_ok=True)

    def _of_stage(self, stage: Stage, part: str) -> npt.NDArray[np.int64]:
        """Positions among the samples of a part, ascending, that a stage takes."""
        samples = self.train if part == "training" else self.validation
        if stage == "balanced":
            present = len(np.unique(samples.behavior))
            per_behavior = max(1, self.config.max_validation // present)
            uniform = SelectionConfig(per_behavior=per_behavior, by="uniform")
            drawn = select_balanced(
                samples.behavior, lambda index: index, self.anchor_V, uniform, self._rng(_VALIDATION)
            )
            return np.unique(drawn.index)
        index = _of_category(stage, samples, self.anchor_V)
        if part == "training":
            return draw(index, self.config.max_samples, self._rng(_TRAINING))
        return draw(index, self.config.max_validation, self._rng(_VALIDATION))

    def _encoded(self, samples: LogSamples, index: npt.NDArray[np.int64]) -> tuple[list[TokenizedSample], int]:
        """Some samples in tokens without those that are too long, and the number of these."""
        encoded = self.encoder.encode_all(samples.take(index), self.config.max_tokens or None)
        return list(encoded.samples), encoded.num_too_long

    def _balanced(self, report: OnProgress) -> tuple[list[TokenizedSample], dict[str, Any]]:
        """Samples of the balanced stage and a description of the selection.

        The selection is kept in a file: a run that is resumed does not predict samples again.
        """
        file = self.tuned.path / SELECTION_FILE
        if not file.is_file():
            self._select(file, report)
        content = read_json(file)
        index = np.array(content["index"], np.int64)
        distinct, inverse = np.unique(index, return_inverse=True)
        encoded = self.encoder.encode_all(self.train.take(distinct), self.config.max_tokens or None)
        of_sample = dict(zip(encoded.index, encoded.samples, strict=True))
        train = [of_sample[i] for i in inverse.tolist() if i in of_sample]
        told = {name: content[name] for name in ("kinds", "num_repeats", "missing", "num_predicted")}
        return train, {**told, "num_too_long": len(index) - len(train)}

    def _select(self, file: Path, report: OnProgress) -> None:
        """Choose the samples of the balanced stage and write the choice into a file."""
        config = self.config.selection
        at_most = int(np.minimum(np.bincount(self.train.behavior), config.pool * config.per_behavior).sum())
        predicted_file = self.tuned.path / PREDICTED_FILE
        predicted: dict[str, int] = read_json(predicted_file) if predicted_file.is_file() else {}
        started, num_before, saved_at = time.monotonic(), len(predicted), time.monotonic()

        def predict(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            nonlocal saved_at
            missing = np.array([i for i in index.tolist() if str(i) not in predicted], np.int64)
            for first in range(0, len(missing), _PREDICTED_AT_ONCE):
                asked = missing[first : first + _PREDICTED_AT_ONCE]

                def show(done: int, total: int) -> None:
                    step = len(predicted) + done
                    speed = (step - num_before) / max(time.monotonic() - started, 1e-9)
                    counts: dict[str, Any] = {"epoch": 0, "num_epochs": 0, "num_steps": at_most}
                    report(TuningProgress(kind="scoring", step=step, samples_per_s=speed, **counts))

                probs = sample_probs(self.model, self.encoder, self.train.take(asked), on_progress=show)
                predicted.update(zip(map(str, asked.tolist()), probs.argmax(1).tolist(), strict=True))
                if time.monotonic() - saved_at > _SAVE_EVERY_S:
                    write_json(predicted_file, predicted)
                    saved_at = time.monotonic()
            return np.array([predicted[str(i)] for i in index.tolist()], np.int64)

        chosen = select_balanced(self.train.behavior, predict, self.anchor_V, config, self._rng(_SELECTION))
        content = {
            "events": self.train.targets.event[chosen.index].tolist(),
            "index": chosen.index.tolist(),
            "kinds": dict(zip(KINDS, chosen.kinds.sum(0).tolist(), strict=True)),
            "num_repeats": chosen.num_repeats,
            "missing": [self.train.vocabulary.behaviors[b] for b in chosen.missing],
            "num_predicted": chosen.num_predicted,
        }
        write_json(file, content)
        predicted_file.unlink(missing_ok=True)

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, purpose])


def _of_category(stage: Stage, samples: LogSamples, anchor_V: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Positions of the samples that a stage may take."""
    is_anchor = anchor_V[samples.behavior]
    if stage == "anchor":
        return np.flatnonzero(is_anchor)
    return np.flatnonzero(~is_anchor) if stage == "tail" else np.arange(len(samples))


def _require_same(
    start: TunedLLM, store: EventStore, config: BehaviorLMConfig, train: LogSamples, names: Sequence[str]
) -> None:
    """Raises ValueError unless the stages can continue an earlier tuned model."""
    start.require_log(store)
    start.require_finished()
    for name in ("split", "prompt", "lora"):
        before, now = getattr(start.config, name), getattr(config, name)
        if before != now:
            raise ValueError(f"{start.path} was tuned with {name} {before}, now it is {now}; go on with the same")
    if start.names != tuple(names) or start.vocabulary != train.vocabulary:
        raise ValueError(f"{start.path} was tuned with other names of behaviors; go on with those")


def _require_unchanged(begun: TunedLLM, origin: Mapping[str, Any], version: str, template: str) -> None:
    """Raises ValueError if the base, the corpus or the device of a run has changed."""
    before = {**begun.description["origin"], "state of the base": begun.description["base_version"]}
    now = {**origin, "state of the base": version}
    if "template_version" in begun.description:  # folders from before it was noted have none
        before["chat template"] = begun.description["template_version"]
        now["chat template"] = template
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{begun.path} was started with {name} {before.get(name)}, now it is "
                f"{now.get(name)}; the run would not go on as it began"
            )
