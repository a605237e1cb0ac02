"""Pretraining: from an event store to a checkpoint, resumable to the bit.

Order of the data, dropout and the running means of the objective follow from the seed and from the state in
`resume.safetensors` alone, so a run that is killed and resumed on the same CPU ends with the same weights as one that
was not.
"""

# N events of the log, S ranges

import math
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgebehave.habits import FIRST_WEEKEND_DAY
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.files import names_in, one_writer, require_writable, write_tensors
from edgebehave_train.kernels.copy_kernels import waiting_times
from edgebehave_train.loading.batches import Batch, TrainingLog
from edgebehave_train.loading.loader import Loader
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.model.behavior_model import BehaviorModel, TargetLosses
from edgebehave_train.training.batch_losses import BatchLosses
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint, DroResult, TrainingRecord, write_description
from edgebehave_train.training.hardware import choose_device, keep_buffers_in_heap
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.objectives import DistributionallyRobust, build_objective, require_objective
from edgebehave_train.training.optimization import learning_rate_at, moving_average, parameter_groups
from edgebehave_train.training.recipes import TrainConfig
from edgebehave_train.training.state import TrainingState
from edgebehave_train.training.threads import choose_threads
from edgebehave_train.training.universal_start import UniversalStart, can_start_from_universal, start_from_universal
from edgebehave_train.training.validation import Validation, validate
from edgebehave_train.universal.own_names import LOOKUP_FILE, write_lookup

