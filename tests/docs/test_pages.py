"""Links, file names and module names on the pages lead to something that exists."""

import re
from pathlib import Path

import pytest

from edgebehave_train.extensions import (
    BASELINE_GROUP,
    LOG_READER_GROUP,
    METRIC_GROUP,
    OBJECTIVE_GROUP,
    RUN_LOGGER_GROUP,
)

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *(ROOT / name / "README.md" for name in ("research", "examples", "clients/npm")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PACKAGES = {
    "edgebehave": ROOT,
    "edgebehave_train": ROOT / "train",
    "edgebehave_export": ROOT / "export",
    "edgebehave_cli": ROOT / "cli",
}
FOLDERS = ("edgebehave", "train", "export", "cli", "research", "clients", "examples", "tests", "docs")
NO_LONGER_THERE = {
    "history_graph.py": "a decision names the module that history_rows.py replaced",
    "llama_block.py": "a decision names the module that research/llama_blocks.py replaced",
}


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """Every file and folder, from the root, with `/` before it, so that the end of a path can be compared."""
    found = (path for name in FOLDERS for path in [ROOT / name, *(ROOT / name).rglob("*")])
    top = [*found, *ROOT.glob("*.md")]
    return {f"/{path.relative_to(ROOT).as_posix()}" for path in top if "node_modules" not in path.parts}


def mentioned_files(page: str) -> set[str]:
    """Names of source files and pages, and folders that begin with one of ours, in text, code and links."""
    files = re.findall(r"(?<![\w./*<-])((?:\.\./)*[\w-][\w/.-]*\.(?:py|js|sh|kt|swift|md))\b", page)
    folders = re.findall(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})(?:/[\w-]+)*)/(?![\w.*<])", page)
    return {re.sub(r"^(\.\./)+", "", name) for name in files + folders}


def mentioned_modules(page: str) -> set[str]:
    """Dotted names that begin with one of the packages."""
    return set(re.findall(r"\b(edgebehave(?:_train|_export|_cli)?(?:\.[a-zA-Z]\w*)+)(?!\w*[/(])", page))


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or a word in one."""
    parts = name.split(".")
    at = PACKAGES[parts[0]]
    while parts and ((at / parts[0]).is_dir() or (at / f"{parts[0]}.py").is_file()):
        at = at / parts.pop(0)
    source = at / "__init__.py" if at.is_dir() else at.with_suffix(".py")
    return all(re.search(rf"\b{part}\b", source.read_text(encoding="utf-8")) for part in parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_names_exist(page, paths):
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    names = mentioned_files(text) - NO_LONGER_THERE.keys()
    assert [name for name in sorted(names) if not any(path.endswith(f"/{name}") for path in paths)] == []
    groups = {OBJECTIVE_GROUP, BASELINE_GROUP, METRIC_GROUP, LOG_READER_GROUP, RUN_LOGGER_GROUP}  # of entry points
    modules = mentioned_modules(text) - {"edgebehave.js", *groups}
    assert [name for name in sorted(modules) if not is_there(name)] == []


def test_a_wrong_name_is_found(paths):
    assert mentioned_files("See `training/dro.py`, [x](../docs/nothing.md) and `research/`.") == {
        "training/dro.py",
        "docs/nothing.md",
        "research",
    }
    assert not any(path.endswith("/docs/nothing.md") for path in paths)
    assert mentioned_modules("`edgebehave_train.simulator.log` and edgebehave.habits") == {
        "edgebehave_train.simulator.log",
        "edgebehave.habits",
    }
    assert is_there("edgebehave_train.simulator.log.simulate")
    assert not is_there("edgebehave_train.simulator.not_there")


def test_the_map_shows_every_folder_of_the_packages():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package, parent in PACKAGES.items():
        for init in (parent / package).rglob("__init__.py"):
            assert f"{init.parent.name}/" in text, init
