"""Charts of a report as SVG that takes its colors from the page, light or dark."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgebehave_train.report.slices import Slices

_WIDTH_IN, _HEIGHT_IN = 5.2, 3.1
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgebehave",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
}
# Colors stand for variables of the page's style sheet: the text, then the series.
_TEXT = "#010101"
_SERIES = ("#020202", "#030303", "#040404", "#050505")
_VARIABLES = {_TEXT: "var(--text)", **{color: f"var(--series-{i})" for i, color in enumerate(_SERIES, start=1)}}


def lines(slices: Slices, labels: dict[str, str], x_label: str) -> str:
    """HR@1 along an ordered division; labels of the rows that are drawn, by name."""

    def draw(axes: Axes) -> None:
        at = np.arange(len(slices.labels))
        for color, (name, label) in zip(_SERIES, labels.items(), strict=False):
            axes.plot(at, slices.hr_at_1[name], color=color, marker="o", markersize=3, linewidth=1.6, label=label)
        step = max(1, len(at) // 12)
        axes.set_xticks(at[::step], slices.labels[::step])
        axes.set_xlabel(x_label)
        axes.set_ylabel("HR@1")
        axes.set_ylim(bottom=0)

    return _svg(draw, legend=True)


def bars(slices: Slices, labels: dict[str, str]) -> str:
    """HR@1 of unordered parts, a group of horizontal bars each."""
    names = [label if len(label) <= 24 else label[:23] + "…" for label in slices.labels]

    def draw(axes: Axes) -> None:
        at = np.arange(len(names))
        height = 0.8 / len(labels)
        for i, (name, label) in enumerate(labels.items()):
            axes.barh(
                at + (i - (len(labels) - 1) / 2) * height, slices.hr_at_1[name], height, color=_SERIES[i], label=label
            )
        axes.set_yticks(at, names)
        axes.invert_yaxis()
        axes.set_xlabel("HR@1")
        axes.set_xlim(left=0)

    return _svg(draw, height_in=max(2.0, 0.9 + 0.32 * len(names)), legend=True)


def reliability(confidence: Sequence[float], hit: Sequence[float]) -> str:
    """Share of hits against the mean confidence, by bins of equally many predictions."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_TEXT, linewidth=0.8, linestyle="--", label="calibrated")
        axes.plot(confidence, hit, color=_SERIES[0], marker="o", markersize=4, linewidth=1.6, label="the model")
        axes.set_xlabel("probability of the first prediction")
        axes.set_ylabel("share that came true")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)

    return _svg(draw, legend=True)


def precision(coverage: Sequence[float], right: Sequence[float]) -> str:
    """Share of actions that are right, against the share of moments with an action, the surest first."""

    def draw(axes: Axes) -> None:
        axes.plot(coverage, right, color=_SERIES[0], marker="o", markersize=4, linewidth=1.6)
        axes.set_xlabel("share of the moments at which the app acts")
        axes.set_ylabel("share of the actions that are right")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)

    return _svg(draw)


def frontier(points: Sequence[tuple[float, float, float]], baselines: Sequence[tuple[float, float]]) -> str:
    """Macro recall against HR@1: the model at each value of `tail`, and the baselines.

    points     (tail, HR@1, macro recall), tail 0 first.
    baselines  (HR@1, macro recall) of each.
    """

    def draw(axes: Axes) -> None:
        _, hr_at_1, macro_recall = zip(*points, strict=True)
        axes.plot(*zip(*baselines, strict=True), color=_SERIES[1], marker="x", linestyle="none", label="baselines")
        axes.plot(hr_at_1, macro_recall, color=_SERIES[0], marker="o", markersize=4, linewidth=1.6, label="the model")
        for (tail, x, y), offset, side in ((points[0], (7, -3), "left"), (points[-1], (0, 8), "center")):
            axes.annotate(f"tail {tail:g}", (x, y), offset, textcoords="offset points", ha=side, color=_TEXT)
        axes.set_xlabel("HR@1")
        axes.set_ylabel("macro recall")
        axes.margins(0.16)

    return _svg(draw, legend=True)


def _svg(draw: Callable[[Axes], None], *, height_in: float = _HEIGHT_IN, legend: bool = False) -> str:
    """A chart as an <svg> element that fills the width of its place."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if legend:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, labelcolor=_TEXT, borderaxespad=0.2
            )
        axes.tick_params(colors=_TEXT)
        axes.xaxis.label.set_color(_TEXT)
        axes.yaxis.label.set_color(_TEXT)
        for spine in axes.spines.values():
            spine.set_color(_TEXT)
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        text = io.StringIO()
        with warnings.catch_warnings():
            # The browser's fonts draw the text; those of matplotlib need not have the characters of a log's names.
            warnings.filterwarnings("ignore", message="Glyph ")
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
