"""Metrics of generated continuations against the real ones, per user and pooled.

The names are those of BehaveGPT's table of long-term generation (arXiv 2505.17631); the paper does
not define them, so here is what they are. Every user has N real and N generated behaviors behind
the same forecast point.

    ks              largest difference of the two distribution functions of waiting times
                    (two-sample Kolmogorov-Smirnov statistic), 0..1
    wasserstein     area between them over hours: mean hours that a waiting time has to be moved
    jensen_shannon  JS divergence of the frequencies of the behaviors, base 2, 0..1
    bleu            BLEU-4 of the generated behaviors, the real ones being the one reference, 0..1
    distinct_2      | distinct-2(generated) - distinct-2(real) |, distinct-2 the share of different
                    pairs among the N - 1 pairs of adjacent behaviors (Li et al. 2016)

Lower is better except for bleu. Diversity is a distance: a generator that never repeats itself is
as wrong as one that always does. A waiting time is the time since the behavior before; the first
one begins at the last behavior before the forecast point.

Two more say what the five cannot see: `clock`, the JS divergence of the local hours at which
behaviors happen, and `location`, that of the locations.

Per user, a metric of N samples is not 0 for a perfect generator either: two draws of one
distribution differ. Pooled values compare all users at once, and cannot see whether it is the
right user who does a thing.
"""

# U users, N steps

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from edgebehave_train.generation.generation import Continuations

METRICS = ("ks", "wasserstein", "jensen_shannon", "bleu", "distinct_2")
EXTRA_METRICS = ("clock", "location")
HIGHER_IS_BETTER = ("bleu",)

_BLEU_ORDER = 4
_HOUR_S = 3600


def kolmogorov_smirnov(real: npt.NDArray[np.number], generated: npt.NDArray[np.number]) -> float:
    """sup_x | F_real(x) - F_generated(x) | of two samples, F the empirical distribution."""
    return float(ks_2samp(real, generated, method="asymp").statistic)


def wasserstein(real: npt.NDArray[np.number], generated: npt.NDArray[np.number]) -> float:
    """integral | F_real(x) - F_generated(x) | dx of two samples, in their unit."""
    return float(wasserstein_distance(real, generated))


def jensen_shannon(real: npt.NDArray[np.integer], generated: npt.NDArray[np.integer]) -> float:
    """Divergence of the frequencies p, q of the ids in two samples, in bits, 0..1:

    JS = KL(p || m) / 2 + KL(q || m) / 2,  m = (p + q) / 2,  KL(p || m) = sum_i p_i log2(p_i / m_i)
    """
    ids, index = np.unique(np.concatenate([real, generated]), return_inverse=True)
    frequencies = [
        np.bincount(index[part], minlength=len(ids)) for part in (slice(None, len(real)), slice(len(real), None))
    ]
    return float(jensenshannon(*frequencies, base=2) ** 2)  # scipy gives the root


def bleu(real: npt.NDArray[np.integer], generated: npt.NDArray[np.integer]) -> float:
    """BLEU-4 of one sequence against one reference, smoothed (Papineni et al. 2002; Lin and Och
    2004: one is added to both counts of n-grams longer than 1).

        BLEU = min(1, e^(1 - |real| / |generated|)) (prod_n m_n / c_n)^(1/4)

    with c_n the n-grams of the generated sequence and m_n those found in the real one, each as
    often at most as it occurs there. 0 if no behavior is shared.
    """
    logs = []
    for n in range(1, _BLEU_ORDER + 1):
        matched, total = _matches(real, generated, n)
        smooth = int(n > 1)
        if matched + smooth == 0:
            return 0.0
        logs.append(np.log((matched + smooth) / (total + smooth)))
    brevity = min(0.0, 1 - len(real) / len(generated))
    return float(np.exp(brevity + np.mean(logs)))


def distinct_2(sequence: npt.NDArray[np.integer]) -> float:
    """Different pairs of adjacent ids, as a share of all such pairs; needs two ids."""
    return len(set(_ngrams(sequence, 2))) / (len(sequence) - 1)


def _ngrams(sequence: npt.NDArray[np.integer], n: int) -> list[tuple[int, ...]]:
    ids = sequence.tolist()
    return list(zip(*(ids[i:] for i in range(n)), strict=False))


