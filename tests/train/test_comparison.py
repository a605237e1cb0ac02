"""Objectives side by side: what is trained, what is kept, and how they are held to a curve."""

import json
import math

import numpy as np
import pytest

from edgebehave_train import comparison as module
from edgebehave_train.baselines import BASELINES
from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.comparison import ComparedRow, above_curve, choose, compare
from edgebehave_train.evaluation import ask, predict_part
from edgebehave_train.mapped_log import map_log
from edgebehave_train.metrics import evaluate_predictions
from edgebehave_train.objectives import ObjectiveConfig
from edgebehave_train.split import part_of_event

CURVE = [
    {"hr_at_1": 0.40, "macro_recall": 0.10},
    {"hr_at_1": 0.30, "macro_recall": 0.20},
    {"hr_at_1": 0.20, "macro_recall": 0.16},
]


@pytest.mark.parametrize(
    ("hr_at_1", "macro_recall", "expected"),
    [
        (0.35, 0.15, 0.0),  # on the line between two points
        (0.35, 0.18, 0.03),
        (0.30, 0.19, -0.01),
        (0.45, 0.12, 0.02),  # better in HR@1 than all of the curve
        (0.10, 0.19, -0.01),  # behind its end: the best of it is in reach
    ],
)
def test_the_distance_to_a_curve_by_hand(hr_at_1, macro_recall, expected):
    point = {"hr_at_1": hr_at_1, "macro_recall": macro_recall}
    assert above_curve(point, CURVE) == pytest.approx(expected)


def row(name, hr_at_1, macro_recall, tau=0.0, is_baseline=False) -> ComparedRow:
    metrics = [{"hr_at_1": h, "macro_recall": macro_recall} for h in (hr_at_1 - 0.1, hr_at_1 + 0.1)]
    return ComparedRow(
        name=name, is_baseline=is_baseline, tau=tau, metrics=metrics, above_reference=[]
    )


def test_the_rule_takes_macro_recall_among_those_near_the_best_hr():
    rows = [
        row("habits", 0.60, 0.50, is_baseline=True),
        row("ce", 0.400, 0.10),
        row("near", 0.396, 0.14),
        row("far", 0.380, 0.30),
        row("ce", 0.399, 0.40, tau=0.5),
    ]
    assert choose(rows, "ce") == "near"
    assert choose(rows[:2], "ce") == "ce"
    assert choose(rows, "far") == "near", "the reference itself is too far from the best HR@1"


def test_the_rule_keeps_the_reference_unless_the_seeds_agree():
    def with_macro(name, *macro_recall):
        metrics = [{"hr_at_1": 0.4, "macro_recall": value} for value in macro_recall]
        return ComparedRow(
            name=name, is_baseline=False, tau=0.0, metrics=metrics, above_reference=[]
        )

    ce = with_macro("ce", 0.10, 0.11, 0.12)
    assert choose([ce, with_macro("steady", 0.12, 0.13, 0.14)], "ce") == "steady"
    assert choose([ce, with_macro("noisy", 0.20, 0.11, 0.08)], "ce") == "ce"
    assert choose([with_macro("ce", 0.1), with_macro("once", 0.2)], "ce") == "ce"


@pytest.fixture(scope="module")
def configs(recipe):
    adjusted = ObjectiveConfig(name="logit_adjusted", tau=0.5)
    return {"ce": recipe(epochs=1), "logit_adjusted:tau=0.5": recipe(epochs=1, objective=adjusted)}


