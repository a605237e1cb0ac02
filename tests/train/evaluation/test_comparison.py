"""Objectives side by side: what is trained, what is measured, and what is kept."""

import json
import math

import pytest

from edgebehave_train.evaluation import comparison as module
from edgebehave_train.evaluation.comparison import compare
from edgebehave_train.evaluation.part_predictions import BASELINE_NAMES, predict_part
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.training import pretraining
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.objectives import ObjectiveConfig


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
        *((name, 0.0, 1.0, 1) for name in BASELINE_NAMES),
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
        alone = evaluate_predictions(predict_part(tiny_store, checkpoint), checkpoint.behavior_counts)
        assert comparison.curve("logit_adjusted:tau=0.5")[0].metrics[seed] == pytest.approx(alone, nan_ok=True)


def test_the_reference_lies_on_or_below_its_own_curve(compared):
    _, _, comparison = compared
    for compared_row in comparison.curve("ce"):
        assert all(above <= 1e-12 for above in compared_row.above_reference)


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
    monkeypatch.setattr(pretraining, "pretrain", None)
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
        with pytest.raises(ValueError, match=r"(not part of|a folder for) a comparison"):
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
