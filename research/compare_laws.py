"""Two forms of the scaling law on a finished grid: which one predicts runs larger than those it was fitted to?

    python research/compare_laws.py runs/worlds/scaling/scaling.json

    added    L(N, D) = C_N N^-alpha + C_D D^-beta + L0                Hoffmann et al. 2022, Eq. 10
    coupled  L(N, D) = ((N_c / N)^(alpha / beta) + D_c / D)^beta     Kaplan et al. 2020 (arXiv 2001.08361), Eq. 1.5

In the added form a larger model gains as much on little data as on much; in the coupled one its gain grows with the
data. The form is chosen without the largest model on the most data: of the first 3, 4, ... amounts, the largest run is
predicted from all smaller ones, and the smaller mean error wins. Then both forms predict the run that is held out.
"""

# R runs, B resamples

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from edgebehave_train.metrics.bootstrap import Interval, percentile_interval
from edgebehave_train.scaling.law import HUBER_DELTA, NUM_RESAMPLES, Runs, fit_law
from reproduce_scaling import PAPER_EXPONENTS

MIN_AMOUNTS = 3
_LOW, _HIGH = (-9.0, 1e-3, -9.0, 1e-3), (3.0, 2.0, 3.0, 2.0)
_STARTS = tuple(product((0.2, 0.5, 0.8), (0.02, 0.1, 0.3), (0.2, 0.5, 0.8), (0.02, 0.1, 0.3)))
"""Starts of the search: what one term alone explains of the mean loss, and its exponent, for N and for D."""

Floats = npt.NDArray[np.float64]


class Law(Protocol):
    """A form of the law, fitted."""

    @property
    def size_exponent(self) -> float:
        """alpha."""

    @property
    def data_exponent(self) -> float:
        """beta."""

    def loss(self, size: npt.ArrayLike, events: npt.ArrayLike) -> Floats:
        """Loss in nats of models of N parameters on D events."""


@dataclass(frozen=True, kw_only=True)
class CoupledLaw:
    """L(N, D) = ((N_c / N)^(alpha / beta) + D_c / D)^beta.

    log_size_loss, log_data_loss  log loss of each term alone, alpha log(N_c / N) and beta log(D_c / D), at the centers.
    log_size, log_events          the centers: means of log N and log D.
    """

    log_size_loss: float
    size_exponent: float
    log_data_loss: float
    data_exponent: float
    log_size: float
    log_events: float

    def loss(self, size: npt.ArrayLike, events: npt.ArrayLike) -> Floats:
        of_size = self.log_size_loss - self.size_exponent * (np.log(size) - self.log_size)
        of_data = self.log_data_loss - self.data_exponent * (np.log(events) - self.log_events)
        beta = self.data_exponent
        losses: Floats = np.exp(beta * np.logaddexp(of_size / beta, of_data / beta))
        return losses


