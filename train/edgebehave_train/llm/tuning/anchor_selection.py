"""Samples of the first stage of BehaviorLM: frequent behaviors, mixed with general conversations.

    A = { b : p_b > threshold }      anchors; every other behavior is of the tail
    n_aux = round(r / (1 - r) n)     conversations beside n samples, so that r is their share

The model learns the task from behaviors with much data; the conversations preserve its language,
which relates behaviors of the tail to anchors.
"""

# V behaviors, id 0 included; N samples

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgebehave_train.llm.prompts.encoding import TokenizedSample

ANCHOR_THRESHOLD = 0.01
"""Share of the training events above which a behavior is an anchor, BehaviorLM's."""

AUXILIARY_RATIO = 0.05
"""Share of conversations in the mixture, BehaviorLM's."""


def anchor_behaviors(count_V: npt.NDArray[np.integer], threshold: float = ANCHOR_THRESHOLD) -> npt.NDArray[np.bool_]:
    """(V,) whether each behavior is an anchor: its share of the training events exceeds the threshold.

    count_V    how often each behavior occurs in the training part; id 0 is never an anchor.
    threshold  in [0, 1).
    Raises ValueError if no behavior is an anchor.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"anchor threshold must lie in [0, 1), got {threshold}")
    count = np.asarray(count_V, np.float64).copy()
    count[0] = 0
    is_anchor = count > threshold * count.sum()
    if not is_anchor.any():
        raise ValueError(
            f"no behavior makes up more than {threshold:.2%} of the training events (the most "
            f"frequent: {count.max() / max(1.0, count.sum()):.2%}); lower the anchor threshold"
        )
    return is_anchor


def draw(index: npt.NDArray[np.int64], at_most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """All of some indices, or that many of them drawn uniformly; ascending."""
    if len(index) <= at_most:
        return np.sort(index)
    return np.sort(rng.choice(index, at_most, replace=False))


def with_auxiliary(
    samples: Sequence[TokenizedSample], auxiliary: Sequence[TokenizedSample], ratio: float, rng: np.random.Generator
) -> list[TokenizedSample]:
    """Samples, then conversations drawn for them; the order of training is drawn later.

    ratio  share of the conversations in the whole, r in [0, 1).
    A corpus that is too small is used as often as needed, each time in a new order, so that the
    conversations are used equally often, give or take one. Raises ValueError for an empty corpus.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"auxiliary ratio must lie in [0, 1), got {ratio}")
    wanted = round(ratio / (1 - ratio) * len(samples))
    if wanted and not auxiliary:
        raise ValueError("the corpus holds no conversation; give another, or an auxiliary ratio 0")
    drawn: list[TokenizedSample] = []
    while len(drawn) < wanted:
        order = rng.permutation(len(auxiliary))[: wanted - len(drawn)]
        drawn += [auxiliary[i] for i in order]
    return [*samples, *drawn]
