"""A grid of runs: the order that makes a prediction one, going on in the middle, refusals."""

import json
import shutil

import numpy as np
import pytest

from edgebehave_train.files import read_json, write_json
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.scaling.figure import draw_scaling
from edgebehave_train.scaling.grid import Grid, Point
from edgebehave_train.scaling.scaling import count_parameters, scale
from edgebehave_train.training.checkpoint import Checkpoint

GRID = Grid(widths=(8, 12, 16), shares=(0.2, 0.5, 1.0), epochs=1)


class StoppedError(RuntimeError):
    """Stands for a kill."""


def run(store, out, grid=GRID, on_progress=lambda progress: None):
    return scale(store, grid, out, device="cpu", num_resamples=4, on_progress=on_progress)


@pytest.fixture(scope="module")
def finished(tiny_store, tmp_path_factory):
    """(folder, report, what was told) of a grid that nothing disturbed."""
    out, told = tmp_path_factory.mktemp("scaling") / "grid", []

    def tell(progress):
        if progress.kind == "prediction":
            assert (out / "prediction.json").exists()
            assert not (out / "runs" / GRID.held_out[0].name).exists()
        told.append(progress)

    return out, run(tiny_store, out, on_progress=tell), told


def test_the_largest_run_is_predicted_before_it_begins(finished):
    _, report, told = finished
    kinds = [progress.kind for progress in told if progress.kind != "step"]
    assert kinds == ["start", *["run"] * 8, "prediction", "run", "end"]
    assert report.held_out[0].point == Point(width=16, share=1.0, seed=0)
    assert report.predicted.low <= report.predicted.high
    assert report.error == pytest.approx(report.predicted.value / report.measured - 1)
    assert report.copied == min(run.loss for run in report.smaller)


def test_progress_only_grows(finished):
    _, _, told = finished
    done = [progress.share_done for progress in told]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)


def test_the_report_is_on_disk(finished):
    out, report, _ = finished
    content = json.loads((out / "scaling.json").read_text())
    assert content == json.loads(json.dumps(report.to_json()))
    assert len(content["runs"]) == 9
    optimum = content["compute_optimum"][1]
    assert 6 * optimum["parameters"] * optimum["events"] == pytest.approx(optimum["compute"])


def test_a_point_is_what_was_trained(finished):
    out, report, _ = finished
    for measured in (*report.smaller, *report.held_out):
        checkpoint = Checkpoint.open(out / "runs" / measured.point.name)
        assert count_parameters(checkpoint.load_model()) == measured.size
        assert measured.loss == min(checkpoint.training.validation_nll)
        assert checkpoint.config.data_share == measured.point.share


def test_embedding_tables_do_not_count(tiny_checkpoint):
    model = tiny_checkpoint.load_model()
    tables = (model.event, model.location, model.weekday, model.slot)
    tables = (*tables, model.query_weekday, model.query_slot)
    looked_up = sum(table.weight.numel() for table in tables)
    assert count_parameters(model) == sum(p.numel() for p in model.parameters()) - looked_up