def fit_coupled(runs: Runs, start: CoupledLaw | None = None) -> CoupledLaw:
    """The law whose log losses are nearest to those of the runs, robustly as in `fit_law`.

    start  of the search; None = many.
    """
    log_size, log_events, log_loss = np.log(runs.size), np.log(runs.events), np.log(runs.loss)
    centers = float(log_size.mean()), float(log_events.mean())

    def law(theta: Floats) -> CoupledLaw:
        of_size, alpha, of_data, beta = theta.tolist()
        return CoupledLaw(
            log_size_loss=of_size,
            size_exponent=alpha,
            log_data_loss=of_data,
            data_exponent=beta,
            log_size=centers[0],
            log_events=centers[1],
        )

    def residual(theta: Floats) -> Floats:
        away: Floats = np.log(law(theta).loss(runs.size, runs.events)) - log_loss
        return away

    def search(theta: npt.ArrayLike, loss: str) -> Any:
        inside = np.clip(theta, np.add(_LOW, 1e-9), np.subtract(_HIGH, 1e-9))
        return least_squares(residual, inside, bounds=(_LOW, _HIGH), loss=loss, f_scale=HUBER_DELTA, x_scale="jac")

    mean = float(log_loss.mean())
    starts: list[tuple[float, ...]] = [
        (mean + beta * math.log(of_size), alpha, mean + beta * math.log(of_data), beta)
        for of_size, alpha, of_data, beta in _STARTS
    ]
    if start:
        starts = [(start.log_size_loss, start.size_exponent, start.log_data_loss, start.data_exponent)]
    plain = sorted((search(theta, "linear") for theta in starts), key=lambda fit: fit.cost)
    robust = [search(fit.x, "huber") for fit in plain[:3]]
    return law(min(robust, key=lambda fit: fit.cost).x)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A form fitted to runs, and fitted again to resampled ones, as in `fit_law`."""

    law: Law
    resampled: tuple[Law, ...]
    noise: Floats

    def interval(self, number: Callable[[Law], float]) -> Interval:
        return percentile_interval(number(self.law), [number(law) for law in self.resampled])

    def predict(self, size: float, events: float, num_runs: int) -> Interval:
        """Mean loss of so many runs that were not fitted, with the noise of runs."""
        draw = np.random.default_rng(0).normal(0, self.noise / math.sqrt(num_runs))
        losses = [float(law.loss(size, events)) for law in self.resampled] * np.exp(draw)
        return percentile_interval(float(self.law.loss(size, events)), losses)


def added(runs: Runs, num_resamples: int = NUM_RESAMPLES) -> Fit:
    fitted = fit_law(runs, num_resamples)
    return Fit(law=fitted.law, resampled=fitted.resampled, noise=fitted.noise)


def coupled(runs: Runs, num_resamples: int = NUM_RESAMPLES) -> Fit:
    law = fit_coupled(runs)
    losses = law.loss(runs.size, runs.events)
    squares = float(((np.log(runs.loss) - np.log(losses)) ** 2).sum())
    rng = np.random.default_rng(0)
    noise = np.sqrt(squares / rng.chisquare(len(runs) - 4, num_resamples))
    again = (losses * np.exp(rng.normal(0, deviation, len(runs))) for deviation in noise)
    resampled = tuple(fit_coupled(Runs(size=runs.size, events=runs.events, loss=loss), law) for loss in again)
    return Fit(law=law, resampled=resampled, noise=noise)


FORMS: dict[str, Callable[[Runs, int], Fit]] = {"added": added, "coupled": coupled}


def chosen(runs: Runs, which: npt.NDArray[np.bool_]) -> Runs:
    return Runs(size=runs.size[which], events=runs.events[which], loss=runs.loss[which])


def largest(runs: Runs) -> npt.NDArray[np.bool_]:
    """The runs of the largest model on the most data: one of each seed, whose shares differ by a few events."""
    is_largest = runs.size == runs.size.max()
    found: npt.NDArray[np.bool_] = is_largest & (runs.events > 0.99 * runs.events[is_largest].max())
    return found


def errors_before(runs: Runs) -> dict[str, list[float]]:
    """Predicted / measured - 1 of the largest run of the first 3, 4, ... amounts, without the last one, by form."""
    amount = np.round(10 * np.log2(runs.events)).astype(np.int64)  # that of another seed differs by a few events
    errors: dict[str, list[float]] = {name: [] for name in FORMS}
    for last in np.unique(amount)[MIN_AMOUNTS - 1 : -1]:
        part = chosen(runs, amount <= last)
        is_largest = largest(part)
        measured = float(part.loss[is_largest].mean())
        at = float(part.size[is_largest].mean()), float(part.events[is_largest].mean())
        for name, fit in FORMS.items():
            errors[name].append(float(fit(chosen(part, ~is_largest), 1).law.loss(*at)) / measured - 1)
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scaling", type=Path, help="scaling.json of `edgebehave scale`")
    found = json.loads(parser.parse_args().scaling.read_text())["runs"]
    columns = {name: np.array([run[name] for run in found], np.float64) for name in ("size", "events", "loss")}
    print_report(Runs(**columns))


def print_report(runs: Runs) -> None:
    is_largest = largest(runs)
    smaller = chosen(runs, ~is_largest)
    errors = errors_before(runs)
    best = min(errors, key=lambda name: float(np.abs(errors[name]).mean()))
    measured, num_runs = float(runs.loss[is_largest].mean()), int(is_largest.sum())
    at = float(runs.size[is_largest].mean()), float(runs.events[is_largest].mean())
    print(f"{len(smaller)} smaller runs; the largest, mean of {num_runs}: {measured:.4f} nats\n")
    print("| form | errors on smaller grids | largest run, predicted | off by | alpha | beta |")
    print("|---|---|---:|---:|---:|---:|")
    for name, fit_form in FORMS.items():
        fit = fit_form(smaller, NUM_RESAMPLES)
        predicted = fit.predict(*at, num_runs)
        cells = [
            name + (" (chosen)" if name == best else ""),
            ", ".join(f"{error:+.2%}" for error in errors[name]),
            text(predicted, 4),
            f"{predicted.value / measured - 1:+.2%}",
            text(fit.interval(lambda law: law.size_exponent), 3),
            text(fit.interval(lambda law: law.data_exponent), 3),
        ]
        print("| " + " | ".join(cells) + " |")
    print(f"| the paper | | | | {PAPER_EXPONENTS['size_exponent']} | {PAPER_EXPONENTS['data_exponent']} |")


def text(interval: Interval, digits: int) -> str:
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


if __name__ == "__main__":
    main()
