"""The table of an evaluation, as `evaluate` and `demo` print it."""

from typing import TYPE_CHECKING

from edgebehave_cli.console import note, print_table

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.evaluation.table import Table

_COLUMNS = {
    "HR@1": "hr_at_1",
    "HR@3": "hr_at_3",
    "HR@4": "hr_at_4",
    "HR@5": "hr_at_5",
    "NDCG@3": "ndcg_at_3",
    "macro recall": "macro_recall",
    "tail": "tail_accuracy",
    "switches": "hr_at_1_switches",
}
UNIVERSAL = "universal"
"""Name of the row of a universal model."""


def show_table(table: "Table") -> None:
    """Print an evaluation as a table; with a row "universal", repeated and new behaviors apart."""
    from edgebehave_train.evaluation.part_predictions import baseline_label
    from edgebehave_train.metrics.prediction_metrics import added_metrics
    from edgebehave_train.wording import counted, number_or_blank, read_so_often, without_blank_columns

    columns_of = dict(_COLUMNS)
    unknown = f", {table.num_unknown:,} of them unknown to training" if table.num_unknown else ""
    if any(row.name == UNIVERSAL for row in table.rows):
        columns_of |= {"repeats": "hr_at_1_repeats", "explores": "hr_at_1_explores"}
        unknown += f", {table.share_new:.1%} of them new to their user"
    columns_of |= {name.replace("_", " "): name for name in added_metrics()}
    rows = []
    for row in table.rows:
        one = row.metrics["hr_at_1"]
        difference = row.model_minus_this and row.model_minus_this["hr_at_1"]
        rows.append(
            [
                baseline_label(row.name),
                f"{one.value:.3f}",
                one.span(),
                *(number_or_blank(row.metrics[metric].value) for metric in list(columns_of.values())[1:]),
                difference.signed() if difference else "",
            ]
        )
    reads = f"; test part {read_so_often(table.test_reads)}" if table.part == "test" else ""
    of = f"{counted(table.num_targets, 'prediction')} for {counted(table.num_users, 'user')}"
    title = f"{table.part}: {of}{unknown}{reads}"
    model = next(row.name for row in table.rows if row.kind == "model")
    first, *others = columns_of
    model_minus_row = f"{model} - row, HR@1"
    columns = ["predictor", first, "95 %", *others, model_minus_row]
    drop_first = ["NDCG@3", "HR@4", "switches", "HR@5", "tail", "95 %", model_minus_row]
    columns, rows = without_blank_columns(columns, rows)
    print_table(title, columns, rows, [name for name in drop_first if name in columns])
    names = [row.name for row in table.rows if row.kind != "variant"]
    rows = [
        [f"{of['seen']}", f"{of['queries']:,}", *(f"{of['hr_at_1'][name]:.3f}" for name in names)]
        for of in table.by_events_seen
    ]
    columns = ["seen", "queries", *map(baseline_label, names)]
    print_table("HR@1 by events seen, from each number to below the next", columns, rows, columns[2:])
    for line in table.warnings:
        note(f"warning: {line}")
