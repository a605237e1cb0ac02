"""The loss of a trained model as a law of its size and its data, fitted robustly.

    L(N, D) = C_N N^-alpha + C_D D^-beta + L0        Hoffmann et al. 2022 (Chinchilla), Eq. 10

    min over theta of sum_i Huber_1e-3( log L_theta(N_i, D_i) - log L_i )     the same, Sec. 3.3

N are parameters, D training events, L the loss in nats. Unlike in the paper the terms are centered on
the geometric means of N and D, so that the constants depend little on the exponents, and the exponents
are bounded, because a few noisy runs do not determine a small slope.
"""

# R runs, B resamples

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult, least_squares

from edgebehave_train.metrics.bootstrap import Interval, percentile_interval

NUM_UNKNOWNS = 5
HUBER_DELTA = 1e-3
NUM_RESAMPLES = 200
_EXPONENTS = (0.02, 2.0)
_MAX_EVALUATIONS = 200
_STARTS = tuple(product((0.05, 0.25), (0.05, 0.25), (0.2, 0.8), (0.2, 0.8)))
"""Starts of the search: shares of the N and the D term in the mean loss, and the exponents."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Measured runs, all (R,) float64.

    size    N, parameters.
    events  D, training events.
    loss    L, nats.
    """

    size: Floats
    events: Floats
    loss: Floats

    def __post_init__(self) -> None:
        if not len(self.size) == len(self.events) == len(self.loss):
            raise ValueError(
                f"runs need a size, a number of events and a loss each, got {len(self.size)}, "
                f"{len(self.events)} and {len(self.loss)}"
            )
        for name in ("size", "events", "loss"):
            values = getattr(self, name)
            if not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f"the {name} of a run must be positive, got {values.min()}")

    def __len__(self) -> int:
        return len(self.loss)


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """L(N, D) = C_N N^-alpha + C_D D^-beta + L0.

    size_constant, size_exponent  C_N in nats, alpha.
    data_constant, data_exponent  C_D in nats, beta.
    floor                         L0 in nats, the loss of unlimited size and data.
    """

    size_constant: float
    size_exponent: float
    data_constant: float
    data_exponent: float
    floor: float

    def loss(self, size: npt.ArrayLike, events: npt.ArrayLike) -> Floats:
        """Loss in nats of models of N parameters on D events; the two broadcast."""
        return (
            self.size_constant * np.asarray(size, np.float64) ** -self.size_exponent
            + self.data_constant * np.asarray(events, np.float64) ** -self.data_exponent
            + self.floor
        )

    def compute_optimum(self, compute: float) -> tuple[float, float]:
        """N* and D* with the lowest loss among all with 6 N D = compute, in floating operations.

        N* = G (C/6)^(beta / (alpha + beta)),  D* = (C/6) / N*
        G  = (alpha C_N / (beta C_D))^(1 / (alpha + beta))       Hoffmann et al. 2022, Eq. 4
        """
        alpha, beta = self.size_exponent, self.data_exponent
        ratio = alpha * self.size_constant / (beta * self.data_constant)
        size = ratio ** (1 / (alpha + beta)) * (compute / 6) ** (beta / (alpha + beta))
        return size, compute / 6 / size


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """A law and its uncertainty.

    law        the fit to the runs.
    resampled  B fits to resampled runs, from which all intervals are made.
    noise      (B,) float64, deviation of a run's log loss in each resample.
    residual   (R,) float64, log measured - log fitted loss.
    """

    law: ScalingLaw
    resampled: tuple[ScalingLaw, ...]
    noise: Floats
    residual: Floats

    def predict(self, size: float, events: float, num_runs: int = 1, seed: int = 0) -> Interval:
        """Loss of a run that was not fitted, with its 95 % interval.

        The interval holds the uncertainty of the fit and the noise of the runs: quantiles of the
        resampled laws, each times the noise of the mean of num_runs runs.
        """
        draw = np.random.default_rng(seed).normal(0, self.noise / math.sqrt(num_runs))
        losses = [law.loss(size, events) for law in self.resampled] * np.exp(draw)
        return percentile_interval(float(self.law.loss(size, events)), losses)

    def intervals(self) -> dict[str, Interval]:
        """The five numbers of the law."""
        return {
            name: percentile_interval(getattr(self.law, name), [getattr(law, name) for law in self.resampled])
            for name in self.law.__dataclass_fields__
        }

    def events_per_parameter(self, compute: float) -> Interval:
        """D* / N* at a compute of 6 N D, in floating operations."""

        def ratio(law: ScalingLaw) -> float:
            size, events = law.compute_optimum(compute)
            return events / size

        return percentile_interval(ratio(self.law), [ratio(law) for law in self.resampled])

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: [interval.value, interval.low, interval.high] for name, interval in self.intervals().items()},
            "residual_rms": float(np.sqrt(np.mean(self.residual**2))),
            "num_runs": len(self.residual),
        }


