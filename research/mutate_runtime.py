"""Mutation testing: change one thing in a module of the runtime, and see whether its tests notice.

    python research/mutate_runtime.py --mutants 300 --seed 0 --out runs/mutants.json
    python research/mutate_runtime.py --again runs/mutants.json

Each mutant is one change of the syntax tree: a comparison, an arithmetic or boolean operator is replaced, a condition
is negated, a number is one more, a `return` or `raise` is left out, a call statement is dropped. Mutants are drawn at
random over the modules, in proportion to their places to change. Messages, type annotations and docstrings are not
mutated.

First all tests of the runtime run once, and it is recorded which of them reach which lines. A mutant then gets the
tests that reach its statement: those of its module's own file, the quickest first, and then a few of each other file in
turn, up to the first failure. A mutant that makes a test fail, or take many times as long as before, is killed. One
that was not killed in `--limit` seconds of processor time counts as a survivor, so the share of the killed is at least
what the report says. The survivors are printed, to be explained or killed by a new test. `--again` runs the survivors
of an earlier report only.
"""

import argparse
import ast
import json
import math
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy  # noqa: F401 - imported once for all mutants
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import pytest
from coverage import Coverage

ROOT = Path(__file__).parents[1]
MODULES = (
    "bundles/bundle.py",
    "bundles/opened_graph.py",
    "bundles/graph_file.py",
    "histories/sqlite.py",
    "histories/sqlite_file.py",
    "histories/checksums.py",
    "histories/rolling_events.py",
    "vocabulary.py",
)

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
    """Nodes that can be changed, each with the name of the change, in the order of the source.

    Beside each stand the lines of its statement, none if that runs when the module is imported.
    """

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, str, range]] = []
        self._lines = range(0)
        self._is_inside = False

    def visit(self, node: ast.AST) -> None:
        before = self._lines
        if isinstance(node, ast.stmt) and self._is_inside:
            inner: list[ast.stmt] = getattr(node, "body", [])
            self._lines = range(node.lineno, inner[0].lineno if inner else (node.end_lineno or node.lineno) + 1)
        if change := _change_of(node):
            self.found.append((node, change, self._lines))
        super().visit(node)
        self._lines = before

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        was_inside, self._is_inside = self._is_inside, True
        for statement in node.body:
            self.visit(statement)
        self._is_inside = was_inside

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Messages are not mutated."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Nor is what stands in them."""


