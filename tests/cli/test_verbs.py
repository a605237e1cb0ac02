"""The verbs of the command line, end to end on a small simulated log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

VERBS = (
    "demo",
    "simulate",
    "ingest",
    "train",
    "adapt",
    "transfer",
    "distill",
    "universal",
    "evaluate",
    "compare",
    "report",
    "scale",
    "export",
    "predict",
    "generate",
    "bench",
    "push",
    "pull",
    "check",
    "doctor",
)
COLUMNS = (*("--location", "location", "--utc-offset", "utc_offset_min", "--behavior", "behavior"),)
SMALL = (
    *("--set", "width=16", "--set", "num_heads=1", "--set", "window=12"),
    *("--preset", "tiny", "--epochs", "1"),
)


def edgebehave(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "edgebehave_cli.app", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """log.csv, store, checkpoint and bundle, made by the verbs."""
    folder = tmp_path_factory.mktemp("run")
    edgebehave("simulate", folder / "log.csv", "--users", 60, "--days", 30)
    edgebehave("ingest", folder / "log.csv", "-o", folder / "store", *COLUMNS)
    edgebehave("train", folder / "store", "-o", folder / "checkpoint", *SMALL)
    store = ("--store", folder / "store")
    edgebehave("export", folder / "checkpoint", "-o", folder / "bundle", *store)
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb):
    assert f"edgebehave {verb}" in edgebehave(verb, "--help").stdout.split("Example")[1]


def test_help_needs_neither_torch_nor_numpy():
    code = (
        "import sys, edgebehave_cli.app as a\n"
        "try: a.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'onnxruntime', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_simulate_prints_the_best_that_is_reachable(tmp_path):
    done = edgebehave("simulate", tmp_path / "log.csv", "--users", 5, "--days", 5, "--json")
    assert 0 < json.loads(done.stdout)["hr_at_1"] < 1


def test_evaluate_shows_model_and_baselines_and_counts_readings_of_the_test_part(run, tmp_path):
    arguments = ("evaluate", run / "checkpoint", "--store", run / "store", "--resamples", 20)
    table = edgebehave(*arguments).stdout
    for name in (
        "most popular",
        "most recently used (MRU)",
        "Markov, order 2",
        "online Markov, order 2",
        "follow the leader",
        "habits",
        "checkpoint",
    ):
        assert f"| {name} " in table
    figure = tmp_path / "figure.png"
    done = edgebehave(*arguments, "--test", "--adjust", "0.5", "--json", "--figure", figure)
    content = json.loads(done.stdout)
    assert content["part"] == "test"
    assert content["test_reads"] == 1
    assert "checkpoint, adjusted tau 0.5" in [row["name"] for row in content["rows"]]
    assert figure.stat().st_size > 1000
    metrics = json.loads((run / "checkpoint" / "metrics.json").read_text())
    assert len(metrics["test_reads"]) == 1


def test_training_starts_from_the_universal_model_where_every_event_has_a_behavior(run, tmp_path):
    assert "universal" not in json.loads((run / "checkpoint" / "training.json").read_text())  # it has cues
    arguments = ("train", run / "store", "-o", tmp_path / "cues", "--from", "universal", *SMALL)
    assert "have no behavior" in edgebehave(*arguments, code=2).stderr
    edgebehave("ingest", run / "log.csv", "-o", tmp_path / "store", *COLUMNS[:4])
    for start in ("auto", "scratch"):
        arguments = ("train", tmp_path / "store", "-o", tmp_path / start, "--from", start, *SMALL)
        done = edgebehave(*arguments, "--json")
        kept = json.loads(done.stdout).get("universal", {}).get("kept")
        assert (kept in ("combined", "named", "universal")) == (start == "auto")
        assert ("kept" in done.stderr) == (start == "auto")
        assert (tmp_path / start / "lookup.safetensors").exists() == (start == "auto")


def test_predict_asks_the_bundle(run):
    user = json.loads((run / "store" / "users.json").read_text())[0]
    arguments = ("predict", run / "bundle", "--store", run / "store", "--user", user, "-k", 3)
    predictions = json.loads(edgebehave(*arguments, "--json").stdout)
    assert len(predictions) == 3
    assert predictions[0]["probability"] >= predictions[1]["probability"]
    assert predictions[0]["behavior"] in edgebehave(*arguments).stdout
    at = edgebehave(*arguments, "--at", "2026-05-01T08:00+02:00", "--json").stdout
    assert json.loads(at) != predictions


def test_bench_times_torch_and_the_streams(run):
    arguments = ("bench", run / "checkpoint", "--store", run / "store", "--calls", 10)
    table = json.loads(edgebehave(*arguments, "--warm-up", 1, "--json").stdout)
    assert {"torch window", "two graphs fp32", "Predictor int8"} <= {row["name"] for row in table["rows"]}


def test_resume_goes_on_only_with_a_run_that_is_there(run, tmp_path):
    store = run / "store"
    assert "finished" in edgebehave("train", store, "-o", run / "checkpoint", "--resume", code=2).stderr
    assert "not a checkpoint" in edgebehave("train", store, "-o", tmp_path / "none", "--resume", code=2).stderr


def test_resume_takes_no_settings(run):
    arguments = ("train", run / "store", "-o", run / "checkpoint", "--resume", "--seed", 3)
    assert "leave --seed out" in edgebehave(*arguments, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "{run}/missing.csv", "-o", "{tmp}/store"), "missing.csv"),
        (("ingest", "{run}/log.csv", "-o", "{tmp}/store", "--event", "evnt"), "event"),
        (("train", "{run}/log.csv", "-o", "{tmp}/out"), "not an event store"),
        (("train", "{run}/store", "-o", "{tmp}/out", "--preset", "huge"), "tiny"),
        (("train", "{run}/store", "-o", "{tmp}/out", "--set", "widht=3"), "widht"),
        (("train", "{run}/store", "-o", "{tmp}/out", "--set", "dropout=2"), "dropout"),
        (("train", "{run}/store", "-o", "{tmp}/out", "--objective", "best"), "best"),
        (("train", "{run}/store", "-o", "{tmp}/out", "--from", "nowhere"), "--from must be"),
        (("train", "{run}/store", "-o", "{run}/checkpoint"), "already holds a checkpoint"),
        (("compare", "{run}/store", "-o", "{tmp}/out", "--objectives", "best"), "best"),
        (("compare", "{run}/store", "-o", "{tmp}/out", "--objectives", "ce:tua=1"), "tua"),
        (("compare", "{run}/store", "-o", "{tmp}/out", "--objectives", "dro"), "reference"),
        (("compare", "{run}/store", "-o", "{tmp}/out", "--adjust", "much"), "much"),
        (("compare", "{run}/store", "-o", "{tmp}/out", "--set", "seed=7"), "--set seed"),
        (("evaluate", "{run}/store", "--store", "{run}/store"), "not a checkpoint"),
        (("evaluate", "{run}/checkpoint", "-s", "{run}/store", "--universal", "{run}/store"), "no finished universal"),
        (("export", "{run}/checkpoint", "-o", "{run}/bundle", "-s", "{run}/store"), "bundle"),
        (("predict", "{run}/store", "-s", "{run}/store", "--user", "nobody"), "nobody"),
        (("predict", "{run}/bundle", "-s", "{run}/store", "--user", "x", "--at", "noon"), "noon"),
    ],
)
def test_a_mistake_is_one_line(run, tmp_path, arguments, message):
    filled = [argument.format(run=run, tmp=tmp_path) for argument in arguments]
    error = edgebehave(*filled, code=2).stderr.strip().splitlines()
    assert len(error) <= 2  # ingest also says what it read
    assert error[-1].startswith("error: ")
    assert message in error[-1]
