"""Figures of small tables: their axes, curves, bars, labels and points, and the file."""

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


def lines(axes) -> dict[str, np.ndarray]:
    """(points, 2) coordinates of every labelled line of some axes."""
    return {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}


def texts(axes) -> dict[str, list[tuple[float, float]]]:
    """Points that each annotation stands at."""
    found: dict[str, list[tuple[float, float]]] = {}
    for text in axes.texts:
        found.setdefault(text.get_text(), []).append(tuple(text.xy))
    return found


def large_markers(axes) -> list[list[float]]:
    """Points that are marked as trained."""
    return [line.get_xydata()[0].tolist() for line in axes.lines if line.get_markersize() == 9]


def bars(axes, index: int) -> np.ndarray:
    """(points, 2) ends of the horizontal bars of a curve."""
    horizontal = axes.containers[index].lines[2][0]
    return np.array([segment[:, 0] for segment in horizontal.get_segments()])


@pytest.mark.parametrize("num_models", [1, 2])
def test_the_frontier_has_a_curve_per_model_and_a_point_per_baseline(tmp_path, num_models):
    rows = [row("most_popular", "baseline", 0.1, 0.02), row("habits", "baseline", 0.3, 0.2)]
    for i in range(num_models):
        rows += [
            row(f"model_{i}, adjusted tau 1", "variant", 0.3 + i / 100, 0.3),
            row(f"model_{i}", "model", 0.4 + i / 100, 0.2),
            row(f"model_{i}, no query time", "variant", 0.35, 0.15),
        ]
    table = Table(
        part="validation",
        rows=rows,
        num_targets=10,
        num_unknown=1,
        share_new=0.1,
        num_users=2,
        test_reads=0,
        habit_weights={},
    )
    path = tmp_path / "figures" / "frontier.png"
    figure = draw_frontier(table, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    whole, near = figure.axes
    for axes in (whole, near):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("HR@1", "macro recall")
        curves = lines(axes)
        assert list(curves) == [f"model_{i}" for i in range(num_models)]
        for i in range(num_models):  # from no adjustment to the strongest
            np.testing.assert_allclose(curves[f"model_{i}"], [[0.4 + i / 100, 0.2], [0.3 + i / 100, 0.3]])
        np.testing.assert_allclose(large_markers(axes), [[0.4 + i / 100, 0.2] for i in range(num_models)])
        assert texts(axes)["1"] == [(0.3 + i / 100, 0.3) for i in range(num_models)]
    assert texts(whole)["most popular"] == [(0.1, 0.02)]
    assert texts(whole)["habits"] == [(0.3, 0.2)]
    assert "habits" not in texts(near)
    # Intervals lie wholly below the values: bars end at the value.
    np.testing.assert_allclose(bars(whole, 0), [[0.38, 0.4], [0.28, 0.3]])
    low, high = near.get_xlim()
    assert low < 0.3
    assert 0.4 < high < 0.45
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"model_{i}" for i in range(num_models)]
    assert figure.get_suptitle().startswith("validation; bars: 95 % over users")


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_comparison_has_a_curve_per_objective_and_one_of_dro_priors(tmp_path, num_seeds):
    shifts = [("habits", 0.0, 1), ("ce", 0.5, 1), ("ce", 0.0, 1), ("dro", 0.0, 1), ("dro", 0.5, 1), ("ce", 0.0, 1.5)]
    rows = [
        ComparedRow(
            name=name,
            is_baseline=name == "habits",
            tau=tau,
            capacity=capacity,
            metrics=[
                {"hr_at_1": 0.4 - 0.1 * tau + 0.01 * seed, "macro_recall": 0.1 * capacity + 0.1 * tau}
                for seed in range(num_seeds)
            ],
            above_reference=[0.0] * num_seeds,
        )
        for name, tau, capacity in shifts
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
    figure = draw_comparison(comparison, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    whole, near = figure.axes
    mean = 0.4 + 0.01 * (num_seeds - 1) / 2
    for axes in (whole, near):
        curves = lines(axes)
        assert list(curves) == ["ce", "dro", "ce, DRO prior"]
        for name in ("ce", "dro"):
            np.testing.assert_allclose(curves[name], [[mean, 0.1], [mean - 0.05, 0.15]])
        np.testing.assert_allclose(curves["ce, DRO prior"], [[mean, 0.15]])
        assert texts(axes)["1.5"] == [pytest.approx((mean, 0.15))]
    assert texts(whole)["habits"] == [pytest.approx((0.4, 0.1))]
    half_width = 0.0 if num_seeds == 1 else 4.303 * 0.01 / math.sqrt(3)  # t(0.975, 2), deviation .01
    np.testing.assert_allclose(bars(whole, 0)[0], [mean - half_width, mean + half_width], atol=1e-4)
    assert ("one seed, no bars" if num_seeds == 1 else "95 % over 3 seeds") in figure.get_suptitle()
