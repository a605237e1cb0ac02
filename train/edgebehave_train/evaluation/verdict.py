"""One sentence on a table: whether its first model is better than the best baseline."""

import math

from edgebehave_train.evaluation.part_predictions import baseline_label
from edgebehave_train.evaluation.table import Row, Table


def best_baseline(table: Table) -> Row:
    """The baseline with the highest HR@1."""
    return max((row for row in table.rows if row.kind == "baseline"), key=lambda row: row.metrics["hr_at_1"].value)


def verdict(table: Table) -> str:
    """Whether the first model is above, below or equal to the best baseline, by the paired interval of HR@1."""
    model = next(row for row in table.rows if row.kind == "model")
    best = best_baseline(table)
    difference = (best.model_minus_this or {})["hr_at_1"]
    ours, theirs = (row.metrics["hr_at_1"].value for row in (model, best))
    name, label = model.name, baseline_label(best.name)
    figures = f"HR@1 {ours:.3f} against {theirs:.3f}, difference {difference.value:+.3f}"
    if math.isnan(difference.low):
        return f"{name} and the best baseline, {label}: {figures}; one user gives no interval."
    figures += f" [{difference.low:+.3f}, {difference.high:+.3f}]"
    if difference.low > 0:
        return f"{name} predicts better than every baseline, of which {label} is the best: {figures}."
    if difference.high < 0:
        return f"{name} predicts worse than {label}: {figures}. Use the baseline, or train on more data."
    return f"{name} predicts as well as the best baseline, {label}; the difference is within its interval: {figures}."
