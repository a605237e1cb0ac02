"""The figure of a scaling grid: loss against data for each size, and against size for each D."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed to write a file
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from edgebehave_train.scaling.report import Measurement, ScalingReport

# Okabe and Ito 2008: told apart with any color vision, and by their markers in gray.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw_scaling(report: ScalingReport, path: Path) -> None:
    """Losses with the law as it was fitted before the largest run, and the prediction for it.

    Dots are runs, lines the law fitted to the smaller ones, the bar is the prediction with its
    95 % interval, the ring the largest run as measured.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    law = report.smaller_law.law
    runs = (*report.smaller, *report.held_out)
    size_of = {run.point.width: run.size for run in runs}
    events_of = {
        share: float(np.mean([run.events for run in runs if run.point.share == share])) for share in report.grid.shares
    }
    events = np.geomspace(0.8 * min(events_of.values()), 1.25 * max(events_of.values()), 100)
    for i, width in enumerate(report.grid.widths):
        mine = [run for run in runs if run.point.width == width]
        label = f"N = {_short(size_of[width])} (width {width})"
        _draw_series(left, i, label, [(run.events, run) for run in mine], report)
        left.plot(events, law.loss(size_of[width], events), color=_COLORS[i % len(_COLORS)])
    sizes = np.geomspace(0.8 * min(size_of.values()), 1.25 * max(size_of.values()), 100)
    for i, share in enumerate(report.grid.shares):
        mine = [run for run in runs if run.point.share == share]
        label = f"D = {_short(events_of[share])} ({share:.3g} of the log)"
        _draw_series(right, i, label, [(run.size, run) for run in mine], report)
        right.plot(sizes, law.loss(sizes, events_of[share]), color=_COLORS[i % len(_COLORS)])
    largest = report.held_out[0]
    for axes, x in ((left, events_of[largest.point.share]), (right, size_of[largest.point.width])):
        predicted = report.predicted
        # The middle need not lie inside the interval of a lopsided law.
        below, above = predicted.value - predicted.low, predicted.high - predicted.value
        axes.errorbar(
            x,
            predicted.value,
            yerr=[[max(0.0, below)], [max(0.0, above)]],
            color="black",
            marker="_",
            markersize=10,
            capsize=4,
            zorder=4,
            label="predicted, 95 %",
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _set_log_axis(left, list(events_of.values()))
    _set_log_axis(right, list(size_of.values()))
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
    plt.close(figure)


def _draw_series(
    axes: Axes,
    index: int,
    label: str,
    placed: list[tuple[float, Measurement]],
    report: ScalingReport,
) -> None:
    """The runs of one size or share; the held-out ones as larger rings."""
    color, marker = _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)]
    seen = [(x, run.loss) for x, run in placed if run not in report.held_out]
    held = [(x, run.loss) for x, run in placed if run in report.held_out]
    axes.plot(*zip(*seen, strict=True), color=color, marker=marker, linestyle="none", label=label)
    if held:
        axes.plot(
            *zip(*held, strict=True),
            color=color,
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgewidth=2,
            linestyle="none",
            label="largest, measured",
            zorder=3,
        )


def _set_log_axis(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis with a tick at each size or amount of the grid, and no others."""
    axes.set_xscale("log")
    axes.set_xticks(values, [_short(value) for value in values])
    axes.set_xticks([], minor=True)


def _short(count: float) -> str:
    """12.3k, 1.2M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"
