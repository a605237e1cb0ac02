"""The scripts that kill and measure histories, in short."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RESEARCH = Path(__file__).parents[2] / "research"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
@pytest.mark.parametrize("batch", ["1", "40"])
def test_what_was_acknowledged_survives_five_kills(tmp_path, batch):
    script = RESEARCH / "kill_sqlite_history.py"
    options = ["--kills", "5", "--seed", "7", "--batch", batch, "--folder", tmp_path]
    command = [sys.executable, script, *options]
    report = json.loads(subprocess.check_output(command, text=True))
    assert report["processes_killed"] == 10
    assert report["steps_acknowledged"] >= 5
    assert report["acknowledged_steps_lost"] == 0


def test_a_user_of_ninety_events_takes_less_than_two_thousand_bytes():
    pytest.importorskip("resource")
    script = RESEARCH / "measure_histories.py"
    command = [sys.executable, script, "--users", "2000", "--names", "50"]
    report = json.loads(subprocess.check_output(command, text=True))
    # Small processes take memory in steps: the claim is for many users, where this is 1,600.
    assert report["gained_bytes_per_user"] < 2_500
