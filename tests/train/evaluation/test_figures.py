"""A figure of a small table, written without a screen."""

import math

import numpy as np
import pytest

from edgebehave_train.evaluation.comparison_report import ComparedRow, Comparison
from edgebehave_train.evaluation.figures import draw_comparison, draw_frontier
from edgebehave_train.evaluation.table import Row, Table
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.metrics.bootstrap import Interval
from edgebehave_train.metrics.ranking import Predictions


def row(name: str, kind: str, hr_at_1: float, macro_recall: float) -> Row:
    empty = np.zeros(0, np.int64)
    targets = Targets(**dict.fromkeys(Targets.__annotations__, empty))
    return Row(
        name=name,
        kind=kind,
        predictions=Predictions(targets=targets, num_greater=empty, num_tied=empty, predicted=empty),
        metrics={
            # The resampled values of a mean over behaviors may all lie below the value itself.
            "hr_at_1": Interval(value=hr_at_1, low=hr_at_1 - 0.02, high=hr_at_1 - 0.01),
            "macro_recall": Interval(value=macro_recall, low=math.nan, high=math.nan),
        },
    )


@pytest.mark.parametrize("num_models", [1, 2])
def test_the_frontier_is_written_as_a_png(tmp_path, num_models):
    rows = [row("most_popular", "baseline", 0.1, 0.02), row("habits", "baseline", 0.3, 0.2)]
    for i in range(num_models):
        rows += [
            row(f"model_{i}, adjusted tau 1", "variant", 0.3, 0.3),
            row(f"model_{i}", "model", 0.4, 0.2),
            row(f"model_{i}, no query time", "variant", 0.35, 0.15),
        ]
    table = Table(
        part="validation",
        rows=rows,
        num_targets=10,
        num_unknown=1,
        num_users=2,
        test_reads=0,
        habit_weights={},
    )
    path = tmp_path / "figures" / "frontier.png"
    draw_frontier(table, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_comparison_is_written_as_a_png(tmp_path, num_seeds):
    rows = [
        ComparedRow(
            name=name,
            is_baseline=name == "habits",
            tau=tau,
            metrics=[
                {"hr_at_1": 0.4 - 0.1 * tau + 0.01 * seed, "macro_recall": 0.1 + 0.1 * tau} for seed in range(num_seeds)
            ],
            above_reference=[0.0] * num_seeds,
        )
        for name, tau in (("habits", 0.0), ("ce", 0.0), ("ce", 0.5), ("dro", 0.0), ("dro", 0.5))
    ]
    comparison = Comparison(
        part="validation",
        rows=rows,
        reference="ce",
        chosen="ce",
        num_targets=10,
        num_users=2,
        num_seeds=num_seeds,
        data_fingerprint="0",
        seconds=1.0,
    )
    path = tmp_path / "figures" / "frontier.png"
    draw_comparison(comparison, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