def fit_law(runs: Runs, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> FittedLaw:
    """Fit the law, and fit it again to resampled runs.

    A resample is the fitted law with new noise at the same sizes and events: drawing runs instead
    could leave a size out, and many residuals of a robust fit are zero. R residuals determine the
    size of the noise only roughly, so every resample draws it anew:

        s^2 = sum_i residual_i^2 / chi^2_(R - 5),   log loss = log law + s normal
    Raises ValueError if the runs cannot determine the five numbers.
    """
    num_sizes, num_amounts = len(np.unique(runs.size)), len(np.unique(runs.events))
    if num_sizes < 3 or num_amounts < 3 or len(runs) <= NUM_UNKNOWNS:
        raise ValueError(
            f"the law has {NUM_UNKNOWNS} unknowns and needs at least {NUM_UNKNOWNS + 1} runs of 3 "
            f"sizes and 3 amounts of data to learn from, got {len(runs)} runs of {num_sizes} "
            f"sizes and {num_amounts} amounts"
        )
    law = _best(runs, _STARTS)
    fitted = law.loss(runs.size, runs.events)
    residual = np.log(runs.loss) - np.log(fitted)
    rng = np.random.default_rng(seed)
    noise = np.sqrt((residual**2).sum() / rng.chisquare(len(runs) - NUM_UNKNOWNS, num_resamples))
    start = (_start_of(law, runs),)
    resampled = []
    for deviation in noise:
        loss = fitted * np.exp(rng.normal(0, deviation, len(runs)))
        resampled.append(_best(Runs(size=runs.size, events=runs.events, loss=loss), start))
    return FittedLaw(law=law, resampled=tuple(resampled), noise=noise, residual=residual)


def _best(runs: Runs, starts: Sequence[tuple[float, float, float, float]]) -> ScalingLaw:
    """The best of the fits from several starts."""
    log_n, log_d = np.log(runs.size), np.log(runs.events)
    center_n, center_d = float(log_n.mean()), float(log_d.mean())
    log_loss = np.log(runs.loss)
    lowest, mean = float(log_loss.min()), float(log_loss.mean())
    # log terms at the centers, exponents and the log floor, which lies below every loss
    low = np.array([mean - 12, _EXPONENTS[0], mean - 12, _EXPONENTS[0], lowest - 7])
    high = np.array([mean + 1, _EXPONENTS[1], mean + 1, _EXPONENTS[1], lowest])
    off_n, off_d = log_n - center_n, log_d - center_d

    def terms(theta: Floats) -> Floats:
        """Logarithms of the three terms, (3, R)."""
        log_cn, alpha, log_cd, beta, log_floor = theta
        return np.stack([log_cn - alpha * off_n, log_cd - beta * off_d, np.full(len(log_n), log_floor)])

    def residual(theta: Floats) -> Floats:
        return _log_sum(terms(theta)) - log_loss

    def jacobian(theta: Floats) -> Floats:
        log_terms_3R = terms(theta)
        share_3R = np.exp(log_terms_3R - _log_sum(log_terms_3R))
        return np.stack([share_3R[0], -share_3R[0] * off_n, share_3R[1], -share_3R[1] * off_d, share_3R[2]], 1)

    def search(theta: Floats, loss: str) -> OptimizeResult:
        return least_squares(
            residual,
            np.clip(theta, low + 1e-6, high - 1e-6),
            jacobian,
            bounds=(low, high),
            loss=loss,
            f_scale=HUBER_DELTA,
            x_scale="jac",
            max_nfev=_MAX_EVALUATIONS,
        )

    plain = []
    for share_n, share_d, alpha, beta in starts:
        rest = max(1 - share_n - share_d, 0.05)
        constants = mean + np.log([share_n, share_d, rest])
        theta = np.array([constants[0], alpha, constants[1], beta, constants[2]])
        plain.append(search(theta, "linear"))
    # Least squares first: its minima are near the robust ones, which are slow to find from afar.
    plain.sort(key=lambda fit: fit.cost)
    robust = [search(fit.x, "huber") for fit in plain[:3]]
    log_cn, alpha, log_cd, beta, log_floor = min(robust, key=lambda fit: fit.cost).x.tolist()
    return ScalingLaw(
        size_constant=math.exp(log_cn + alpha * center_n),
        size_exponent=alpha,
        data_constant=math.exp(log_cd + beta * center_d),
        data_exponent=beta,
        floor=math.exp(log_floor),
    )


def _log_sum(log_terms_3R: Floats) -> Floats:
    """log of the sum of the terms, (R,); faster than np.logaddexp.reduce."""
    largest = log_terms_3R.max(0)
    return largest + np.log(np.exp(log_terms_3R - largest).sum(0))


def _start_of(law: ScalingLaw, runs: Runs) -> tuple[float, float, float, float]:
    """A law as a start of the search."""
    mean = math.exp(np.log(runs.loss).mean())
    size, events = np.exp(np.log(runs.size).mean()), np.exp(np.log(runs.events).mean())
    return (
        float(law.size_constant * size**-law.size_exponent / mean),
        float(law.data_constant * events**-law.data_exponent / mean),
        law.size_exponent,
        law.data_exponent,
    )