def _matches(real: npt.NDArray[np.integer], generated: npt.NDArray[np.integer], n: int) -> tuple[int, int]:
    """n-grams of `generated` found in `real`, clipped, and all of them."""
    left: dict[tuple[int, ...], int] = {}
    for gram in _ngrams(real, n):
        left[gram] = left.get(gram, 0) + 1
    grams = _ngrams(generated, n)
    matched = 0
    for gram in grams:
        if left.get(gram, 0) > 0:
            left[gram] -= 1
            matched += 1
    return matched, len(grams)


def _local_hour(futures: Continuations) -> npt.NDArray[np.int64]:
    return (futures.time_s + 60 * futures.utc_offset_min) % 86400 // _HOUR_S


def per_user(real: Continuations, generated: Continuations) -> dict[str, npt.NDArray[np.float64]]:
    """Every metric of every user, (U,) each.

    Raises ValueError unless both hold the same forecast points and at least two steps.
    """
    if real.time_s.shape != generated.time_s.shape or (real.start_s != generated.start_s).any():
        raise ValueError("real and generated continuations do not start at the same points")
    if real.num_steps < 2:
        raise ValueError(f"the metrics need at least 2 steps, got {real.num_steps}")
    gaps = [c.gap_s / _HOUR_S for c in (real, generated)]
    behaviors = [c.behavior for c in (real, generated)]

    def of_users(metric: Callable[..., float], columns: Sequence[npt.NDArray[np.number]]) -> npt.NDArray[np.float64]:
        return np.array([metric(a, b) for a, b in zip(*columns, strict=True)])

    def diversity_distance(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> float:
        return abs(distinct_2(b) - distinct_2(a))

    return {
        "ks": of_users(kolmogorov_smirnov, gaps),
        "wasserstein": of_users(wasserstein, gaps),
        "jensen_shannon": of_users(jensen_shannon, behaviors),
        "bleu": of_users(bleu, behaviors),
        "distinct_2": of_users(diversity_distance, behaviors),
        "clock": of_users(jensen_shannon, [_local_hour(real), _local_hour(generated)]),
        "location": of_users(jensen_shannon, [real.location, generated.location]),
    }


def pooled(real: Continuations, generated: Continuations) -> dict[str, float]:
    """Every metric of all users at once: one sample of waiting times, of behaviors, of locations;
    BLEU from summed counts without smoothing; distinct-2 as the difference of the means.

    The behaviors of a user's own have ids that mean something else to every user; they are few.
    """
    gaps = [c.gap_s.ravel() / _HOUR_S for c in (real, generated)]
    counts = np.zeros((_BLEU_ORDER, 2))
    for a, b in zip(real.behavior, generated.behavior, strict=True):
        for n in range(1, _BLEU_ORDER + 1):
            counts[n - 1] += _matches(a, b, n)
    shares = counts[:, 0] / counts[:, 1]
    means = [np.mean([distinct_2(b) for b in c.behavior]) for c in (real, generated)]
    return {
        "ks": kolmogorov_smirnov(*gaps),
        "wasserstein": wasserstein(*gaps),
        "jensen_shannon": jensen_shannon(real.behavior.ravel(), generated.behavior.ravel()),
        "bleu": float(np.exp(np.log(shares).mean())) if shares.all() else 0.0,
        "distinct_2": float(abs(means[1] - means[0])),
        "clock": jensen_shannon(_local_hour(real).ravel(), _local_hour(generated).ravel()),
        "location": jensen_shannon(real.location.ravel(), generated.location.ravel()),
    }


def relative_score(
    metrics: Mapping[str, npt.NDArray[np.floating]],
    baseline: Mapping[str, npt.NDArray[np.floating]],
) -> float:
    """One number to choose a setting by: mean over the five metrics of the logarithm of how many
    times better than a baseline the mean over users is; 0 = alike, higher is better."""
    logs = []
    for name in METRICS:
        ratio = max(baseline[name].mean(), 1e-9) / max(metrics[name].mean(), 1e-9)
        logs.append(-np.log(ratio) if name in HIGHER_IS_BETTER else np.log(ratio))
    return float(np.mean(logs))
