"""The loop of one training run, and its state on disk.

Order of the data, dropout and the running means of the objective follow from the seed and from the state in
`resume.safetensors` alone, so a run that is killed and resumed on the same CPU ends with the same weights as one that
was not. Nor do they depend on the number of processes (`ranks`): a step is a function of its rows, and its losses are
means over all its targets.
"""

# N events of the log, S ranges, R rows of a step

import copy
import math
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgebehave.habits import FIRST_WEEKEND_DAY
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.files import write_tensors
from edgebehave_train.kernels.copy_kernels import waiting_times
from edgebehave_train.loading.batches import Batch, TrainingLog
from edgebehave_train.loading.loader import Loader, Step
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.model.behavior_model import BehaviorModel, TargetLosses
from edgebehave_train.model.generation_heads import HeadLosses
from edgebehave_train.model.row_noise import row_keys
from edgebehave_train.training.batch_losses import BatchLosses
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint, DroResult, TrainingRecord, write_description
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.objectives import DistributionallyRobust, build_objective
from edgebehave_train.training.optimization import learning_rate_at, moving_average, parameter_groups
from edgebehave_train.training.progress import Clock, Progress
from edgebehave_train.training.ranks import Parallel, Ranks, averaging, is_sharded, shard, without_averaging
from edgebehave_train.training.recipes import TrainConfig
from edgebehave_train.training.run_log import STEPS_PER_LINE, RunLog
from edgebehave_train.training.state import TrainingState
from edgebehave_train.training.universal_start import UniversalStart, can_start_from_universal, start_from_universal
from edgebehave_train.training.validation import Validation, validate
from edgebehave_train.universal.own_names import write_lookup

_SAVE_EVERY_S = 60.0
_COUNTED_EVENTS = 5_000_000
"""Events from which the generation heads take their first statistics, at least, if the log has so many."""


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


