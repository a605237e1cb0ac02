"""The notebook runs from the first cell to the last, and what it shows is short."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"
MOST_SECONDS = 600
"""Of a cell, on a machine that does other work; on two idle cores the whole notebook takes two minutes at most."""
MOST_CHARACTERS = 6000
"""Of the output of a cell, HTML included."""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    for module in ("nbformat", "nbclient", "ipykernel", "pandas"):
        pytest.importorskip(module, reason="the notebook needs the extra dev")
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    patch = pytest.MonkeyPatch()
    places = [str(ROOT / part) for part in ("", "train", "export")]
    patch.setenv("PYTHONPATH", os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")]))
    patch.setenv("IPYTHONDIR", str(folder / "ipython"))
    patch.setenv("TMPDIR", str(folder))
    # The kernel of this environment, whatever kernels the machine has.
    client = NotebookClient(notebook, timeout=MOST_SECONDS, resources={"metadata": {"path": folder}})
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    try:
        client.execute()
    finally:
        patch.undo()
    notebook.metadata["folder"] = str(folder)
    return notebook


def shown(notebook, part: str) -> str:
    """What the cell whose source has this part printed and returned."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and part in cell.source)
    return "".join(
        one.get("text", "") + "".join(str(text) for text in one.get("data", {}).values()) for one in cell.outputs
    )


@pytest.mark.timeout(2 * MOST_SECONDS)
def test_it_runs_and_shows_tables(executed):
    assert "Prediction(behavior='mail'" in shown(executed, "monday = datetime")
    assert "<caption>validation: " in shown(executed, "table = evaluate")
    assert "all passed" in shown(executed, "parity = export")
    assert "<td>user_" in shown(executed, "answers = predictor")
    assert "threshold: 0.25" in shown(executed, "payoff = Payoff(")


def test_no_cell_floods_the_notebook(executed):
    for cell in executed.cells:
        if cell.cell_type == "code":
            text = "".join(one.get("text", "") + str(one.get("data", "")) for one in cell.outputs)
            assert len(text) < MOST_CHARACTERS, cell.source


def test_its_report_has_no_fault_of_access_and_asks_for_nothing(executed, chromium):
    (page,) = Path(executed.metadata["folder"]).rglob("report.html")
    script = Path(__file__).parent / "read_report.js"
    done = subprocess.run(["node", script, chromium, page], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["faults"] == []
    assert len(seen["passes"]) == 4, "light and dark, 390 and 1,440 pixels"
    assert seen["widest"] <= 0, "nothing is wider than the window"
    assert seen["requests"] == []


def test_the_notebook_is_kept_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
