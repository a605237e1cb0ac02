"""The Kotlin client, compiled and run on a JVM, gives the graphs what the SDK gives them, and answers the same.

ONNX Runtime is not there: its answers were recorded while the SDK ran, see recorded_runs.py and Replay.kt.
"""

import gzip
import hashlib
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scenarios import SCENARIOS, START_S, TINY, Scenario, assert_answers

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.universal_bundle import SHIPPED

pytestmark = pytest.mark.slow  # the compiler alone takes ten seconds

onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "kotlin" / "src"
COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
NUM_HISTORIES, MAX_EVENTS = 1000, 600


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """replay(scenarios, runs) -> answers of each; compiles the client."""
    java, kernel = shutil.which("java"), importlib.util.find_spec("run_kotlin_kernel")
    if java is None:
        pytest.skip("Java is not installed")
    if kernel is None or kernel.origin is None:
        pytest.skip("the package kotlin-jupyter-kernel, which holds a Kotlin compiler, is not installed")
    folder = tmp_path_factory.mktemp("kotlin")
    jars = Path(kernel.origin).parent / "jars"
    (library,) = jars.glob("kotlin-stdlib-[0-9]*.jar")
    sources = [*CLIENT.rglob("*.kt"), Path(__file__).with_name("onnxruntime_stand_ins.kt")]
    options = ["-no-stdlib", "-no-reflect", "-Werror", "-cp", library, "-d", folder / "classes"]
    command = [java, "-Xmx900m", "-cp", f"{jars}/*", COMPILER, *options, *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def run(scenarios, runs):
        bundles = {Path(one[kind]) for one in scenarios for kind in ("bundle", "universal") if one[kind]}
        graphs = [graph for bundle in bundles for graph in bundle.glob("*.onnx")]
        lines = [{hashlib.sha256(graph.read_bytes()).hexdigest(): inputs_of(graph) for graph in graphs}, *scenarios]
        (folder / "scenarios.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        (folder / "runs.bin").write_bytes(b"".join(runs))
        classpath = f"{folder / 'classes'}:{library}"
        main = [java, "-Xmx700m", "-cp", classpath, "edgebehave.ReplayKt"]
        files = [folder / "scenarios.jsonl", folder / "runs.bin"]
        done = subprocess.run([*main, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def inputs_of(graph):
    """Names of the inputs of a graph."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return [given.name for given in session.get_inputs()]


@pytest.mark.filterwarnings("ignore:the vocabulary of the bundle:RuntimeWarning")
@pytest.mark.timeout(900)
def test_it_compiles_and_answers_what_the_sdk_answers(replay, tmp_path):
    lives = [scenario(tmp_path / str(number)) for number, scenario in enumerate(SCENARIOS.values())]
    answers = replay([life.for_client() for life in lives], [run for life in lives for run in life.runs])
    for life, answer in zip(lives, answers, strict=True):
        assert_answers(answer, life.expected)


def golden_life(rng, words):
    """A history of 1 to 600 events in the order of time, and the time of the last one."""
    life = Scenario(TINY / "web")
    at = START_S
    for _ in range(int(np.exp(rng.uniform(0, np.log(MAX_EVENTS + 1))))):
        at += 1 + int(rng.exponential(10 ** rng.uniform(1, 5)))
        event = f"own {rng.zipf(1.5) % 100}" if rng.random() < 0.3 else words.events[rng.integers(1, words.num_events)]
        place = None if rng.random() < 0.2 else f"place {rng.integers(0, 30)}"
        location = words.locations[rng.integers(1, words.num_locations)] if rng.random() < 0.5 else place
        life.observe(event, at, location, int(rng.choice([-480, 0, 345])))
    return life, at


@pytest.mark.timeout(900)
def test_tensors_equal_those_of_the_sdk_to_the_bit_on_a_thousand_histories(replay):
    """Of a bundle with a vocabulary; the SDK reads its own export, so that it too numbers names in the order of use."""
    words = Bundle.open(TINY / "web").vocabulary
    lives = []
    for number in range(NUM_HISTORIES):
        rng = np.random.default_rng([7, number])
        life, at = golden_life(rng, words)
        life.renew()
        asked = at + int(rng.exponential(20_000)) if rng.random() < 0.8 else None
        life.predict(asked, tail=float(rng.integers(0, 2)))
        lives.append(life)
    runs = [run for life in lives for run in life.runs]
    assert len(runs) > NUM_HISTORIES
    answers = replay([life.for_client() | {"strict": True} for life in lives], runs)
    for life, answer in zip(lives, answers, strict=True):
        assert_answers(answer, life.expected)


@pytest.mark.timeout(1500)  # half a minute on an idle core, as the SDK makes the golden histories
def test_and_of_the_universal_bundle(replay, universal_golden, universal_runs):
    with gzip.open(universal_golden, "rt", encoding="utf-8") as file:
        header, *lines = map(json.loads, file)
    scenarios = []
    for line in lines:
        at, steps = 0, []
        columns = (line[name] for name in ("event", "location", "time_step_s", "utc_offset_min"))
        for event, location, step, offset in zip(*columns, strict=True):
            at += step
            told = {"at": at, "location": header["locations"][location], "utcOffsetMin": offset}
            steps.append(["observe", header["events"][event], told])
        steps.append(["predict", {"at": line["at"], "utcOffsetMin": line["at_utc_offset_min"]}])
        scenarios.append({"bundle": str(SHIPPED), "universal": None, "strict": True, "steps": steps})
    assert len(scenarios) == NUM_HISTORIES
    for answers, line in zip(replay(scenarios, universal_runs), lines, strict=True):
        assert_answers(answers, [line["expected"]])
