"""The Python app of the examples runs as its first lines say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "python_app" / "app_launcher.py"
TINY = ROOT / "tests" / "edgebehave" / "tiny_bundle" / "int8"


@pytest.mark.parametrize("bundle", [(), (TINY,)], ids=["habits alone", "with a bundle"])
def test_it_suggests_four_apps_at_three_moments(bundle):
    if bundle:
        pytest.importorskip("onnxruntime")
    output = subprocess.check_output([sys.executable, SCRIPT, *bundle], text=True)
    lines = output.splitlines()
    assert [line[:12] for line in lines] == ["Monday 07:00", "Monday 12:00", "Monday 20:00"]
    assert all(line.count("|") == 3 for line in lines)
    # Habits know what is done at seven in the morning, model or not.
    assert lines[0].split()[2] == "alarm"


def test_golden_vectors_have_the_same_answers():
    pytest.importorskip("onnxruntime")
    check = SCRIPT.with_name("check_golden.py")
    golden = TINY.parent / "golden.jsonl.gz"
    for histories, only in ((127, ()), (5, ("--first", "5"))):
        command = [sys.executable, check, TINY.parent / "web", golden, *only]
        report = json.loads(subprocess.check_output(command, text=True))
        assert report["histories"] == histories
        assert report["same_top1"] == report["same_top5"] == 1
        assert report["largest_difference"] < 1e-4
    other = subprocess.run([sys.executable, check, TINY, golden], capture_output=True, text=True)
    assert "was not made from" in other.stderr
    assert other.returncode != 0
