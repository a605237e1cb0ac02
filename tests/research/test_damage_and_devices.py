"""Short forms of the commands whose figures are in docs/reliability.md, and that they find what is wrong."""

import ast
import os
import random
from collections import Counter

import pytest

import damage_files

if not hasattr(os, "fork"):
    pytest.skip("these commands fork", allow_module_level=True)
import mutate_runtime
import simulate_devices
import stress_devices
from edgebehave import SqliteHistory
from edgebehave.bundles.bundle import Bundle

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def bundles():
    return [None, Bundle.open(simulate_devices.TINY / "int8")]


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch):
    """The simulation puts its clock into these modules; they get theirs back."""
    for module in (simulate_devices.recorder, simulate_devices.retention):
        monkeypatch.setattr(module, "time", module.time)


@pytest.mark.parametrize("device", [0, 1])
def test_a_device_lives_as_its_model(tmp_path, bundles, device):
    counts = simulate_devices.simulate(0, device, 120, tmp_path / "device", bundles)
    assert counts["events"] > 20 * 120
    assert counts["predictions compared"] >= 2
    assert sum(counts[kind] for kind in ("killed", "torn", "full_disk", "clock", "fork", "move")) >= 3
    again = simulate_devices.simulate(0, device, 120, tmp_path / "device", bundles)
    assert again == counts


@pytest.mark.parametrize("kind", ["lost", "not erased", "kept twice"])
def test_a_device_that_goes_wrong_is_found_with_the_command_that_replays_it(tmp_path, bundles, monkeypatch, kind):
    append_many, delete = SqliteHistory.append_many, SqliteHistory._delete
    if kind == "lost":
        monkeypatch.setattr(SqliteHistory, "append_many", lambda self, rows: append_many(self, rows[: len(rows) - 1]))
    elif kind == "kept twice":
        monkeypatch.setattr(simulate_devices.Model, "age", lambda self, user, now: None)
    else:
        monkeypatch.setattr(SqliteHistory, "_delete", lambda self, user, *rest: delete(self, user, *rest) and user)

    def live() -> None:
        for device in range(3):
            simulate_devices.simulate(0, device, 60, tmp_path / "device", bundles)

    with pytest.raises(simulate_devices.DifferenceError, match=r"replay it with: python research/.* --seed 0 --device"):
        live()


def test_the_model_follows_the_rules_by_hand():
    model = simulate_devices.Model(32 * 60)
    start = simulate_devices.START_S
    for at, offset in ((0, 60), (600, None), (300, 0), (300, 0), (4000, None)):
        model.observe(start + 10**6, "ada", start + at, "mail", None, offset)
    # The last event ages the others; its offset is that of the event at 600, which took that of the first.
    assert model.events["ada"] == [(start + 4000, "mail", None, 60)]
    assert model.num_events["ada"] == 4


def test_damaged_checkpoints_and_stores_are_found():
    pytest.importorskip("torch")
    pytest.importorskip("duckdb")
    for make, read in (
        (damage_files.make_checkpoint, damage_files.read_checkpoint),
        (damage_files.make_store, damage_files.read_store),
    ):
        ends = damage_files.trials(40, make, read, damage_files.damage_folder, 1)
        assert (ends.get("different", 0), ends.get("traceback", 0)) == (0, 0)
        assert ends["found"] >= 30


def test_forks_and_full_disks(tmp_path):
    assert stress_devices.fork_under_load(3, False) == Counter({"well": 3})
    draw = random.Random(0)
    ends = sum((stress_devices.forget_on_a_full_disk(tmp_path, draw) for _ in range(6)), Counter())
    assert (ends["opened on the full disk"], ends["erased when there was room"]) == (6, 6)
    assert ends["ended with 1"] >= 1


