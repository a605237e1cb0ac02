"""`import edgebehave` is quick and loads no inference engine, let alone torch."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edgebehave

_PROBE = """
import json, sys, time
start = time.perf_counter()
import edgebehave
seconds = time.perf_counter() - start
edgebehave.Predictor().observe("ada", "camera.open")
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def test_import_is_quick_and_loads_numpy_alone():
    probes = [json.loads(subprocess.check_output([sys.executable, "-c", _PROBE], text=True)) for _ in range(3)]
    loaded = {name.split(".")[0] for name in probes[0]["modules"]}
    heavy = {"torch", "onnxruntime", "onnx", "duckdb", "pandas", "safetensors", "typer", "rich"}
    assert not loaded & heavy
    others = {"edgebehave_train", "edgebehave_export", "edgebehave_cli"}
    assert not loaded & others
    # 0.15 s is the promise on an idle machine; a busy one is given three times that.
    assert min(probe["seconds"] for probe in probes) < 0.45


def test_the_runtime_names_its_version():
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("the source tree is not here to compare with")
    declared = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"]
    assert edgebehave.__version__ == declared


def test_the_package_is_typed():
    assert (Path(edgebehave.__file__).parent / "py.typed").is_file()
