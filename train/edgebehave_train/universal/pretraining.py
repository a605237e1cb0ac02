"""Pretraining of the universal model on random worlds and, beside them, on real logs if there are any.

The users of a step depend on the seed and the step alone, so a resumed run goes on as if it had never stopped, with
any number of workers.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from edgebehave_train.files import (
    names_in,
    one_writer,
    read_json,
    read_tensors,
    require_writable,
    write_json,
    write_tensors,
)
from edgebehave_train.saved_state import SavedState, save_state
from edgebehave_train.simulator.random_worlds import random_world
from edgebehave_train.simulator.traits import NO_LOCATION
from edgebehave_train.simulator.world_ranges import KINDS
from edgebehave_train.universal.sequences import Sequences, User
from edgebehave_train.universal.universal_model import FORMAT_VERSION, SUCCESS_EVENTS, UniversalConfig, UniversalModel

CONFIG_FILE, WEIGHTS_FILE, RESUME_FILE = "config.json", "model.safetensors", "resume.safetensors"
_PAIRS_PER_STEP = 2**16
"""Of a behavior whose past is read and a past behavior: they set the number of worlds of a step."""
_MAX_WORLDS = 24
_HIDING_STEPS = 0.3
"""Share of the steps in which times are hidden: asking without a time costs a second lookup."""
_WARM_UP_STEPS = 50
_PATIENCE_S = 10
"""Processes that draw worlds hold the lock of a killed run until they see that it has ended, after 5 s at most."""

_SAVE_EVERY_S = 60.0
_MIN_LOG_USERS = 3
_FROM_THE_BEGINNING = 0.3


@dataclass(frozen=True, kw_only=True)
class UniversalTrainConfig:
    """A training run of the universal model.

    shape           of the model.
    steps           batches of worlds.
    lengths         events of the worlds of a step: a step draws one length from the least of them to the greatest, its
                    square root uniform. Shorter worlds come in larger numbers.
    queries         behaviors of each world that are predicted: its last ones.
    hidden_time     share of the queries whose time is hidden, in [0, 0.3].
    any_kind        share of the worlds with the widest ranges, whatever the shares of `KINDS`, in [0, 1].
    log_share       share of the steps whose users come from one of the logs, if there are logs, in [0, 1].
    log_hides_place share of the users of a log whose locations are dropped, in [0, 1].
    logs            source and, as the last word, fingerprint of each log.
    start           digest of the weights from which the training begins; "" for random ones.
    learning_rate   peak of AdamW; it warms up and falls as a cosine.
    weight_decay    of AdamW.
    seed            of worlds, weights and everything else random.
    """

    shape: UniversalConfig = field(default_factory=UniversalConfig)
    steps: int = 6000
    lengths: tuple[int, ...] = (12, 512)
    queries: int = 64
    hidden_time: float = 0.15
    any_kind: float = 0.3
    log_share: float = 0.4
    log_hides_place: float = 0.3
    logs: tuple[str, ...] = ()
    start: str = ""
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.queries < 1 or min(self.lengths) < 2:
            raise ValueError(f"steps and queries must be at least 1 and lengths at least 2, got {self}")
        shares = (self.any_kind, self.log_share, self.log_hides_place)
        if min(shares) < 0 or max(shares) > 1 or self.learning_rate <= 0:
            raise ValueError(f"shares must lie in [0, 1] and learning_rate above 0, got {self}")
        if not 0 <= self.hidden_time <= _HIDING_STEPS:
            raise ValueError(f"hidden_time must lie in [0, {_HIDING_STEPS}], got {self.hidden_time}")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "UniversalTrainConfig":
        shape, tuples = UniversalConfig(**content["shape"]), {"lengths": tuple(content["lengths"])}
        return cls(**content | tuples | {"shape": shape, "logs": tuple(content.get("logs", ()))})

    def learning_rate_at(self, step: int) -> float:
        """Of a step, 0 the first one."""
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        return self.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


class UniversalBatch(NamedTuple):
    """Worlds of a step, the positions that are predicted (Q,), and whether their time is known (B, Q)."""

    sequences: Sequences
    query: Tensor
    is_timed: Tensor


class WorldBatches(Dataset[UniversalBatch]):
    """The batch of each step from `first` on, a function of seed, step and logs."""

    def __init__(self, config: UniversalTrainConfig, first: int = 0, logs: Sequence[Sequence[User]] = ()) -> None:
        self._config, self._first, self._logs = config, first, logs

    def __len__(self) -> int:
        return self._config.steps - self._first

    def __getitem__(self, index: int) -> UniversalBatch:
        config = self._config
        rng = np.random.default_rng([config.seed, self._first + index])
        shortest, longest = min(config.lengths), max(config.lengths)
        length = min(longest, int(rng.uniform(np.sqrt(shortest), np.sqrt(longest + 1)) ** 2))
        num_queries = min(length - 1, config.queries)
        rows = min(length, num_queries + SUCCESS_EVENTS)
        num_users = max(1, min(_MAX_WORLDS, _PAIRS_PER_STEP // (rows * length)))
        if self._logs and rng.random() < config.log_share:
            sequences = self._of_a_log(rng, num_users, length) or self._of_worlds(rng, num_users, length)
        else:
            sequences = self._of_worlds(rng, num_users, length)
        query = torch.arange(length - num_queries, length)
        hidden = config.hidden_time / _HIDING_STEPS if rng.random() < _HIDING_STEPS else 0.0
        is_timed = rng.random((num_users, num_queries)) >= hidden
        return UniversalBatch(sequences, query, torch.from_numpy(is_timed))

    def _of_worlds(self, rng: np.random.Generator, num_users: int, length: int) -> Sequences:
        _, any_kind = KINDS["any"]
        ranges = [any_kind if rng.random() < self._config.any_kind else None for _ in range(num_users)]
        return Sequences.of_worlds([random_world(rng, length, of_one) for of_one in ranges])

    def _of_a_log(self, rng: np.random.Generator, num_users: int, length: int) -> Sequences | None:
        """Parts of users of one log, all logs alike; None if no log has enough users of this length."""
        long_enough = [[user for user in log if len(user[0]) >= length] for log in self._logs]
        long_enough = [log for log in long_enough if len(log) >= _MIN_LOG_USERS]
        if not long_enough:
            return None
        log = long_enough[rng.integers(len(long_enough))]
        parts = []
        for _ in range(num_users):
            name, location, local_s = log[rng.integers(len(log))]
            last = len(name) - length
            # Users begin at their beginning, too: there names are new.
            start = 0 if rng.random() < _FROM_THE_BEGINNING else int(rng.integers(last + 1))
            which = slice(start, start + length)
            if rng.random() < self._config.log_hides_place:
                location = np.full_like(location, NO_LOCATION)
            parts.append((name[which], location[which], local_s[which]))
        return Sequences.of_arrays(parts)


@dataclass(frozen=True, kw_only=True)
class UniversalProgress:
    """Where a run stands: steps done and planned, mean loss of the last 200 in nats, seconds left at this speed."""

    step: int
    steps: int
    loss: float
    seconds_left: float


def pretrain_universal(
    config: UniversalTrainConfig,
    out: Path,
    *,
    resume: bool = False,
    logs: Sequence[Sequence[User]] = (),
    start: Path | None = None,
    workers: int = 1,
    on_progress: Callable[[UniversalProgress], None] = lambda progress: None,
) -> UniversalModel:
    """Train on random worlds and logs; the weights that are kept are the running average of the late ones.

    out      folder for config.json, model.safetensors and, while it trains, resume.safetensors.
    resume   go on with the run in `out`, which must have the same configuration.
    logs     users of each real log, see `users_of_store`.
    start    folder of a trained model with whose weights the training begins; random ones if None.
    workers  processes that draw worlds beside the training; 0: none.
    Raises ValueError if `out` holds anything else: another run, a finished one, or no run that could be resumed;
    or if another process is writing it.
    """
    with one_writer(out, _PATIENCE_S if resume else 0):
        _require_folder(out, config, resume)
        return _pretrain(config, out, resume, logs, start, workers, on_progress)


def _pretrain(
    config: UniversalTrainConfig,
    out: Path,
    resume: bool,
    logs: Sequence[Sequence[User]],
    start: Path | None,
    workers: int,
    on_progress: Callable[[UniversalProgress], None],
) -> UniversalModel:
    torch.manual_seed(config.seed)
    model = UniversalModel(config.shape)
    if start is not None and not resume:
        weights, _ = read_tensors(start / WEIGHTS_FILE)
        _load(model, weights, start / WEIGHTS_FILE)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step = 0

    def save() -> None:
        parts = {"model": model.state_dict(), "average": average.state_dict()}
        save_state(out / RESUME_FILE, parts, optimizer, step=step)

    if resume:
        saved = SavedState.read(out / RESUME_FILE)
        _load(model, saved.parts.get("model", {}), out / RESUME_FILE)
        _load(average, saved.parts.get("average", {}), out / RESUME_FILE)
        saved.restore(optimizer)
        step = saved.metadata["step"]
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / CONFIG_FILE, {"format_version": FORMAT_VERSION, "train": dataclasses.asdict(config)})
        save()  # so that a run can be resumed from its first second on

    started, saved_at, first = time.monotonic(), time.monotonic(), step
    losses: list[float] = []
    for batch in _batches(config, step, logs, workers):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        loss = model(batch.sequences, batch.query, batch.is_timed).nll().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        losses = [*losses[-199:], loss.item()]
        now = time.monotonic()
        left_s = (config.steps - step) * (now - started) / (step - first)
        on_progress(UniversalProgress(step=step, steps=config.steps, loss=float(np.mean(losses)), seconds_left=left_s))
        if now - saved_at > _SAVE_EVERY_S:
            save()
            saved_at = now
    write_tensors(out / WEIGHTS_FILE, average.module.state_dict())
    (out / RESUME_FILE).unlink(missing_ok=True)
    return load_universal(out)


def load_universal(path: Path) -> UniversalModel:
    """A trained model from its folder. Raises ValueError if it is none, not finished, damaged or of another version."""
    if not (path / WEIGHTS_FILE).is_file():
        state = "was not trained to the end; go on with --resume" if _can_resume(path) else "does not exist here"
        raise ValueError(f"{path} holds no finished universal model: it {state}")
    model = UniversalModel(universal_config(path).shape)
    weights, _ = read_tensors(path / WEIGHTS_FILE)
    _load(model, weights, path / WEIGHTS_FILE)
    return model.eval()


def universal_config(path: Path) -> UniversalTrainConfig:
    """Settings of the run in a folder. Raises ValueError if there is none, or one of another version."""
    if not (path / CONFIG_FILE).is_file():
        raise ValueError(f"{path} holds no universal model; make one with `edgebehave universal`")
    content = read_json(path / CONFIG_FILE)
    if content.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {content.get('format_version')}, expected {FORMAT_VERSION}; train it again"
        )
    try:
        return UniversalTrainConfig.from_json(content["train"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path / CONFIG_FILE} is damaged: {error!r}") from None


def _can_resume(out: Path) -> bool:
    return (out / CONFIG_FILE).is_file() and (out / RESUME_FILE).is_file()


def _foreign(out: Path) -> set[str]:
    """The names in a folder that are no files of a run that can be resumed."""
    return names_in(out) - ({CONFIG_FILE, RESUME_FILE} if _can_resume(out) else set())


def _require_folder(out: Path, config: UniversalTrainConfig, resume: bool) -> None:
    """Raises ValueError unless a run may begin in a folder or, with `resume`, go on there."""
    if resume and not _can_resume(out):
        if (out / WEIGHTS_FILE).is_file():
            raise ValueError(f"{out} holds a finished universal model; there is nothing to resume")
        raise ValueError(f"{out} holds no run to resume: {CONFIG_FILE} and {RESUME_FILE} must be there")
    if resume and universal_config(out) != config:
        raise ValueError(f"{out} was begun with other settings; resume it with those, or name another folder")
    if not resume:
        if (out / WEIGHTS_FILE).is_file():
            raise ValueError(f"{out} holds a finished universal model, which is kept; name another folder")
        require_writable(out, "a run of the universal model", _foreign, instead="use --resume")


def _load(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(f"{path} is damaged: its weights do not fit the shape in {CONFIG_FILE}") from None


def _batches(
    config: UniversalTrainConfig, first: int, logs: Sequence[Sequence[User]], workers: int
) -> Iterator[UniversalBatch]:
    yield from DataLoader(
        WorldBatches(config, first, logs),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