def test_mutants_change_one_thing_each():
    source = '''
def f(a: int = 3, b=(1 < 2)) -> int:
    """Text."""
    if a == 2 and b:
        raise ValueError(f"{a + 1}")
    g(a)
    return a - 1
'''
    made = list(mutate_runtime.mutants(source))
    assert Counter(mutant.change for mutant in made) == Counter(
        {"number + 1": 5, "comparison": 2, "operator": 1, "and/or": 1, "negated condition": 1}
        | {"no raise": 1, "no call": 1, "return None": 1}
    )
    sources = {mutate_runtime.mutated(source, mutant) for mutant in made}
    assert len(sources) == len(made)
    assert ast.unparse(ast.parse(source)) not in sources
    assert any("return a + 1" in each for each in sources)
    lines = {mutant.line: list(mutant.lines) for mutant in made}
    # The defaults are computed at the import; of a condition, its line alone stands for it.
    assert lines == {2: [], 4: [4], 5: [5], 6: [6], 7: [7]}


def test_a_mutant_gets_the_tests_that_reach_it():
    seconds = {"slow": 3.0, "quick": 0.1, "other": 0.2}
    reach = mutate_runtime.Reach(seconds, {"m.py": {5: ["slow", "quick"], 6: ["other"]}})

    def tests(lines, module="m.py"):
        return reach.tests_of(mutate_runtime.Mutant(module, 0, 5, "no call", lines))

    assert set(tests(range(5, 6))) == {"quick", "slow"}
    assert set(tests(range(0))) == {"quick", "other", "slow"}  # at the import: whatever reaches the module
    assert set(tests(range(9, 10))) == set(tests(range(5, 6), "n.py")) == {"quick", "other", "slow"}


def test_tests_of_the_own_file_come_first_and_then_those_of_each_file_in_turn():
    folder = "tests/edgebehave/bundles"
    assert mutate_runtime.own_file("bundles/m.py") == f"{folder}/test_m.py"
    seconds = {f"{folder}/test_m.py::t{number}": 9.0 - number for number in range(7)}
    for file in ("a", "b"):
        seconds |= {f"{folder}/test_{file}.py::t{number}": number * 0.1 for number in range(7)}
    reach = mutate_runtime.Reach(seconds, {})
    given = reach.tests_of(mutate_runtime.Mutant("bundles/m.py", 0, 5, "no call", range(5, 6)))
    assert [test.partition("test_")[2] for test in given] == [
        *(f"m.py::t{number}" for number in (6, 5, 4, 3, 2, 1, 0)),
        *(f"{file}.py::t{number}" for file in ("a", "b") for number in range(5)),
        *(f"{file}.py::t{number}" for file in ("a", "b") for number in (5, 6)),
    ]


def test_a_mutant_is_killed_by_a_failure_and_by_a_wait(tmp_path):
    tests = {"fails": "assert 1 < 0", "loops": "while True: pass", "is well": "pass"}
    for name, code in tests.items():
        file = tmp_path / name / "tests/edgebehave/test_it.py"
        file.parent.mkdir(parents=True)
        file.write_text(f"def test_it():\n    {code}\n")
    test = "tests/edgebehave/test_it.py::test_it"
    reach = mutate_runtime.Reach({test: -1.4}, {})  # ends after three seconds of computing
    ends = {name: mutate_runtime.tests_fail(tmp_path / name, "m.py", [test], reach, 600, 60) for name in tests}
    assert ends == {"fails": ("failed", test), "loops": ("hung", test), "is well": ("", test)}
    # A limit of the whole is no verdict of the tests.
    slow = mutate_runtime.Reach({test: 100}, {})
    assert mutate_runtime.tests_fail(tmp_path / "loops", "m.py", [test], slow, 600, 2) == ("limit", test)
    assert mutate_runtime.tests_fail(tmp_path / "fails", "m.py", [test], slow, 600, 0) == ("limit", test)


def test_every_module_that_is_mutated_is_there():
    assert all((mutate_runtime.ROOT / "edgebehave" / module).is_file() for module in mutate_runtime.MODULES)
