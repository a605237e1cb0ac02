"""`edgebehave generate`, end to end on a small simulated log."""

import json
import subprocess
import sys

import pytest

from edgebehave_train.pretraining import pretrain
from edgebehave_train.recipes import tiny
from edgebehave_train.simulator import SimulatorConfig, write_simulation


def generate(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgebehave_cli.app", "generate", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done
