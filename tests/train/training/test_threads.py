"""Threads of a training run: those of the environment, or as many as there are free cores."""

import os
import subprocess
import sys

import pytest
import torch

from edgebehave_train.training import threads


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
    monkeypatch.setattr(threads, "free_cores", lambda: free)
    assert threads.choose_threads() == torch.get_num_threads() == expected


@pytest.mark.usefixtures("four_threads")
def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(threads, "free_cores", lambda: 1.0)
    assert threads.choose_threads() == 4


def test_free_cores_lie_between_none_and_all(monkeypatch):
    monkeypatch.setattr(threads, "_SAMPLE_S", 0.02)
    assert threads.free_cores() <= os.cpu_count()
    monkeypatch.setattr(threads, "_idle_s", lambda: None)
    assert threads.free_cores() <= os.cpu_count()


def test_threads_sleep_while_they_wait_unless_the_environment_says_so():
    code = "import edgebehave_train, os; print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
