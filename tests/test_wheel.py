"""The built wheel, unpacked where nothing of the source tree is in reach, predicts and has help."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parents[1]
PREDICT = """
import json, sys
import edgebehave
predictor = edgebehave.Predictor.load(sys.argv[1], foreign="bundle")  # the name is not of this bundle
for second in range(0, 36000, 3600):
    predictor.observe("me", "some.event", at=1772000000 + second)
print(json.dumps([edgebehave.__file__, len(predictor.predict("me", 3, at=1772040000)),
                  "torch" in sys.modules]))
"""
UNIVERSAL = """
import json
from edgebehave import Predictor
from edgebehave.bundles.universal_bundle import SHIPPED
predictor = Predictor()
predictor.observe("me", "coffee")
print(json.dumps([predictor.model, predictor.predict("me")[0].probability,
                  sum(path.stat().st_size for path in SHIPPED.iterdir())]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel's files in a folder of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *arguments: object, folder: Path | None = None) -> str:
    """Python that sees the wheel and the libraries, but neither the tree nor its install; it runs in `folder`."""
    libraries = Path(numpy.__file__).parents[1]
    start = f"import sys; sys.path[:0] = [{str(installed)!r}, {str(libraries)!r}]; code = sys.argv.pop(1); exec(code)"
    command = [sys.executable, "-I", "-S", "-c", start, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder or installed, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdk_predicts_from_the_wheel_without_torch(installed):
    bundle = ROOT / "tests" / "edgebehave" / "tiny_bundle" / "int8"
    file, num_predictions, has_torch = json.loads(run(installed, PREDICT, bundle))
    assert Path(file).is_relative_to(installed)
    assert (num_predictions, has_torch) == (3, False)


def test_the_universal_model_is_in_the_wheel(installed):
    model, probability, num_bytes = json.loads(run(installed, UNIVERSAL))
    assert model == "universal"
    assert 0 < probability < 1
    assert num_bytes <= 1_000_000


def test_the_code_of_the_readme_runs_with_the_wheel(installed, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = run(installed, "\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)), folder=tmp_path)
    assert [line.split()[0] for line in printed.splitlines()] == ["mail", "music", "camera"]


def test_the_command_and_all_packages_are_in_the_wheel(installed):
    assert "simulate" in run(installed, "import edgebehave_cli.app as a; a.app(['--help'], standalone_mode=False)")
    packages = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert packages == {"edgebehave", "edgebehave_train", "edgebehave_export", "edgebehave_cli"}
    assert all((installed / package / "py.typed").is_file() for package in packages)
    assert (installed / "edgebehave_train" / "llm" / "prompts" / "small_conversations.jsonl").is_file()
    # Research code makes tables and is no part of the product.
    research = {path.name for path in (ROOT / "research").glob("*.py")}
    assert not research & {path.name for path in installed.rglob("*.py")}
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "edgebehave = edgebehave_cli.launcher:main" in entry_points.read_text()
