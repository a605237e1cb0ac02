"""Samples of the second stage of BehaviorLM: few and hard ones, equally many of each behavior.

A sample is hard if the model of the first stage predicts another behavior than the true one, but
one of the same category (anchor or tail): the model then knows the category and confuses similar
behaviors. For each behavior F samples are taken, in this order:

    1. mispredicted, the prediction in the category of the truth
    2. mispredicted, the prediction in the other category
    3. predicted correctly

and within each kind uniformly at random. A behavior with fewer than F samples gives each of them,
then begins again in the same order, until there are F. Not every sample needs a prediction: the
samples of a behavior are predicted in random order until F of the first kind are found or `pool`
times F were predicted. This draws uniformly from the first kind, as predicting all would.
"""

# N samples, V behaviors, id 0 included, F samples of each behavior, K kinds

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

KINDS = ("same category", "other category", "correct")
"""Kinds of predictions of a sample, hardest first."""

Predict = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.integer]]


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Settings of the balanced set.

    per_behavior   F, samples of each behavior, at least 1.
    by             "difficulty", or "uniform": any samples of a behavior, without predictions.
    same_category  off: all mispredicted samples are of the first kind.
    pool           at most pool * F samples of a behavior are predicted, at least 1.
    """

    per_behavior: int = 20
    by: Literal["difficulty", "uniform"] = "difficulty"
    same_category: bool = True
    pool: int = 10

    def __post_init__(self) -> None:
        for name in ("per_behavior", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"selection: {name} must be at least 1, got {getattr(self, name)}")
        if self.by not in ("difficulty", "uniform"):
            raise ValueError(f"selection: by must be difficulty or uniform, got {self.by!r}")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A balanced set.

    index        (n,) positions among the N samples, behavior by behavior; repeated where a
                 behavior has too few.
    kinds        (V, K) how many of each kind were taken of each behavior; all 0 for "uniform".
    num_repeats  entries of index that repeat another.
    missing      behaviors without a sample.
    num_predicted  number of samples that were predicted.
    """

    index: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    num_repeats: int
    missing: tuple[int, ...]
    num_predicted: int


def select_balanced(
    truth_N: npt.NDArray[np.integer],
    predict: Predict,
    anchor_V: npt.NDArray[np.bool_],
    config: SelectionConfig,
    rng: np.random.Generator,
) -> Selection:
    """Draw a balanced set.

    truth_N   (N,) true behavior, 1..V-1.
    predict   from positions among the samples (n,) to the predicted behaviors (n,); called for
              each sample at most once.
    anchor_V  (V,) whether each behavior is an anchor. If all or none are, there is one category.
    """
    truth_N = np.asarray(truth_N)
    num_behaviors, wanted = len(anchor_V), config.per_behavior
    order = rng.permutation(len(truth_N))
    order = order[np.argsort(truth_N[order], kind="stable")]
    ends = np.cumsum(np.bincount(truth_N, minlength=num_behaviors))
    pools = [found[: config.pool * wanted] for found in np.split(order, ends[:-1])]
    kind_N = np.full(len(truth_N), -1, np.int64)
    if config.by == "difficulty":
        while True:
            asked = [pool[kind_N[pool] < 0][:wanted] for pool in pools if np.count_nonzero(kind_N[pool] == 0) < wanted]
            index = np.sort(np.concatenate([np.zeros(0, np.int64), *asked]))
            if not len(index):
                break
            kind_N[index] = kinds_of(truth_N[index], predict(index), anchor_V, config.same_category)
    taken, kinds = [], np.zeros((num_behaviors, len(KINDS)), np.int64)
    num_repeats = 0
    for b, pool in enumerate(pools):
        if not len(pool):
            continue
        if config.by == "difficulty":
            pool = pool[kind_N[pool] >= 0]
            pool = pool[np.argsort(kind_N[pool], kind="stable")]
        chosen = np.resize(pool, wanted)
        num_repeats += max(0, wanted - len(pool))
        if config.by == "difficulty":
            kinds[b] = np.bincount(kind_N[chosen], minlength=len(KINDS))
        taken.append(chosen)
    return Selection(
        index=np.concatenate([np.zeros(0, np.int64), *taken]),
        kinds=kinds,
        num_repeats=num_repeats,
        missing=tuple(b for b in range(1, num_behaviors) if not len(pools[b])),
        num_predicted=int((kind_N >= 0).sum()),
    )


def kinds_of(
    truth_n: npt.NDArray[np.integer],
    predicted_n: npt.NDArray[np.integer],
    anchor_V: npt.NDArray[np.bool_],
    same_category: bool = True,
) -> npt.NDArray[np.int64]:
    """(n,) position in KINDS of each prediction; without the category condition 0 or 2."""
    is_other = anchor_V[truth_n] != anchor_V[predicted_n] if same_category else False
    return np.where(truth_n == predicted_n, 2, np.where(is_other, 1, 0)).astype(np.int64)
