"""Pretraining: from an event store to a checkpoint, resumable to the bit.

Order of the data, dropout and the running means of the objective follow from the seed and from
the state in `resume.safetensors` alone, so a run that is killed and resumed on the same CPU
ends with the same weights as one that was not.
"""

# N events of the log, M targets of a batch

import contextlib
import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgebehave.habits import FIRST_WEEKEND_DAY, KERNELS, TIMED_KERNELS
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.asking_ranges import asking_ranges
from edgebehave_train.attention import choose_backend
from edgebehave_train.checkpoint import (
    RESUME_FILE,
    Checkpoint,
    read_tensors,
    write_description,
    write_tensors,
    write_text,
)
from edgebehave_train.copy_kernels import waiting_times
from edgebehave_train.event_store import EventStore
from edgebehave_train.generation_heads import HeadLosses
from edgebehave_train.hardware import choose_device, choose_precision, keep_buffers_in_heap
from edgebehave_train.mapped_log import behavior_counts, map_log, training_vocabulary
from edgebehave_train.metrics import reciprocal_rank
from edgebehave_train.model import UNKNOWN_TIME, BehaviorModel, TargetLosses
from edgebehave_train.model_card import model_card
from edgebehave_train.objectives import DistributionallyRobust, build_objective
from edgebehave_train.optimization import learning_rate_at, moving_average, parameter_groups
from edgebehave_train.packing import pack_rows, share_of_ranges
from edgebehave_train.ranking import Ranking
from edgebehave_train.recipes import TrainConfig
from edgebehave_train.scoring import target_probs
from edgebehave_train.split import TRAIN, VALIDATION, part_bounds, part_of_event
from edgebehave_train.training_log import Batch, TrainingLog

_SAVE_EVERY_S = 60.0
_VALIDATION_ROW_EVENTS = 4096
_VALIDATION_PAD_EVENTS = 1024


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run begins with when it does not begin with noise on the whole training part.

    origin        what training.json says of it: the checkpoint it comes from, the strategy.
    vocabulary    ids of the run; None = that of the training part.
    prepare       changes the fresh model in place: copies weights, freezes, puts adapters in.
    kept_state    the trained model as the state of a plain BehaviorModel: merges adapters.
    is_candidate  what it begins with may be what is kept, as epoch 0, if no epoch is better.
    train_ranges  (S, 2) positions in the store to train on; None = the training part.
    is_target     (N,) bool, events that may be training targets; None = the training part.
    extra_loss    what a training step adds to the objective, of a batch and what the model says of
                  it: a term of one number, nats. Validation does not ask for it.
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
class Validation:
    """An epoch on the validation part; losses in nats.

    nll   mean -log p of the targets under the mixture.
    loss  what the objective makes of them (`Objective.validation_loss`); nll itself for ce.
    head_nll  of each generation head.
    rank  mean reciprocal rank of the targets; NaN unless it chooses the epoch.
    """

    nll: float
    loss: float
    head_nll: dict[str, float]
    rank: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a training run tells about itself.

    kind             "start", "step", "validation" (once per epoch) or "end".
    epoch, step      done so far; num_epochs, num_steps planned.
    loss             mean training loss since the last report, nats.
    events_per_s     training events per second of training time, this run.
    validation_nll   mean -log p of the validation targets, nats; "validation" only.
    validation_loss  what the objective makes of them: that very number for ce; "validation", and
                     the lowest at the "end" if it chooses the weights.
    validation_rank  mean reciprocal rank of the targets if it chooses the weights, else NaN;
                     "validation", and the highest at the "end".
    head_nll         -log p of each generation head; "validation" only, empty without heads.
    is_best          the epoch is the best so far, by what `choose_by` says.
    message          one line for people.
    """

    kind: Literal["start", "step", "validation", "end"]
    epoch: int
    step: int
    num_epochs: int
    num_steps: int
    loss: float = math.nan
    events_per_s: float = math.nan
    validation_nll: float = math.nan
    validation_loss: float = math.nan
    validation_rank: float = math.nan
    head_nll: dict[str, float] = field(default_factory=dict)
    is_best: bool = False
    message: str = ""


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

    start   what to begin with, if not with noise; the same again for a resumed run.
    resume  continue the run in `out`; its configuration and log must be the same.
    Raises ValueError if `out` holds another run, or the log has nothing to train on.
    """
    keep_buffers_in_heap()
    run = _Run(store, config, out, choose_device(device), start or Start(origin={}))
    if resume:
        run.load()
    elif (out / "config.json").exists():
        raise ValueError(f"{out} already holds a checkpoint; use --resume, or another folder")
    elif out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name a folder for the checkpoint alone")
    else:
        run.describe()
    run.train(on_progress)
    return Checkpoint.open(out)