_SAVE_EVERY_S = 60.0
_COUNTED_EVENTS = 5_000_000
"""Events from which the generation heads take their first statistics, at least, if the log has so many."""
_FILES = {
    *("config.json", "vocabulary.json", "training.json", "README.md"),
    *("model.safetensors", RESUME_FILE, LOOKUP_FILE),
}
"""Every file that a run writes before it is finished."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a run that does not begin with random weights on the whole training part.

    origin        its description in training.json: the checkpoint it comes from, the strategy.
    vocabulary    ids of the run; None = that of the training part.
    prepare       changes the fresh model in place: copies weights, freezes, puts adapters in.
    kept_state    the trained model as the state of a plain BehaviorModel: merges adapters.
    is_candidate  the first weights are kept, as epoch 0, if no epoch is better.
    train_ranges  (S, 2) positions in the store to train on; None = the training part.
    is_target     (N,) bool, events that may be training targets; None = the training part.
    extra_loss    a term that a training step adds to the objective, from a batch and its losses: one number, nats.
                  Validation leaves it out.
    """

    origin: dict[str, Any]
    vocabulary: Vocabulary | None = None
    prepare: Callable[[BehaviorModel], None] = lambda model: None
    kept_state: Callable[[BehaviorModel], dict[str, Tensor]] = lambda model: model.state_dict()
    is_candidate: bool = False
    train_ranges: npt.NDArray[np.int64] | None = None
    is_target: npt.NDArray[np.bool_] | None = None
    extra_loss: Callable[[Batch, TargetLosses], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A report of a training run.

    kind             "start", "step", "validation" (once per epoch), "universal" (a step of tuning the universal
                     model), "note" or "end".
    epoch, step      done so far; num_epochs, num_steps planned.
    loss             mean training loss since the last report, nats.
    events_per_s     training events per second of training time, this run.
    waiting          share of the training time in which it waited for batches.
    validation_nll   mean -log p of the validation targets, nats; "validation" only.
    validation_loss  loss of the objective on them, equal to validation_nll for ce; "validation", and the lowest at the
                     "end" if it chooses the weights.
    validation_rank  mean reciprocal rank of the targets if it chooses the weights, else NaN; "validation", and the
                     highest at the "end".
    head_nll         -log p of each generation head; "validation" only, empty without heads.
    is_best          the epoch is the best so far, by `choose_by`.
    message          one line for people.
    share            of the steps of tuning the universal model that are done; "universal" only.
    """

    kind: Literal["start", "step", "validation", "universal", "note", "end"]
    epoch: int
    step: int
    num_epochs: int
    num_steps: int
    loss: float = math.nan
    events_per_s: float = math.nan
    waiting: float = math.nan
    validation_nll: float = math.nan
    validation_loss: float = math.nan
    validation_rank: float = math.nan
    head_nll: dict[str, float] = field(default_factory=dict)
    is_best: bool = False
    message: str = ""
    share: float = math.nan


def pretrain(
    store: EventStore,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    start: Start | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Train a model on the training part of a store and write a checkpoint.

    start   the start of the run, if not random weights; the same again for a resumed run.
    resume  continue the run in `out`; its configuration and log must be the same.
    Raises ValueError if `out` holds another run or another process is writing it, no objective has the name in the
    configuration, or the log has nothing to train on.
    """
    require_objective(config.objective)
    keep_buffers_in_heap()
    choose_threads()
    with one_writer(out):
        run = _TrainingRun(store, config, out, choose_device(device), start or Start(origin={}))
        if resume:
            run.load()
        else:
            require_writable(
                out,
                "a checkpoint",
                lambda out: set() if (out / "config.json").exists() else names_in(out),
                instead="use --resume",
            )
            try:
                run.describe()
            except OSError:
                _clear_begun(out)
                raise
        try:
            run.train(on_progress)
        except OSError as error:
            if not (out / RESUME_FILE).exists():
                if not resume:
                    _clear_begun(out)
                raise
            raise OSError(f"{error}; make room, and continue with --resume") from error
    return Checkpoint.open(out)


def _clear_begun(out: Path) -> None:
    """Remove the files of a run that failed before its first save, and the folder if nothing else is in it."""
    with suppress(OSError):
        for name in names_in(out) & _FILES:
            (out / name).unlink()
        out.rmdir()


def finished_run(
    store: EventStore,
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Checkpoint, bool]:
    """The finished checkpoint in a folder, and whether it was finished before this call.

    A finished run is kept: the caller checks its configuration and its log. A killed run is resumed; one that was
    killed before its description was complete begins again. Raises ValueError as `pretrain` does, and if the folder
    holds anything else.
    """

    def foreign(folder: Path) -> set[str]:
        return {name for name in names_in(folder) if name.removesuffix(".partial") not in _FILES}

    begun = (folder / "config.json").exists()
    if begun:
        checkpoint = Checkpoint.open(folder)
        if checkpoint.training.finished:
            return checkpoint, True
    elif folder.exists():
        require_writable(folder, "a run that was begun", foreign)
        shutil.rmtree(folder)
    trained = pretrain(store, config, folder, resume=begun, device=device, on_progress=on_progress)
    return trained, False


def _seen_by_heads(parts: LogParts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Waiting times, half hours and weekends of the training part, of the first users with _COUNTED_EVENTS."""
    waited, slots, weekends, num_events = [], [], [], 0
    for group in parts.groups():
        log = group.log
        counted = group.is_target & (log.behavior >= 0)
        waited.append(waiting_times(group.behaviors, counted))
        slots.append(log.slot[counted])
        weekends.append(log.weekday[counted] >= FIRST_WEEKEND_DAY)
        num_events += len(log.event)
        if num_events >= _COUNTED_EVENTS:
            break
    return np.concatenate(waited), np.concatenate(slots), np.concatenate(weekends)


class _TrainingRun:
    """One training run; everything that changes is in `state`."""

    def __init__(self, store: EventStore, config: TrainConfig, out: Path, device: torch.device, start: Start) -> None:
        self.store, self.config, self.out, self.device = store, config, out, device
        self.start = start
        self.parts = LogParts.of(
            store, config, vocabulary=start.vocabulary, is_target=start.is_target, train_ranges=start.train_ranges
        )
        objective = build_objective(config.objective, self.parts.behavior_counts).to(device)
        self.data = TrainingLog(
            store,
            self.parts.vocabulary,
            self.parts.bounds,
            device,
            habits=config.habits,
            generation=config.generation_heads,
            candidate_ratio=objective.candidate_ratio,
            is_target=self.parts.chosen_targets,
        )
        self.loader = Loader(
            self.data,
            self.parts.train_ranges,
            row_events=config.row_events,
            batch_events=config.batch_events,
            seed=config.seed,
        )
        self.losses = BatchLosses(config, self.parts.vocabulary, objective, device)
        self.precision = str(self.losses.precision).removeprefix("torch.")
        self.model_config = config.model_config(self.parts.vocabulary)

        torch.manual_seed(config.seed)
        model = BehaviorModel(self.model_config).to(device)
        if config.generation_heads:
            model.generation.count(*_seen_by_heads(self.parts))
        start.prepare(model)
        self.state = TrainingState(
            model=model,
            average=AveragedModel(model, avg_fn=moving_average(config.ema_decay)),
            objective=objective,
            optimizer=torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.learning_rate),
        )
        self.steps_per_epoch = self.loader.steps_per_epoch
        self.num_steps = self.steps_per_epoch * config.epochs

    # -- the loop ---------------------------------------------------------------------------

    def train(self, on_progress: Callable[[Progress], None]) -> None:
        state = self.state

        def report(kind: Any, **numbers: Any) -> None:
            planned: dict[str, Any] = {"num_epochs": self.config.epochs, "num_steps": self.num_steps}
            on_progress(Progress(kind=kind, epoch=state.epoch, step=state.step, **planned, **numbers))

        report("start", message=self._describe_run())
        if self.start.is_candidate and state.step == 0:
            self._keep_if_best(self._validate())
        num_events, seconds, saved_at = 0, 0.0, time.monotonic()
        while state.epoch < self.config.epochs and not self._has_converged():
            losses: list[float] = []
            done_in_epoch = state.step - state.epoch * self.steps_per_epoch
            started = time.monotonic()
            for step in self.loader.epoch(state.epoch, done_in_epoch):
                loss = self._train_step(step.batches[0])
                if not math.isfinite(loss):
                    raise ValueError(
                        f"the loss of step {state.step} is {loss}; train again with a lower "
                        f"learning_rate, now {self.config.learning_rate}"
                    )
                seconds += time.monotonic() - started
                num_events += step.num_events
                losses.append(loss)
                state.step += 1
                report(
                    "step",
                    loss=float(np.mean(losses[-20:])),
                    events_per_s=num_events / seconds,
                    waiting=self.loader.waited_s / seconds,
                )
                started = time.monotonic()
                if time.monotonic() - saved_at > _SAVE_EVERY_S:
                    state.save(self.out / RESUME_FILE)
                    saved_at = started = time.monotonic()
            validation = self._validate()
            state.epoch += 1
            state.validations.append(validation)
            is_best = self._keep_if_best(validation)
            state.save(self.out / RESUME_FILE)
            saved_at = time.monotonic()
            report(
                "validation",
                loss=float(np.mean(losses)) if losses else math.nan,
                events_per_s=num_events / max(seconds, 1e-9),
                waiting=self.loader.waited_s / max(seconds, 1e-9),
                validation_nll=validation.nll,
                validation_loss=validation.loss,
                validation_rank=validation.rank,
                head_nll=validation.head_nll,
                is_best=is_best,
            )
        came_of_it = self._start_from_universal(report) if self.config.from_universal else None
        self.describe(finished=True, came_of_it=came_of_it)
        (self.out / RESUME_FILE).unlink(missing_ok=True)
        if self.config.choose_by == "rank":
            report("end", validation_rank=-state.best_loss)
        else:
            report("end", validation_loss=state.best_loss)

    def _start_from_universal(self, report: Callable[..., None]) -> UniversalStart | None:
        """The second half of a run from the universal model: see `universal_start`. None if the log does not allow it.

        It follows from the weights that are kept and the seed, so a run that is killed meanwhile does it again.
        """
        if not can_start_from_universal(self.parts.behaviors, self.store.num_events):
            report("note", message="some events have no behavior, which the universal model cannot read: left out")
            return None
        kept = Checkpoint.open(self.out).load_model()  # without a lookup: the run is not finished

        def on_step(step: int, steps: int, loss: float) -> None:
            report("universal", loss=loss, message=f"universal model, step {step}/{steps}", share=step / steps)

        found = start_from_universal(self.parts, kept, self.config.seed, on_step)
        write_lookup(self.out, found.lookup)
        report("note", message=found.to_text())
        return found

    def _keep_if_best(self, validation: Validation) -> bool:
        """Write the averaged weights of this epoch if none before was better.

        While the objective has no finite loss yet, no epoch is kept.
        """
        by_rank = self.config.choose_by == "rank" and math.isfinite(validation.loss)
        loss = -validation.rank if by_rank else validation.loss
        if not loss < self.state.best_loss:
            return False
        self.state.best_loss, self.state.best_epoch = loss, self.state.epoch
        kept = self.start.kept_state(self.state.averaged)
        write_tensors(self.out / "model.safetensors", kept)
        return True

    def _train_step(self, batch: Batch) -> float:
        """One optimizer step; mean loss in nats."""
        state = self.state
        state.model.train()
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate_at(state.step, self.num_steps, self.config.learning_rate, self.config.warmup)
        losses, heads = self.losses.of(state.model, batch, self.config.query_dropout)
        progress = state.step / self.num_steps
        loss = state.objective(losses, batch.target, progress)
        if heads is not None:
            loss = loss + self.config.generation_weight * heads.total
        if self.start.extra_loss is not None:
            loss = loss + self.start.extra_loss(batch, losses)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.optimizer.step()
        state.average.update_parameters(state.model)
        return float(losses.nll.detach().mean())

    def _validate(self) -> Validation:
        """The averaged weights on the validation part."""
        return validate(
            self.state.averaged, self.config, self.parts, self.data, self.losses, self.state.step / self.num_steps
        )

    def _has_converged(self) -> bool:
        """True if `patience` epochs since the end of the warm start were not better."""
        patience, best = self.config.patience, self.state.best_epoch
        began = int(self.state.objective.begins_at * self.config.epochs)
        return bool(patience) and best >= 0 and self.state.epoch - max(best, began) >= patience

    # -- the state on disk ------------------------------------------------------------------

    def describe(self, finished: bool = False, came_of_it: UniversalStart | None = None) -> None:
        """Write all of the checkpoint but weights and metrics; came_of_it of a run from the universal model."""
        state = self.state
        validations, dro = state.validations, None
        if isinstance(state.objective, DistributionallyRobust):
            worst_case = state.objective.worst_case().tolist() if finished else None
            dro = DroResult(capacity=state.objective.capacity, worst_case=worst_case)
        training = TrainingRecord(
            data_fingerprint=self.store.fingerprint,
            origin=self.start.origin,
            behavior_counts=self.parts.behavior_counts.tolist(),
            seed=self.config.seed,
            device=self.device.type,
            precision=self.precision,
            attention=self.losses.backend,
            num_parameters=sum(p.numel() for p in state.model.parameters()),
            versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            finished=finished,
            best_epoch=state.best_epoch,
            validation_nll=[one.nll for one in validations],
            validation_loss=[one.loss if math.isfinite(one.loss) else None for one in validations],
            validation_rank=[one.rank for one in validations] if self.config.choose_by == "rank" else None,
            generation_nll=[one.head_nll for one in validations] if self.config.generation_heads else None,
            dro=dro,
            universal=came_of_it.to_json() if came_of_it else None,
        )
        write_description(self.out, self.config, self.model_config, self.parts.vocabulary, training)

    def load(self) -> None:
        """Continue the run whose state is in `out`."""
        if not (self.out / "config.json").is_file():
            raise ValueError(f"{self.out} holds no run to resume; leave --resume out")
        before = Checkpoint.open(self.out)
        if before.training.data_fingerprint != self.store.fingerprint:
            raise ValueError(f"{self.out} was trained on another log; resume it on that one")
        machine = {"device": before.training.device, "precision": before.training.precision}
        for then, now in (
            (before.config.to_json(), self.config.to_json()),
            (machine, {"device": self.device.type, "precision": self.precision}),
            (before.training.origin, self.start.origin),
        ):
            for name in {**then, **now}:
                if then.get(name) != now.get(name):
                    raise ValueError(
                        f"{self.out} was started with {name} = {then.get(name)}, now it is {now.get(name)}; "
                        "resume with the command that began it, on the same kind of machine"
                    )
        if before.training.finished:
            raise ValueError(f"{self.out} is finished; nothing to resume")
        if not (self.out / RESUME_FILE).is_file():
            return  # killed before the first save: start from the beginning
        self.state.load(self.out / RESUME_FILE)

    def _describe_run(self) -> str:
        num_parameters = sum(p.numel() for p in self.state.model.parameters())
        line = (
            f"{num_parameters:,} parameters, {self.device.type}, {self.precision}, "
            f"attention {self.losses.backend}, threads {torch.get_num_threads()}, "
            f"{self.steps_per_epoch} steps per epoch"
        )
        return ", ".join(filter(None, (line, self.state.objective.summary())))
