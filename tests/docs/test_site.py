"""Every verb and every public name has a place in the reference, and the site builds without a warning."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgebehave_cli.app import app

ROOT = Path(__file__).parents[2]
PACKAGES = ("edgebehave", "edgebehave_train", "edgebehave_export")
VERBS = [command.callback.__name__ for command in app.registered_commands]
NAMES = [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; skips where mkdocs or what it needs is missing."""
    for module in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="the site needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_asked_for(name):
    assert f"\n::: {name}\n" in (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_site_shows_every_public_name_with_its_docstring(site):
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert [name for name in NAMES if f'id="{name}"' not in page] == []
    assert "Next-behavior prediction for any number of users." in page


def test_the_site_shows_every_verb_with_its_options(site):
    page = (site / "cli" / "index.html").read_text(encoding="utf-8")
    groups = [
        f"{group.name}-{command.name}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    ]
    assert [verb for verb in VERBS + groups if f'id="edgebehave-{verb}"' not in page] == []
    train = page[page.index('id="edgebehave-train"') : page.index('id="edgebehave-adapt"')]
    assert "<code>--preset</code>" in train
    assert "<code>edge</code>" in train


def test_the_site_holds_every_page_and_asks_no_other_machine(site):
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix("")
        assert (site / place / "index.html").is_file() or page.stem == "index", page
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        asked = re.findall(r'(?:src|href)="(https?://[^"]*\.(?:js|css|woff2?|png|svg))"', html)
        assert asked == [], page


def hook(name: str):
    """A module of docs/hooks."""
    sys.path.insert(0, str(ROOT / "docs" / "hooks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def test_lists_of_arguments_become_lists():
    pytest.importorskip("griffe", reason="the site needs the extra docs")
    docstring = "Do it.\n\nout      a folder\n         of its.\nraw, new  names.\nRaises ValueError.\n\n    x = 1  y"
    assert hook("docstrings").as_markdown(docstring) == (
        "Do it.\n\n\n- `out`: a folder\n  of its.\n- `raw, new`: names.\n\nRaises ValueError.\n\n    x = 1  y"
    )


def test_links_out_of_the_pages_become_links_of_the_site():
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    pages = hook("pages")
    text = "[a](../SECURITY.md#x), [b](logs.md), [c](../train/x.py), [d](https://e.org/f), ![g](figures/h.png)"
    here = "[a](security.md#x), [b](logs.md), c, [d](https://e.org/f), ![g](figures/h.png)"
    assert pages.with_links(text, "docs/spark.md", None) == here
    assert "[c](https://host/r/blob/main/train/x.py)" in pages.with_links(text, "docs/spark.md", "https://host/r/")
    assert pages.with_links("[l](docs/logs.md)", "README.md", None) == "[l](logs.md)"
    nested = "[a](../universal.md#x), [b](device.md), [c](../../README.md), ![g](../figures/h.png)"
    of_site = nested.replace("../../README", "../readme")
    assert pages.with_links(nested, "docs/experiments/prediction.md", None) == of_site
    assert pages.with_empty_lines("Rows:\n- one\n- two\n\n| a |\n|---|") == "Rows:\n\n- one\n- two\n\n| a |\n|---|"


def test_the_index_of_decisions_is_that_of_its_records():
    decisions = hook("decision_index")
    page = decisions.PAGE.read_text(encoding="utf-8")
    assert decisions.with_index(page) == page, "run `python docs/hooks/decision_index.py`"
    record = "## `a` is B, or not\n\n*2026-11-30, logs. No longer\nholds.*\n\nText.\n"
    assert "| logs | [a is B, or not](#a-is-b-or-not) | 2026-11-30 | No longer holds. |" in decisions.index(record)
    with pytest.raises(SystemExit, match="below 'Undated'"):
        decisions.index(record + "\n## Undated\n\nText.\n")