def test_a_stopped_grid_goes_on_where_it_was(tiny_store, finished, tmp_path):
    whole, report, _ = finished
    out = tmp_path / "grid"

    def stop(progress):
        if progress.kind == "step" and progress.run == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(tiny_store, out, on_progress=stop)
    half_done = out / "runs" / GRID.smaller[4].name
    assert not Checkpoint.open(half_done).training.finished
    kept = out / "runs" / GRID.smaller[0].name / "model.safetensors"
    before = kept.stat().st_mtime_ns
    # Of the run that was about to begin, only a part of the description is there.
    begun = out / "runs" / GRID.smaller[5].name
    begun.mkdir()
    shutil.copy(half_done / "vocabulary.json", begun)
    again = run(tiny_store, out)
    assert kept.stat().st_mtime_ns == before
    assert again.to_json() == report.to_json()
    for name in ("prediction.json", "scaling.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_finished_grid_trains_nothing(tiny_store, finished):
    out, report, _ = finished
    told = []
    assert run(tiny_store, out, on_progress=told.append).to_json() == report.to_json()
    assert "step" not in [progress.kind for progress in told]
    assert told[-1].share_kept == pytest.approx(1)


def test_the_figure_shows_every_run_the_law_and_the_prediction(finished, tmp_path):
    _, report, _ = finished
    path = tmp_path / "figures" / "scaling.png"
    figure = draw_scaling(report, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    left, right = figure.axes
    assert left.get_xlabel() == "D, training events"
    assert left.get_ylabel() == "validation loss (nats)"
    assert right.get_xlabel() == "N, parameters without embedding tables"
    runs, (largest,) = (*report.smaller, *report.held_out), report.held_out
    law = report.smaller_law.law
    for axes, x_of, key in ((left, "events", "width"), (right, "size", "share")):
        assert axes.get_xscale() == "log"
        dots = [line for line in axes.lines if line.get_label().startswith(("N = ", "D = "))]
        for line, value in zip(dots, getattr(report.grid, f"{key}s"), strict=True):
            mine = [run for run in report.smaller if getattr(run.point, key) == value]
            np.testing.assert_allclose(line.get_xydata(), [(getattr(run, x_of), run.loss) for run in mine])
        (ring,) = (line for line in axes.lines if line.get_label() == "largest, measured")
        np.testing.assert_allclose(ring.get_xydata(), [(getattr(largest, x_of), largest.loss)])
        (bar,) = (one for one in axes.containers if one.get_label() == "predicted, 95 %")
        assert list(bar.lines[0].get_ydata()) == [report.predicted.value]
        ticks = [tick.get_text() for tick in axes.get_xticklabels()]
        counts = sorted({getattr(run, x_of) for run in runs})
        assert ticks == [f"{count / 1e3:.3g}k" if count >= 1e3 else f"{count}" for count in counts]
    curves = [line for line in left.lines if len(line.get_xdata()) == 100]
    for line, width in zip(curves, report.grid.widths, strict=True):
        size = next(run.size for run in runs if run.point.width == width)
        np.testing.assert_allclose(line.get_ydata(), law.loss(size, line.get_xdata()))
    assert f"{law.floor:.3f}, fitted without the largest run" in figure.get_suptitle()


def test_nothing_is_overwritten(tiny_store, finished, tmp_path):
    out, _, _ = finished
    with pytest.raises(ValueError, match="another grid, with epochs = 1 instead of 2"):
        run(tiny_store, out, Grid(widths=GRID.widths, shares=GRID.shares, epochs=2))
    with pytest.raises(ValueError, match=r"with widths = 8, 12, 16 instead of 8, 12, 24"):
        run(tiny_store, out, Grid(widths=(8, 12, 24), shares=GRID.shares, epochs=1))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not part of a grid"):
        run(tiny_store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_log_that_no_run_could_learn_from_takes_no_folder(make_store, tiny_store, tmp_path):
    one = make_store([[(900 * i, "tick", None) for i in range(60)] for _ in range(6)])
    for store, device, message in ((one, "cpu", "1 behaviors"), (tiny_store, "abacus", "abacus")):
        with pytest.raises(ValueError, match=message):
            scale(store, GRID, tmp_path / "grid", device=device)
    assert not (tmp_path / "grid").exists()


def test_a_grid_stays_with_its_log(tiny_store, finished, tmp_path):
    out, _, _ = finished
    shutil.copytree(tiny_store.path, tmp_path / "other")
    statistics = read_json(tmp_path / "other" / "statistics.json")
    statistics["fingerprint"] = "0" * 64
    write_json(tmp_path / "other" / "statistics.json", statistics, seal=True)
    with pytest.raises(ValueError, match="a grid on another log"):
        run(EventStore.open(tmp_path / "other"), out)


def test_shares_of_a_short_log_must_differ(tiny_store, tmp_path):
    grid = Grid(widths=GRID.widths, shares=(0.001, 0.002, 1.0), epochs=1)
    with pytest.raises(ValueError, match=r"shares 0.001 and 0.002 of this log are the same"):
        run(tiny_store, tmp_path / "grid", grid)
    assert not (tmp_path / "grid").exists()
