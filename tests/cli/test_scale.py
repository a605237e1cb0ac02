"""`edgebehave scale` as a user runs it."""

import json
import subprocess
import sys

import pytest

SMALL = ("--widths", "8,12,16", "--shares", "0.2,0.5,1", "--epochs", "1", "--resamples", "10")


def scale(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgebehave_cli.app", "scale", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_a_grid_prints_its_prediction_first_and_shows_the_same_again(tiny_store, tmp_path):
    out = tmp_path / "grid"
    done = scale(tiny_store.path, "-o", out, *SMALL)
    lines = done.stderr.splitlines()
    predicted = next(i for i, line in enumerate(lines) if line.startswith("prediction for"))
    assert lines[predicted - 1].startswith("run 8/9")
    assert lines[predicted + 1].startswith("run 9/9")
    assert "| 16 held out |" in done.stdout
    assert "events per parameter" in done.stdout
    assert (out / "scaling.png").stat().st_size > 10_000
    again = scale(tiny_store.path, "-o", out, *SMALL, "--json")
    assert json.loads(again.stdout) == json.loads((out / "scaling.json").read_text())
    error = scale(tiny_store.path, "-o", out, *SMALL, "--seeds", 2, code=2).stderr
    assert error.startswith("error: ")
    assert "holds another grid, with seeds = 1 instead of 2" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--widths", "16,32"), "widths must be at least 3 different ones"),
        (("--widths", "16,x"), "--widths takes numbers as 16,32,64, got '16,x'"),
        (("--shares", "0.1,0.5,2"), "shares must lie in (0, 1], got 2"),
        (("--grid", "huge"), "grid must be one of cpu, gpu, got 'huge'"),
    ],
)
def test_a_mistake_is_one_line(tiny_store, tmp_path, options, message):
    error = scale(tiny_store.path, "-o", tmp_path / "grid", *options, code=2).stderr
    assert error.splitlines() == [error.strip()]
    assert message in error
    assert not (tmp_path / "grid").exists()
