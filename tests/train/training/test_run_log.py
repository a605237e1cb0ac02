"""metrics.jsonl of a run: every step once, also of a run that was stopped; and its loggers."""

import dataclasses
import json

import pytest

from edgebehave_train.training import run_log, training_run
from edgebehave_train.training.objectives import ObjectiveConfig
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.run_log import METRICS_FILE, RunLog, read_lines, require_loggers


class StoppedError(Exception):
    """Raised from on_progress, as a Ctrl-C would be."""


def stop_at(step):
    def on_progress(progress):
        if progress.kind == "step" and progress.step == step:
            raise StoppedError

    return on_progress


def numbers_of(out):
    """The lines without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if name not in ("events_per_s", "waiting")}
        for line in read_lines(out / METRICS_FILE)
    ]


@pytest.fixture(scope="module")
def config(recipe):
    return recipe(batch_events=120, objective=ObjectiveConfig(name="dro", warm_start=0.5, capacity=1.4, mixing=0.5))


def test_the_lines_tell_every_step_once_also_after_stops(tiny_store, config, tmp_path, monkeypatch):
    pretrain(tiny_store, config, tmp_path / "whole", device="cpu")
    lines = numbers_of(tmp_path / "whole")
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    per_epoch = lines[-1]["step"] // 2
    of_epoch = [*range(10, per_epoch, 10), per_epoch]
    assert steps == of_epoch + [per_epoch + step for step in of_epoch]
    assert [line["epoch"] for line in lines if line["kind"] == "validation"] == [1, 2]
    capacities = [line["dro_capacity"] for line in lines if line["kind"] == "step"]
    assert (capacities[0], capacities[-1]) == (1, pytest.approx(1.2, rel=1e-4))
    assert 0 < lines[-2]["learning_rate"] < config.learning_rate
    clocked = read_lines(tmp_path / "whole" / METRICS_FILE)
    assert all(0 <= line["waiting"] < 1 < line["events_per_s"] for line in clocked)

    out = tmp_path / "stopped"
    for step, save_every_s in ((13, -1.0), (17, 60.0), (per_epoch + 3, 60.0)):
        monkeypatch.setattr(training_run, "_SAVE_EVERY_S", save_every_s)
        with pytest.raises(StoppedError):
            pretrain(tiny_store, config, out, device="cpu", resume=step > 13, on_progress=stop_at(step))
        with (out / METRICS_FILE).open("a") as file:
            file.write('{"kind": "step", "epo')  # killed while it wrote
    pretrain(tiny_store, config, out, device="cpu", resume=True)
    assert numbers_of(out) == lines


def test_what_is_not_defined_is_null(tmp_path, recipe):
    log = RunLog(tmp_path, recipe(), (), (0, 0))
    log.write({"kind": "validation", "epoch": 1, "step": 5, "validation_loss": float("inf"), "is_best": False})
    line = '{"kind": "validation", "epoch": 1, "step": 5, "validation_loss": null, "is_best": false}\n'
    assert (tmp_path / METRICS_FILE).read_text() == line


def test_lines_after_the_last_save_are_dropped(tmp_path, recipe):
    lines = [{"epoch": 0, "step": 10}, {"epoch": 0, "step": 20}, {"epoch": 1, "step": 20}, {"epoch": 1, "step": 30}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for position, num_kept in (((0, 20), 2), ((1, 20), 3), ((0, 0), 0), ((2, 40), 4)):
        (tmp_path / METRICS_FILE).write_text(text)
        RunLog(tmp_path, recipe(), (), position)
        assert read_lines(tmp_path / METRICS_FILE) == lines[:num_kept]


def test_a_logger_of_a_package_receives_the_lines_and_its_end(tmp_path, recipe, monkeypatch):
    received = []

    class Logger:
        def __init__(self, out, config, step):
            received.append((out, config.width, step))

        def log(self, line):
            received.append(line)

        def close(self):
            received.append("closed")

    monkeypatch.setattr(run_log, "extension_names", lambda group, built_in: ["own"])
    monkeypatch.setattr(run_log, "load_extension", lambda group, name: Logger)
    log = RunLog(tmp_path, recipe(), ["own"], (0, 7))
    log.write({"kind": "step", "epoch": 0, "step": 8})
    log.close()
    assert received == [(tmp_path, 16, 7), {"kind": "step", "epoch": 0, "step": 8}, "closed"]
    with pytest.raises(ValueError, match="log must be one of tensorboard, own, got 'wandb'"):
        require_loggers(["wandb"])


def test_tensorboard_shows_the_losses(tmp_path, recipe):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    log = RunLog(tmp_path, recipe(), ["tensorboard"], (0, 0))
    log.write({"kind": "step", "epoch": 0, "step": 10, "loss": 1.5})
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("step/loss")] == [(10, 1.5)]


def test_a_finished_run_is_extended(tiny_store, recipe, tmp_path):
    out, short, long = tmp_path / "run", recipe(epochs=1), recipe(epochs=3)
    pretrain(tiny_store, short, out, device="cpu", extendable=True)
    with pytest.raises(ValueError, match=r"is finished; nothing to resume; more than its 1 epochs extend it"):
        pretrain(tiny_store, short, out, device="cpu", resume=True)
    with pytest.raises(ValueError, match="was started with width = 16, now it is 32"):
        pretrain(tiny_store, dataclasses.replace(long, width=32), out, device="cpu", resume=True)
    notes = []
    extended = pretrain(tiny_store, long, out, device="cpu", resume=True, on_progress=lambda p: notes.append(p.message))
    assert any(note.startswith("extended from 1 to 3 epochs, after epoch 1, at step") for note in notes)
    assert extended.config.epochs == 3
    assert len(extended.training.validation_nll) == 3
    steps = [line["step"] for line in read_lines(out / METRICS_FILE) if line["kind"] == "step"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 3 * steps[0]
    with pytest.raises(ValueError, match=r"has no resume.safetensors any more, so it cannot be extended"):
        pretrain(tiny_store, recipe(epochs=4), out, device="cpu", resume=True)
