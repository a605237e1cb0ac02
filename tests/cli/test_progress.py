"""Long commands say how far they are: a bar on a terminal, lines elsewhere."""

import pytest

from edgebehave_cli import progress
from edgebehave_cli.progress import ProgressBar, TrainingBar
from edgebehave_train.training.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_elsewhere_a_line_now_and_then_tells_the_time_left(clock, capsys):
    with ProgressBar() as bar:
        bar.restart(0.5)
        clock[0] += 1
        bar.show(0.51, "step 51", "loss 2")
        clock[0] += 29
        bar.show(0.6, "step 60", "loss 1")  # 30 s for a tenth: 120 s for the rest
        bar.show(0.61, "step 61", "loss 1")
    assert capsys.readouterr().err == "step 60  loss 1  about 2 min left\n"


def test_on_a_terminal_the_bar_moves_at_every_step(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress, "is_terminal", lambda: True)
    with ProgressBar() as bar:
        bar.show(0.0, "step 0", "loss 2")
        clock[0] += 10
        bar.show(0.5, "step 5", "loss 1")
        task = bar._bar.tasks[0]
        assert (task.completed, task.fields["before"]) == (0.5, "step 5")
        assert task.fields["after"] == "loss 1  about 10 s left"


def test_an_epoch_shows_the_loss_of_an_objective_that_is_not_the_plain_one(capsys):
    bar = TrainingBar()
    counts = {"epoch": 1, "step": 5, "num_epochs": 2, "num_steps": 10}
    losses = {"loss": 2.0, "events_per_s": 1000.0, "validation_nll": 1.5, "is_best": True}
    bar.report(Progress(kind="validation", **counts, **losses, validation_loss=1.5))
    bar.report(Progress(kind="validation", **counts, **losses, validation_loss=3.25))
    plain, other = capsys.readouterr().err.splitlines()
    end = "1,000 events/s  best so far"
    assert plain == f"epoch 1/2  loss 2.0000  validation 1.5000  {end}"
    assert other == f"epoch 1/2  loss 2.0000  validation 1.5000 (objective 3.2500)  {end}"


def test_an_interruption_says_how_to_go_on(capsys):
    with pytest.raises(KeyboardInterrupt), ProgressBar("go on with: edgebehave train --resume"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="a bug"), ProgressBar("go on with --resume"):
        raise ValueError("a bug")
    assert capsys.readouterr().err == "interrupted; go on with: edgebehave train --resume\n"
