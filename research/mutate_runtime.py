"""Mutation testing: change one thing in a module of the runtime, and see whether its tests notice.

    python research/mutate_runtime.py --mutants 300 --seed 0

Each mutant is one change of the syntax tree: a comparison, an arithmetic or boolean operator is replaced, a condition
is negated, a number is one more, a `return` or `raise` is left out, a call statement is dropped. Mutants are drawn at
random over the modules, in proportion to their places to change. The tests that touch the module run on a copy of the
tree, the quickest first, up to the first failure; a mutant that makes them fail, or hang, is killed. Messages, type
annotations and docstrings are not mutated. The survivors are printed, to be explained or killed by a new test.
"""

import argparse
import ast
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy  # noqa: F401 - imported once for all mutants
import onnxruntime  # noqa: F401
import pytest

ROOT = Path(__file__).parents[1]
TESTS = {
    "bundles/bundle.py": [
        "bundles/test_bundle.py bundles/test_manifest.py",
        "test_predictor.py bundles/test_hostile_bundles.py",
    ],
    "bundles/opened_graph.py": ["bundles/test_bundle.py", "bundles/test_hostile_bundles.py"],
    "bundles/graph_file.py": ["bundles/test_graph_file.py", "bundles/test_bundle.py bundles/test_hostile_bundles.py"],
    "histories/sqlite.py": [
        "histories/test_sqlite.py histories/test_histories.py histories/test_damage.py",
        "histories/test_retention.py histories/test_predictions_over_histories.py test_import.py test_devices.py",
    ],
    "histories/rolling_events.py": [
        "histories/test_rolling_events.py histories/test_mapped_history.py histories/test_active_users.py",
        "histories/test_predictions_over_histories.py test_predictor.py",
    ],
    "vocabulary.py": ["test_vocabulary.py histories/test_mapped_history.py bundles/test_manifest.py"],
}
"""Steps of tests of each module, under tests/edgebehave."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


class Places(ast.NodeVisitor):
    """Nodes that can be changed, each with the name of the change, in the order of the source."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, str]] = []

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
            self.found.append((node, "comparison"))
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not isinstance(node.left, ast.JoinedStr):
            self.found.append((node, "operator"))
        elif isinstance(node, ast.BoolOp):
            self.found.append((node, "and/or"))
        elif isinstance(node, ast.If | ast.While | ast.IfExp):
            self.found.append((node, "negated condition"))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            self.found.append((node, "number + 1"))
        elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
            self.found.append((node, "return None"))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            self.found.append((node, "no raise"))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self.found.append((node, "no call"))
        super().visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Messages are not mutated."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Nor is what stands in them."""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, name of the change, and the changed source, of every mutant."""
    places = Places()
    places.visit(ast.parse(source))
    for number in range(len(places.found)):
        tree, again = ast.parse(source), Places()
        again.visit(tree)
        node, change = again.found[number]
        _change(node, change)
        yield getattr(node, "lineno", 0), change, ast.unparse(ast.fix_missing_locations(tree))


def _change(node: ast.AST, change: str) -> None:
    """Change a node in place."""
    match node:
        case ast.Compare():
            node.ops = [_COMPARISONS[type(node.ops[0])]()]
        case ast.BinOp():
            node.op = _OPERATORS[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.If() | ast.While() | ast.IfExp():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(value=int(number)):
            node.value = number + 1
        case ast.Return():
            node.value = ast.Constant(None)
        case ast.Raise() | ast.Expr():
            # An expression without an effect in the place of the statement.
            node.__class__ = ast.Expr
            node.__dict__ = {**node.__dict__, "value": ast.Constant(None)}
        case _:
            raise AssertionError(change)


def tests_fail(tree: Path, steps: list[str], timeout_s: float) -> str:
    """Whether the tests fail on a tree: "failed", "hung" or "".

    They run in a fork of this process, which has imported the libraries but nothing of the runtime.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.setsid()
            os.chdir(tree)
            sys.dont_write_bytecode = True
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            sys.path[:0] = [str(tree / name) for name in ("", "train", "export", "cli")]
            for step in steps:
                files = [f"tests/edgebehave/{name}" for name in step.split()]
                files = [name for name in files if (tree / name).is_file()]
                status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *files]))
                if status:
                    break
        finally:
            os._exit(status)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return "failed" if status else ""
        time.sleep(0.05)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "hung"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", nargs="*", choices=list(TESTS), default=list(TESTS))
    parser.add_argument("--timeout", type=float, default=300, help="seconds of the tests of a mutant")
    parser.add_argument("--minutes", type=float, default=600, help="begin no mutant after that")
    parser.add_argument("--out", type=Path, help="write the report here after each mutant")
    args = parser.parse_args()
    everything = [
        (module, *mutant)
        for module in args.modules
        for mutant in mutants((ROOT / "edgebehave" / module).read_text(encoding="utf-8"))
    ]
    drawn = random.Random(args.seed).sample(everything, min(args.mutants, len(everything)))
    # A busy machine must not look like a killed mutant.
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    counts: Counter[str] = Counter()
    survivors: list[str] = []
    began = time.monotonic()
    report: dict[str, object] = {}
    assert not any(name.startswith("edgebehave") for name in sys.modules)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        for name in ("edgebehave", "tests", "train", "export", "cli", "research"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        for module in args.modules:
            if tests_fail(tree, TESTS[module], args.timeout):
                raise SystemExit(f"the tests of {module} fail without any mutation")
        for module, line, change, source in drawn:
            if time.monotonic() - began > 60 * args.minutes:
                break
            file = tree / "edgebehave" / module
            whole = file.read_text(encoding="utf-8")
            file.write_text(source, encoding="utf-8")
            end = tests_fail(tree, TESTS[module], args.timeout)
            file.write_text(whole, encoding="utf-8")
            counts[f"{module}: {'killed' if end else 'survived'}"] += 1
            counts["killed" if end else "survived"] += 1
            if not end:
                survivors.append(f"{module}:{line}: {change}")
            report = {
                "places": len(everything),
                "mutants": counts["killed"] + counts["survived"],
                **dict(sorted(counts.items())),
                "survivors": sorted(survivors),
                "seconds": round(time.monotonic() - began, 1),
            }
            if args.out:
                args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
