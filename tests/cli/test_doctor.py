"""`edgebehave doctor`: versions, extras, both builds of ONNX Runtime, and a bundle beside a log."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import edgebehave

from edgebehave_cli import diagnosis
from edgebehave_cli.diagnosis import Requirement, diagnose, read_requirement

BUNDLE = Path(__file__).parents[1] / "edgebehave" / "tiny_bundle" / "int8"
LINES = [
    "numpy>=1.26",
    "onnxruntime>=1.24.1; extra == 'cpu'",
    "onnxruntime-gpu>=1.24.1; extra == 'gpu'",
    "torch<2.14,>=2.10; extra == 'train'",
    "duckdb>=1.2; extra == 'train'",
    "torch<2.14,>=2.10; extra == 'export'",
    "onnx>=1.21; extra == 'export'",
    "atheris>=3.0; (sys_platform == 'linux' and python_version < '3.14') and extra == 'dev'",
]
GOOD = {"numpy": "2.4.0", "onnxruntime": "1.32.0", "torch": "2.13.0+cpu", "duckdb": "1.2", "onnx": "1.22.0"}


@pytest.fixture
def problems_of(monkeypatch):
    """The problems of an installation of these versions."""
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda name: LINES)
    monkeypatch.setattr(diagnosis, "_torch_device", lambda versions: None)

    def problems(**changed: str | None) -> list[str]:
        return list(diagnose({**GOOD, **{name.replace("_", "-"): v for name, v in changed.items()}}.get).problems)

    return problems


def test_a_requirement_is_read():
    found = read_requirement(LINES[3])
    assert found == Requirement(package="torch", bounds=[("<", "2.14"), (">=", "2.10")], extra="train")
    assert found.accepts("2.13.0+cpu")
    assert found.accepts("2.10")
    assert not found.accepts("2.14.0")
    assert not found.accepts("2.9.1")
    assert read_requirement(LINES[-1]).extra == "dev"
    assert read_requirement("rectools[torch]<0.20,>=0.19; extra == 'peers'").package == "rectools"


def test_it_knows_every_extra_that_a_user_may_want():
    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("pyproject.toml is not beside an installed package")
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert diagnosis.EXTRAS.keys() == extras.keys() - {"docs", "peers", "dev"}


def test_a_good_installation_has_no_problem(problems_of):
    assert problems_of() == []


def test_both_builds_of_onnx_runtime(problems_of):
    (problem,) = problems_of(onnxruntime_gpu="1.32.0")
    assert "overwrite each other's files" in problem
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in problem


def test_no_onnx_runtime(problems_of):
    assert ["pip install 'edgebehave[cpu]'" in line for line in problems_of(onnxruntime=None)] == [True]
    assert problems_of(onnxruntime=None, onnxruntime_gpu="1.32.0") == []


def test_a_version_that_does_not_fit(problems_of):
    assert problems_of(numpy="1.24.3") == [
        "numpy 1.24.3 does not fit, edgebehave needs >=1.26; pip install --upgrade edgebehave"
    ]
    assert problems_of(torch="2.4.1") == [
        "torch 2.4.1 does not fit, edgebehave needs <2.14,>=2.10; pip install 'edgebehave[train]'"
    ]
    assert problems_of(torch="2.4.1", duckdb=None, onnx=None) == []  # nothing that needs torch is installed


def test_an_extra_says_what_it_lacks_and_the_command(monkeypatch):
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda name: LINES)
    monkeypatch.setattr(diagnosis, "_torch_device", lambda versions: None)
    lines = list(diagnose({**GOOD, "duckdb": None}.get).lines())
    assert "extra train, ingest, train, evaluate, report: no duckdb; pip install 'edgebehave[train]'" in lines
    assert "extra gpu, the same on NVIDIA GPUs: not installed; never beside cpu" in lines
    assert lines[-1] == "no problem found"


def test_a_model_that_does_not_run_is_a_problem(monkeypatch):
    def broken(versions):
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(diagnosis, "_torch_device", broken)
    (problem,) = (line for line in diagnose().problems if "torch" in line)
    assert problem == "torch runs on: OSError: libcudart.so.13: cannot open shared object file"


def test_it_runs_without_typer_and_torch():
    code = """
import sys
sys.modules["typer"] = sys.modules["torch"] = None
from importlib import metadata
version = metadata.version
def without(name):
    if name in ("typer", "torch"):
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without
sys.argv = ["edgebehave", "doctor", "--json"]
from edgebehave_cli.launcher import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert {"typer", "torch"} & found["versions"].keys() == set()
    assert found["facts"]["model of the package"].startswith("universal, on CPU")


def test_a_bundle_that_fits_a_log(tmp_path):
    names = json.loads((BUNDLE / "vocabulary.json").read_text())["events"][1:]
    rows = [f"u{i % 3},{names[i % len(names)]},{1772000000 + 60 * i}" for i in range(60)]
    rows.append("u0,own,1772100000")
    (tmp_path / "log.csv").write_text("\n".join(["who,app,ts", *rows]) + "\n")
    columns = ("--user", "who", "--event", "app", "--time", "ts")
    out, _ = edgebehave("doctor", "--bundle", BUNDLE, "--log", tmp_path / "log.csv", *columns)
    assert re.search(r"bundle .*int8: whole, native, int8, 28 behaviors, digest [0-9a-f]{12}\n", out)
    assert "knows the names of 98.4% of its events" in out
    assert "; not 'own'\n" in out


def test_a_bundle_of_another_log_is_a_problem(tiny_store, tmp_path):
    out, _ = edgebehave("doctor", "--bundle", BUNDLE, "--log", tiny_store.path, "--json", code=1)
    (problem,) = json.loads(out)["problems"]
    assert "the bundle was made for another log" in problem
    assert "train on this log" in problem


def test_a_damaged_bundle_is_a_problem_and_a_universal_one_fits(tmp_path):
    from edgebehave.bundles.universal_bundle import SHIPPED

    out, _ = edgebehave("doctor", "--bundle", tmp_path, code=1)
    assert "problem:" in out
    assert "is not a bundle" in out
    out, _ = edgebehave("doctor", "--bundle", SHIPPED)
    assert "knows no names and fits any log" in out
    _, err = edgebehave("doctor", "--log", "x.csv", code=2)
    assert "add --bundle" in err
