"""Figures of a table."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed to write a file
import matplotlib.pyplot as plt

from edgebehave_train.evaluation import Row, Table

_ADJUSTED = ", adjusted tau "


def draw_frontier(table: Table, path: Path) -> None:
    """Macro recall against HR@1: each model with its curve of post-hoc logit adjustment.

    Up and to the right is better. A model whose curve lies inside another's gains nothing that
    a shift of the prior would not have given the other.
    """
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    curves: dict[str, list[Row]] = {}
    for row in table.rows:
        name = row.name.split(_ADJUSTED)[0]
        if row.kind == "model" or _ADJUSTED in row.name:
            curves.setdefault(name, []).append(row)
    for name, rows in curves.items():
        rows.sort(key=_tau)
        line = axes.plot(
            [row.metrics["hr_at_1"].value for row in rows],
            [row.metrics["macro_recall"].value for row in rows],
            marker="o",
            markersize=4,
            label=name,
        )[0]
        start = rows[0].metrics
        axes.errorbar(
            start["hr_at_1"].value,
            start["macro_recall"].value,
            xerr=_half_widths(rows[0], "hr_at_1"),
            color=line.get_color(),
            alpha=0.4,
            capsize=3,
        )
        for row in rows:
            tau = _tau(row)
            axes.annotate(
                f"{tau:g}" if tau else "",
                (row.metrics["hr_at_1"].value, row.metrics["macro_recall"].value),
                textcoords="offset points",
                xytext=(4, 4),
                fontsize=7,
            )
    for row in table.rows:
        if row.kind == "baseline":
            point = row.metrics["hr_at_1"].value, row.metrics["macro_recall"].value
            axes.plot(*point, marker="x", color="gray", linestyle="none")
            axes.annotate(
                row.name.replace("_", " "),
                point,
                textcoords="offset points",
                xytext=(4, -8),
                fontsize=7,
                color="gray",
            )
    axes.set_xlabel("HR@1 (bar: 95 % interval over users)")
    axes.set_ylabel("macro recall")
    axes.set_title(f"{table.part}: numbers on the curves are tau of post-hoc adjustment")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _tau(row: Row) -> float:
    return float(row.name.split(_ADJUSTED)[1]) if _ADJUSTED in row.name else 0.0


def _half_widths(row: Row, metric: str) -> list[list[float]]:
    interval = row.metrics[metric]
    return [
        [max(0.0, interval.value - interval.low)],
        [max(0.0, interval.high - interval.value)],
    ]
