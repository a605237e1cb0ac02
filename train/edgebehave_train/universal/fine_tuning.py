"""Fine-tuning of the universal model on the training part of a log.

It stays name-free: it learns how the people of this log repeat themselves, not what they do. Few weights, a low
learning rate and a running mean of the weights keep what random worlds have taught.
"""

# B users, T behaviors, Q queries

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from edgebehave_train.universal.sequences import Sequences, User
from edgebehave_train.universal.universal_model import SUCCESS_EVENTS, UniversalModel

_QUERIES = 64
_PAST = 320
"""Behaviors before the first query of a window: enough to train on, cheaper than the full reach."""
_PAIRS_PER_STEP = 256**2
"""Small steps: with four times as many pairs in one, Tokyo ended .02 nats and .006 HR@1 lower on validation."""
_WARM_UP_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """A fine-tuning.

    least_passes   over the log; on a small log as many more, up to most_passes, as make least_steps.
    learning_rate  at the peak; half of it on a log too small for least_steps.
    hidden_time    share of the queries whose time is hidden.
    """

    least_passes: int = 8
    most_passes: int = 12
    least_steps: int = 500
    learning_rate: float = 2e-3
    hidden_time: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0


class _Window(NamedTuple):
    """Behaviors first..stop - 1 of a user, those from `query` on are predicted."""

    user: int
    first: int
    query: int
    stop: int


def fine_tune(
    model: UniversalModel,
    users: Sequence[User],
    is_asked: Sequence[npt.NDArray[np.bool_]],
    config: FineTuneConfig,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> UniversalModel:
    """A copy of a model, trained on behaviors of some users.

    is_asked  which behaviors of each user are predicted; those behind the last one are not read.
    on_step   receives steps done, steps planned and the loss.
    """
    trained = copy.deepcopy(model).train()
    steps_per_pass = len(_batches(is_asked, np.random.default_rng(0)))
    if not steps_per_pass:
        return trained.eval()
    passes = min(config.most_passes, max(config.least_passes, math.ceil(config.least_steps / steps_per_pass)))
    steps = passes * steps_per_pass
    peak = config.learning_rate * (1.0 if steps >= config.least_steps else 0.5)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=peak, weight_decay=config.weight_decay)
    average = AveragedModel(trained, avg_fn=lambda mean, new, n: mean.lerp(new, 1 - min(0.99, (1 + n) / (10 + n))))
    rng = np.random.default_rng([config.seed, 1])
    step = 0
    for _ in range(passes):
        for batch in _batches(is_asked, rng)[: steps - step]:
            warm = min(1.0, (step + 1) / min(_WARM_UP_STEPS, steps / 5))
            for group in optimizer.param_groups:
                cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
                group["lr"] = peak * warm * (0.02 + 0.98 * cosine)
            loss = _loss(trained, users, is_asked, batch, config.hidden_time, rng)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(trained)
            step += 1
            on_step(step, steps, float(loss.detach()))
    return cast(UniversalModel, average.module).eval()


def _loss(
    model: UniversalModel,
    users: Sequence[User],
    is_asked: Sequence[npt.NDArray[np.bool_]],
    batch: list[_Window],
    hidden_time: float,
    rng: np.random.Generator,
) -> torch.Tensor:
    parts = [tuple(column[w.first : w.stop] for column in users[w.user]) for w in batch]
    sequences = Sequences.of_arrays(parts)
    start = batch[0].query - batch[0].first
    query = torch.arange(start, sequences.name.shape[1])
    counted = np.zeros((len(batch), len(query)), bool)
    for row, window in enumerate(batch):
        counted[row, : window.stop - window.query] = is_asked[window.user][window.query : window.stop]
    is_timed = torch.from_numpy(rng.random(counted.shape) >= hidden_time)
    answers = model(sequences, query, is_timed)
    return answers._replace(is_asked=answers.is_asked & torch.from_numpy(counted)).nll().mean()


def _batches(is_asked: Sequence[npt.NDArray[np.bool_]], rng: np.random.Generator) -> list[list[_Window]]:
    """Windows with their first query at the same place, those of like length together, in any order."""
    alike: dict[int, list[_Window]] = defaultdict(list)
    for user, asked in enumerate(is_asked):
        at = 1 + np.flatnonzero(asked[1:])
        for begin in range(0, len(at), _QUERIES):
            some = at[begin : begin + _QUERIES]
            for query in range(int(some[0]), int(some[-1]) + 1, _QUERIES):
                stop = min(query + _QUERIES, int(some[-1]) + 1)
                if asked[query:stop].any():
                    first = max(0, query - _PAST)
                    alike[query - first].append(_Window(user, first, query, stop))
    batches = []
    for start, windows in alike.items():
        windows = [windows[i] for i in rng.permutation(len(windows))]
        windows.sort(key=lambda window: (window.stop - window.query) // 16)
        while windows:
            length = start + windows[-1].stop - windows[-1].query
            num_pairs = length * (length - max(0, start - SUCCESS_EVENTS))
            at_once = max(1, _PAIRS_PER_STEP // num_pairs)
            batches.append(windows[-at_once:])
            del windows[-at_once:]
    return [batches[i] for i in rng.permutation(len(batches))]
