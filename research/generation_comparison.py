"""A table of generators: a model beside a semi-Markov chain and a replay of the past.

Every generator forecasts the same users from the same points. Temperature and top-p are chosen on
the validation part, for the model and for the chain alike, by `relative_score` against the chain
as it was fitted.
"""

# U users

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgebehave.answers.sampling import Sampling
from edgebehave_train.generation.generation import Continuations, Generator
from edgebehave_train.generation.past import Prompts
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import TRAIN, part_of_event
from edgebehave_train.metrics.bootstrap import NUM_RESAMPLES, Interval, percentile_interval, user_resamples
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.training.checkpoint import Checkpoint
from forecasts import forecast_prompts, real_continuations, replayed
from generation_metrics import (
    EXTRA_METRICS,
    HIGHER_IS_BETTER,
    METRICS,
    per_user,
    pooled,
    relative_score,
)
from semi_markov import SemiMarkov

SAMPLINGS = tuple(
    Sampling(temperature=temperature, top_p=top_p)
    for temperature, top_p in ((1, 1), (1, 0.95), (0.95, 0.95), (0.9, 0.95), (0.9, 0.9), (1, 0.85))
)

BASELINE = "semi-markov"


class Forecaster(Protocol):
    """A generator of futures."""

    def generate(
        self, prompts: Prompts, num_steps: int, *, seed: int = 0, sampling: Sampling | None = None
    ) -> Continuations:
        """The next behaviors of every prompt."""
        ...


@dataclass(frozen=True, kw_only=True)
class GeneratorRow:
    """Metrics of one generator.

    per_user  metric -> (U,) values, means over its draws.
    pooled    metric -> value over all users at once, mean over its draws.
    sampling  how names were drawn; None for a replay.
    """

    name: str
    per_user: dict[str, npt.NDArray[np.float64]]
    pooled: dict[str, float]
    sampling: Sampling | None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "sampling": self.sampling and vars(self.sampling),
            "per_user": {name: values.tolist() for name, values in self.per_user.items()},
            "pooled": self.pooled,
        }


def measure(
    name: str,
    forecaster: Forecaster,
    prompts: Prompts,
    real: Continuations,
    sampling: Sampling,
    num_draws: int,
) -> GeneratorRow:
    """Metrics of a generator, means over `num_draws` futures of every user, seeds 0, 1, ..."""
    draws = [forecaster.generate(prompts, real.num_steps, seed=seed, sampling=sampling) for seed in range(num_draws)]
    return _row(name, draws, real, sampling)


def _row(name: str, draws: Sequence[Continuations], real: Continuations, sampling: Sampling | None) -> GeneratorRow:
    each = [per_user(real, draw) for draw in draws]
    together = [pooled(real, draw) for draw in draws]
    names = (*METRICS, *EXTRA_METRICS)
    return GeneratorRow(
        name=name,
        per_user={metric: np.mean([values[metric] for values in each], 0) for metric in names},
        pooled={metric: float(np.mean([values[metric] for values in together])) for metric in names},
        sampling=sampling,
    )


def compare_generators(
    store: EventStore,
    checkpoint: Checkpoint,
    *,
    part: str = "validation",
    num_steps: int = 50,
    validation_steps: int = 20,
    num_draws: int = 4,
    max_users: int = 400,
    prompt_behaviors: int = 5,
) -> list[GeneratorRow]:
    """Rows of a table: replay, the chain, the chain tuned, the model, the model tuned.

    part              that is forecast; a reading of the test part is noted in the checkpoint.
    num_steps         behaviors of a continuation; users of the part with fewer are left out.
    validation_steps  the same where temperature and top-p are chosen; the part is short.
    num_draws         futures per user, of which the metrics are means.
    max_users         the first so many users of the store take part.
    prompt_behaviors  of a prompt at least; of a log split by user, exactly.
    Raises ValueError if the checkpoint has no heads, learned from another log, or no user is long
    enough.
    """
    checkpoint.require_log(store)
    model = Generator(checkpoint, store)
    log, split = model.log, checkpoint.config.split
    chain = SemiMarkov(log, part_of_event(store, split) == TRAIN)

    def forecast(of_part: str, steps: int) -> tuple[Prompts, Continuations]:
        prompts = forecast_prompts(store, log, split, of_part, steps, prompt_behaviors)
        prompts = prompts.take(slice(0, max_users))
        return prompts, real_continuations(log, prompts, steps)

    prompts, real = forecast("validation", validation_steps)
    chain.fit(prompts, validation_steps)
    plain = Sampling()
    fitted = measure(BASELINE, chain, prompts, real, plain, 2)

    def tuned(forecaster: Forecaster) -> Sampling:
        rows = [measure("", forecaster, prompts, real, sampling, 2) for sampling in SAMPLINGS]
        scores = [relative_score(row.per_user, fitted.per_user) for row in rows]
        return SAMPLINGS[int(np.argmax(scores))]

    chain_sampling, model_sampling = tuned(chain), tuned(model)
    prompts, real = forecast(part, num_steps)
    rows = [
        _row("replay", [replayed(log, prompts, num_steps)], real, None),
        measure(BASELINE, chain, prompts, real, plain, num_draws),
        measure(f"{BASELINE}, tuned", chain, prompts, real, chain_sampling, num_draws),
        measure("model", model, prompts, real, plain, num_draws),
        measure("model, tuned", model, prompts, real, model_sampling, num_draws),
    ]
    means = {row.name: {name: float(values.mean()) for name, values in row.per_user.items()} for row in rows}
    record_measurement(checkpoint.path, store, part, {f"generation_{part}": means})
    return rows


def mean_over_users(values_U: npt.NDArray[np.float64], num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Interval:
    """Mean over users of a number per user, such as a paired difference, with its interval."""
    pieces = user_resamples(len(values_U), num_resamples, seed, num_resamples)
    means = np.concatenate([weights_BU @ values_U / len(values_U) for weights_BU in pieces])
    return percentile_interval(float(np.mean(values_U)), means)


def gain(row: GeneratorRow, baseline: GeneratorRow, metric: str, num_resamples: int = 1000) -> Interval:
    """By how much a generator is better than another in a metric, positive = better, paired over
    users, with a 95 % interval."""
    difference = baseline.per_user[metric] - row.per_user[metric]
    if metric in HIGHER_IS_BETTER:
        difference = -difference
    return mean_over_users(difference, num_resamples)
