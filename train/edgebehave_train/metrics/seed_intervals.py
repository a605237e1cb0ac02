"""How sure a mean over training runs is: Student's t interval over seeds.

The bootstrap of `bootstrap.py` asks how the table would change with other users; this asks how it
would change with another seed. Runs with different seeds are independent, so their mean has

    mean +- t(0.975, n - 1) s / sqrt(n)          s the standard deviation with n - 1

With 2 runs the factor t is 12.7: few seeds claim little.
"""

import math
import statistics
from collections.abc import Sequence

COVERAGE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval; the width of a single run is NaN, and so are both
    where a run has no value (a metric without targets of its kind).

    Raises ValueError without values.
    """
    if not values:
        raise ValueError("a mean needs at least one run")
    mean = statistics.fmean(values)
    if len(values) == 1 or math.isnan(mean):
        return mean, math.nan
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return mean, t_quantile((1 + COVERAGE) / 2, len(values) - 1) * spread


def mean_text(values: Sequence[float], digits: int = 3, sign: str = "") -> str:
    """Mean ± half width for a table; the mean alone of a single run. sign "+" shows every sign."""
    mean, half_width = mean_interval(values)
    spread = "" if math.isnan(half_width) else f" ± {half_width:.{digits}f}"
    return f"{mean:{sign}.{digits}f}{spread}"


def t_quantile(probability: float, degrees: int) -> float:
    """t with P(T <= t) = probability, in [0.5, 1), of Student's distribution, by bisection."""
    low, high = 0.0, 1.0
    while t_distribution(high, degrees) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if t_distribution(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_distribution(t: float, degrees: int) -> float:
    """P(T <= t) of Student's distribution, t >= 0.

    With theta = atan(t / sqrt(n)) the mass within +-t is, for whole n,

        n odd   2/pi (theta + sin theta (cos theta + 2/3 cos^3 theta + .. up to cos^(n-2)))
        n even  sin theta (1 + 1/2 cos^2 theta + (1 3)/(2 4) cos^4 theta + .. up to cos^(n-2))
                                                    Abramowitz and Stegun, 26.7.3 and 26.7.4
    """
    theta = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine**2
    within = 2 / math.pi * (theta + sine * total) if odd else sine * total
    return (1 + within) / 2
