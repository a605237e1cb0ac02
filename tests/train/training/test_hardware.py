"""What a run finds on the machine: the device and the precision."""

import pytest
import torch

from edgebehave_train.training.hardware import choose_device, fast_precision


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
