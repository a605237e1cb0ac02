"""Training from the universal model: it is tuned to the log and answers together with the named model.

The universal model that comes with the package is fine-tuned on the training part. Then the powers with which it and
the named model multiply are fitted to the validation part (`edgebehave.answers.combination`). The result is compared
with the named model alone, powers 0 and 1, and with the universal model as it is, powers 1 and 0, by the mean
reciprocal rank of the validation targets; the best one is kept. With powers 1 and 0 the named model only names
behaviors that are new to a user.
"""

# T targets, C candidates

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.answers.combination import Powers, terms
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets, draw_users
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k, reciprocal_rank
from edgebehave_train.metrics.ranking import Ranking
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.universal.fine_tuning import FineTuneConfig, fine_tune
from edgebehave_train.universal.own_names import Lookup, own_probs, users_of
from edgebehave_train.universal.pretraining import load_universal
from edgebehave_train.universal.universal_model import UniversalModel

SHIPPED = Path(__file__).parents[1] / "universal" / "weights"
"""The run of the universal model that comes with the package: config.json and model.safetensors."""

MAX_EVENTS = 400_000
"""Size of a log up to which `train` starts from the universal model by default; it takes minutes for so many events."""

_MAX_CELLS = 4_000_000
"""Validation targets times candidates to which powers are fitted."""

Kept = Literal["combined", "named", "universal"]


@dataclass(frozen=True, kw_only=True)
class UniversalStart:
    """What came of it.

    lookup  the universal model and the powers that are kept.
    kept    the best of "combined", "named", the trained model alone, and "universal", the universal model as it is.
    scores  by name, "universal", "named" and "combined": figures of the validation targets.
    """

    lookup: Lookup
    kept: Kept
    scores: dict[Kept, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        return {"kept": self.kept, "powers": dataclasses.asdict(self.lookup.powers), "validation": self.scores}

    def to_text(self) -> str:
        """The report in one line."""
        labels = {"universal": "universal model as it is", "named": "trained model", "combined": "both, tuned"}
        figures = ", ".join(
            f"{labels[name]} {of['rank']:.4f} (HR@1 {of['hr_at_1']:.3f})" for name, of in self.scores.items()
        )
        what = {
            "combined": "both together are best and are kept",
            "named": "the trained model alone is best and is kept",
            "universal": "the universal model as it is is best and is kept",
        }[self.kept]
        return f"validation, mean reciprocal rank: {figures}; {what}"


def can_start_from_universal(log: BehaviorLog, num_events: int) -> bool:
    """Whether every event has a behavior: the universal model reads the same events as the network."""
    return len(log.event) == num_events


def start_from_universal(
    parts: LogParts,
    named: BehaviorModel,
    seed: int,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> UniversalStart:
    """Tune the universal model to a log and fit how it answers together with a trained named model."""
    shipped = load_universal(SHIPPED)
    behaviors = parts.behaviors
    users = np.flatnonzero(np.diff(behaviors.user_start))
    asked = parts.is_target[behaviors.event]
    of_user = [asked[behaviors.user_start[user] : behaviors.user_start[user + 1]] for user in users]
    tuned = fine_tune(shipped, users_of(behaviors, users), of_user, FineTuneConfig(seed=seed), on_step)
    targets = draw_users(parts.validation_targets, _MAX_CELLS // behaviors.num_candidates)
    named_TC = np.zeros((len(targets), behaviors.num_candidates), np.float32)
    for which, block in target_probs(named, parts.log, behaviors, targets):
        named_TC[which] = block
    tuned_TC = _own(tuned, behaviors, targets)
    powers = fit_powers(named_TC, tuned_TC, targets.behavior)
    lookups: dict[Kept, Lookup] = {
        "universal": Lookup(shipped, Powers()),
        "named": Lookup(tuned, Powers(universal=0, named=1)),
        "combined": Lookup(tuned, powers),
    }
    answers: dict[Kept, npt.NDArray[np.floating]] = {
        "universal": Powers().combine(named_TC, _own(shipped, behaviors, targets)),
        "named": named_TC,
        "combined": powers.combine(named_TC, tuned_TC),
    }
    scores = {name: _figures(probs_TC, targets) for name, probs_TC in answers.items()}
    kept = max(scores, key=lambda name: scores[name]["rank"])
    return UniversalStart(lookup=lookups[kept], kept=kept, scores=scores)


def fit_powers(
    named_TC: npt.NDArray[np.floating], own_TC: npt.NDArray[np.floating], target_T: npt.NDArray[np.integer]
) -> Powers:
    """The powers that make the targets likeliest; targets 0, the unknown ones, are left out.

    Each number counts as if it had been 1/2 (unused: 0) in ten earlier targets, so few targets do not lead astray.
    """
    log_universal, log_named, is_used, is_candidate = terms(named_TC, own_TC)
    rows = np.flatnonzero((target_T > 0) & is_candidate[np.arange(len(target_T)), target_T])
    if not len(rows):
        return Powers(universal=0.5, named=0.5)
    parts = [log_universal, log_named, (~is_used).astype(np.float64)]
    features = torch.from_numpy(np.stack([part[rows] for part in parts], -1)).float()
    closed = torch.from_numpy(~is_candidate[rows])
    target = torch.from_numpy(target_T[rows].astype(np.int64))
    start = torch.tensor([0.5, 0.5, 0.0])
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (features @ weights).masked_fill(closed, -1e9)
        value = torch.nn.functional.cross_entropy(scores, target) + 10 / len(rows) * (weights - start).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    universal, named, unused = weights.detach().tolist()
    return Powers(
        universal=min(max(universal, 0.0), 10.0),
        named=min(max(named, 0.0), 10.0),
        unused=min(max(unused, -20.0), 20.0),
    )


def _own(model: UniversalModel, behaviors: BehaviorLog, targets: Targets) -> npt.NDArray[np.float32]:
    own_TC = np.zeros((len(targets), behaviors.num_candidates), np.float32)
    for which, block in own_probs(model, behaviors, targets):
        own_TC[which] = block
    return own_TC


def _figures(probs_TC: npt.NDArray[np.floating], targets: Targets) -> dict[str, float]:
    ranking = Ranking(targets)
    ranking.add(slice(None), probs_TC)
    found = ranking.finish()
    figures = {f"hr_at_{k}": float(hit_rate_at_k(found, k).mean()) for k in (1, 3)}
    return {"rank": float(reciprocal_rank(found).mean()), **figures}
