"""The two forms of the scaling law on losses made from them."""

from itertools import product

import numpy as np
import pytest

from compare_laws import CoupledLaw, added, coupled, errors_before, largest, print_report
from edgebehave_train.scaling.law import Runs

COUPLED = CoupledLaw(
    log_size_loss=0.9, size_exponent=0.1, log_data_loss=0.95, data_exponent=0.06, log_size=10.0, log_events=10.0
)


def runs_of(law: CoupledLaw) -> Runs:
    points = np.array(list(product((1e4, 4e4, 1.6e5), 5e3 * 2.0 ** np.arange(5))))
    return Runs(size=points[:, 0], events=points[:, 1], loss=law.loss(points[:, 0], points[:, 1]))


def test_the_coupled_form_by_hand():
    # ((N_c / N)^(alpha / beta) + D_c / D)^beta, with N_c = 2e4 and D_c = 6e3
    law = CoupledLaw(
        log_size_loss=0.1 * np.log(2e4), size_exponent=0.1, log_data_loss=0.06 * np.log(6e3), data_exponent=0.06,
        log_size=0.0, log_events=0.0,
    )  # fmt: skip
    assert law.loss(1e5, 3e3) == pytest.approx(((2e4 / 1e5) ** (0.1 / 0.06) + 6e3 / 3e3) ** 0.06)


def test_a_law_is_found_again_and_predicts_its_largest_run():
    runs = runs_of(COUPLED)
    is_largest = largest(runs)
    assert np.flatnonzero(is_largest).tolist() == [14]
    smaller = Runs(size=runs.size[:14], events=runs.events[:14], loss=runs.loss[:14])
    fit = coupled(smaller, 3)
    assert fit.law.size_exponent == pytest.approx(0.1, abs=1e-3)
    assert fit.law.data_exponent == pytest.approx(0.06, abs=1e-3)
    assert fit.predict(1.6e5, 8e4, 1).value == pytest.approx(float(runs.loss[14]), rel=1e-4)
    # The added form does not know that the gain of a larger model grows with the data.
    assert float(added(smaller, 1).law.loss(1.6e5, 8e4)) > float(runs.loss[14])


def test_the_form_is_chosen_without_the_largest_run(capsys):
    runs = runs_of(COUPLED)
    changed = Runs(size=runs.size, events=runs.events, loss=np.where(largest(runs), 1.0, runs.loss))
    assert errors_before(changed) == errors_before(runs)
    print_report(runs)
    assert "| coupled (chosen) |" in capsys.readouterr().out
