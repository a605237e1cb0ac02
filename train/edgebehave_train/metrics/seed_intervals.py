"""Student's t interval of a mean over training runs with different seeds.

The bootstrap of `bootstrap.py` shows how a table would change with other users; this interval shows how it would
change with other seeds. Runs with different seeds are independent, so their mean has

    mean +- t(0.975, n - 1) s / sqrt(n)          s the standard deviation with n - 1

With 2 runs the factor t is 12.7: few seeds claim little.
"""

import math
import statistics
from collections.abc import Sequence

COVERAGE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval.

    The width of a single run is NaN. Both are NaN if a run has no value (a metric without targets of its kind).

    Raises ValueError without values.
    """
    if not values:
        raise ValueError("a mean needs at least one run")
    mean = statistics.fmean(values)
    if len(values) == 1 or math.isnan(mean):
        return mean, math.nan
    from scipy import stats  # here, because it takes half a second

    spread = statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(stats.t.ppf((1 + COVERAGE) / 2, len(values) - 1)) * spread


def mean_text(values: Sequence[float], digits: int = 3, sign: str = "") -> str:
    """Mean ± half width for a table; the mean alone of a single run, nothing where nothing was measured.

    sign  "+" shows every sign.
    """
    mean, half_width = mean_interval(values)
    if math.isnan(mean):
        return ""
    spread = "" if math.isnan(half_width) else f" ± {half_width:.{digits}f}"
    return f"{mean:{sign}.{digits}f}{spread}"
