"""`edgebehave scale` as a user runs it; its help and its place in the app: test_verbs.py."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgebehave_cli.app import app

SMALL = ("--widths", "8,12,16", "--shares", "0.2,0.5,1", "--epochs", "1", "--resamples", "10")


def test_a_grid_prints_its_prediction_before_the_largest_run(tiny_store, tmp_path):
    out = tmp_path / "grid"
    command = [sys.executable, "-m", "edgebehave_cli.app", "scale", str(tiny_store.path)]
    done = subprocess.run([*command, "-o", str(out), *SMALL], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    predicted = next(i for i, line in enumerate(lines) if line.startswith("prediction for"))
    assert lines[predicted - 1].startswith("run 8/9")
    assert lines[predicted + 1].startswith("run 9/9")
    assert "| 16 held out |" in done.stdout
    assert "events per parameter" in done.stdout
    # Losses of so small a grid are noise, and the command says so.
    assert "not known: the exponent of size" in done.stdout
    assert (out / "scaling.png").stat().st_size > 10_000
    assert (out / "scaling.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--widths", "16,32"), "widths must be at least 3 different ones"),
        (("--widths", "16,x"), "--widths takes numbers, for example 16,32,64, got '16,x'"),
        (("--shares", "0.1,0.5,2"), "shares must lie in (0, 1], got 2"),
        (("--grid", "huge"), "grid must be one of cpu, gpu, got 'huge'"),
    ],
)
def test_a_mistake_is_refused(tiny_store, tmp_path, options, message):
    """What `main` prints as one line."""
    arguments = ["scale", str(tiny_store.path), "-o", str(tmp_path / "grid"), *options]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, ValueError)
    assert message in str(error)
    assert "\n" not in str(error)
    assert not (tmp_path / "grid").exists()