def _change_of(node: ast.AST) -> str:
    """The name of the change that fits a node, "" if there is none."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
        return "comparison"
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not isinstance(node.left, ast.JoinedStr):
        return "operator"
    if isinstance(node, ast.BoolOp):
        return "and/or"
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return "negated condition"
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return "number + 1"
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        return "return None"
    if isinstance(node, ast.Raise) and node.exc is not None:
        return "no raise"
    return "no call" if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


class Mutant(NamedTuple):
    """One change of a module: its place, and the lines whose tests may notice it."""

    module: str
    number: int
    line: int
    change: str
    lines: range

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.change} (number {self.number})"


def mutants(source: str, module: str = "") -> Iterator[Mutant]:
    """Every mutant of a module."""
    places = Places()
    places.visit(ast.parse(source))
    for number, (node, change, lines) in enumerate(places.found):
        yield Mutant(module, number, getattr(node, "lineno", 0), change, lines)


def mutated(source: str, mutant: Mutant) -> str:
    """The source of a mutant."""
    tree, places = ast.parse(source), Places()
    places.visit(tree)
    node, change, _ = places.found[mutant.number]
    _change(node, change)
    return ast.unparse(ast.fix_missing_locations(tree))


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


# --- tests ----------------------------------------------------------------------------------------------------------


class Reach(NamedTuple):
    """What the tests did without a mutation.

    seconds  test -> processor time.
    lines    module -> line -> the tests that reach it.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that may notice a mutant: all that reach its module if it acts at the import.

        Those of the module's own file come first, the quickest first, and then _TURN of each file in turn.
        """
        lines = self.lines.get(mutant.module, {})
        tests = {test for line in mutant.lines or lines for test in lines.get(line, [])} or set(self.seconds)
        ordered: list[tuple[bool, int, str, float, str]] = []
        own, count = own_file(mutant.module), Counter[str]()
        for seconds, test in sorted((self.seconds[test], test) for test in tests):
            file = test.partition("::")[0]
            ordered.append((file != own, count[file] // _TURN if file != own else 0, file, seconds, test))
            count[file] += 1
        return [test for *_, test in sorted(ordered)]


_TURN = 5
"""Tests of one file in a turn: what the tests of a file share is made anew in each turn."""


def own_file(module: str) -> str:
    """The file of tests with the name of a module; not every module has one."""
    return f"tests/edgebehave/{Path(module).with_name(f'test_{Path(module).name}')}"


class Recorder:
    """A plugin of pytest that records the processor time and the lines of each test."""

    def __init__(self, tree: Path) -> None:
        self._coverage = Coverage(data_file=None, source=[str(tree / "edgebehave")], config_file=False)
        self._seconds: dict[str, float] = {}
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        before = sum(os.times()[:4])
        result = yield
        self._seconds[item.nodeid] = sum(os.times()[:4]) - before
        self._coverage.switch_context("")
        return result

    def write(self, path: Path, tree: Path) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {
            str(Path(file).relative_to(tree / "edgebehave")): {
                line: [test for test in tests if test] for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        path.write_text(json.dumps([self._seconds, lines]))


_HUNG, _LIMIT = 99, 98
"""Exit statuses of the tests: one computes for too long, and all together did."""


class Chosen:
    """A plugin of pytest that runs some tests in their order, says when each begins, and ends one that hangs.

    limit_s  processor time of all tests of the process.
    """

    def __init__(self, tests: list[str], seconds: dict[str, float], begun: int, limit_s: float) -> None:
        self._place_of = {test: number for number, test in enumerate(tests)}
        self._seconds, self._begun, self._limit_s = seconds, begun, limit_s

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # A test without a record is new: it may reach anything.
        items[:] = [item for item in items if item.nodeid in self._place_of or item.nodeid not in self._seconds]
        items.sort(key=lambda item: self._place_of.get(item.nodeid, -1))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        os.write(self._begun, f"{item.nodeid}\n".encode())
        left_s = self._limit_s - sum(os.times()[:4])
        if left_s <= 0:
            os._exit(_LIMIT)
        most_s = 10 + 5 * self._seconds.get(item.nodeid, 10)
        signal.signal(signal.SIGPROF, lambda *_: os._exit(_HUNG if most_s < left_s else _LIMIT))
        signal.setitimer(signal.ITIMER_PROF, min(most_s, left_s))


def in_a_fork(tree: Path, call: Callable[[int], int], timeout_s: float) -> tuple[str, str]:
    """Run tests in a fork of this process, which has imported the libraries but nothing of the runtime.

    call     runs them, writes their names to a file as they begin, and returns the exit status.
    Returns  "failed", "hung", "limit" or "", and the test that began last.
    """
    reads, writes = os.pipe()
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
            paths = [str(tree / name) for name in ("", "train", "export", "cli")]
            sys.path[:0] = paths
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)
            status = call(writes)
        finally:
            os._exit(status)
    os.close(writes)
    told, is_running = b"", True
    while is_running:
        ready, _, _ = select.select([reads], [], [], timeout_s)
        new = os.read(reads, 1 << 16) if ready else b""
        told, is_running = told + new, bool(new)
    os.close(reads)
    done, status = os.waitpid(process, os.WNOHANG)
    if not done and ready:  # it has closed the pipe and is about to end
        done, status = os.waitpid(process, 0)
    if not done:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
    last = told.decode().splitlines()[-1] if told else ""
    code = os.waitstatus_to_exitcode(status) if done else _HUNG
    return {0: "", _HUNG: "hung", _LIMIT: "limit"}.get(code, "failed"), last


_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "--assert=plain")
"""Nobody reads why a test failed, and asserts that explain themselves are compiled anew for each mutant."""


def record(tree: Path, timeout_s: float) -> Reach:
    """Run all tests without a mutation."""
    written = tree / "reach.json"

    def call(_: int) -> int:
        recorder = Recorder(tree)
        status = int(pytest.main([*_OPTIONS, "tests/edgebehave"], plugins=[recorder]))
        recorder.write(written, tree)
        return status

    end, _ = in_a_fork(tree, call, timeout_s)
    if end:
        raise SystemExit("the tests fail without any mutation")
    seconds, lines = json.loads(written.read_text())
    by_number = {module: {int(line): tests for line, tests in of.items()} for module, of in lines.items()}
    return Reach(seconds, by_number)


def tests_fail(
    tree: Path, module: str, tests: list[str], reach: Reach, timeout_s: float, limit_s: float
) -> tuple[str, str]:
    """Run tests on a tree as it is, those in the file of the module's name first: as `in_a_fork`."""
    known = {test.partition("::")[0] for test in reach.seconds}
    files = {test.partition("::")[0] for test in tests}
    files |= {str(path.relative_to(tree)) for path in (tree / "tests/edgebehave").rglob("test_*.py")} - known
    own = own_file(module)

    def call(begun: int) -> int:
        for step in (files & {own}, files - {own}):
            plugins = [Chosen(tests, reach.seconds, begun, limit_s)]
            status = int(pytest.main([*_OPTIONS, *sorted(step)], plugins=plugins)) if step else 0
            if status not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
                return status
        return 0

    return in_a_fork(tree, call, timeout_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="leave out as many of them, which another run has tried")
    parser.add_argument("--modules", nargs="*", choices=MODULES, default=MODULES)
    parser.add_argument("--again", type=Path, help="run the survivors of this report only")
    parser.add_argument("--reach", type=Path, help="keep the record of the tests here, or read it if it is there")
    parser.add_argument("--timeout", type=float, default=600, help="seconds without a new test before one hangs")
    parser.add_argument(
        "--limit", type=float, default=math.inf, help="processor time per mutant, after which it counts as a survivor"
    )
    parser.add_argument("--out", type=Path, help="write the report here after each mutant")
    args = parser.parse_args()
    everything = [
        mutant
        for module in args.modules
        for mutant in mutants((ROOT / "edgebehave" / module).read_text(encoding="utf-8"), module)
    ]
    drawn = random.Random(args.seed).sample(everything, min(args.mutants, len(everything)))[args.first :]
    if args.again:
        wanted = json.loads(args.again.read_text())["survivors"]
        drawn = [mutant for mutant in everything if str(mutant) in wanted]
        if len(drawn) != len(wanted):
            raise SystemExit("the modules have changed since that report")
    # A busy machine must not look like a killed mutant, and the same examples are tried on all of them.
    hypothesis.settings.register_profile("patient", deadline=None, derandomize=True, database=None)
    hypothesis.settings.load_profile("patient")
    counts: Counter[str] = Counter()
    killed_by: Counter[str] = Counter()
    survivors: list[str] = []
    began = time.monotonic()
    report: dict[str, Any] = {}
    assert not any(name.startswith("edgebehave") for name in sys.modules)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        for name in ("edgebehave", "tests", "train", "export", "cli", "research"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        if args.reach and args.reach.exists():
            seconds, lines = json.loads(args.reach.read_text())
            reach = Reach(seconds, {module: {int(i): tests for i, tests in of.items()} for module, of in lines.items()})
        else:
            reach = record(tree, 3600)
            if args.reach:
                args.reach.write_text(json.dumps(reach))
        print(f"recorded {len(reach.seconds)} tests, {time.monotonic() - began:.0f} s", flush=True)
        for mutant in drawn:
            file = tree / "edgebehave" / mutant.module
            whole = file.read_text(encoding="utf-8")
            file.write_text(mutated(whole, mutant), encoding="utf-8")
            started = time.monotonic()
            tests = reach.tests_of(mutant)
            end, last = tests_fail(tree, mutant.module, tests, reach, args.timeout, args.limit)
            file.write_text(whole, encoding="utf-8")
            says = f"{end} in {last}" if end else "survived"
            print(f"{mutant}: {says}, {len(tests)} tests, {time.monotonic() - started:.1f} s", flush=True)
            outcome = "killed" if end in ("failed", "hung") else "survived"
            counts[f"{mutant.module}: {outcome}"] += 1
            counts[outcome] += 1
            counts["survived, at the limit"] += end == "limit"
            if outcome == "killed":
                killed_by[last.partition("::")[0]] += 1
            else:
                survivors.append(str(mutant))
            report = {
                "places": len(everything),
                "mutants": counts["killed"] + counts["survived"],
                **dict(sorted(counts.items())),
                "killed_by": dict(killed_by.most_common()),
                "survivors": sorted(survivors),
                "seconds": round(time.monotonic() - began, 1),
            }
            if args.out:
                args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