class TrainingRun:
    """One training run; everything that changes is in `state`."""

    def __init__(
        self,
        store: EventStore,
        config: TrainConfig,
        out: Path,
        ranks: Ranks,
        start: Start,
        parallel: Parallel,
        micro_batch_events: int | None,
        extendable: bool,
    ) -> None:
        self.store, self.config, self.out, self.ranks, self.device = store, config, out, ranks, ranks.device
        self.start, self.extendable = start, extendable
        self.micro_batch_rows = max(1, (micro_batch_events or config.batch_events) // config.row_events)
        self.parts = LogParts.of(
            store, config, vocabulary=start.vocabulary, is_target=start.is_target, train_ranges=start.train_ranges
        )
        objective = build_objective(config.objective, self.parts.behavior_counts).to(self.device)
        objective.all_sum = ranks.sum
        self.data = TrainingLog(
            store,
            self.parts.vocabulary,
            self.parts.bounds,
            self.device,
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
            rank=ranks.rank,
            world_size=ranks.size,
            micro_batch_rows=self.micro_batch_rows,
        )
        self.losses = BatchLosses(config, self.parts.vocabulary, objective, self.device)
        self.precision = str(self.losses.precision).removeprefix("torch.")
        self.model_config = config.model_config(self.parts.vocabulary)

        torch.manual_seed(config.seed)
        model = BehaviorModel(self.model_config).to(self.device)
        if config.generation_heads:
            model.generation.count(*_seen_by_heads(self.parts))
        start.prepare(model)
        average = AveragedModel(model, multi_avg_fn=moving_average(config.ema_decay))
        self.num_parameters = sum(p.numel() for p in model.parameters())
        self.sharded = is_sharded(self.num_parameters, ranks, parallel)
        holder = copy.deepcopy(model) if self.sharded else None
        step_losses = _StepLosses(model, self.losses, config.query_dropout)
        if self.sharded:
            shard(step_losses, list(model.blocks))
            shard(average.module, list(cast(BehaviorModel, average.module).blocks))
        self.step_losses = averaging(step_losses, ranks, sharded=self.sharded)
        self.state = TrainingState(
            model=model,
            average=average,
            holder=holder,
            objective=objective,
            optimizer=torch.optim.AdamW(
                parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True
            ),
        )
        self.steps_per_epoch = self.loader.steps_per_epoch
        self.num_steps = self.steps_per_epoch * config.epochs
        self.resumed = ""

    # -- the loop ---------------------------------------------------------------------------

    def train(self, on_progress: Callable[[Progress], None], loggers: Sequence[str]) -> None:
        state = self.state

        def report(kind: Any, **numbers: Any) -> None:
            planned: dict[str, Any] = {"num_epochs": self.config.epochs, "num_steps": self.num_steps}
            on_progress(Progress(kind=kind, epoch=state.epoch, step=state.step, **planned, **numbers))

        report("start", message=self._describe_run())
        if self.resumed:
            report("note", message=self.resumed)
        with ExitStack() as stack:
            log = None
            if self.ranks.is_first:
                log = RunLog(self.out, self.config, loggers, (state.epoch, state.step))
                stack.callback(log.close)
            self._train_epochs(report, log)
        if not self.ranks.is_first:
            return
        came_of_it = self._start_from_universal(report) if self.config.from_universal else None
        self.describe(finished=True, came_of_it=came_of_it)
        if not self.extendable:
            (self.out / RESUME_FILE).unlink(missing_ok=True)
        if self.config.choose_by == "rank":
            report("end", validation_rank=-state.best_loss)
        else:
            report("end", validation_loss=state.best_loss)

    def _train_epochs(self, report: Callable[..., None], log: RunLog | None) -> None:
        """Train to the end; log of rank 0."""
        state, clock = self.state, Clock()
        if self.start.is_candidate and state.step == 0:
            self._keep_if_best(self._validate())
        saved_at = time.monotonic()
        latest: list[float] = []
        while state.epoch < self.config.epochs and not self._has_converged():
            done_in_epoch = state.step - state.epoch * self.steps_per_epoch
            latest.clear()
            unread: list[Tensor] = []
            for step in clock.waiting_for(self.loader.epoch(state.epoch, done_in_epoch)):
                unread.append(self.train_step(step, clock))
                state.step += 1
                state.epoch_steps += 1
                in_epoch = state.step - state.epoch * self.steps_per_epoch
                ends_line = in_epoch % STEPS_PER_LINE == 0 or in_epoch == self.steps_per_epoch
                if self.device.type == "cuda" and not ends_line:
                    continue  # reading a loss would let the GPU wait for the next step
                with clock:
                    losses = [float(loss) for loss in unread]
                unread.clear()
                self._require_finite(losses)
                state.epoch_loss += sum(losses)
                state.line_losses += losses
                latest += losses
                report(
                    "step", loss=float(np.mean(latest[-20:])), events_per_s=clock.events_per_s, waiting=clock.waiting
                )
                if ends_line:
                    if log:
                        log.write(self._line(clock))
                    state.line_losses = []
                if self._is_due(saved_at):
                    self._save()
                    saved_at = time.monotonic()
            validation = self._validate()
            epoch_loss = state.epoch_loss / max(1, state.epoch_steps)
            state.epoch += 1
            state.epoch_loss, state.epoch_steps = 0.0, 0
            state.validations.append(validation)
            is_best = self._keep_if_best(validation)
            numbers = {
                "loss": epoch_loss,
                "events_per_s": clock.events_per_s,
                "waiting": clock.waiting,
                "validation_nll": validation.nll,
                "validation_loss": validation.loss,
                "validation_rank": validation.rank,
                "is_best": is_best,
            }
            if log:
                of_heads = {f"{name}_nll": nll for name, nll in validation.head_nll.items()}
                log.write({"kind": "validation", "epoch": state.epoch, "step": state.step, **numbers, **of_heads})
            self._save()
            saved_at = time.monotonic()
            report("validation", head_nll=validation.head_nll, **numbers)

    def _line(self, clock: Clock) -> dict[str, Any]:
        """The line of metrics.jsonl after some steps."""
        state = self.state
        line = {
            "kind": "step",
            "epoch": state.epoch,
            "step": state.step,
            "loss": float(np.mean(state.line_losses)),
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "events_per_s": clock.events_per_s,
            "waiting": clock.waiting,
        }
        if isinstance(state.objective, DistributionallyRobust):
            line["dro_capacity"] = state.objective.capacity_at((state.step - 1) / self.num_steps)
        return line

    def _require_finite(self, losses: list[float]) -> None:
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise ValueError(
                    f"the loss of step {self.state.step - len(losses) + i} is {loss}; train again with a lower "
                    f"learning_rate, now {self.config.learning_rate}"
                )

    def _is_due(self, saved_at: float) -> bool:
        """Whether it is time to save. All ranks take part in saving a model that is split over them."""
        is_due = time.monotonic() - saved_at > _SAVE_EVERY_S
        return bool(self.ranks.of_first(is_due)[0]) if self.sharded else is_due

    def _save(self) -> None:
        if self.sharded or self.ranks.is_first:
            self.state.save(self.out / RESUME_FILE, is_writer=self.ranks.is_first)

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
        if self.ranks.is_first:
            write_tensors(self.out / "model.safetensors", self.start.kept_state(self.averaged))
        return True

    def train_step(self, step: Step, clock: Clock) -> Tensor:
        """One optimizer step, of whose rows this rank has its share; mean loss in nats."""
        state = self.state
        state.model.train()
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate_at(
                state.step, self.num_steps, self.config.learning_rate, self.config.warmup, state.extended_at[1]
            )
        clock.num_events += step.num_events
        with clock:
            counts = [len(batch.target) for batch in step.batches]
            num_targets = self.ranks.sum(torch.tensor(float(sum(counts)), device=self.device)).clamp_min(1)
            progress = state.step / self.num_steps
            state.optimizer.zero_grad(set_to_none=True)
            nll = torch.zeros((), device=self.device)
            for i, (first_row, batch) in enumerate(zip(step.first_rows, step.batches, strict=True)):
                shape = batch.segment.shape[0], batch.segment.shape[1]
                keys = row_keys(self.config.seed, state.step, first_row, shape, self.device)
                is_last = i == len(step.batches) - 1
                with nullcontext() if is_last else without_averaging(self.step_losses):
                    with state.model.noise.keyed(keys, batch.where):
                        losses, heads = self.step_losses(batch)
                    loss = state.objective(losses, batch.target, progress, num_targets)
                    share = counts[i] / num_targets
                    if heads is not None:
                        loss = loss + self.config.generation_weight * heads.total * share
                    if self.start.extra_loss is not None:
                        loss = loss + self.start.extra_loss(batch, losses) * share
                    (loss * self.ranks.size).backward()  # the gradients of all ranks are averaged
                nll += losses.nll.detach().sum()
            nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
            state.optimizer.step()
            state.average.update_parameters(state.model)
            return self.ranks.sum(nll) / num_targets

    def _validate(self) -> Validation:
        """The averaged weights on the validation part, by rank 0."""
        self.averaged = self.state.averaged()
        progress = self.state.step / self.num_steps
        found = (
            validate(self.averaged, self.config, self.parts, self.data, self.losses, progress)
            if self.ranks.is_first
            else Validation(nll=math.nan, loss=math.nan, head_nll={})
        )
        nll, loss, rank = self.ranks.of_first(found.nll, found.loss, found.rank)
        return Validation(nll=nll, loss=loss, rank=rank, head_nll=found.head_nll)

    def _has_converged(self) -> bool:
        """True if `patience` epochs since the end of the warm start were not better."""
        patience, best = self.config.patience, self.state.best_epoch
        began = int(self.state.objective.begins_at * self.config.epochs)
        since = max(best, began, self.state.extended_at[0])
        return bool(patience) and best >= 0 and self.state.epoch - since >= patience

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
            num_parameters=self.num_parameters,
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
        """Continue the run whose state is in `out`, or extend it if it is finished and has fewer epochs."""
        if not (self.out / "config.json").is_file():
            raise ValueError(f"{self.out} holds no run to resume; leave --resume out")
        before = Checkpoint.open(self.out)
        if before.training.data_fingerprint != self.store.fingerprint:
            raise ValueError(f"{self.out} was trained on another log; resume it on that one")
        machine = {"device": before.training.device, "precision": before.training.precision}
        is_extended = before.training.finished and self.config.epochs > before.config.epochs
        then_config, now_config = before.config.to_json(), self.config.to_json()
        if is_extended:
            then_config["epochs"] = now_config["epochs"]
        for then, now in (
            (then_config, now_config),
            (machine, {"device": self.device.type, "precision": self.precision}),
            (before.training.origin, self.start.origin),
        ):
            for name in {**then, **now}:
                if then.get(name) != now.get(name):
                    raise ValueError(
                        f"{self.out} was started with {name} = {then.get(name)}, now it is {now.get(name)}; "
                        "resume with the command that began it, on the same kind of machine"
                    )
        if before.training.finished and not is_extended:
            raise ValueError(
                f"{self.out} is finished; nothing to resume; more than its {before.config.epochs} epochs extend it"
            )
        state, file = self.state, self.out / RESUME_FILE
        if not file.is_file():
            if is_extended:
                raise ValueError(f"{self.out} has no {RESUME_FILE} any more, so it cannot be extended; train it again")
            self.resumed = "the run was killed before its first save: it starts from the beginning"
            return
        state.load(file)
        self.ranks.wait()  # every rank has read it before rank 0 writes
        self.resumed = f"resumed after epoch {state.epoch}, at step {state.step:,} of {self.num_steps:,}"
        if is_extended:
            state.extended_at = state.epoch, state.step
            self.resumed = (
                f"extended from {before.config.epochs} to {self.config.epochs} epochs, after epoch {state.epoch}, at "
                f"step {state.step:,} of {self.num_steps:,}; the learning rate warms up to that of a run of "
                f"{self.config.epochs} epochs"
            )
            self._save()
            if self.ranks.is_first:
                self.describe()

    def _describe_run(self) -> str:
        line = (
            f"{self.num_parameters:,} parameters, {self.device.type}, {self.precision}, "
            f"attention {self.losses.backend}, {self.steps_per_epoch} steps per epoch"
        )
        ranks = f"{self.ranks.size} processes, {'fsdp' if self.sharded else 'ddp'}" if self.ranks.size > 1 else ""
        return ", ".join(filter(None, (line, ranks, self.state.objective.summary())))


class _StepLosses(nn.Module):
    """The losses of a batch as the forward pass of a module, which DDP and FSDP want."""

    def __init__(self, model: BehaviorModel, losses: BatchLosses, query_dropout: float) -> None:
        super().__init__()
        self.model, self.losses, self.query_dropout = model, losses, query_dropout

    def forward(self, batch: Batch) -> tuple[TargetLosses, HeadLosses | None]:
        return self.losses.of(self.model, batch, self.query_dropout)


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
