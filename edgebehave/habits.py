"""Habit kernels: they predict the next behavior from a user's own past, without a network.

A kernel weighs each past behavior; its distribution is proportional to the weights summed per
behavior, its evidence is their sum:

    p_k(b) = sum_j w_k(j) [b_j = b] / E_k,    E_k = sum_j w_k(j)

    kernel             w_k(j)
    frequency          1
    recency            DECAY ** (number of behaviors since j)
    transition         1 if the behavior before j equals the last behavior
    second_order       1 if the two behaviors before j equal the last two
    location           1 if the behavior before j was at the location of the last one
    hour               clock(j; HOUR_WIDTH) if j and the query are both on workdays or both on weekends
    transition_moment  transition * clock(j; MOMENT_WIDTH) * gap(j)
    location_moment    location * clock(j; MOMENT_WIDTH) * gap(j)

    clock(j; s) = exp(-(d_j / s)^2 / 2)    d_j  half hours between the times of day of j and query
    gap(j)      = exp(-((f_j - f) / GAP_WIDTH)^2 / 2)
                  f_j = log(1 + seconds since the behavior before j / GAP_UNIT_S), f for the query

If the time of the query is unknown, `hour` and the two moment kernels have no evidence.

A history holds the events with a behavior among the last HABIT_EVENTS events, oldest first. The behavior
before its first one is unknown and matches nothing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from edgebehave.time_features import NUM_SLOTS, weekday_and_slot

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float32]

KERNELS = (
    "frequency",
    "recency",
    "transition",
    "second_order",
    "location",
    "hour",
    "transition_moment",
    "location_moment",
)
TIMED_KERNELS = ("hour", "transition_moment", "location_moment")
"""Kernels that have no evidence if the time of the query is unknown."""

HABIT_EVENTS = 512
"""Events that the kernels look back on; on the logs tried, as good as the whole past."""

DECAY = 0.9
HOUR_WIDTH = 2.0
MOMENT_WIDTH = 3.0
GAP_UNIT_S = 600.0
GAP_WIDTH = 0.7
FIRST_WEEKEND_DAY = 5


@dataclass(frozen=True, kw_only=True)
class HabitHistory:
    """The behaviors of one user as the kernels read them, oldest first; all arrays of shape (n,).

    behavior        ids, spare ids included; only their identity matters.
    location        ids, likewise; 0 is "no location", which equals itself.
    time_s          UTC seconds.
    utc_offset_min  minutes to add for local time.
    """

    behavior: IntArray
    location: IntArray
    time_s: IntArray
    utc_offset_min: IntArray

    @classmethod
    def of_events(cls, behavior: IntArray, location: IntArray, time_s: IntArray, utc_offset_min: IntArray) -> Self:
        """History from the columns of an event log; drops events without a behavior."""
        kept = behavior >= 0
        return cls(
            behavior=behavior[kept], location=location[kept], time_s=time_s[kept], utc_offset_min=utc_offset_min[kept]
        )


def clock_similarity(slot: IntArray, other_slot: IntArray, width: float) -> FloatArray:
    """exp(-(d / width)^2 / 2), d the half hours around the clock between slots 0..47."""
    apart = np.abs(slot - other_slot)
    distance = np.minimum(apart, NUM_SLOTS - apart).astype(np.float32)
    similarity: FloatArray = np.exp(-0.5 * (distance / np.float32(width)) ** 2)
    return similarity


def gap_similarity(gap_s: IntArray, other_gap_s: IntArray) -> FloatArray:
    """gap(j) of two waiting times in seconds, (n,) in 0..1; negative ones count as 0."""
    unit = np.float32(GAP_UNIT_S)
    log_gap = np.log1p(np.maximum(gap_s, 0).astype(np.float32) / unit)
    other_log_gap = np.log1p(np.maximum(other_gap_s, 0).astype(np.float32) / unit)
    apart = (log_gap - other_log_gap) / np.float32(GAP_WIDTH)
    similarity: FloatArray = np.exp(-0.5 * apart**2)
    return similarity


def kernel_weights(history: HabitHistory, time_s: int | None, utc_offset_min: int = 0) -> FloatArray:
    """w_k(j) of every kernel for one query at the end of a history.

    history         n behaviors.
    time_s          UTC seconds of the query; None: unknown.
    utc_offset_min  minutes to add for its local time.
    Returns         (K, n) float32, kernels in the order of KERNELS.
    """
    n = len(history.behavior)
    weights_KN = np.zeros((len(KERNELS), n), np.float32)
    if n == 0:
        return weights_KN
    behavior, location = history.behavior, history.location
    weights = dict(zip(KERNELS, weights_KN, strict=True))  # rows, to be filled in place
    weights["frequency"][:] = 1.0
    weights["recency"][:] = np.float32(DECAY) ** np.arange(n - 1, -1, -1, dtype=np.float32)
    weights["transition"][1:] = behavior[:-1] == behavior[-1]
    if n > 1:
        weights["second_order"][2:] = (behavior[1:-1] == behavior[-1]) & (behavior[:-2] == behavior[-2])
    weights["location"][1:] = location[:-1] == location[-1]
    if time_s is None:
        return weights_KN
    weekday, slot = weekday_and_slot(history.time_s, history.utc_offset_min)
    query_weekday, query_slot = weekday_and_slot(time_s, utc_offset_min)
    same_day_type = (weekday >= FIRST_WEEKEND_DAY) == (query_weekday >= FIRST_WEEKEND_DAY)
    weights["hour"][:] = same_day_type * clock_similarity(slot, query_slot, HOUR_WIDTH)
    moment = clock_similarity(slot[1:], query_slot, MOMENT_WIDTH) * gap_similarity(
        np.diff(history.time_s), time_s - history.time_s[-1]
    )
    weights["transition_moment"][1:] = weights["transition"][1:] * moment
    weights["location_moment"][1:] = weights["location"][1:] * moment
    return weights_KN


def habit_probs(
    history: HabitHistory, num_behaviors: int, time_s: int | None, utc_offset_min: int = 0
) -> tuple[FloatArray, FloatArray]:
    """p_k(b) and E_k of every kernel for one query at the end of a history.

    Returns  (K, num_behaviors) float32, rows that sum to 1, or to 0 without evidence;
             (K,) float32 evidence.
    """
    weights_KN = kernel_weights(history, time_s, utc_offset_min)
    evidence_K = weights_KN.sum(1)
    mass_KV = np.zeros((len(KERNELS), num_behaviors), np.float32)
    for mass_V, weights_N in zip(mass_KV, weights_KN, strict=True):
        np.add.at(mass_V, history.behavior.astype(np.int64), weights_N)
    return mass_KV / np.maximum(evidence_K, 1e-9)[:, None], evidence_K


@dataclass(frozen=True, kw_only=True)
class HabitWeights:
    """A fixed mixture of the kernels, no network:

        p(b) = ( sum_k a_k m_k(b) / (E_k + c_k) + a_0 q(b) ) / Z,    m_k(b) = E_k p_k(b)

    A kernel counts a_k E_k / (E_k + c_k): half of its weight when its evidence equals its
    shrinkage. q are the frequencies of the training part, if there is one.

    weight      a_k >= 0 of each kernel, in the order of KERNELS; only their ratios matter.
    shrinkage   c_k > 0 of each kernel, in events.
    popularity  a_0 >= 0, on the scale of `weight`.

    The defaults suit logs with weeks of history per user: fitted to the validation parts of two
    check-in logs at once (negative log likelihood, each with the same number of targets).
    """

    weight: tuple[float, ...] = (0.01, 0.005, 0.001, 0.005, 0.005, 0.07, 0.03, 0.87)
    shrinkage: tuple[float, ...] = (1.2, 1.5, 4.5, 11.0, 8.5, 25.0, 11.0, 55.0)
    popularity: float = 0.01

    def __post_init__(self) -> None:
        for name in ("weight", "shrinkage"):
            if len(getattr(self, name)) != len(KERNELS):
                raise ValueError(f"{name} needs one number per kernel ({len(KERNELS)}), got {len(getattr(self, name))}")
        if min(self.weight) < 0 or self.popularity < 0:
            raise ValueError(f"weights must not be negative, got {self}")
        if min(self.shrinkage) <= 0:
            raise ValueError(f"shrinkage must be positive, got {self.shrinkage}")

    def to_vector(self) -> npt.NDArray[np.float64]:
        """Logarithms of all numbers, (2 K + 1,): weights, shrinkages, popularity."""
        values = np.array([*self.weight, *self.shrinkage, self.popularity], np.float64)
        return np.log(np.maximum(values, 1e-6))

    @classmethod
    def from_vector(cls, vector: npt.NDArray[np.float64]) -> Self:
        """Inverse of `to_vector`, scaled to weights that sum to 1."""
        values, k = np.exp(vector), len(KERNELS)
        scale = values[:k].sum()
        return cls(
            weight=tuple(float(value) for value in values[:k] / scale),
            shrinkage=tuple(float(value) for value in values[k : 2 * k]),
            popularity=float(values[-1] / scale),
        )


def mixture(
    history: HabitHistory, num_behaviors: int, weights: HabitWeights, time_s: int | None, utc_offset_min: int = 0
) -> npt.NDArray[np.float64]:
    """Scores of the mixture without popularity for one query at the end of a history, (num_behaviors,) float64."""
    probs_KV, evidence_K = habit_probs(history, num_behaviors, time_s, utc_offset_min)
    trust_K = np.array(weights.weight) * evidence_K / (evidence_K + np.array(weights.shrinkage))
    scores_V: npt.NDArray[np.float64] = trust_K @ probs_KV
    return scores_V
