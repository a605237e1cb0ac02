"""Figures of a table: macro recall against HR@1, a curve of post-hoc logit adjustment per model.

Up and to the right is better. A model whose curve lies inside another's gains no more than a prior
shift of the other would give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgebehave_train.evaluation.comparison_report import ComparedRow, Comparison
from edgebehave_train.evaluation.part_predictions import baseline_label
from edgebehave_train.evaluation.table import Row, Table

_ADJUSTED = ", adjusted tau "
# Okabe and Ito's colors, which differ under any color vision, without yellow; markers and dashes tell
# curves apart in print, and where the colors repeat.
_COLORS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F"]
_MARKERS, _DASHES = "os^DvPX*hp<", ("-", "--", "-.")


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A model at one strength of the prior shift: tau, or C of a DRO prior; 0 = as trained.

    hr_bar, macro_bar  length of the bar (below, above) the value, each >= 0.
    """

    strength: float
    hr_at_1: float
    macro_recall: float
    hr_bar: tuple[float, float]
    macro_bar: tuple[float, float] = (0.0, 0.0)


def draw_frontier(table: Table, path: Path) -> Figure:
    """The models of one evaluation, with bootstrap intervals over users of HR@1; written to a file."""
    curves: dict[str, list[CurvePoint]] = {}
    for row in table.rows:
        if row.kind == "model" or _ADJUSTED in row.name:
            name, _, tau = row.name.partition(_ADJUSTED)
            curves.setdefault(name, []).append(_point_of_row(row, float(tau or 0)))
    baselines = {
        row.name: (row.metrics["hr_at_1"].value, row.metrics["macro_recall"].value)
        for row in table.rows
        if row.kind == "baseline"
    }
    # Resampled macro recall is biased (see bootstrap.py), so only HR@1 gets a bar.
    return _draw(path, curves, baselines, f"{table.part}; bars: 95 % over users")


def draw_comparison(comparison: Comparison, path: Path) -> Figure:
    """The objectives of a comparison, with t intervals over seeds of both metrics; written to a file."""
    curves = {name: [_point_of_seeds(row, row.tau) for row in comparison.curve(name)] for name in comparison.objectives}
    if dro_curve := comparison.dro_curve():
        curves[f"{comparison.reference}, DRO prior"] = [_point_of_seeds(row, row.capacity) for row in dro_curve]
    baselines = {
        row.name: (row.metrics[0]["hr_at_1"], row.metrics[0]["macro_recall"])
        for row in comparison.rows
        if row.is_baseline
    }
    bars = f"bars: 95 % over {comparison.num_seeds} seeds"
    title = f"{comparison.part}; {bars if comparison.num_seeds > 1 else 'one seed, no bars'}"
    return _draw(path, curves, baselines, title)


def _draw(
    path: Path, curves: Mapping[str, Sequence[CurvePoint]], baselines: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    whole, near = figure.subplots(1, 2)
    for axes in (whole, near):
        styles = zip(cycle(_COLORS), cycle(_MARKERS), cycle(_DASHES))
        for (name, points), style in zip(curves.items(), styles, strict=False):
            _draw_curve(axes, name, sorted(points, key=lambda point: point.strength), style)
        axes.set_xlabel("HR@1")
        axes.set_ylabel("macro recall")
        axes.grid(alpha=0.3)
    for name, (hr_at_1, macro_recall) in baselines.items():
        whole.plot(hr_at_1, macro_recall, marker="x", color="gray", linestyle="none")
        _annotate(whole, baseline_label(name), (hr_at_1, macro_recall), (5, -9), "gray")
    _zoom(near, curves)
    whole.set_title("with the baselines")
    near.set_title("weak shifts, enlarged")
    figure.suptitle(f"{title}\nlarge marker: as trained; numbers: tau of post-hoc adjustment, C of a DRO prior")
    handles, labels = whole.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return figure


def _zoom(axes: Axes, curves: Mapping[str, Sequence[CurvePoint]]) -> None:
    """Limit the axes to the first two points of each curve: no shift and the weakest one."""
    shown = [point for points in curves.values() for point in sorted(points, key=lambda point: point.strength)[:2]]
    for values, limit in (
        ([point.hr_at_1 for point in shown], axes.set_xlim),
        ([point.macro_recall for point in shown], axes.set_ylim),
    ):
        margin = max(0.15 * (max(values) - min(values)), 0.002)
        limit(min(values) - margin, max(values) + margin)


def _draw_curve(axes: Axes, name: str, points: Sequence[CurvePoint], style: tuple[str, str, str]) -> None:
    color, marker, dashes = style
    hr_at_1 = [point.hr_at_1 for point in points]
    macro_recall = [point.macro_recall for point in points]
    hr_bars, macro_bars = (np.transpose([getattr(point, bar) for point in points]) for bar in ("hr_bar", "macro_bar"))
    axes.errorbar(
        hr_at_1, macro_recall, xerr=hr_bars, yerr=macro_bars, color=color, linestyle="none", alpha=0.45, capsize=2
    )
    axes.plot(
        hr_at_1, macro_recall, color=color, marker=marker, linestyle=dashes, markersize=4, linewidth=1.2, label=name
    )
    large: dict[str, Any] = {"markersize": 9, "markeredgecolor": "white", "linestyle": "none", "zorder": 4}
    for point in points:
        at = point.hr_at_1, point.macro_recall
        if point.strength:
            _annotate(axes, f"{point.strength:g}", at, (4, 3), color)
        else:
            axes.plot(*at, marker=marker, color=color, **large)


def _annotate(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], color: str) -> None:
    look: dict[str, Any] = {"fontsize": 7, "color": color, "alpha": 0.9, "annotation_clip": True}
    axes.annotate(text, at, textcoords="offset points", xytext=offset, **look)


def _point_of_seeds(row: ComparedRow, strength: float) -> CurvePoint:
    """Mean over seeds; the bar of a single run has no length."""
    hr_at_1, hr_bar = row.interval("hr_at_1")
    macro_recall, macro_bar = row.interval("macro_recall")
    bars = [(length, length) for length in np.nan_to_num([hr_bar, macro_bar]).tolist()]
    return CurvePoint(strength=strength, hr_at_1=hr_at_1, macro_recall=macro_recall, hr_bar=bars[0], macro_bar=bars[1])


def _point_of_row(row: Row, tau: float) -> CurvePoint:
    hr = row.metrics["hr_at_1"]
    # Resampled values may all lie on one side of the value itself.
    bar = (max(0.0, hr.value - hr.low), max(0.0, hr.high - hr.value))
    return CurvePoint(strength=tau, hr_at_1=hr.value, macro_recall=row.metrics["macro_recall"].value, hr_bar=bar)
