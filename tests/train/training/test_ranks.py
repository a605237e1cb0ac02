"""Several processes give the run of one, and a run goes on with another number of them."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from edgebehave_train.files import read_tensors
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint
from edgebehave_train.training.objectives import ObjectiveConfig
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.ranks import Ranks, is_sharded
from edgebehave_train.training.run_log import read_lines

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)

WORKER = """
import json, os, signal, sys
from pathlib import Path
import torch
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training import pretraining, training_run
from edgebehave_train.training.recipes import TrainConfig

torch.set_num_threads(1)
store = EventStore.open(sys.argv[1])
for run in json.loads(sys.argv[2]):
    os.environ["MASTER_PORT"] = str(run["port"])
    config = TrainConfig.from_json(run["config"])
    if run["killed_at"]:
        training_run._SAVE_EVERY_S = -1.0
        step = training_run.TrainingRun.train_step

        def last_step(self, rows, clock):
            if self.ranks.rank == 1 and self.state.step == run["killed_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, rows, clock)

        training_run.TrainingRun.train_step = last_step
    try:
        pretraining.pretrain(
            store, config, Path(run["out"]), device="cpu", resume=run["resume"], parallel=run["parallel"],
            micro_batch_events=run["micro_batch_events"],
        )
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
"""


def run_of(config, out, **changes):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = {"resume": False, "parallel": "ddp", "killed_at": 0, "micro_batch_events": None}
    return {**run, "config": config.to_json(), "out": str(out), "port": port, **changes}


def two_processes(store, runs) -> list[tuple[int, str]]:
    """Exit codes and errors of both, after these runs one after the other."""
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(store.path), json.dumps(runs)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    return [(process.wait(), stderr) for process in processes for stderr in [process.communicate()[1]]]


@pytest.fixture(scope="module")
def configs(recipe):
    dro = ObjectiveConfig(name="dro", warm_start=0.2, capacity=1.5, mixing=1.0)
    return {"ce": recipe(learning_rate=1e-2), "dro": recipe(learning_rate=1e-2, objective=dro)}


@pytest.fixture(scope="module")
def folder(tiny_store, configs, tmp_path_factory):
    """Runs of two processes, the last one of which lost a process at step 8; and its copy, which went on with two."""
    folder = tmp_path_factory.mktemp("ranks")
    runs = [
        run_of(configs["ce"], folder / "ce"),
        run_of(configs["dro"], folder / "dro"),
        run_of(configs["ce"], folder / "fsdp", parallel="fsdp", micro_batch_events=60),
        run_of(configs["ce"], folder / "killed", killed_at=8),
    ]
    ended = two_processes(tiny_store, runs)
    (folder / "ended.json").write_text(json.dumps(ended))
    shutil.copytree(folder / "killed", folder / "with_two")
    assert two_processes(tiny_store, [run_of(configs["ce"], folder / "with_two", resume=True)]) == [(0, ""), (0, "")]
    return folder


@pytest.fixture(scope="module")
def alone(tiny_store, configs, tmp_path_factory):
    """The same runs by one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name, config in configs.items():
        pretrain(tiny_store, config, folder / name, device="cpu")
    return folder


def assert_same_run(one, other):
    lines = [read_lines(out / "metrics.jsonl") for out in (one, other)]
    assert [(line["kind"], line["step"]) for line in lines[0]] == [(line["kind"], line["step"]) for line in lines[1]]
    for here, there in zip(*lines, strict=True):
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-4)
        assert here.get("validation_loss") == pytest.approx(there.get("validation_loss"), abs=1e-4)
    weights, others = (read_tensors(out / "model.safetensors")[0] for out in (one, other))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["ce", "dro"])
def test_two_processes_give_the_curve_and_the_weights_of_one(folder, alone, name):
    assert_same_run(folder / name, alone / name)


def test_a_model_that_is_split_and_accumulates_gradients_gives_the_same(folder, alone):
    assert_same_run(folder / "fsdp", alone / "ce")
    names = {path.name for path in (folder / "fsdp").iterdir()}
    assert RESUME_FILE not in names
    assert names == {path.name for path in (alone / "ce").iterdir()}


def test_a_lost_process_ends_the_other_with_one_line(folder):
    (code, error), (killed, _) = json.loads((folder / "ended.json").read_text())
    assert (code, killed) == (2, -9)
    assert error.strip().splitlines() == [
        "a process of the run has ended, so this one of 2 ends too; go on with --resume, with any number of processes"
    ]


def test_the_run_goes_on_with_two_processes(folder, alone):
    assert_same_run(folder / "with_two", alone / "ce")


def test_the_run_goes_on_with_one_process(folder, alone, tiny_store, configs, tmp_path):
    out = shutil.copytree(folder / "killed", tmp_path / "with_one")
    notes = []
    pretrain(tiny_store, configs["ce"], out, device="cpu", resume=True, on_progress=lambda p: notes.append(p.message))
    assert any(note.startswith("resumed after epoch 1, at step 8 of") for note in notes)
    assert_same_run(out, alone / "ce")
    assert Checkpoint.open(out).training.finished


def test_large_models_are_split_and_others_are_not():
    two = Ranks(size=2)
    assert [is_sharded(size, two, "auto") for size in (10**6, 150 * 10**6)] == [False, True]
    assert not is_sharded(150 * 10**6, Ranks(), "fsdp")
    with pytest.raises(ValueError, match="parallel must be auto, ddp, fsdp, got 'both'"):
        is_sharded(1, two, "both")
