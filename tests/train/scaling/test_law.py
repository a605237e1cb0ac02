"""The law of size and data: its formulas, and that a fit finds it again in noisy losses."""

import numpy as np
import pytest

from edgebehave_train.scaling.law import Runs, ScalingLaw, fit_law

LAW = ScalingLaw(size_constant=8.0, size_exponent=0.35, data_constant=20.0, data_exponent=0.4, floor=1.6)
SIZES, EVENTS = (6e3, 2.2e4, 8e4), (9e3, 2.8e4, 7.5e4, 1.9e5)


def grid_of_runs(noise=0.0, seed=0):
    """Runs of every size and amount of data with losses of the law, the largest one last."""
    size, events = (x.T.ravel() for x in np.meshgrid(SIZES, EVENTS, indexing="ij"))
    deviation = np.random.default_rng(seed).normal(0, noise, len(size))
    return Runs(size=size, events=events, loss=LAW.loss(size, events) * np.exp(deviation))


def without_largest(runs):
    return Runs(size=runs.size[:-1], events=runs.events[:-1], loss=runs.loss[:-1])


def test_the_loss_is_the_sum_of_its_terms():
    law = ScalingLaw(size_constant=10.0, size_exponent=0.5, data_constant=100.0, data_exponent=1.0, floor=2.0)
    assert law.loss(100, 50) == pytest.approx(10 / 10 + 100 / 50 + 2)


def test_the_compute_optimum_is_the_lowest_loss_of_all_that_cost_as_much():
    compute = 1e11
    size, events = LAW.compute_optimum(compute)
    assert 6 * size * events == pytest.approx(compute)
    sizes = np.geomspace(1e2, 1e8, 100_001)
    tried = LAW.loss(sizes, compute / 6 / sizes)
    assert size == pytest.approx(sizes[tried.argmin()], rel=1e-3)
    assert LAW.loss(size, events) <= tried.min()


def test_a_fit_without_noise_is_exact():
    law = fit_law(grid_of_runs(), num_resamples=2).law
    for name in ("size_constant", "size_exponent", "data_constant", "data_exponent", "floor"):
        assert getattr(law, name) == pytest.approx(getattr(LAW, name), rel=1e-4)


def test_a_fit_finds_the_law_in_noisy_losses_and_says_how_sure_it_is():
    fitted = fit_law(grid_of_runs(noise=0.003), num_resamples=40)
    for name, interval in fitted.intervals().items():
        assert interval.low <= getattr(LAW, name) <= interval.high, name
    assert fitted.law.data_exponent == pytest.approx(0.4, abs=0.1)
    assert fitted.law.floor == pytest.approx(1.6, abs=0.15)
    ratio = fitted.events_per_parameter(1e11)
    size, events = LAW.compute_optimum(1e11)
    assert ratio.low <= events / size <= ratio.high


def test_one_failed_run_does_not_bend_the_law():
    runs = grid_of_runs(noise=0.001)
    runs.loss[4] *= 1.2
    largest = LAW.loss(SIZES[-1], EVENTS[-1])
    predicted = fit_law(without_largest(runs), num_resamples=2).law.loss(SIZES[-1], EVENTS[-1])
    assert predicted == pytest.approx(largest, rel=0.005)


def test_the_prediction_interval_covers_what_is_measured():
    covered, errors = 0, []
    for seed in range(12):
        runs = grid_of_runs(noise=0.004, seed=seed)
        fitted = fit_law(without_largest(runs), num_resamples=40, seed=seed)
        predicted = fitted.predict(SIZES[-1], EVENTS[-1])
        covered += predicted.low <= runs.loss[-1] <= predicted.high
        errors.append(abs(predicted.value / runs.loss[-1] - 1))
    assert covered >= 10
    assert max(errors) < 0.02


def test_more_runs_are_predicted_more_narrowly():
    fitted = fit_law(grid_of_runs(noise=0.004), num_resamples=40)
    one, many = (fitted.predict(SIZES[-1], EVENTS[-1], num_runs=n) for n in (1, 100))
    assert many.high - many.low < one.high - one.low


def test_too_few_runs_are_refused():
    runs = grid_of_runs()
    two_sizes = runs.size < SIZES[-1]
    few = Runs(size=runs.size[two_sizes], events=runs.events[two_sizes], loss=runs.loss[two_sizes])
    with pytest.raises(ValueError, match="got 8 runs of 2 sizes and 4 amounts"):
        fit_law(few)
    with pytest.raises(ValueError, match="loss of a run must be positive"):
        Runs(size=runs.size, events=runs.events, loss=runs.loss * np.nan)