class _Run:
    """One training run: what stays the same in the constructor, what moves in `state`."""

    def __init__(
        self,
        store: EventStore,
        config: TrainConfig,
        out: Path,
        device: torch.device,
        start: Start,
    ) -> None:
        self.store, self.config, self.out, self.device = store, config, out, device
        self.start = start
        part = part_of_event(store, config.split)
        self.vocabulary = start.vocabulary or training_vocabulary(store, part == TRAIN)
        self.behavior_counts = behavior_counts(store, part == TRAIN, self.vocabulary)
        if self.vocabulary.num_behaviors < 3:
            raise ValueError(
                f"the training part holds {self.vocabulary.num_behaviors - 1} behaviors; "
                "a model needs at least 2 to choose from"
            )
        self.log = map_log(store, self.vocabulary)
        self.behaviors = behaviors = self.log.behavior_log(part == TRAIN)
        self.validation_targets = behaviors.targets(part == VALIDATION)
        self.event_to_behavior = torch.tensor(self.vocabulary.event_to_behavior, device=device)
        self.objective = build_objective(config.objective, self.behavior_counts).to(device)
        self.data = TrainingLog(
            self.log,
            behaviors,
            device,
            habits=config.habits,
            learned_kernel=config.habits and config.learned_kernel,
            generation=config.generation_heads,
            ratio_C=self.objective.candidate_ratio(behaviors.num_candidates),
        )
        is_target = part == TRAIN if start.is_target is None else start.is_target & (part == TRAIN)
        self.in_part = {
            which: torch.from_numpy(mask).to(device)
            for which, mask in ((TRAIN, is_target), (VALIDATION, part == VALIDATION))
        }
        bounds = part_bounds(store, config.split)
        # The last event of the part has its target in the next part.
        self.train_ranges = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
        if start.train_ranges is not None:
            self.train_ranges = start.train_ranges
        self.train_ranges = share_of_ranges(self.train_ranges, config.data_share, config.seed)
        following = self.log.next_behavior[self.log.next_behavior >= 0]
        part_of_target = part[following[self.log.target[following] > 0]]
        if not is_target[following[self.log.target[following] > 0]].any():
            raise ValueError(
                "no behavior of the training part follows another event; nothing to train on"
            )
        if config.data_share < 1:
            shown = np.concatenate([np.arange(*bounds) for bounds in self.train_ranges])
            following = self.log.next_behavior[shown]
            following = following[following >= 0]
            num_shown = len(np.unique(self.log.target[following[is_target[following]]]))
            if num_shown < 2:
                raise ValueError(
                    f"{config.data_share:.2%} of the training part show {num_shown} behaviors; "
                    "take a larger share"
                )
        if not (part_of_target == VALIDATION).any():
            raise ValueError(
                "the validation part holds nothing to predict, but its loss chooses the weights; "
                "give it a larger share, or take a longer log"
            )

        self.model_config = config.model_config(self.vocabulary)
        self.validation_ranges = asking_ranges(
            self.log.next_behavior, part == VALIDATION, bounds, self.model_config.receptive_field
        )

        torch.manual_seed(config.seed)
        self.model = BehaviorModel(self.model_config).to(device)
        if config.generation_heads:
            counted = is_target & (self.log.behavior >= 0)
            self.model.generation.count(
                waiting_times(behaviors, counted),
                self.log.slot[counted],
                self.log.weekday[counted] >= FIRST_WEEKEND_DAY,
            )
        start.prepare(self.model)
        self.average = AveragedModel(self.model, avg_fn=moving_average(config.ema_decay))
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay), lr=config.learning_rate
        )
        self.precision = choose_precision(config, device)
        fused = config.attention != "hstu"
        self.backend = choose_backend(device, self.precision) if fused else "blockwise"
        self.steps_per_epoch = self._count_steps()
        self.num_steps = self.steps_per_epoch * config.epochs
        self.epoch = 0
        self.step = 0
        self.best_loss = math.inf
        self.best_epoch = -1
        self.validations: list[Validation] = []

    # -- the loop ---------------------------------------------------------------------------

    def train(self, on_progress: Callable[[Progress], None]) -> None:
        def report(kind: Any, **numbers: Any) -> None:
            on_progress(
                Progress(
                    kind=kind,
                    epoch=self.epoch,
                    step=self.step,
                    num_epochs=self.config.epochs,
                    num_steps=self.num_steps,
                    **numbers,
                )
            )

        report("start", message=self._describe_run())
        if self.start.is_candidate and self.step == 0:
            self._keep_if_best(self.validate())
        num_events, seconds, saved_at = 0, 0.0, time.monotonic()
        while self.epoch < self.config.epochs and not self._has_converged():
            losses: list[float] = []
            done_in_epoch = self.step - self.epoch * self.steps_per_epoch
            for rows in self._epoch_batches(self.epoch)[done_in_epoch:]:
                started = time.monotonic()
                loss, batch_events = self._train_step(rows)
                if not math.isfinite(loss):
                    raise ValueError(
                        f"the loss of step {self.step} is {loss}; train again with a lower "
                        f"learning_rate, now {self.config.learning_rate}"
                    )
                seconds += time.monotonic() - started
                num_events += batch_events
                losses.append(loss)
                self.step += 1
                report("step", loss=float(np.mean(losses[-20:])), events_per_s=num_events / seconds)
                if time.monotonic() - saved_at > _SAVE_EVERY_S:
                    self.save()
                    saved_at = time.monotonic()
            validation = self.validate()
            self.epoch += 1
            self.validations.append(validation)
            is_best = self._keep_if_best(validation)
            self.save()
            saved_at = time.monotonic()
            report(
                "validation",
                loss=float(np.mean(losses)) if losses else math.nan,
                events_per_s=num_events / max(seconds, 1e-9),
                validation_nll=validation.nll,
                validation_loss=validation.loss,
                validation_rank=validation.rank,
                head_nll=validation.head_nll,
                is_best=is_best,
            )
        self.describe(finished=True)
        (self.out / RESUME_FILE).unlink(missing_ok=True)
        if self.config.choose_by == "rank":
            report("end", validation_rank=-self.best_loss)
        else:
            report("end", validation_loss=self.best_loss)

    def _keep_if_best(self, validation: Validation) -> bool:
        """Write the averaged weights of this epoch if none before was better.

        An objective that knows no loss yet has no candidate, whatever chooses.
        """
        by_rank = self.config.choose_by == "rank" and math.isfinite(validation.loss)
        loss = -validation.rank if by_rank else validation.loss
        if not loss < self.best_loss:
            return False
        self.best_loss, self.best_epoch = loss, self.epoch
        state = self.start.kept_state(cast(BehaviorModel, self.average.module))
        write_tensors(self.out / "model.safetensors", state)
        return True

    def _train_step(self, rows: list[npt.NDArray[np.int64]]) -> tuple[float, int]:
        """One optimizer step; mean loss in nats and the number of events."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(
                self.step, self.num_steps, self.config.learning_rate, self.config.warmup
            )
        batch = self.data.batch(rows, self.in_part[TRAIN])
        losses, heads = self._losses(self.model, batch, self.config.query_dropout)
        progress = self.step / self.num_steps
        loss = self.objective(losses, batch.target, progress)
        if heads is not None:
            loss = loss + self.config.generation_weight * heads.total
        if self.start.extra_loss is not None:
            loss = loss + self.start.extra_loss(batch, losses)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return float(losses.nll.detach().mean()), batch.num_events

    def _losses(
        self, model: BehaviorModel, batch: Batch, query_dropout: float
    ) -> tuple[TargetLosses, HeadLosses | None]:
        """What an objective needs of every target of a batch; and the losses of the generation
        heads, if the model has them."""
        plan = model.plan(batch.segment, batch.time_s, self.backend)
        with self._autocast():
            hidden = model.hidden(batch.event, batch.location, batch.weekday, batch.slot, plan)
            weekday, slot, evidence = batch.query_weekday, batch.query_slot, batch.evidence
            time_known = torch.ones(len(batch.where), dtype=torch.bool, device=self.device)
            if self.config.query_context == "none" or (query_dropout and model.training):
                share = 1.0 if self.config.query_context == "none" else query_dropout
                hide = torch.rand(len(batch.where), device=self.device) < share
                weekday, slot, evidence = hide_query_time(hide, weekday, slot, evidence)
                time_known = ~hide
            hidden_md = hidden.flatten(0, 1)[batch.where]
            z = model.query(hidden_md, weekday, slot, batch.query_location)
            pairs = self.data.past.pairs(batch.row, time_known) if self.data.past else None
            losses = model.nll(
                z,
                batch.target,
                batch.target_probs,
                evidence,
                pairs,
                self.objective.log_ratio_V,
                batch.tilts,
            )
            heads = None
            if batch.generation is not None:
                heads = model.generation.losses(
                    hidden_md,
                    z,
                    batch.generation,
                    model.event,
                    model.location,
                    self.event_to_behavior,
                )
            return losses, heads

    @torch.no_grad()
    def validate(self) -> Validation:
        """The averaged weights on the validation part."""
        model = cast(BehaviorModel, self.average.module)
        model.eval()
        nlls, losses_of_targets, targets = [], [], []
        of_head = dict.fromkeys(("gap", "event", "place"), 0.0)
        for row in pack_rows(self.validation_ranges, _VALIDATION_ROW_EVENTS, cut=False):
            # Few different lengths: oneDNN compiles a kernel for every new shape.
            padding = -len(row) % _VALIDATION_PAD_EVENTS
            padded = np.append(row, np.full(padding, -1))
            batch = self.data.batch([padded], self.in_part[VALIDATION])
            if len(batch.where):
                losses, heads = self._losses(model, batch, 0.0)
                nlls.append(losses.nll.float())
                losses_of_targets.append(
                    self.objective.target_loss(nlls[-1], losses.log_tilt, batch.target)
                )
                targets.append(batch.target)
                for name in of_head if heads is not None else ():
                    of_head[name] += float(getattr(heads, name)) * len(batch.where)
        nll_M, loss_M, target_M = (torch.cat(t).cpu() for t in (nlls, losses_of_targets, targets))
        progress = self.step / self.num_steps
        return Validation(
            nll=float(nll_M.double().mean()),
            loss=self.objective.validation_loss(loss_M, target_M, progress),
            head_nll={
                name: value / len(nll_M)
                for name, value in of_head.items()
                if self.config.generation_heads
            },
            rank=self._rank(model) if self.config.choose_by == "rank" else math.nan,
        )

    def _rank(self, model: BehaviorModel) -> float:
        """Mean reciprocal rank of the validation targets, as `evaluate` finds it."""
        ranking = Ranking(self.validation_targets)
        for which, probs in target_probs(model, self.log, self.behaviors, ranking.targets):
            ranking.add(which, probs)
        return float(reciprocal_rank(ranking.finish()).mean())

    def _epoch_batches(self, epoch: int) -> list[list[npt.NDArray[np.int64]]]:
        rng = np.random.default_rng([self.config.seed, epoch])
        rows = pack_rows(self.train_ranges, self.config.row_events, rng)
        rows = [rows[i] for i in rng.permutation(len(rows))]
        per_batch = max(1, self.config.batch_events // self.config.row_events)
        return [rows[i : i + per_batch] for i in range(0, len(rows), per_batch)]

    def _count_steps(self) -> int:
        events = np.maximum(self.train_ranges[:, 1] - self.train_ranges[:, 0], 0).sum()
        rows = -(-int(events) // self.config.row_events)
        return -(-rows // max(1, self.config.batch_events // self.config.row_events))

    def _has_converged(self) -> bool:
        """No better epoch for as long as patience lasts, which the warm start does not wear."""
        patience, best = self.config.patience, self.best_epoch
        began = int(self.objective.begins_at * self.config.epochs)
        return bool(patience) and best >= 0 and self.epoch - max(best, began) >= patience

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)

    # -- the state on disk ------------------------------------------------------------------

    def describe(self, finished: bool = False) -> None:
        """Write all of the checkpoint but weights and metrics."""
        training: dict[str, Any] = {
            "data_fingerprint": self.store.fingerprint,
            "origin": self.start.origin,
            "behavior_counts": self.behavior_counts.tolist(),
            "seed": self.config.seed,
            "device": self.device.type,
            "precision": str(self.precision).removeprefix("torch."),
            "attention": self.backend,
            "num_parameters": sum(p.numel() for p in self.model.parameters()),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "finished": finished,
            "best_epoch": self.best_epoch,
            "validation_nll": [one.nll for one in self.validations],
            "validation_loss": [
                one.loss if math.isfinite(one.loss) else None for one in self.validations
            ],
        }
        if self.config.choose_by == "rank":
            training["validation_rank"] = [one.rank for one in self.validations]
        if self.config.generation_heads:
            training["generation_nll"] = [one.head_nll for one in self.validations]
        if isinstance(self.objective, DistributionallyRobust):
            training["dro"] = {
                "capacity": self.objective.capacity,
                "worst_case": self.objective.worst_case().tolist() if finished else None,
            }
        card = model_card(self.config, self.model_config, training)
        write_description(self.out, self.config, self.model_config, self.vocabulary, training)
        write_text(self.out / "README.md", card)

    def save(self) -> None:
        """Write everything that moves into one file, atomically."""
        tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        for prefix, module in self._modules().items():
            for name, value in module.state_dict().items():
                tensors[f"{prefix}.{name}"] = value.clone()
        for i, parameter_state in self.optimizer.state_dict()["state"].items():
            for name, value in parameter_state.items():
                tensors[f"optimizer.{i}.{name}"] = value.clone()
        position = {
            "epoch": self.epoch,
            "step": self.step,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "validations": [dataclasses.asdict(one) for one in self.validations],
        }
        metadata = {"position": json.dumps(position)}
        write_tensors(self.out / RESUME_FILE, tensors, metadata)

    def load(self) -> None:
        """Take up the run in `out`."""
        if not (self.out / "config.json").is_file():
            raise ValueError(f"{self.out} holds no run to resume; leave --resume out")
        before = Checkpoint.open(self.out)
        if before.training["data_fingerprint"] != self.store.fingerprint:
            raise ValueError(f"{self.out} was trained on another log; resume it on that one")
        if before.config != self.config:
            then, now = before.config.to_json(), self.config.to_json()
            name = next(name for name in then if then[name] != now[name])
            raise ValueError(
                f"{self.out} was started with {name} = {then[name]}, now it is {now[name]}; "
                "resume with the same options"
            )
        here = {"device": self.device.type, "precision": str(self.precision).removeprefix("torch.")}
        for name, present in here.items():
            if before.training[name] != present:
                raise ValueError(
                    f"{self.out} was started with {name} {before.training[name]}, here it is "
                    f"{present}; the run would not go on as it began"
                )
        if before.training["origin"] != self.start.origin:
            raise ValueError(
                f"{self.out} was started from {before.training['origin'] or 'noise'}, now it is "
                f"{self.start.origin or 'noise'}; resume with the command that began it"
            )
        if before.training["finished"]:
            raise ValueError(f"{self.out} is finished; nothing to resume")
        if not (self.out / RESUME_FILE).is_file():
            return  # killed before the first save: start from the beginning
        tensors, metadata = read_tensors(self.out / RESUME_FILE)
        position = json.loads(metadata["position"])
        for prefix, module in self._modules().items():
            state = {
                name.removeprefix(f"{prefix}."): value
                for name, value in tensors.items()
                if name.startswith(f"{prefix}.")
            }
            module.load_state_dict(state)
        state_dict = self.optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, field = name.split(".")
                state_dict["state"].setdefault(int(index), {})[field] = value
        self.optimizer.load_state_dict(state_dict)
        if "best_loss" not in position:
            raise ValueError(
                f"{self.out} was begun by an older version, which chose weights by another loss; "
                "start it again in an empty folder"
            )
        self.epoch, self.step = position["epoch"], position["step"]
        self.best_loss, self.best_epoch = position["best_loss"], position["best_epoch"]
        self.validations = [Validation(**one) for one in position["validations"]]
        torch.set_rng_state(tensors["rng.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"])

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "objective": self.objective}

    def _describe_run(self) -> str:
        num_parameters = sum(p.numel() for p in self.model.parameters())
        line = (
            f"{num_parameters:,} parameters, {self.device.type}, "
            f"{str(self.precision).removeprefix('torch.')}, attention {self.backend}, "
            f"{self.steps_per_epoch} steps per epoch"
        )
        return ", ".join(filter(None, (line, self.objective.summary())))


def hide_query_time(
    hide_M: Tensor, weekday_M: Tensor, slot_M: Tensor, evidence_MK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the time from some queries: no weekday, no slot, no evidence of the timed kernels."""
    is_timed = torch.tensor([name in TIMED_KERNELS for name in KERNELS], device=hide_M.device)
    return (
        torch.where(hide_M, UNKNOWN_TIME, weekday_M),
        torch.where(hide_M, UNKNOWN_TIME, slot_M),
        evidence_MK.masked_fill(hide_M[:, None] & is_timed, 0.0),
    )
