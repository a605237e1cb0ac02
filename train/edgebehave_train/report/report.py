"""The report of a run as one HTML file: verdict, baselines, frontier, reliability, slices, bundle, data."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from edgebehave.answers.acting import operating_points
from edgebehave_train.calibration.answer_tuning import MAX_CELLS, part_probs, tune_answers
from edgebehave_train.calibration.calibration import NUM_BINS, calibration_error, top_confidence
from edgebehave_train.evaluation.part_predictions import baseline_label
from edgebehave_train.evaluation.table import Row, Table, evaluate
from edgebehave_train.evaluation.verdict import best_baseline, verdict
from edgebehave_train.files import file_digest, read_json, write_text
from edgebehave_train.logs.account import account
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.report import charts
from edgebehave_train.report.slices import Slices, all_slices
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.wording import counted, number_or_blank, read_so_often, without_blank_columns

COLUMNS = {
    "HR@1": "hr_at_1",
    "HR@3": "hr_at_3",
    "HR@5": "hr_at_5",
    "macro recall": "macro_recall",
    "tail": "tail_accuracy",
    "switches": "hr_at_1_switches",
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart: its title, the sentence below it, the SVG, and its numbers as (columns, rows)."""

    title: str
    text: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    store: EventStore,
    checkpoint: Checkpoint,
    out: Path,
    *,
    table: Table | None = None,
    part: str = "validation",
    name: str | None = None,
    bundle: Path | None = None,
    latency_us: Mapping[str, float] | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Table:
    """Write the report of a checkpoint on one part of its log.

    table       of `evaluate`, whose first model is this checkpoint; None: measured here, on `part`.
    part        "validation" or "test", where no table is given.
    name        of the log; default: the folder of the store.
    bundle      of this checkpoint: sizes and the figures of its parity gate.
    latency_us  of the bundle on this machine: {"median": ..., "p99": ...}, microseconds for observe and predict.
    Returns     the table. Raises ValueError if table or bundle belong to another model.
    """
    if table is None:
        table = evaluate(store, [checkpoint], part=part, on_row=lambda row: on_line(f"scored: {row}"))
    probs = part_probs(store, checkpoint, "validation", MAX_CELLS)
    tuning = tune_answers(checkpoint, probs)
    measured = probs if table.part == "validation" else part_probs(store, checkpoint, table.part, MAX_CELLS)
    confidence_T, hit_T = top_confidence(measured.shifted(tuning.shift).probs_TC, measured.behavior_T)
    model = next(row for row in table.rows if row.kind == "model")
    best = best_baseline(table)
    compared = {model.name: model.name, best.name: baseline_label(best.name)}
    leader = "follow_the_leader"
    if leader != best.name:
        compared[leader] = baseline_label(leader)
    shown = [row for row in table.rows if row.name in compared]
    slices = all_slices(store, checkpoint.vocabulary, shown)
    columns = ["predictor", "HR@1", "95 %", *list(COLUMNS)[1:], f"{model.name} - row, HR@1"]
    columns, lines = without_blank_columns(columns, [_line(row) for row in table.rows])
    text = (
        _environment()
        .get_template("report.html")
        .render(
            name=name or store.path.name,
            verdict=verdict(table),
            facts=_facts(table, model, checkpoint.training.universal),
            columns=columns,
            rows=[(row.kind, cells) for row, cells in zip(table.rows, lines, strict=True)],
            has_intervals="95 %" in columns,
            model=model.name,
            charts=[
                _frontier_chart(table, tuning.tail["points"]),
                _reliability_chart(confidence_T, hit_T),
                _acting_chart(confidence_T, hit_T),
                _chart("By events already seen", slices["seen"], compared, "events of the user before", charts.lines),
                _chart("Repeats and new ones", slices["novelty"], compared, "", charts.bars),
                _chart("By hour", slices["hour"], compared, "local hour", charts.lines),
                _chart("By behavior", slices["behavior"], compared, "", charts.bars),
                _chart("By week", slices["week"], compared, "week of this part", charts.lines),
            ],
            bundle=_bundle_facts(checkpoint, bundle, latency_us) if bundle else [],
            data=_data_facts(store),
            warnings=table.warnings,
            commands=next_commands(store, checkpoint, bundle),
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    return table


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("edgebehave_train.report", "."),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _facts(table: Table, model: Row, universal: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """universal: of a training from the universal model, what validation kept, see `TrainingRecord`."""
    answers = {
        "universal": "the universal model as it is",
        "named": "the trained model alone",
        "combined": "trained and universal model together",
    }
    return [
        ("right at once (HR@1)", f"{model.metrics['hr_at_1'].value:.1%}"),
        ("right among three (HR@3)", f"{model.metrics['hr_at_3'].value:.1%}"),
        ("predictions", f"{table.num_targets:,}"),
        ("users", f"{table.num_users:,}"),
        (
            "measured on",
            f"{table.part} part" + (f", {read_so_often(table.test_reads)}" if table.part == "test" else ""),
        ),
        *([("answers by", answers[universal["kept"]])] if universal else []),
    ]


def _line(row: Row) -> list[str]:
    """Cells of a row of the table."""
    values = [number_or_blank(row.metrics[metric].value) for metric in COLUMNS.values()]
    difference = row.model_minus_this["hr_at_1"].signed() if row.model_minus_this else ""
    return [baseline_label(row.name), values[0], row.metrics["hr_at_1"].span(), *values[1:], difference]


def _chart(title: str, slices: Slices, labels: dict[str, str], x_label: str, draw: Callable[..., str]) -> Chart:
    svg, text = "", f"All predictions are of one group, {slices.labels[0]}." if slices.labels else "Too few of them."
    if len(slices.labels) > 1:
        svg, text = draw(slices, labels, x_label) if x_label else draw(slices, labels), ""
    rows = [
        [label, f"{count:,}", *(f"{slices.hr_at_1[name][i]:.3f}" for name in labels)]
        for i, (label, count) in enumerate(zip(slices.labels, slices.num_targets, strict=True))
    ]
    return Chart(title=title, text=text, svg=svg, columns=[x_label or "part", "targets", *labels.values()], rows=rows)


def _reliability_chart(confidence_T: Any, hit_T: Any) -> Chart:
    order = np.argsort(confidence_T, kind="stable")
    bins = [which for which in np.array_split(order, NUM_BINS) if len(which)]
    confidence, hit = ([float(values[which].mean()) for which in bins] for values in (confidence_T, hit_T))
    error = calibration_error(confidence_T, hit_T)
    return Chart(
        title="Are its probabilities true?",
        text=f"Expected calibration error {error:.3f}; calibrated on the validation part.",
        svg=charts.reliability(confidence, hit),
        columns=["mean probability", "came true", "predictions"],
        rows=[[f"{c:.3f}", f"{h:.3f}", f"{len(which):,}"] for c, h, which in zip(confidence, hit, bins, strict=True)],
    )


def _acting_chart(confidence_T: Any, hit_T: Any) -> Chart:
    points = operating_points(confidence_T, hit_T)
    return Chart(
        title="Acting only when sure",
        text="An app that acts on the first prediction when its probability reaches a threshold. An action pays if a "
        "right one earns at least (1 - p) / p times what a needless one costs: the last column of the numbers.",
        svg=charts.precision([point.coverage for point in points], [point.precision for point in points]),
        columns=["acts at", "probability at least", "right", "pays from benefit / cost"],
        rows=[
            [f"{p.coverage:.0%}", f"{p.threshold:.3f}", f"{p.precision:.3f}", f"{(1 - p.threshold) / p.threshold:.2f}"]
            for p in points
            if p.threshold > 0
        ],
    )


def _frontier_chart(table: Table, points: Sequence[Mapping[str, float]]) -> Chart:
    curve = [(point["tail"], point["hr_at_1"], point["macro_recall"]) for point in points]
    baselines = {
        baseline_label(row.name): (row.metrics["hr_at_1"].value, row.metrics["macro_recall"].value)
        for row in table.rows
        if row.kind == "baseline"
    }
    return Chart(
        title="Frequent or rare behaviors",
        text="predict(..., tail=...) moves along the curve, which is measured on the validation part.",
        svg=charts.frontier(curve, list(baselines.values())),
        columns=["predictor", "HR@1", "macro recall"],
        rows=[
            *([f"tail {tail:g}", f"{x:.3f}", f"{y:.3f}"] for tail, x, y in curve),
            *([label, f"{x:.3f}", f"{y:.3f}"] for label, (x, y) in baselines.items()),
        ],
    )


def _bundle_facts(
    checkpoint: Checkpoint, bundle: Path, latency_us: Mapping[str, float] | None
) -> list[tuple[str, str]]:
    """Sizes, what int8 changed, and latency; of a bundle with a lookup, what int8 changed in the models that count."""
    manifest = read_json(bundle / "manifest.json")
    if manifest.get("source", {}).get("data_fingerprint") != checkpoint.training.data_fingerprint:
        raise ValueError(
            f"{bundle} was exported from a checkpoint of another log than {checkpoint.path}; "
            "export this checkpoint, or leave the bundle out"
        )
    if manifest["source"].get("weights_sha256") != file_digest(checkpoint.path / "model.safetensors"):
        raise ValueError(f"{bundle} has other weights than {checkpoint.path}; export it again")
    num_bytes = sum(entry["bytes"] for entry in manifest["files"].values())
    facts = [("size of the bundle", f"{num_bytes / 1000:,.0f} kB, {manifest['precision']}, {manifest['target']}")]
    powers = manifest.get("lookup", {}).get("powers")
    alone = "" if powers is None else ", trained model alone"
    for check in manifest["parity"].get("checks", []):
        if check["name"].startswith("fp32 - int8, same top-1") and (powers is None or powers["named"]):
            condition = check["name"].removeprefix("fp32 - int8, same top-1, ")
            facts.append((f"int8: same first prediction as fp32{alone}, {condition}", f"{check['value']:.2%}"))
        if powers is not None and check["name"] == "lookup: torch - int8, probabilities":
            facts.append(("int8: largest change of a probability, universal model", f"{check['value']:.4f}"))
    if latency_us:
        value = f"median {latency_us['median']:,.0f} µs, p99 {latency_us['p99']:,.0f} µs"
        facts.append(("observe and predict, on this machine", value))
    return facts


def _data_facts(store: EventStore) -> list[str]:
    statistics = store.statistics
    facts = [
        f"{counted(statistics['num_events'], 'event')} of {counted(statistics['num_users'], 'user')}, "
        f"{counted(store.vocabulary.num_behaviors - 1, 'behavior')}, "
        f"{counted(store.vocabulary.num_locations - 1, 'location')}",
        f"fingerprint {store.fingerprint[:16]}",
    ]
    if "order_of_ties" in statistics:  # stores of before have no account of their times
        facts += account(store.path, statistics, days_allowed=True, has_zone=True)
    return facts


def next_commands(store: EventStore, checkpoint: Checkpoint, bundle: Path | None) -> list[str]:
    """Commands that a reader of the report may want to run next."""
    run = ["evaluate", checkpoint.path, "--store", store.path, "--test"]
    if bundle is None:
        commands = [run, ["export", checkpoint.path, "--store", store.path, "-o", f"{checkpoint.path}-bundle"]]
    else:
        user = store.users()[0] if store.num_users else "USER"
        predict = ["predict", bundle, "--store", store.path, f"--user={user}"]
        commands = [run, predict, ["bench", checkpoint.path, "--store", store.path]]
    return [shlex.join(["edgebehave", *map(str, command)]) for command in commands]
