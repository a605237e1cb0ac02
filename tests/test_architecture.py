"""Imports point one way: cli -> train, export -> edgebehave, and upward through the subpackages of each."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
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
RESEARCH = {"research", *(file.stem for file in (ROOT / "research").glob("*.py"))}
MAX_MODULES = 16
"""In one folder outside the CLI, `__init__` not counted."""

# A subpackage may import what stands to the left of it, and nothing of its own rank.
ORDER = {
    "edgebehave": [
        ["tables"],
        ["arguments", "follow_the_leader", "moments", "time_features", "version", "vocabulary"],
        ["habits", "histories"],
        ["answers"],
        ["bundles"],
        ["generation"],
        ["predictor"],
    ],
    "edgebehave_train": [
        ["extensions", "files", "wording"],
        ["saved_state"],
        ["logs", "simulator"],
        ["kernels", "predictions"],
        ["model", "spark"],
        ["loading", "metrics"],
        ["universal"],
        ["training"],
        ["evaluation", "adaptation", "generation", "scaling"],
        ["calibration", "llm"],
        ["distillation", "hub", "report"],
        ["api"],
    ],
    "edgebehave_train.llm": [
        ["prompts"],
        ["scoring"],
        ["tuning"],
        ["evaluation", "stand_in"],
    ],
    "edgebehave_export": [
        ["graphs"],
        ["quantization", "parity"],
        ["lookup"],
        ["bundle"],
        ["universal"],
        ["bench"],
        ["llm", "api"],
    ],
}


def files(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def dotted(file: Path, package: str) -> str:
    """Module name of a file; a package is called by its folder."""
    parts = file.relative_to(PACKAGES[package].parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, file: str = "a file") -> list[str]:
    """Dotted names that a source imports, anywhere in it: of `from a import b` both a and a.b."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def packages_imported(package: str) -> dict[str, set[str]]:
    """{file: top names of the packages that it imports}."""
    return {
        str(file.relative_to(ROOT)): {
            name.partition(".")[0] for name in imports_of(file.read_text(encoding="utf-8"), str(file))
        }
        for file in files(package)
    }


def module_graph() -> dict[str, set[str]]:
    """{module: modules of ours that it imports}, over all four packages."""
    modules = {dotted(file, package): file for package in PACKAGES for file in files(package)}
    return {
        module: {name for name in imports_of(file.read_text(encoding="utf-8")) if name in modules and name != module}
        for module, file in modules.items()
    }


def wrong_imports(graph: dict[str, set[str]], owner: str, order: list[list[str]]) -> list[str]:
    """Imports between the parts of a package that do not point to the left in its order."""
    rank = {part: i for i, parts in enumerate(order) for part in parts}

    def part_of(module: str) -> str | None:
        head, _, rest = module.partition(owner + ".")
        return None if head or not rest else rest.split(".")[0]

    wrong = []
    for module, imported in graph.items():
        part = part_of(module)
        for name in sorted(imported):
            other = part_of(name)
            if part == other or part not in rank or other not in rank:
                continue
            if rank[other] >= rank[part]:
                wrong.append(f"{module} imports {name}")
    return wrong


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    """Modules that import each other in a circle, or None. A package that imports its parts counts as one of them."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package):
    for file, names in packages_imported(package).items():
        wrong = names & (PACKAGES.keys() - MAY_IMPORT[package] - {package})
        assert not wrong, f"{file} imports {wrong}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_nothing_of_research(package):
    for file, names in packages_imported(package).items():
        assert not names & RESEARCH, f"{file} imports {names & RESEARCH}"


def test_scripts_of_research_are_found_by_name():
    for source in ("import hstu", "from research import peers", "from verbs import run"):
        assert {name.partition(".")[0] for name in imports_of(source)} & RESEARCH


@pytest.mark.parametrize("owner", ORDER)
def test_subpackages_import_in_one_order(owner):
    assert wrong_imports(module_graph(), owner, ORDER[owner]) == []


def test_every_part_has_a_place_in_the_order():
    for owner in ORDER:
        folder = PACKAGES[owner.partition(".")[0]] / "/".join(owner.split(".")[1:])
        parts = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
        assert parts - {"__init__"} == {part for rank in ORDER[owner] for part in rank}


def verbs_that_import_verbs(graph: dict[str, set[str]]) -> list[str]:
    """Imports between the verbs of the command line; verbs are the modules that app and llm register."""
    groups = {"edgebehave_cli.app", "edgebehave_cli.llm"}
    others = {"edgebehave_cli", "edgebehave_cli.console", "edgebehave_cli.help_text"}
    verbs = {name for group in groups for name in graph[group] if name.startswith("edgebehave_cli")} - others - groups
    return [f"{verb} imports {name}" for verb in sorted(verbs) for name in sorted(graph[verb] & (verbs | groups))]


def test_no_verb_imports_a_verb():
    graph = module_graph()
    assert verbs_that_import_verbs(graph) == []
    train, tune = "edgebehave_cli.train", "edgebehave_cli.llm.tune"
    graph[tune] = graph[tune] | {train}
    assert verbs_that_import_verbs(graph) == [f"{tune} imports {train}"]


def test_no_modules_import_each_other_in_a_circle():
    assert circle(module_graph()) is None


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("habits", "bundles.bundle"),
        ("time_features", "histories.history"),
        ("histories.history", "habits"),
        ("generation", "predictor"),
    ],
)
def test_an_import_against_the_order_of_the_runtime_is_found(module, name):
    graph = module_graph()
    module, name = f"edgebehave.{module}", f"edgebehave.{name}"
    graph[module] = graph[module] | {name}
    assert wrong_imports(graph, "edgebehave", ORDER["edgebehave"]) == [f"{module} imports {name}"]


def test_an_import_against_the_order_and_a_circle_are_found():
    graph = module_graph()
    store, evaluation = "edgebehave_train.logs.event_store", "edgebehave_train.evaluation.table"
    graph[store] = graph[store] | {evaluation}
    assert wrong_imports(graph, "edgebehave_train", ORDER["edgebehave_train"]) == [f"{store} imports {evaluation}"]
    assert {store, evaluation} <= set(circle(graph) or [])


@pytest.mark.parametrize("package", sorted(PACKAGES.keys() - {"edgebehave_cli"}))
def test_no_folder_holds_too_many_modules(package):
    for folder in {file.parent for file in files(package)}:
        modules = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= MAX_MODULES, f"{folder.relative_to(ROOT)} holds {len(modules)} modules"


def test_the_runtime_needs_numpy_and_onnxruntime_alone():
    allowed = RUNTIME_NEEDS | {"edgebehave"} | set(sys.stdlib_module_names)
    for file, names in packages_imported("edgebehave").items():
        assert names <= allowed, f"{file} imports {names - allowed}"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_pickles_or_opens_a_socket(package):
    for file, names in packages_imported(package).items():
        wrong = names & {"pickle", "socket", "http", "urllib", "requests", "shelve"}
        assert not wrong, f"{file} imports {wrong}"
