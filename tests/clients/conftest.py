"""What the tests of the clients need, and why they skip where it is not there."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "npm"
PEERS = {"onnxruntime-node": "node", "onnxruntime-web": "browser"}
"""Peer dependency of the npm package -> the example that installs it."""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder into which the packed npm package was installed, with its peers, as in an app."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not installed")
    for peer, example in PEERS.items():
        if not (ROOT / "examples" / example / "node_modules" / peer).is_dir():
            pytest.skip(f"run `npm ci --ignore-scripts` in examples/{example} first")
    app = tmp_path_factory.mktemp("app")
    packed = subprocess.run(
        [npm, "pack", "--json", "--pack-destination", app], cwd=PACKAGE, capture_output=True, text=True, check=False
    )
    assert packed.returncode == 0, packed.stderr
    (tarball,) = app.glob("edgebehave-*.tgz")
    (app / "package.json").write_text(json.dumps({"name": "app", "private": True, "type": "module"}))
    install = [npm, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=peer", tarball.name]
    done = subprocess.run(install, cwd=app, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for peer, example in PEERS.items():
        (app / "node_modules" / peer).symlink_to(ROOT / "examples" / example / "node_modules" / peer)
    return app


@pytest.fixture(scope="session")
def node(installed):
    """Runs a script in the folder of `installed`: node(path, *arguments, stdin=None) -> CompletedProcess."""

    def run(script, *arguments, stdin=None):
        copy = installed / script.name
        shutil.copy(script, copy)
        command = [shutil.which("node"), copy, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def golden_and_runs(tmp_path_factory):
    """A file of golden histories for the universal bundle of the package, and the runs of its graph for them."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("edgebehave_train.simulator.random_worlds")
    from make_golden_histories import write_golden_histories
    from recorded_runs import recorded_runs

    from edgebehave.bundles.universal_bundle import shipped_bundle

    shipped_bundle()  # opened before its runs are recorded
    file = tmp_path_factory.mktemp("golden") / "universal.jsonl.gz"
    with recorded_runs() as runs:
        kept = write_golden_histories(file, mark=lambda: len(runs))
    return file, [run for begin, end in kept for run in runs[begin:end]]


@pytest.fixture(scope="session")
def universal_golden(golden_and_runs):
    return golden_and_runs[0]


@pytest.fixture(scope="session")
def universal_runs(golden_and_runs):
    return golden_and_runs[1]
