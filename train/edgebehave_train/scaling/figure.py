"""The figure of a scaling grid: loss against data for each size, and against size for each amount of data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgebehave_train.scaling.report import Measurement, ScalingReport

# Okabe and Ito 2008: the colors differ under any color vision, the markers also in gray.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw_scaling(report: ScalingReport, path: Path) -> Figure:
    """Losses with the law as it was fitted before the largest run, and the prediction for it; written to a file.

    Dots are runs, lines the law fitted to the smaller ones, the bar is the prediction with its
    95 % interval, the ring the largest run as measured.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    law, predicted, largest = report.smaller_law.law, report.predicted, report.held_out[0]
    runs = (*report.smaller, *report.held_out)
    size_of = {run.point.width: run.size for run in runs}
    events_of = {
        share: float(np.mean([run.events for run in runs if run.point.share == share])) for share in report.grid.shares
    }
    events, sizes = (
        np.geomspace(0.8 * min(values.values()), 1.25 * max(values.values()), 100) for values in (events_of, size_of)
    )
    for i, width in enumerate(report.grid.widths):
        placed = [(run.events, run) for run in runs if run.point.width == width]
        _draw_series(left, i, f"N = {_short(size_of[width])} (width {width})", placed, report)
        left.plot(events, law.loss(size_of[width], events), color=_COLORS[i % len(_COLORS)])
    for i, share in enumerate(report.grid.shares):
        placed = [(run.size, run) for run in runs if run.point.share == share]
        _draw_series(right, i, f"D = {_short(events_of[share])} ({share:.3g} of the log)", placed, report)
        right.plot(sizes, law.loss(sizes, events_of[share]), color=_COLORS[i % len(_COLORS)])
    # The value need not lie inside the interval of a skewed law.
    bar = [[max(0.0, predicted.value - predicted.low)], [max(0.0, predicted.high - predicted.value)]]
    look: dict[str, Any] = {"color": "black", "marker": "_", "markersize": 10, "capsize": 4, "zorder": 4}
    for axes, x, ticks in (
        (left, events_of[largest.point.share], events_of),
        (right, size_of[largest.point.width], size_of),
    ):
        axes.errorbar(x, predicted.value, yerr=bar, label="predicted, 95 %", **look)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        # A tick at each size or amount of the grid, and no others.
        axes.set_xscale("log")
        axes.set_xticks(list(ticks.values()), [_short(value) for value in ticks.values()])
        axes.set_xticks([], minor=True)
    left.set_xlabel("D, training events")
    left.set_ylabel("validation loss (nats)")
    right.set_xlabel("N, parameters without embedding tables")
    figure.suptitle(
        f"L = {law.size_constant:.3g} N^-{law.size_exponent:.2f} + "
        f"{law.data_constant:.3g} D^-{law.data_exponent:.2f} + {law.floor:.3f}, fitted without "
        f"the largest run, whose loss it put {abs(report.error):.1%} too "
        f"{'high' if report.error > 0 else 'low'}",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return figure


def _draw_series(
    axes: Axes, index: int, label: str, placed: Sequence[tuple[float, Measurement]], report: ScalingReport
) -> None:
    """The runs of one size or share at their x; the held-out ones as larger rings."""
    color, marker = _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)]
    seen = [(x, run.loss) for x, run in placed if run not in report.held_out]
    held = [(x, run.loss) for x, run in placed if run in report.held_out]
    axes.plot(*zip(*seen, strict=True), color=color, marker=marker, linestyle="none", label=label)
    if held:
        ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 2}
        axes.plot(*zip(*held, strict=True), color=color, linestyle="none", label="largest, measured", zorder=3, **ring)


def _short(count: float) -> str:
    """12.3k, 1.2M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"
