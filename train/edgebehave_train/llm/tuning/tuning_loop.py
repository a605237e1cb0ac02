"""The loop that tunes a language model on answers: AdamW, cosine learning rate, best epoch kept.

It tunes the trainable parameters of the model in place, as a rule its adapters. The seed gives the
order of the samples and dropout, and the state is kept on disk: a run that is killed and resumed
on the same CPU ends with the same weights as one that was not.
"""

# N samples

import dataclasses
import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgebehave_train.llm.prompts.encoding import TokenizedSample
from edgebehave_train.llm.scoring.behavior_tokens import num_output_tokens
from edgebehave_train.llm.scoring.language_model import context_length
from edgebehave_train.llm.scoring.shared_prefix import SharedPrefix
from edgebehave_train.llm.tuning.answer_loss import AnswerBatch, answer_nll
from edgebehave_train.llm.tuning.frozen_weights import frozen_weights_in
from edgebehave_train.saved_state import SavedState, save_state
from edgebehave_train.training.hardware import fast_precision, keep_buffers_in_heap
from edgebehave_train.training.optimization import learning_rate_at

_SAVE_EVERY_S = 60.0
_BATCHES_PER_BUCKET = 50
# Passes are padded to a multiple of this. A CPU builds and keeps kernels for each new shape, and buffers of a new size
# fit no hole of the heap: without it a tuning on a CPU grows by 20 MB a step.
_LENGTH_STEP = 16
_POSITION = ("epoch", "step", "epoch_loss", "validated", "validation_sum")
# Largest difference between the losses with the shared tokens apart and in one pass, in nats per token.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """Settings of the loop; the defaults except batch_size are the paper's.

    epochs               passes over the samples, at least 1.
    learning_rate        highest, after the warm-up.
    final_learning_rate  at the end of the cosine.
    warmup               share of the steps in which the rate rises, in [0, 1).
    batch_size           samples of one optimizer step.
    tokens_per_pass      padded tokens of one forward pass; a step adds up the gradients of its
                         passes. Changes memory, not the result. 0 = 256 on a CPU, where longer
                         passes are no faster, 2048 on a GPU.
    weight_decay         of AdamW.
    max_gradient_norm    longer gradients are scaled to this length.
    patience             stop after this many epochs without a better one; 0 = never.
    autocast             precision of the computation: "bfloat16", "float32" (that of the weights),
                         or "auto": bfloat16 where the hardware multiplies it.
    seed                 of the order of samples and of dropout.
    """

    epochs: int = 8
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-6
    warmup: float = 0.1
    batch_size: int = 16
    tokens_per_pass: int = 0
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    patience: int = 0
    autocast: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"tuning: {name} must be at least 1, got {getattr(self, name)}")
        rates = self.final_learning_rate, self.learning_rate
        if not 0 < rates[0] <= rates[1]:
            raise ValueError(f"tuning: 0 < final_learning_rate <= learning_rate must hold, got {rates}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"tuning: warmup must lie in [0, 1), got {self.warmup}")
        if self.max_gradient_norm <= 0:
            raise ValueError(f"tuning: max_gradient_norm must be positive, got {self.max_gradient_norm}")
        for name in ("weight_decay", "patience", "tokens_per_pass"):
            if getattr(self, name) < 0:
                raise ValueError(f"tuning: {name} must not be negative, got {getattr(self, name)}")
        if self.autocast not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"tuning: autocast must be auto, float32 or bfloat16, got {self.autocast!r}")


@dataclass(frozen=True, kw_only=True)
class TuningProgress:
    """A report of a tuning run.

    kind             "start", "step", "validation" (once per epoch) or "end"; "validating" while the
                     validation samples are predicted and "scoring" while samples are predicted for a
                     selection: step of num_steps samples so far.
    epoch, step      done so far; num_epochs, num_steps planned.
    loss             mean training loss of the last 20 steps, at "validation" of the epoch; nats
                     per answer token.
    samples_per_s    per second of training time, this run.
    validation_loss  the same of the validation samples; the lowest at the "end".
    is_best          it is the lowest so far.
    message          one line to print.
    stage            name of the stage that is tuned.
    """

    kind: Literal["start", "step", "validating", "validation", "end", "scoring"]
    epoch: int
    step: int
    num_epochs: int
    num_steps: int
    loss: float = math.nan
    samples_per_s: float = math.nan
    validation_loss: float = math.nan
    is_best: bool = False
    message: str = ""
    stage: str = ""


@dataclass(kw_only=True)
class TuningResult:
    """Losses of a run in nats per answer token, one per epoch that was done.

    best_epoch  whose weights the model now has, counted from 1.
    """

    training_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    num_steps: int = 0


def tune(
    model: nn.Module,
    train: Sequence[TokenizedSample],
    validation: Sequence[TokenizedSample],
    config: TuningConfig,
    *,
    shared: Sequence[int] = (),
    state_file: Path | None = None,
    on_progress: Callable[[TuningProgress], None] = lambda progress: None,
) -> TuningResult:
    """Tune the trainable parameters of a causal language model; it ends with its best epoch's weights.

    The loss of a step is the mean over its samples of `answer_nll`. The best epoch is the one with
    the lowest such mean over `validation`.
    shared      tokens with which many prompts begin: these run once a step, not once a sample.
    state_file  file of the state; the run goes on from one that exists. The caller deletes it once
                the tuned model is saved.
    Raises ValueError if there is nothing to train on, a sample is longer than the context of the
    model, or the state is of another run.
    """
    keep_buffers_in_heap()
    loop = TuningLoop(model, train, validation, config, state_file, shared)
    if state_file is not None and state_file.is_file():
        loop.load(state_file)
    with frozen_weights_in(model, torch.bfloat16) if loop.precision == torch.bfloat16 else nullcontext():
        return loop.run(on_progress)


class TuningLoop:
    """One run of `tune` and everything that changes while it runs.

    trained  the trainable parameters by name; best: copies of them after the best epoch.
    epoch, step  done so far.
    validated    samples of the validation that runs, with the sum of their losses.
    shared       tokens that run once a step; none where the model does not compute the same with them.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Sequence[TokenizedSample],
        validation: Sequence[TokenizedSample],
        config: TuningConfig,
        state_file: Path | None,
        shared: Sequence[int] = (),
    ) -> None:
        self.model, self.config, self.state_file = model, config, state_file
        self.samples, self.validation = train, validation
        for name, part in (("training", train), ("validation", validation)):
            if not part:
                raise ValueError(f"there is no {name} sample; take a longer log, or more of it")
            _require_readable(model, part, name)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.trained:
            raise ValueError("nothing of the model trains; give it adapters first")
        self.device = next(iter(self.trained.values())).device
        self.precision = fast_precision(self.device, config.autocast)
        self.tokens_per_pass = config.tokens_per_pass or (256 if self.device.type == "cpu" else 2048)
        torch.manual_seed(config.seed)
        self.optimizer = torch.optim.AdamW(
            list(self.trained.values()),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.shared = tuple(shared) if self._can_share(shared) else ()
        self.length_N = self._lengths(train)
        self.identity = self._identity()
        self.best: dict[str, Tensor] = {}
        self.epoch, self.step, self.epoch_loss = 0, 0, 0.0
        self.validated, self.validation_sum = 0, 0.0
        self.saved_at = time.monotonic()
        self.steps_per_epoch = -(-len(train) // config.batch_size)
        self.num_steps = self.steps_per_epoch * config.epochs
        self.result = TuningResult()

    def run(self, on_progress: Callable[[TuningProgress], None]) -> TuningResult:
        def report(kind: Any, **numbers: Any) -> None:
            step, num_steps = self.step, self.num_steps
            if kind == "validating":
                step, num_steps = self.validated, len(self.validation)
            at: dict[str, Any] = {"epoch": self.epoch, "step": step}
            on_progress(TuningProgress(kind=kind, num_epochs=self.config.epochs, num_steps=num_steps, **at, **numbers))

        report("start", message=self._describe())
        num_samples, seconds, self.saved_at = 0, 0.0, time.monotonic()
        recent: list[float] = []
        while self.epoch < self.config.epochs and not self._has_converged():
            batches = training_batches(
                self.length_N, self.config.batch_size, np.random.default_rng([self.config.seed, self.epoch])
            )
            for batch in batches[self.step - self.epoch * self.steps_per_epoch :]:
                started = time.monotonic()
                loss = self._train_step(batch)
                if not math.isfinite(loss):
                    raise ValueError(
                        f"the loss of step {self.step} is {loss}; tune again with a lower "
                        f"learning_rate, now {self.config.learning_rate}"
                    )
                seconds += time.monotonic() - started
                num_samples += len(batch)
                self.epoch_loss += loss * len(batch)
                recent = [*recent[-19:], loss]
                self.step += 1
                report("step", loss=float(np.mean(recent)), samples_per_s=num_samples / seconds)
                self._save_by_time()
            validation = self.validate(report)
            self.validated, self.validation_sum = 0, 0.0
            self.epoch += 1
            training_loss, self.epoch_loss = self.epoch_loss / len(self.samples), 0.0
            self.result.training_loss.append(training_loss)
            self.result.validation_loss.append(validation)
            is_best = validation < self.result.best_loss or not self.best
            if is_best:
                self.result.best_loss, self.result.best_epoch = validation, self.epoch
                self.best = {name: p.detach().clone() for name, p in self.trained.items()}
            self.save()
            speed = num_samples / max(seconds, 1e-9)
            report("validation", loss=training_loss, samples_per_s=speed, validation_loss=validation, is_best=is_best)
        self._set_weights(self.best)
        self.model.eval()
        self.result.num_steps = self.step
        report("end", validation_loss=self.result.best_loss)
        return self.result

    def _train_step(self, batch: npt.NDArray[np.int64]) -> float:
        self.model.train()
        low, high = self.config.final_learning_rate, self.config.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = low + learning_rate_at(self.step, self.num_steps, high - low, self.config.warmup)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for rows, is_shared in self._groups(self.samples, batch):
            with self._autocast():
                prefix = SharedPrefix.of(self.model, self.shared) if is_shared else None
            leaves = prefix.detached() if prefix else None
            for part in passes(self._padded(self.length_N), rows, self.tokens_per_pass):
                loss = self._nll(self.samples, part, leaves).sum() / len(batch)
                loss.backward()
                total += float(loss.detach())
            if prefix and leaves:
                prefix.backward(leaves)
        nn.utils.clip_grad_norm_(list(self.trained.values()), self.config.max_gradient_norm)
        self.optimizer.step()
        return total

    @torch.no_grad()
    def validate(self, report: Callable[..., None] = lambda kind, **numbers: None) -> float:
        """Mean loss of the validation samples, in nats per answer token.

        A run that was killed goes on behind the samples that are done.
        """
        self.model.eval()
        length_N, number = self._lengths(self.validation), len(self.validation)
        started, done_before = time.monotonic(), self.validated
        parts: list[tuple[npt.NDArray[np.int64], bool]] = []
        for group, is_shared in self._groups(self.validation, np.argsort(length_N, kind="stable")):
            parts += [(part, is_shared) for part in passes(self._padded(length_N), group, self.tokens_per_pass)]
        begins = np.cumsum([0, *(len(part) for part, _ in parts)])
        prefix = None
        for (part, is_shared), begin in zip(parts, begins.tolist(), strict=False):
            if begin < self.validated:
                continue
            if is_shared and prefix is None:
                with self._autocast():
                    prefix = SharedPrefix.of(self.model, self.shared)
            self.validation_sum += float(self._nll(self.validation, part, prefix if is_shared else None).double().sum())
            self.validated += len(part)
            speed = (self.validated - done_before) / max(time.monotonic() - started, 1e-9)
            report("validating", samples_per_s=speed)
            self._save_by_time()
        return self.validation_sum / number

    def _nll(
        self, samples: Sequence[TokenizedSample], part: npt.NDArray[np.int64], prefix: SharedPrefix | None
    ) -> Tensor:
        num_shared, chosen = len(self.shared) if prefix else 0, [samples[i] for i in part]
        padded = self._padded(np.array([len(one) - num_shared for one in chosen]))
        answers = AnswerBatch.of(chosen, self.device, num_shared, int(padded.max()))
        with self._autocast():
            return answer_nll(self.model, answers, prefix)

    def _groups(
        self, samples: Sequence[TokenizedSample], batch: npt.NDArray[np.int64]
    ) -> list[tuple[npt.NDArray[np.int64], bool]]:
        """A batch as its samples that begin with the shared tokens, and its other samples, if there are any."""
        begins = np.array([self._begins(samples[i]) for i in batch], bool)
        groups = ((batch[begins], True), (batch[~begins], False))
        return [(group, is_shared) for group, is_shared in groups if len(group)]

    def _begins(self, sample: TokenizedSample) -> bool:
        num_shared = len(self.shared)
        return 0 < num_shared < len(sample.prompt_ids) and tuple(sample.prompt_ids[:num_shared]) == self.shared

    def _lengths(self, samples: Sequence[TokenizedSample]) -> npt.NDArray[np.int64]:
        """Tokens of each sample that run for it alone."""
        return np.array([len(one) - (len(self.shared) if self._begins(one) else 0) for one in samples], np.int64)

    def _padded(self, length_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The lengths rounded up, as far as the model can read."""
        padded_N = -(-length_N // _LENGTH_STEP) * _LENGTH_STEP
        context = context_length(self.model)
        return padded_N if context is None else np.minimum(padded_N, np.maximum(length_N, context - len(self.shared)))

    @torch.no_grad()
    def _can_share(self, shared: Sequence[int]) -> bool:
        """Whether the model computes the same from shared tokens that run apart, on the longest sample."""
        self.shared = tuple(shared)
        sharing = [one for one in self.samples if self._begins(one)]
        if not sharing:
            return False
        longest = max(sharing, key=len)
        was_training = self.model.training
        self.model.eval()
        try:
            plain = answer_nll(self.model, AnswerBatch.of([longest], self.device))
            prefix = SharedPrefix.of(self.model, self.shared)
            apart = answer_nll(self.model, AnswerBatch.of([longest], self.device, len(self.shared)), prefix)
            gap = f"by {float((plain - apart).abs()):.3g} nats"
            dtype: Any = self.model.dtype
            is_same = bool(((plain - apart).abs() <= _TOLERANCE.get(dtype, 0.1)).all())
        except Exception as error:  # a model of unknown type may fail in any way with a cache
            is_same, gap = False, str(error)
        finally:
            self.model.train(was_training)
        if not is_same:
            warnings.warn(
                f"prompts run whole, which is slower: {type(self.model).__name__} computes otherwise from their "
                f"shared beginning ({gap})",
                stacklevel=4,
            )
        return is_same

    def _has_converged(self) -> bool:
        patience = self.config.patience
        return bool(patience and self.best) and self.epoch - self.result.best_epoch >= patience

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def _describe(self) -> str:
        num_trained = sum(p.numel() for p in self.trained.values())
        num_all = sum(p.numel() for p in self.model.parameters())
        after = f" after {len(self.shared)} shared ones" if self.shared else ""
        return (
            f"{num_trained:,} of {num_all:,} parameters train on {len(self.samples):,} samples of "
            f"{self.length_N.mean():.0f} tokens{after}, {self.device.type}, {_name(self.precision)}, "
            f"{self.steps_per_epoch} steps per epoch"
        )

    def _save_by_time(self) -> None:
        if time.monotonic() - self.saved_at > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the state into its file, if there is to be one."""
        self.saved_at = time.monotonic()
        if self.state_file is None:
            return
        position = {name: getattr(self, name) for name in _POSITION}
        position["result"] = dataclasses.asdict(self.result)
        parts: dict[str, Mapping[str, Tensor]] = {"now": self.trained, "best": self.best}
        save_state(self.state_file, parts, self.optimizer, position=position, run=self.identity)

    def load(self, file: Path) -> None:
        """Continue from the state in a file. Raises ValueError if it is of another run."""
        saved, now = SavedState.read(file), self.identity
        if not {"position", "run"} <= saved.metadata.keys():
            raise ValueError(f"{file} is not the state of a tuning run; delete it")
        before, position = saved.metadata["run"], saved.metadata["position"]
        if different := [name for name in now if before.get(name) != now[name]]:
            raise ValueError(
                f"{file} is of a run with {different[0]} = {before.get(different[0])}, now it is "
                f"{now[different[0]]}; resume with the same options, or name another folder"
            )
        self._set_weights(saved.parts["now"])
        self.best = {name: value.to(self.device) for name, value in saved.parts.get("best", {}).items()}
        saved.restore(self.optimizer)
        self.result = TuningResult(**position["result"])
        for name in _POSITION:
            setattr(self, name, position.get(name, 0))  # older states know nothing of a validation

    def _set_weights(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])

    def _identity(self) -> dict[str, Any]:
        """Properties that must be the same for a run to go on."""
        digest = hashlib.sha256()
        for part in (self.samples, self.validation):
            for sample in part:
                digest.update(repr((list(sample.prompt_ids), list(sample.answer_ids))).encode())
        return {
            **dataclasses.asdict(self.config),
            "device": self.device.type,
            "precision": _name(self.precision),
            "trained parameters": sum(p.numel() for p in self.trained.values()),
            "samples": digest.hexdigest()[:16],
            "shared tokens": len(self.shared),
        }


def training_batches(
    length_N: npt.NDArray[np.integer], batch_size: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Every sample once, in batches of similar lengths, in random order.

    Samples are shuffled, then sorted by length inside buckets of some 50 batches: little padding,
    and batches that differ from epoch to epoch.
    """
    order = rng.permutation(len(length_N))
    bucket = _BATCHES_PER_BUCKET * batch_size
    batches: list[npt.NDArray[np.int64]] = []
    for first in range(0, len(order), bucket):
        chunk = order[first : first + bucket]
        chunk = chunk[np.argsort(length_N[chunk], kind="stable")]
        batches += [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def passes(
    length_N: npt.NDArray[np.integer], batch: npt.NDArray[np.int64], max_tokens: int
) -> list[npt.NDArray[np.int64]]:
    """Parts of a batch that is sorted by length, each padded to at most max_tokens tokens.

    A part has at least one sample.
    """
    cuts, first = [], 0
    for i in range(1, len(batch)):
        if int(length_N[batch[i]]) * (i + 1 - first) > max_tokens:
            cuts.append(i)
            first = i
    return np.split(batch, cuts)


def _require_readable(model: Any, samples: Sequence[TokenizedSample], name: str) -> None:
    """Raises ValueError for samples that are too long, or hold tokens that the model lacks."""
    context = context_length(model)
    lengths = list(map(len, samples))
    if context is not None and max(lengths) > context:
        raise ValueError(
            f"{sum(length > context for length in lengths)} of {len(samples)} {name} samples are "
            f"longer than the {context} tokens that the model reads (the longest: "
            f"{max(lengths)}); take a shorter history"
        )
    highest_read = max(max(s.prompt_ids) for s in samples)
    highest_answered = max(max(s.answer_ids) for s in samples)
    read, answered = model.get_input_embeddings().num_embeddings, num_output_tokens(model)
    for highest, known in ((highest_read, read), (highest_answered, answered)):
        if highest >= known:
            raise ValueError(
                f"a {name} sample holds token {highest}, the model knows {known}: model and tokenizer "
                "do not belong together"
            )


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
