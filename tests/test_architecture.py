"""Imports point one way: cli -> train, export -> edgebehave."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "edgebehave": ROOT / "edgebehave",
    "edgebehave_train": ROOT / "train" / "edgebehave_train",
    "edgebehave_export": ROOT / "export" / "edgebehave_export",
    "edgebehave_cli": ROOT / "cli" / "edgebehave_cli",
}
MAY_IMPORT = {
    "edgebehave": set(),
    "edgebehave_train": {"edgebehave"},
    "edgebehave_export": {"edgebehave", "edgebehave_train"},
    "edgebehave_cli": {"edgebehave", "edgebehave_train", "edgebehave_export"},
}
RUNTIME_NEEDS = {"numpy", "onnxruntime"}


def imported(folder: Path) -> dict[str, set[str]]:
    """{file: top names of the packages it imports, anywhere in the file}."""
    names: dict[str, set[str]] = {}
    for file in sorted(folder.rglob("*.py")):
        found = names.setdefault(str(file.relative_to(ROOT)), set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                found.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package):
    for file, names in imported(PACKAGES[package]).items():
        wrong = names & (PACKAGES.keys() - MAY_IMPORT[package] - {package})
        assert not wrong, f"{file} imports {wrong}"


def test_the_runtime_needs_numpy_and_onnxruntime_alone():
    import sys

    allowed = RUNTIME_NEEDS | {"edgebehave"} | set(sys.stdlib_module_names)
    for file, names in imported(PACKAGES["edgebehave"]).items():
        assert names <= allowed, f"{file} imports {names - allowed}"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_pickles_or_opens_a_socket(package):
    for file, names in imported(PACKAGES[package]).items():
        wrong = names & {"pickle", "socket", "http", "urllib", "requests", "shelve"}
        assert not wrong, f"{file} imports {wrong}"