@pytest.fixture(scope="module", autouse=True)
def _tune_quickly():
    """The baseline's weights have tests of their own; a few targets do here."""
    patch = pytest.MonkeyPatch()
    tune = module.tune_habits
    patch.setattr(module, "tune_habits", lambda log, targets: tune(log, targets, 60))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def compared(tiny_store, configs, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    same = {"num_seeds": 2, "adjust": [0.5], "capacities": [1.2]}
    run = lambda configs=configs, **changes: compare(  # noqa: E731  the call that all tests vary
        tiny_store, out, configs, **same, **changes
    )
    return out, run, run()


def test_every_objective_is_there_at_every_strength(compared):
    _, _, comparison = compared
    shown = [(row.name, row.tau, row.capacity, len(row.metrics)) for row in comparison.rows]
    assert shown == [
        *((name, 0.0, 1.0, 1) for name in [*BASELINES, "habits"]),
        ("ce", 0.0, 1.0, 2),
        ("ce", 0.5, 1.0, 2),
        ("ce", 0.0, 1.2, 2),
        ("logit_adjusted:tau=0.5", 0.0, 1.0, 2),
        ("logit_adjusted:tau=0.5", 0.5, 1.0, 2),
    ]
    assert comparison.chosen in comparison.objectives


def test_the_metrics_are_those_of_each_checkpoint(tiny_store, compared):
    out, _, comparison = compared
    for seed in range(2):
        checkpoint = Checkpoint.open(out / "checkpoints" / f"logit_adjusted-tau_0.5-{seed}")
        assert checkpoint.config.seed == seed
        alone = evaluate_predictions(
            predict_part(tiny_store, checkpoint), checkpoint.behavior_counts
        )
        assert comparison.curve("logit_adjusted:tau=0.5")[0].metrics[seed] == pytest.approx(
            alone, nan_ok=True
        )


def test_the_reference_lies_on_or_below_its_own_curve(compared):
    _, _, comparison = compared
    for compared_row in comparison.curve("ce"):
        assert all(above <= 1e-12 for above in compared_row.above_reference)


def test_a_prior_is_found_on_the_other_half_of_the_users(tiny_store, configs, compared):
    out, _, _ = compared
    checkpoint = Checkpoint.open(out / "checkpoints" / "ce-0")
    parts = part_of_event(tiny_store, checkpoint.config.split)
    asked = ask(map_log(tiny_store, checkpoint.vocabulary), parts, "validation")
    scorer = module._dro_priors(checkpoint, asked, [1.2], is_shown=True)[1.2]
    num_targets = len(asked.targets)
    ones = np.ones((num_targets, asked.behaviors.num_candidates), np.float32)
    ratio_TC = scorer(np.arange(num_targets), ones)
    _, first, kind = np.unique(ratio_TC, axis=0, return_index=True, return_inverse=True)
    assert len(first) == 2
    assert all(len(np.unique(kind[asked.targets.user == u])) == 1 for u in asked.targets.user)
    for_test = module._dro_priors(checkpoint, asked, [1.2], is_shown=False)[1.2]
    assert len(np.unique(for_test(np.arange(num_targets), ones), axis=0)) == 1


def test_the_table_is_written_as_json_and_markdown(compared):
    out, _, comparison = compared
    content = json.loads((out / "table.json").read_text())
    assert content["chosen"] == comparison.chosen
    assert len(content["rows"]) == len(comparison.rows)
    markdown = (out / "table.md").read_text()
    assert "| logit_adjusted:tau=0.5, adjusted tau 0.5 |" in markdown
    mean, half_width = comparison.curve("ce")[0].interval("hr_at_1")
    assert f"| {mean:.3f} ± {half_width:.3f} |" in markdown
    assert not math.isnan(half_width)


def test_what_is_finished_is_neither_trained_nor_read_again(compared, monkeypatch):
    out, run, before = compared
    assert run().cells() == before.cells()
    monkeypatch.setattr(module, "pretrain", None)
    first = run(part="test")
    reads = [Checkpoint.open(path).read_metrics() for path in (out / "checkpoints").iterdir()]
    assert [len(metrics["test_reads"]) for metrics in reads] == [1] * 4
    assert run(part="test").cells() == first.cells() != before.cells()
    reads = [Checkpoint.open(path).read_metrics() for path in (out / "checkpoints").iterdir()]
    assert [len(metrics["test_reads"]) for metrics in reads] == [1] * 4
    assert first.chosen == before.chosen, "validation chooses, whatever is shown"


def test_a_folder_of_another_comparison_is_left_alone(tiny_store, compared, configs, recipe):
    out, run, _ = compared
    with pytest.raises(ValueError, match="ce-0 was trained with other settings; name another"):
        run(configs={**configs, "ce": recipe(epochs=1, dropout=0.4)})
    with pytest.raises(ValueError, match="the reference 'ce' is not among the objectives: dro"):
        run(configs={"dro": configs["ce"]})
    with pytest.raises(ValueError, match=r"capacities of DRO priors must exceed 1, got 0\.5"):
        compare(tiny_store, out, configs, capacities=[0.5, 1.2])
    with pytest.raises(ValueError, match="part must be validation or test, got 'train'"):
        run(part="train")
    with pytest.raises(ValueError, match="tau of the adjustment must not be negative, got -1"):
        compare(tiny_store, out, configs, adjust=[0.5, -1.0])


def test_a_folder_that_holds_something_else_is_left_alone(tiny_store, configs, tmp_path):
    (tmp_path / "mine").write_text("")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ValueError, match="not empty and holds no comparison"):
            compare(tiny_store, out, configs)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_comparison_that_was_stopped_goes_on(tiny_store, configs, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.kind == "step" and progress.step == 3:
            raise StoppedError

    one = {"ce": configs["ce"]}
    with pytest.raises(StoppedError):
        compare(tiny_store, tmp_path, one, num_seeds=1, on_progress=stop)
    (tmp_path / "checkpoints" / "ce-0" / "config.json").unlink()  # killed before it was whole
    with pytest.raises(StoppedError):
        compare(tiny_store, tmp_path, one, num_seeds=1, on_progress=stop)
    lines = []
    comparison = compare(tiny_store, tmp_path, one, num_seeds=1, on_line=lines.append)
    assert lines == ["ce, seed 0", "measured on validation: ce-0"]
    assert "±" not in comparison.cells()[-1][1]
