"""What a run finds on the machine: the device, the precision, and as many threads as there are free cores."""

import os
import subprocess
import sys

import pytest
import torch

from edgebehave_train.training import hardware
from edgebehave_train.training.hardware import choose_device, choose_threads, fast_precision, free_cores


def test_a_device_that_is_not_there_is_named():
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no CUDA GPU; use --device cpu"):
            choose_device("cuda")


def test_a_device_without_a_name_is_refused():
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or mps, got 'tpu'"):
        choose_device("tpu")


def test_a_precision_that_is_asked_for_is_taken():
    cpu = torch.device("cpu")
    assert fast_precision(cpu, "float32") == torch.float32
    assert fast_precision(cpu, "bfloat16") == torch.bfloat16
    assert fast_precision(torch.device("mps")) == torch.float32


@pytest.fixture
def four_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("free", "expected"), [(0.0, 1), (1.4, 1), (2.6, 3), (64.0, 4)])
@pytest.mark.usefixtures("four_threads")
def test_a_thread_for_each_free_core(monkeypatch, free, expected):
    monkeypatch.setattr(hardware, "free_cores", lambda: free)
    assert choose_threads() == torch.get_num_threads() == expected


@pytest.mark.usefixtures("four_threads")
def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(hardware, "free_cores", lambda: 1.0)
    assert choose_threads() == 4


def test_free_cores_lie_between_none_and_all(monkeypatch):
    monkeypatch.setattr(hardware, "_SAMPLE_S", 0.02)
    assert free_cores() <= os.cpu_count()
    monkeypatch.setattr(hardware, "_idle_s", lambda: None)
    assert free_cores() <= os.cpu_count()


def test_threads_sleep_while_they_wait_unless_the_environment_says_so():
    code = "import edgebehave_train, os; print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
