"""Tuning of the weights of the habit baseline on a validation part.

Two steps. First the most probable weights: they minimize

    - sum over targets of log p(y) + 1/2 |x - x_0|^2

where x holds the logarithms of all numbers and x_0 those of the default weights, a prior of
standard deviation 1 that matters for short logs only. The likelihood depends on every probability,
suggestions on their order alone; so the second step changes one number at a time, by factors, as long
as HR@1 + HR@3 gains. It changes little on logs with long histories and adds some points on diaries of
one day, also for users that were not tuned on.
"""

# T targets, K kernels, G listed candidates of all targets

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.habits import KERNELS, HabitWeights
from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.evaluation.habit_baseline import FloatArray, popularity_prior, sum_by_behavior, target_kernels
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets, draw_users

MAX_TARGETS = 20_000
_CUTOFFS = (1, 3)
_SMALLEST_GAIN = 5e-4
_FIRST_STEP = 0.7  # of a logarithm: a factor of two
_NUM_SWEEPS = 4


def tune_habits(log: BehaviorLog, targets: Targets, max_targets: int = MAX_TARGETS, seed: int = 0) -> HabitWeights:
    """Weights for `habits`, fitted to targets of the validation part.

    max_targets  whole users are drawn until they hold this many targets.
    seed         of that draw; nothing else is random.
    Returns the default weights if no target is known to the vocabulary.
    """
    targets = draw_users(targets, max_targets, seed)
    if not np.any(targets.behavior != UNKNOWN):
        return HabitWeights()
    listed = _list_candidates(log, targets)
    return HabitWeights.from_vector(_climb(listed, _most_probable(listed)))


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Candidates for the first ranks of each target, in one array; those of a target are adjacent.

    Listed are the user's past behaviors, the most popular ones, and the target. Every other
    candidate ranks behind the popular ones, so the first ranks are exact.

    mass_KG      m_k of each listed candidate.
    prior_G      q of it.
    target_of_G  index of the target that lists it.
    first_T      position of the first candidate of each target.
    own_T        position of the target itself, -1 if it is unknown.
    evidence_KT  E_k of each target.
    """

    mass_KG: FloatArray
    prior_G: FloatArray
    target_of_G: npt.NDArray[np.int64]
    first_T: npt.NDArray[np.int64]
    own_T: npt.NDArray[np.int64]
    evidence_KT: FloatArray

    def objective(self, vector: FloatArray) -> float:
        """HR@1 + HR@3 of the weights, ties at their expected rank."""
        k = len(KERNELS)
        weight_K1, shrinkage_K1 = np.exp(vector[:k, None]), np.exp(vector[k : 2 * k, None])
        scale_KT = weight_K1 / (self.evidence_KT + shrinkage_K1)
        score_G = np.exp(vector[-1]) * self.prior_G
        for scale_T, mass_G in zip(scale_KT, self.mass_KG, strict=True):
            score_G += scale_T[self.target_of_G] * mass_G
        known = self.own_T >= 0
        own_G = np.where(known, score_G[self.own_T], np.inf)[self.target_of_G]
        above_T = np.add.reduceat((score_G > own_G).astype(np.int64), self.first_T)
        tied_T = np.add.reduceat((score_G == own_G).astype(np.int64), self.first_T)
        hits = [np.clip((c - above_T) / np.maximum(tied_T, 1), 0, 1) * known for c in _CUTOFFS]
        return float(np.sum(hits) / len(known))


def _list_candidates(log: BehaviorLog, targets: Targets) -> _Candidates:
    prior_C = popularity_prior(log)
    popular = np.argsort(-prior_C, kind="stable")[: max(_CUTOFFS)]
    masses, candidates, sizes, evidence = [], [], [], []
    for which, block, behavior in target_kernels(log, targets):
        distinct, mass_KRD = sum_by_behavior(block.weights_KRC, behavior)
        evidence.append(block.weights_KRC.sum(2))
        for row, target in enumerate(targets.behavior[which]):
            used = (mass_KRD[0, row] > 0) & (distinct != UNKNOWN)
            past = distinct[used]
            extra = np.setdiff1d(np.append(popular, target), np.append(past, UNKNOWN))
            candidates.append(np.concatenate([past, extra]))
            masses.append(np.pad(mass_KRD[:, row, used], ((0, 0), (0, len(extra)))))
            sizes.append(len(past) + len(extra))
    candidate_G = np.concatenate(candidates)
    target_of_G = np.repeat(np.arange(len(sizes)), sizes)
    own_T = np.full(len(sizes), -1)
    is_own_G = candidate_G == targets.behavior[target_of_G]
    own_T[target_of_G[is_own_G]] = np.flatnonzero(is_own_G)
    return _Candidates(
        mass_KG=np.concatenate(masses, 1).astype(np.float64),
        prior_G=prior_C[candidate_G],
        target_of_G=target_of_G,
        first_T=np.concatenate([[0], np.cumsum(sizes)[:-1]]),
        own_T=own_T,
        evidence_KT=np.concatenate(evidence, 1).astype(np.float64),
    )


def _most_probable(listed: _Candidates) -> FloatArray:
    """Maximum a posteriori weights by L-BFGS; only known targets have a likelihood."""
    k = len(KERNELS)
    known = listed.own_T >= 0
    mass_KT = torch.from_numpy(listed.mass_KG[:, listed.own_T[known]])
    evidence_KT = torch.from_numpy(listed.evidence_KT[:, known])
    # A spare id has no prior and is no target, but a behavior may be new to a short training part.
    prior_T = torch.from_numpy(listed.prior_G[listed.own_T[known]]).clamp_min(1e-6)
    start = torch.from_numpy(HabitWeights().to_vector())
    vector = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([vector], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scale_KT = vector[:k, None].exp() / (evidence_KT + vector[k : 2 * k, None].exp())
        popularity = vector[-1].exp()
        score_T = (scale_KT * mass_KT).sum(0) + popularity * prior_T
        total_T = (scale_KT * evidence_KT).sum(0) + popularity
        nll = -(score_T / total_T).log().sum()
        posterior = (nll + 0.5 * (vector - start).square().sum()) / len(score_T)
        posterior.backward()
        return posterior

    optimizer.step(loss)
    return vector.detach().numpy()


def _climb(listed: _Candidates, vector: FloatArray) -> FloatArray:
    """Coordinate ascent; the step of a number becomes smaller when it no longer gains."""
    best = listed.objective(vector)
    step = np.full(len(vector), _FIRST_STEP)
    for _ in range(_NUM_SWEEPS):
        for i in range(len(vector)):
            for direction in (step[i], -step[i]):
                trial = vector.copy()
                trial[i] += direction
                reached = listed.objective(trial)
                if reached > best + _SMALLEST_GAIN:
                    best, vector = reached, trial
                    break
            else:
                step[i] /= 2
    return vector
